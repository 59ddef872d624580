/* Calls with a model, over a connection: one request after another in one call, driven by a wait, a
 * loop, a map and many threads; and every way for such a call to end between two requests. */
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine.h"
#include "promptlathe.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nrequest-id: req_1\r\n"
#define BUSY "HTTP/1.1 529 Busy\r\nretry-after-ms: 1\r\nContent-Length: 0\r\n\r\n"
/* What stands in a second request alone. */
#define AGAIN "Your last answer could not be used"

static lathe_error error;

/* ---- Answers --------------------------------------------------------------------------------- */

typedef enum speech { CHAT, PROMPT, ECHO, LIST, SPEECHES } speech;

static const char *says(speech which)
{
    static const char *const bodies[SPEECHES] = {
        "{\"content\":[{\"type\":\"text\",\"text\":\"chat\"}],\"usage\":{\"input_tokens\":1}}",
        "{\"content\":[{\"type\":\"text\",\"text\":\"<result_prompt>Cook.</result_prompt>\"}],"
        "\"usage\":{\"input_tokens\":1}}",
        "{\"content\":[{\"type\":\"text\",\"text\":\"chat " TEST_KEY " chat\"}]}",
        "[\"" TEST_KEY "\"]"};
    static char responses[SPEECHES][512];
    snprintf(responses[which], sizeof responses[which], HEAD "Content-Length: %zu\r\n\r\n%s",
             strlen(bodies[which]), bodies[which]);
    return responses[which];
}

