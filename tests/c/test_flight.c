/* Calls under way: each that the gate let go is answered or lost exactly once, however it ends, and
 * one that waits for its turn gets it as soon as there is room. */
#include "flight.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>

#include "client.h"
#include "clock.h"
#include "engine.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

#define ANSWER(status, headers, size)                                                              \
    "HTTP/1.1 " status "\r\n" headers "Content-Length: " size "\r\n\r\n"
#define BUSY ANSWER("529 Busy", "retry-after-ms: 1\r\n", "0")

static lathe_error error;

/* A server and a client of it. */
typedef struct world {
    server *server;
    lathe_client *client;
} world;

static world world_of(const server_step *steps, size_t count)
{
    world w = {.server = server_new(steps, count)};
    lathe_error_init(&error);
    w.client = client_for(server_url(w.server));
    return w;
}

static void world_end(world *w)
{
    server_release(w->server);
    lathe_client_free(w->client);
    server_free(w->server);
    lathe_error_clear(&error);
}

static lathe_options options_of(double timeout, int retries)
{
    lathe_options options;
    lathe_options_init(&options);
    options.timeout = timeout;
    options.max_retries = retries;
    return options;
}

static lathe_call *call_for(lathe_client *client, double timeout, int retries)
{
    lathe_options options = options_of(timeout, retries);
    return call_started(client, &options);
}

static lathe_code end_of(lathe_call *call)
{
    lathe_error_clear(&error);
    return call_finish(call, &error);
}

/* Drives a call's engine until the server has so many requests. */
static void drive_until(const world *w, lathe_call *call, size_t requests)
{
    while (server_requests(w->server) < requests)
        lathe_call_wait(call, 0.01, false);
}

/* ---- The gate's count ------------------------------------------------------------------------ */

/* Answers of all kinds, none at all, and the time being over. */
TEST(every_end_is_counted_once)
{
    static const struct {
        server_step step;
        lathe_code code;
    } cases[] = {
        {{ANSWER("200 OK", "", "2") "{}", 0, SERVER_KEEP}, LATHE_OK}, /* its body is not read */
        {{ANSWER("204 None", "", "0"), 0, SERVER_KEEP}, LATHE_RESPONSE_VALIDATION},
        {{ANSWER("400 No", "", "0"), 0, SERVER_KEEP}, LATHE_BAD_REQUEST},
        {{ANSWER("429 Slow", "retry-after: 500\r\n", "0"), 0, SERVER_KEEP}, LATHE_RATE_LIMIT},
        {{BUSY, 0, SERVER_KEEP}, LATHE_OVERLOADED},
        {{"nonsense\r\n\r\n", 0, SERVER_CLOSE}, LATHE_CONNECTION},
        {{ANSWER("200 OK", "", "9") "short", 0, SERVER_CLOSE}, LATHE_CONNECTION},
        {{ANSWER("200 OK", "", "9") "short", 0, SERVER_RESET}, LATHE_CONNECTION},
        {{NULL, 0, SERVER_CLOSE}, LATHE_CONNECTION},
        {{NULL, 0, SERVER_RESET}, LATHE_CONNECTION},
        {{NULL, 0, SERVER_HOLD}, LATHE_TIMEOUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w = world_of(&cases[i].step, 1);
        bool held = cases[i].code == LATHE_TIMEOUT;
        test_context("case %zu", i);
        lathe_call *call = call_for(w.client, held ? 0.3 : 60, held ? 0 : 1);
        drive_until(&w, call, 1);
        CHECK(lathe_client_in_flight(w.client) <= 1);
        CHECK_CODE(end_of(call), cases[i].code);
        CHECK_INT(lathe_client_in_flight(w.client), 0);
        world_end(&w);
    }
}

TEST(attempts_that_never_connect_are_counted_once)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *gone = server_new(steps, 1);
    full_listener full;
    REQUIRE(full_listener_init(&full));
    lathe_error_init(&error);
    lathe_client *clients[] = {client_for(server_url(gone)), client_for(full.url)};
    server_free(gone);
    lathe_options options = options_of(30, 1);
    options.connect_timeout = 0.1;
    for (int i = 0; i < 2; i++) {
        lathe_code code = end_of(call_started(clients[i], &options));
        CHECK_CODE(code, i ? LATHE_TIMEOUT : LATHE_CONNECTION);
        CHECK_INT(lathe_client_in_flight(clients[i]), 0);
        lathe_client_free(clients[i]);
    }
    full_listener_clear(&full);
    lathe_error_clear(&error);
}