static const char result[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Cook.\"}]}],"
    "\"system\":\"\",\"usage\":{\"input_tokens\":2}}";

static server_step keep(speech which)
{
    return (server_step){says(which), 0, SERVER_KEEP};
}

/* ---- A server and a client ------------------------------------------------------------------- */

typedef struct world {
    server_step steps[8], again;
    server *server;
    lathe_client *client;
} world;

static lathe_client *client_with(const char *url, const char *key)
{
    lathe_client *client = NULL;
    lathe_client_options options;
    lathe_client_options_init(&options);
    lathe_error_init(&error);
    options.api_key = key;
    options.base_url = url;
    options.call.model = "m-1";
    if (lathe_client_new(&options, &client, &error))
        FAIL("no client: %s", error.message);
    return client;
}

static void world_init(world *w, const server_step *steps, size_t count)
{
    memcpy(w->steps, steps, count * sizeof *steps);
    w->server = server_new(w->steps, count);
    w->client = client_with(server_url(w->server), TEST_KEY);
}

/* Each call needs two requests, however many there are at once. */
static void world_of_two(world *w)
{
    const server_step steps[] = {keep(CHAT)};
    world_init(w, steps, 1);
    w->again = keep(PROMPT);
    server_answer(w->server, AGAIN, &w->again);
}

static void world_clear(world *w)
{
    lathe_error_clear(&error);
    server_release(w->server);
    lathe_client_free(w->client);
    server_free(w->server);
}

static lathe_code whole(const world *w, const lathe_options *options, int *attempts)
{
    return call_whole(w->client, options, &error, attempts);
}

/* Whether the result of a call that has ended is the one that two requests have. */
static void check_result(lathe_call *call)
{
    lathe_response *response;
    lathe_error_clear(&error);
    if (!CHECK_CODE(lathe_call_result(call, &response, &error), LATHE_OK))
        return;
    CHECK_BYTES(response->body, response->body_size, result, sizeof result - 1);
    CHECK_INT(response->attempts, 2);
    lathe_response_free(response);
}

/* ---- What is sent ---------------------------------------------------------------------------- */

TEST(two_requests_over_one_connection)
{
    world w;
    world_of_two(&w);
    lathe_call *call = call_started(w.client, NULL);
    REQUIRE(call);
    CHECK(strstr(lathe_call_url(call), "/v1/messages"));
    CHECK_INT(lathe_call_wait(call, INFINITY, false), LATHE_WAIT_DONE);
    CHECK_INT(lathe_call_wait(call, 0, false), LATHE_WAIT_DONE); /* done is done */
    check_result(call);
    lathe_call_free(call);
    CHECK_INT(server_requests(w.server), 2);
    CHECK_INT(server_connections(w.server), 1);
    const char *second = server_request(w.server, 1);
    CHECK(strstr(second, "POST /v1/messages HTTP/1.1\r\n") == second);
    CHECK(strstr(second, "\r\nx-api-key: " TEST_KEY "\r\n"));
    CHECK(strstr(second, "\r\nx-promptlathe-attempt: 1\r\n"));
    CHECK(!strstr(second, "anthropic-beta"));
    CHECK(!strstr(server_request(w.server, 0), AGAIN));
    world_clear(&w);
}

TEST(loopback_needs_no_key)
{
    const server_step steps[] = {keep(PROMPT)};
    static const char *const betas[] = {"mine"};
    world w;
    int attempts;
    lathe_options options;
    lathe_options_init(&options);
    options.betas = betas;
    options.beta_count = 1;
    unsetenv("ANTHROPIC_API_KEY");
    unsetenv("ANTHROPIC_AUTH_TOKEN");
    world_init(&w, steps, 1);
    lathe_client_free(w.client);
    w.client = client_with(server_url(w.server), NULL);
    REQUIRE(w.client);
    CHECK_CODE(whole(&w, &options, &attempts), LATHE_OK);
    CHECK(!strstr(server_request(w.server, 0), "x-api-key"));
    CHECK(!strstr(server_request(w.server, 0), "authorization"));
    CHECK(strstr(server_request(w.server, 0), "\r\nanthropic-beta: mine\r\n"));
    world_clear(&w);
}

TEST(options_of_a_call)
{
    const server_step steps[] = {keep(PROMPT)};
    world w;
    int attempts;
    lathe_options options;
    world_init(&w, steps, 1);
    lathe_options_init(&options);
    options.max_tokens = 5;
    options.instructions = "";
    CHECK_CODE(whole(&w, &options, &attempts), LATHE_OK);
    CHECK(strstr(server_request(w.server, 0), "\"max_tokens\":5,"));
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    CHECK(strstr(server_request(w.server, 1), "\"max_tokens\":8192,"));
    options.instructions = "/nowhere";
    CHECK_CODE(whole(&w, &options, &attempts), LATHE_CONFIGURATION);
    CHECK(strstr(error.message, "instructions: /nowhere: "));
    lathe_options_init(&options);
    options.model = "m-2";
    CHECK_CODE(whole(&w, &options, &attempts), LATHE_CONFIGURATION);
    CHECK_STRING(error.message, "model is an option of clients and copies");
    lathe_options_init(&options);
    options.max_tokens = 0;
    CHECK_CODE(whole(&w, &options, &attempts), LATHE_CONFIGURATION);
    CHECK_INT(server_requests(w.server), 2);
    world_clear(&w);
}

TEST(a_copy_may_have_a_model_or_none)
{
    const server_step steps[] = {keep(PROMPT), {server_good(), 0, SERVER_KEEP}};
    world w;
    int attempts;
    lathe_options options;
    lathe_client *copy = NULL;
    world_init(&w, steps, 2);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    lathe_options_init(&options);
    options.model = "";
    CHECK_CODE(lathe_client_copy(w.client, &options, &copy, &error), LATHE_OK);
    REQUIRE(copy);
    CHECK_CODE(call_whole(copy, NULL, &error, &attempts), LATHE_OK);
    CHECK(strstr(server_request(w.server, 1), "POST /v1/experimental/generate_prompt "));
    CHECK(strstr(server_request(w.server, 1), "anthropic-beta: prompt-tools"));
    lathe_client_free(copy);
    world_clear(&w);
}

/* ---- Refusals and retries -------------------------------------------------------------------- */

/* A server that knows no structured output is asked without it, and the client remembers. */
TEST(structured_output_is_given_up)
{
    static const char refusal[] = "HTTP/1.1 400 Bad\r\nContent-Length: 65\r\n\r\n"
                                  "{\"error\":{\"message\":\"output_config: Extra inputs not "
                                  "permitted\"}} ";
    const server_step steps[] = {{refusal, 0, SERVER_KEEP}, keep(PROMPT)};
    world w;
    int attempts;
    world_init(&w, steps, 2);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    CHECK_INT(attempts, 2);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    CHECK_INT(attempts, 1);
    CHECK_INT(server_requests(w.server), 3);
    CHECK(strstr(server_request(w.server, 0), "\"output_config\""));
    CHECK(!strstr(server_request(w.server, 1), "\"output_config\""));
    CHECK(!strstr(server_request(w.server, 2), "\"output_config\""));
    world_clear(&w);
}

TEST(other_refusals_are_errors)
{
    const server_step steps[] = {
        {"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}", 0, SERVER_KEEP},
        keep(CHAT),
        {"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}", 0, SERVER_KEEP},
        {"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}", 0, SERVER_KEEP}};
    world w;
    int attempts;
    world_init(&w, steps, 4);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_BAD_REQUEST);
    CHECK_INT(attempts, 1);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_AUTHENTICATION);
    CHECK_INT(attempts, 2);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_NOT_FOUND);
    world_clear(&w);
}

/* Each request has all the retries. */
TEST(retries_of_each_request)
{
    const server_step busy = {BUSY, 0, SERVER_KEEP};
    const server_step steps[] = {busy, keep(CHAT), busy, {NULL, 0, SERVER_RESET}, keep(PROMPT)};
    static const char *const numbers[] = {"1", "2", "1", "2", "3"};
    world w;
    int attempts;
    char line[64];
    world_init(&w, steps, 5);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    CHECK_INT(attempts, 5);
    for (size_t i = 0; i < 5; i++) {
        snprintf(line, sizeof line, "\r\nx-promptlathe-attempt: %s\r\n", numbers[i]);
        CHECK(strstr(server_request(w.server, i), line));
    }
    world_clear(&w);
}

TEST(retries_of_the_second_request_end)
{
    const server_step steps[] = {keep(CHAT), {BUSY, 0, SERVER_KEEP}};
    world w;
    int attempts;
    world_init(&w, steps, 2);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OVERLOADED);
    CHECK_INT(attempts, 4);
    CHECK(strstr(error.message, "after 4 attempts"));
    world_clear(&w);
}

TEST(an_answer_that_echoes_the_key)
{
    const server_step steps[] = {keep(ECHO)}, bad[] = {keep(LIST)};
    world w;
    int attempts;
    world_init(&w, steps, 1);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_MODEL_ANSWER);
    CHECK_STRING(error.answer, "chat ********************** chat");
    CHECK(error.body && strstr(error.body, "chat ****") && !strstr(error.body, TEST_KEY));
    CHECK_STRING(error.request_id, "req_1");
    CHECK_INT(error.status, 200);
    world_clear(&w);
    world_init(&w, bad, 1);
    CHECK_CODE(whole(&w, NULL, &attempts), LATHE_RESPONSE_VALIDATION);
    CHECK_INT(attempts, 1);
    CHECK(error.body && !strstr(error.body, TEST_KEY));
    world_clear(&w);
}

/* ---- Ends between two requests --------------------------------------------------------------- */

static lathe_call *victim;
static lathe_client *victims_client; /* NULL: the call itself is cancelled */
static bool struck;

/* While the first answer is judged, as another thread could. */
static void strike(void)
{
    if (!victim->ended)
        return;
    alloc_on_free(NULL);
    struck = true;
    if (victims_client)
        lathe_client_close(victims_client);
    else
        lathe_call_cancel(victim);
}

static lathe_code struck_between(const world *w, lathe_client *client)
{
    victim = call_started(w->client, NULL);
    victims_client = client;
    struck = false;
    alloc_on_free(strike);
    lathe_code code = call_finish(victim, &error);
    alloc_on_free(NULL);
    CHECK(struck);
    CHECK_INT(server_requests(w->server), 1);
    CHECK_INT(error.attempts, 1);
    return code;
}