/* Calls that run, wait for a retry, are held and are not even taken in. */
static void start_some(const world *w, lathe_call *calls[4])
{
    calls[0] = call_for(w->client, 60, 0);
    drive_until(w, calls[0], 1);
    calls[1] = call_for(w->client, 60, 1);
    while (lathe_call_wait(calls[1], 60, false) != LATHE_WAIT_EVENT)
        continue;
    calls[2] = call_for(w->client, 60, 0);
    lathe_call_wait(calls[2], 0.01, false);
    calls[3] = call_for(w->client, 60, 0);
    CHECK_INT(lathe_client_in_flight(w->client), 1);
    CHECK_INT(server_requests(w->server), 2);
}

TEST(calls_in_every_state_are_counted_once)
{
    const server_step steps[] = {
        {NULL, 0, SERVER_HOLD},
        {ANSWER("429 Slow", "retry-after: 50\r\n", "0"), 0, SERVER_KEEP},
    };
    for (int how = 0; how < 2; how++) {
        world w = world_of(steps, 2);
        lathe_call *calls[4];
        test_context(how ? "closed" : "cancelled");
        start_some(&w, calls);
        if (how)
            lathe_client_close(w.client);
        for (int i = 0; i < 4; i++) {
            lathe_call_cancel(calls[i]);
            CHECK_CODE(end_of(calls[i]), how ? LATHE_CLIENT_CLOSED : LATHE_CANCELLED);
        }
        CHECK_INT(lathe_client_in_flight(w.client), 0);
        world_end(&w);
    }
}

TEST(a_loop_that_is_freed_leaves_nothing_counted)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    world w = world_of(steps, 1);
    lathe_loop *loop;
    lathe_request request;
    lathe_call *calls[5];
    request_init(&request);
    REQUIRE(!lathe_loop_new(w.client, &loop, &error));
    for (int i = 0; i < 5; i++) {
        REQUIRE(!lathe_call_new(w.client, &request, NULL, &calls[i], &error));
        lathe_loop_start(loop, calls[i], NULL);
    }
    while (server_requests(w.server) < 5)
        lathe_loop_step(loop, 0.01, INFINITY);
    CHECK_INT(lathe_client_in_flight(w.client), 5);
    lathe_loop_free(loop);
    CHECK_INT(lathe_client_in_flight(w.client), 0);
    for (int i = 0; i < 5; i++)
        lathe_call_free(calls[i]);
    request_clear(&request);
    world_end(&w);
}

typedef struct attempt {
    const char *url;
    const lathe_request *request;
} attempt;

static lathe_code try_call(void *self)
{
    const attempt *each = self;
    lathe_client_options options;
    lathe_client *client;
    lathe_response *response = NULL;
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = each->url;
    lathe_error_clear(&error);
    lathe_code code = lathe_client_new(&options, &client, &error);
    if (!code) {
        code = lathe_call_run(client, each->request, NULL, &response, &error);
        CHECK_INT(lathe_client_in_flight(client), 0);
    }
    lathe_response_free(response);
    lathe_client_free(client);
    lathe_error_clear(&error);
    return code;
}

TEST(a_lack_of_memory_leaves_nothing_counted)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_request request;
    lathe_error_init(&error);
    request_init(&request);
    alloc_try_each(try_call, &(attempt){server_url(s), &request}, LATHE_OK);
    request_clear(&request);
    server_free(s);
}

/* ---- Those who wait for their turn ----------------------------------------------------------- */

/* One refused, so that the window of `loop`'s engine, or of the calls' own, is 1; one that runs. */
static const server_step narrow[] = {
    {BUSY, 0, SERVER_KEEP}, {NULL, 0, SERVER_HOLD}, {"", 0, SERVER_HOLD}};

static lathe_call *start_in(const world *w, lathe_loop *loop)
{
    lathe_request request;
    lathe_options options = options_of(60, 0);
    lathe_call *call = NULL;
    request_init(&request);
    CHECK_CODE(lathe_call_new(w->client, &request, &options, &call, &error), LATHE_OK);
    request_clear(&request);
    lathe_loop_start(loop, call, NULL);
    return call;
}

/* A loop with one call that runs and one that is held until that has ended. */
static lathe_loop *narrow_loop(const world *w, lathe_call *calls[2])
{
    lathe_loop *loop;
    lathe_call *ended;
    lathe_wait what;
    CHECK_CODE(lathe_loop_new(w->client, &loop, &error), LATHE_OK);
    lathe_call *refused = start_in(w, loop);
    while (!(ended = lathe_loop_reap(loop, &what)))
        lathe_loop_step(loop, 0.01, INFINITY);
    CHECK(ended == refused);
    lathe_call_free(refused);
    for (int i = 0; i < 2; i++)
        calls[i] = start_in(w, loop);
    while (server_requests(w->server) < 2)
        lathe_loop_step(loop, 0.01, INFINITY);
    while (lathe_loop_next(loop) <= 0)
        lathe_loop_step(loop, 0, INFINITY);
    CHECK_INT(lathe_client_in_flight(w->client), 1);
    CHECK(lathe_loop_next(loop) > 1);
    return loop;
}