TEST(cancelled_between)
{
    world w;
    world_of_two(&w);
    CHECK_CODE(struck_between(&w, NULL), LATHE_CANCELLED);
    world_clear(&w);
}

TEST(closed_between)
{
    world w;
    world_of_two(&w);
    CHECK_CODE(struck_between(&w, w.client), LATHE_CLIENT_CLOSED);
    world_clear(&w);
}

TEST(cancelled_in_the_second_request)
{
    const server_step steps[] = {keep(CHAT), {NULL, 0, SERVER_HOLD}};
    world w;
    world_init(&w, steps, 2);
    lathe_call *call = call_started(w.client, NULL);
    REQUIRE(call);
    while (server_requests(w.server) < 2)
        CHECK_INT(lathe_call_wait(call, 0.05, false), LATHE_WAIT_AGAIN);
    lathe_call_cancel(call);
    CHECK_CODE(call_finish(call, &error), LATHE_CANCELLED);
    call = call_started(w.client, NULL); /* freed in its first */
    CHECK_INT(lathe_call_wait(call, 0.05, false), LATHE_WAIT_AGAIN);
    lathe_call_free(call);
    world_clear(&w);
}

/* One deadline, from the start of the call. */
TEST(the_deadline_is_the_calls)
{
    const server_step steps[] = {keep(CHAT), {NULL, 0, SERVER_HOLD}};
    world w;
    lathe_options options;
    lathe_options_init(&options);
    options.timeout = 0.3;
    world_init(&w, steps, 2);
    lathe_call *call = call_started(w.client, &options);
    REQUIRE(call);
    const double deadline = call->deadline;
    CHECK_INT(lathe_call_wait(call, INFINITY, false), LATHE_WAIT_DONE);
    CHECK(call->deadline == deadline);
    CHECK(lathe_clock() >= deadline);
    CHECK_CODE(call_take(call, &error), LATHE_TIMEOUT);
    CHECK_INT(error.attempts, 2);
    CHECK_STRING(lathe_phase_name(error.phase), "wait");
    world_clear(&w);
}

/* Driven by who waits for another call: nobody took its first answer before its time was over. */
TEST(the_deadline_is_over_between)
{
    world w;
    int attempts;
    lathe_options options;
    lathe_options_init(&options);
    options.timeout = 0.4;
    world_of_two(&w);
    lathe_call *call = call_started(w.client, &options);
    REQUIRE(call);
    while (!call->ended)
        CHECK_CODE(whole(&w, NULL, &attempts), LATHE_OK);
    const size_t requests = server_requests(w.server);
    while (lathe_clock() <= call->deadline)
        poll(NULL, 0, 20);
    CHECK_CODE(call_finish(call, &error), LATHE_TIMEOUT);
    CHECK_STRING(lathe_phase_name(error.phase), "queue");
    CHECK_INT(server_requests(w.server), requests);
    CHECK_INT(error.attempts, 1);
    world_clear(&w);
}

/* ---- Loops and maps -------------------------------------------------------------------------- */

enum { MANY = 40 };

static lathe_call *call_new(lathe_client *client)
{
    lathe_request request;
    lathe_call *call = NULL;
    request_init(&request);
    CHECK_CODE(lathe_call_new(client, &request, NULL, &call, &error), LATHE_OK);
    request_clear(&request);
    return call;
}

/* Waits as an event loop does, then drives. */
static void turn(lathe_loop *loop)
{
    struct pollfd watch = {.fd = lathe_loop_descriptor(loop), .events = POLLIN};
    double next = lathe_loop_next(loop);
    if (watch.fd >= 0)
        poll(&watch, 1, isinf(next) ? -1 : lathe_milliseconds(next));
    lathe_loop_step(loop, watch.fd >= 0 ? 0 : next, 0.001);
}

TEST(a_loop_reaps_what_is_whole)
{
    world w;
    lathe_loop *loop;
    lathe_wait what;
    int seen[MANY] = {0};
    world_of_two(&w);
    REQUIRE(!lathe_loop_new(w.client, &loop, &error));
    for (int i = 0; i < MANY; i++)
        lathe_loop_start(loop, call_new(w.client), &seen[i]);
    for (int left = MANY; left;) {
        lathe_call *call = lathe_loop_reap(loop, &what);
        if (!call) {
            turn(loop);
            continue;
        }
        CHECK_INT(what, LATHE_WAIT_DONE);
        ++*(int *)lathe_call_tag(call);
        check_result(call);
        lathe_call_free(call);
        left--;
    }
    for (int i = 0; i < MANY; i++)
        CHECK_INT(seen[i], 1);
    CHECK_INT(server_requests(w.server), 2 * MANY);
    lathe_loop_free(loop);
    world_clear(&w);
}

TEST(a_loop_is_freed_between)
{
    world w;
    lathe_loop *loop;
    world_of_two(&w);
    REQUIRE(!lathe_loop_new(w.client, &loop, &error));
    lathe_call *call = call_new(w.client);
    lathe_loop_start(loop, call, NULL);
    while (!call->ended)
        turn(loop);
    lathe_loop_free(loop);
    lathe_call_free(call);
    CHECK_INT(server_requests(w.server), 1);
    world_clear(&w);
}

TEST(a_loop_does_not_reap_what_was_cancelled_between)
{
    world w;
    lathe_loop *loop;
    lathe_wait what;
    world_of_two(&w);
    REQUIRE(!lathe_loop_new(w.client, &loop, &error));
    victim = call_new(w.client);
    victims_client = NULL;
    struck = false;
    lathe_loop_start(loop, victim, NULL);
    while (!victim->ended)
        turn(loop);
    alloc_on_free(strike);
    CHECK(!lathe_loop_reap(loop, &what));
    alloc_on_free(NULL);
    CHECK(struck);
    while (lathe_loop_next(loop) <= 0)
        turn(loop);
    CHECK(!lathe_loop_reap(loop, &what));
    lathe_call_free(victim);
    CHECK_INT(server_requests(w.server), 1);
    lathe_loop_free(loop);
    world_clear(&w);
}

static void check_map(bool ordered)
{
    enum { AT_ONCE = 6 };
    world w;
    lathe_map *map;
    lathe_map_item item;
    size_t added = 0, given = 0;
    world_of_two(&w);
    REQUIRE(!lathe_map_new(w.client, AT_ONCE, ordered, &map, &error));
    while (given < MANY) {
        for (; added < MANY && lathe_map_wants(map); added++)
            CHECK_CODE(lathe_map_add(map, call_new(w.client), NULL), LATHE_OK);
        if (lathe_map_next(map, INFINITY, false, &item) != LATHE_WAIT_DONE)
            continue;
        CHECK(!ordered || item.index == given);
        check_result(item.call);
        lathe_call_free(item.call);
        given++;
    }
    CHECK_INT(server_requests(w.server), 2 * MANY);
    CHECK(server_connections(w.server) <= AT_ONCE);
    lathe_map_free(map);
    world_clear(&w);
}

TEST(a_map_in_order)
{
    check_map(true);
}

TEST(a_map_as_they_end)
{
    check_map(false);
}

/* ---- Threads --------------------------------------------------------------------------------- */

enum { THREADS = 8, CALLS_EACH = 12 };

static void *many_calls(void *client)
{
    size_t bad = 0;
    for (int i = 0; i < CALLS_EACH; i++) {
        lathe_error mine;
        int attempts;
        lathe_error_init(&mine);
        bad += call_whole(client, NULL, &mine, &attempts) != LATHE_OK || attempts != 2;
        lathe_error_clear(&mine);
    }
    return (void *)bad;
}

TEST(threads_share_a_client)
{
    world w;
    pthread_t threads[THREADS];
    world_of_two(&w);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(!pthread_create(&threads[i], NULL, many_calls, w.client));
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        CHECK(!bad);
    }
    CHECK_INT(server_requests(w.server), 2 * THREADS * CALLS_EACH);
    /* One that has just become idle may still be counted as busy, and then another is opened. */
    CHECK(server_connections(w.server) <= 2 * THREADS);
    world_clear(&w);
}