TEST(a_cancelled_call_makes_room_at_once)
{
    world w = world_of(narrow, 3);
    lathe_call *calls[2];
    lathe_loop *loop = narrow_loop(&w, calls);
    lathe_call_cancel(calls[0]);
    CHECK(lathe_loop_next(loop) <= 0);
    while (server_requests(w.server) < 3)
        lathe_loop_step(loop, 1, INFINITY);
    lathe_loop_free(loop);
    lathe_call_free(calls[0]);
    lathe_call_free(calls[1]);
    CHECK_INT(lathe_client_in_flight(w.client), 0);
    world_end(&w);
}

static void *cancel_it(void *call)
{
    lathe_call_cancel(call);
    return NULL;
}

/* Who cancels may be another thread, while the loop's own sleeps and asks nobody. */
TEST(a_cancel_from_elsewhere_wakes_a_loop_with_held_calls)
{
    world w = world_of(narrow, 3);
    lathe_call *calls[2];
    lathe_loop *loop = narrow_loop(&w, calls);
    struct pollfd watch = {.fd = lathe_loop_descriptor(loop), .events = POLLIN};
    pthread_t thread;
    REQUIRE(!pthread_create(&thread, NULL, cancel_it, calls[0]));
    if (watch.fd >= 0)
        CHECK_INT(poll(&watch, 1, 30000), 1);
    while (server_requests(w.server) < 3)
        lathe_loop_step(loop, 0.01, INFINITY);
    pthread_join(thread, NULL);
    lathe_loop_free(loop);
    lathe_call_free(calls[0]);
    lathe_call_free(calls[1]);
    world_end(&w);
}

static void *finish_it(void *call)
{
    lathe_error mine;
    lathe_error_init(&mine);
    CHECK_CODE(call_finish(call, &mine), LATHE_CANCELLED);
    lathe_error_clear(&mine);
    return NULL;
}

/* One thread leads for the call that runs, another waits for one that is held. */
TEST(a_cancelled_call_makes_room_for_another_thread)
{
    const server_step steps[] = {
        {BUSY, 0, SERVER_KEEP}, {NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 3);
    pthread_t thread;
    CHECK_CODE(end_of(call_for(w.client, 60, 0)), LATHE_OVERLOADED);
    lathe_call *running = call_for(w.client, 60, 0);
    drive_until(&w, running, 2);
    lathe_call *held = call_for(w.client, 60, 0);
    lathe_call_wait(held, 0.01, false);
    CHECK_INT(server_requests(w.server), 2);
    REQUIRE(!pthread_create(&thread, NULL, finish_it, running));
    lathe_call_wait(held, 0.05, false);
    lathe_call_cancel(running);
    CHECK_CODE(end_of(held), LATHE_OK);
    pthread_join(thread, NULL);
    CHECK_INT(lathe_client_in_flight(w.client), 0);
    world_end(&w);
}

/* Somebody else's answers cannot keep who asks for one call at a time. */
TEST(one_refused_again_and_again_is_held_no_longer_than_told)
{
    enum { CALLS = 100 };
    const server_step steps[] = {{BUSY, 0, SERVER_KEEP}};
    world w = world_of(steps, 1);
    double start = lathe_clock();
    for (int i = 0; i < CALLS; i++)
        CHECK_CODE(end_of(call_for(w.client, 60, 2)), LATHE_OVERLOADED);
    CHECK_INT(server_requests(w.server), CALLS * 3);
    CHECK(lathe_clock() - start < 30); /* 300 hints of 1 ms, each up to a quarter longer */
    world_end(&w);
}

TESTS(ENTRY(every_end_is_counted_once), ENTRY(attempts_that_never_connect_are_counted_once),
      ENTRY(calls_in_every_state_are_counted_once),
      ENTRY(a_loop_that_is_freed_leaves_nothing_counted),
      ENTRY(a_lack_of_memory_leaves_nothing_counted), ENTRY(a_cancelled_call_makes_room_at_once),
      ENTRY(a_cancel_from_elsewhere_wakes_a_loop_with_held_calls),
      ENTRY(a_cancelled_call_makes_room_for_another_thread),
      ENTRY(one_refused_again_and_again_is_held_no_longer_than_told))