typedef struct blow {
    lathe_call *call;
    lathe_client *copy; /* closed, or NULL: the call is cancelled */
    server *server;
    size_t requests; /* that arrive before it falls */
    int yields;      /* and then */
} blow;

static void *fall(void *self)
{
    const blow *b = self;
    server_wait(b->server, b->requests);
    for (int i = 0; i < b->yields; i++)
        sched_yield();
    if (b->copy)
        lathe_client_close(b->copy);
    else
        lathe_call_cancel(b->call);
    return NULL;
}

/* From another thread, at whatever moment: it ends so, or had ended well. */
static void one_blow(const world *w, int round)
{
    lathe_client *copy = NULL;
    lathe_options options;
    pthread_t thread;
    lathe_options_init(&options);
    REQUIRE(!lathe_client_copy(w->client, &options, &copy, &error));
    blow b = {.server = w->server, .copy = round % 2 ? copy : NULL, .yields = round % 40};
    b.requests = server_requests(w->server) + (round % 4 < 2);
    b.call = call_started(copy, NULL);
    REQUIRE(b.call && !pthread_create(&thread, NULL, fall, &b));
    while (lathe_call_wait(b.call, INFINITY, false) != LATHE_WAIT_DONE)
        continue;
    pthread_join(thread, NULL);
    lathe_code code = call_take(b.call, &error);
    if (code)
        CHECK_CODE(code, b.copy ? LATHE_CLIENT_CLOSED : LATHE_CANCELLED);
    lathe_error_clear(&error);
    lathe_client_free(copy);
}

TEST(struck_from_another_thread)
{
    enum { ROUNDS = 200 };
    world w;
    world_of_two(&w);
    for (int round = 0; round < ROUNDS; round++)
        one_blow(&w, round);
    world_clear(&w);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static lathe_request memory_request;

/* A client's whole life with one call of two requests. */
static lathe_code whole_life(void *self)
{
    const world *w = self;
    lathe_client_options options;
    lathe_client *client;
    lathe_response *response = NULL;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = server_url(w->server);
    options.call.model = "m-1";
    lathe_code code = lathe_client_new(&options, &client, &mine);
    if (!code)
        code = lathe_call_run(client, &memory_request, NULL, &response, &mine);
    lathe_response_free(response);
    lathe_client_free(client);
    lathe_error_clear(&mine);
    return code;
}

TEST(memory_of_a_success)
{
    world w;
    world_of_two(&w);
    request_init(&memory_request);
    alloc_try_each(whole_life, &w, LATHE_OK);
    request_clear(&memory_request);
    world_clear(&w);
}

TEST(memory_of_an_answer_that_cannot_be_used)
{
    const server_step steps[] = {keep(CHAT)};
    world w;
    world_init(&w, steps, 1);
    request_init(&memory_request);
    alloc_try_each(whole_life, &w, LATHE_MODEL_ANSWER);
    request_clear(&memory_request);
    world_clear(&w);
}

TESTS(ENTRY(two_requests_over_one_connection), ENTRY(loopback_needs_no_key),
      ENTRY(options_of_a_call), ENTRY(a_copy_may_have_a_model_or_none),
      ENTRY(structured_output_is_given_up), ENTRY(other_refusals_are_errors),
      ENTRY(retries_of_each_request), ENTRY(retries_of_the_second_request_end),
      ENTRY(an_answer_that_echoes_the_key), ENTRY(cancelled_between), ENTRY(closed_between),
      ENTRY(cancelled_in_the_second_request), ENTRY(the_deadline_is_the_calls),
      ENTRY(the_deadline_is_over_between), ENTRY(a_loop_reaps_what_is_whole),
      ENTRY(a_loop_is_freed_between), ENTRY(a_loop_does_not_reap_what_was_cancelled_between),
      ENTRY(a_map_in_order), ENTRY(a_map_as_they_end), ENTRY(threads_share_a_client),
      ENTRY(struck_from_another_thread), ENTRY(memory_of_a_success),
      ENTRY(memory_of_an_answer_that_cannot_be_used))
