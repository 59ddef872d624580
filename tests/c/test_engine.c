/* The engine through whole calls: retries, deadlines, waiting by many, cancelling, closing, fork.
 */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "error.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

#define BUSY "HTTP/1.1 529 Busy\r\nretry-after-ms: 1\r\nContent-Length: 0\r\n\r\n"

static lathe_error error;
static lathe_request memory_request;

static lathe_options timeout_of(double seconds, int retries)
{
    lathe_options options;
    lathe_options_init(&options);
    options.timeout = seconds;
    options.max_retries = retries;
    return options;
}

TEST(one_call)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK_INT(server_connections(s), 1);
    const char *request = server_request(s, 1);
    CHECK(strstr(request, "POST /v1/experimental/generate_prompt HTTP/1.1\r\n") == request);
    CHECK(strstr(request, "\r\nx-api-key: " TEST_KEY "\r\n"));
    CHECK(strstr(request, "\r\nanthropic-version: 2023-06-01\r\n"));
    CHECK(strstr(request, "\r\nanthropic-beta: prompt-tools-2025-04-02\r\n"));
    CHECK(strstr(request, "\r\nx-promptlathe-attempt: 1\r\n"));
    CHECK(!strstr(request, "Expect"));
    CHECK(strstr(request, "\r\n\r\n{\"task\":\"a chef\"}"));
    lathe_client_free(client);
    server_free(s);
}

TEST(retries_until_it_works)
{
    const server_step steps[] = {
        {BUSY, 0, SERVER_KEEP}, {NULL, 0, SERVER_RESET}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 3);
    lathe_client *client = client_for(server_url(s));
    lathe_call *call = call_started(client, NULL);
    lathe_event event;
    lathe_event_kind kinds[] = {LATHE_EVENT_ATTEMPT, LATHE_EVENT_RETRY, LATHE_EVENT_ATTEMPT,
                                LATHE_EVENT_RETRY, LATHE_EVENT_ATTEMPT};
    lathe_error_init(&error);
    REQUIRE(call != NULL);
    size_t news = 0, seen = 0;
    for (lathe_wait wait; (wait = lathe_call_wait(call, INFINITY, false)) != LATHE_WAIT_DONE;)
        news += wait == LATHE_WAIT_EVENT;
    CHECK_INT(news, 2);
    for (; lathe_call_event(call, &event); seen++)
        CHECK(seen < 5 && event.kind == kinds[seen]);
    CHECK_INT(seen, 5);
    CHECK_CODE(call_finish(call, &error), LATHE_OK);
    CHECK_INT(server_requests(s), 3);
    CHECK(strstr(server_request(s, 2), "x-promptlathe-attempt: 3"));
    lathe_client_free(client);
    server_free(s);
}

TEST(gives_up_with_the_last_error)
{
    const server_step steps[] = {{BUSY, 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OVERLOADED);
    CHECK_INT(attempts, 3);
    CHECK(fabs(error.retry_after - 0.001) < 1e-9);
    CHECK(strstr(error.message, "after 3 attempts"));
    const lathe_options none = timeout_of(5, 0);
    CHECK_CODE(call_whole(client, &none, &error, &attempts), LATHE_OVERLOADED);
    CHECK_INT(attempts, 1);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(long_hint_is_not_slept)
{
    const server_step steps[] = {
        {"HTTP/1.1 429 X\r\nretry-after: 86400\r\nContent-Length: 0\r\n\r\n", 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_RATE_LIMIT);
    CHECK_INT(attempts, 1);
    CHECK(error.retry_after == 86400);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(deadline_in_each_state)
{
    const server_step steps[] = {
        {NULL, 0, SERVER_HOLD},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 0, SERVER_HOLD}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    const lathe_options soon = timeout_of(0.1, 5);
    int attempts;
    lathe_error_init(&error);
    double start = lathe_clock();
    CHECK_CODE(call_whole(client, &soon, &error, &attempts), LATHE_TIMEOUT);
    CHECK_STRING(lathe_phase_name(error.phase), "wait");
    CHECK_CODE(call_whole(client, &soon, &error, &attempts), LATHE_TIMEOUT);
    CHECK_STRING(lathe_phase_name(error.phase), "read");
    CHECK_INT(attempts, 1);
    CHECK(lathe_clock() - start >= 0.2 && lathe_clock() - start < 5);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(connect_timeout_names_the_phase)
{
    full_listener full;
    REQUIRE(full_listener_init(&full));
    lathe_client *client = client_for(full.url);
    lathe_options options = timeout_of(30, 1);
    options.connect_timeout = 0.1;
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, &options, &error, &attempts), LATHE_TIMEOUT);
    CHECK_STRING(lathe_phase_name(error.phase), "connect");
    CHECK_INT(attempts, 2);
    lathe_error_clear(&error);
    lathe_client_free(client);
    full_listener_clear(&full);
}

/* An engine that nobody drove for a while, and then a canceller who takes all orders there are. */
TEST(connect_timeout_is_not_made_longer_by_an_idle_engine)
{
    full_listener full;
    REQUIRE(full_listener_init(&full));
    lathe_client *client = client_for(full.url);
    lathe_options options = timeout_of(30, 0);
    options.connect_timeout = 0.1;
    lathe_error_init(&error);
    lathe_call *cancelled = call_started(client, &options);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    lathe_call *call = call_started(client, &options);
    REQUIRE(cancelled && call);
    lathe_call_free(cancelled);
    double start = lathe_clock();
    CHECK_CODE(call_finish(call, &error), LATHE_TIMEOUT);
    CHECK(lathe_clock() - start < 0.9);
    lathe_error_clear(&error);
    lathe_client_free(client);
    full_listener_clear(&full);
}

TEST(dead_reused_connection_is_counted)
{
    const server_step steps[] = {
        {server_good(), 0, SERVER_KEEP}, {NULL, 0, SERVER_CLOSE}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 3);
    lathe_client *client = client_for(server_url(s));
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK_INT(attempts, 2);
    CHECK_INT(server_requests(s), 3);
    CHECK(strstr(server_request(s, 2), "x-promptlathe-attempt: 2"));
    lathe_client_free(client);
    server_free(s);
}

/* What is there before anything was asked is no answer, and nothing has been sent then. libcurl
 * does not see it when the body before it took more than one read. */
TEST(stale_connection_costs_no_attempt)
{
    enum { SIZE = 20000 };
    static char more[SIZE + 200];
    snprintf(more, sizeof more,
             "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%-*sHTTP/1.1 204 No\r\n\r\n", SIZE, SIZE,
             server_good_body);
    const server_step steps[] = {{more, 0, SERVER_KEEP}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    lathe_options once;
    int attempts;
    lathe_options_init(&once);
    once.max_retries = 0;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, &once, &error, &attempts), LATHE_OK);
    CHECK_CODE(call_whole(client, &once, &error, &attempts), LATHE_OK);
    CHECK_INT(attempts, 1);
    CHECK_INT(server_connections(s), 2);
    CHECK_INT(server_requests(s), 2);
    lathe_client_free(client);
    server_free(s);
}

TEST(cancel)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    lathe_call *call = call_started(client, NULL);
    int attempts;
    lathe_error_init(&error);
    REQUIRE(call != NULL);
    CHECK_INT(lathe_call_wait(call, 0.05, true), LATHE_WAIT_AGAIN);
    server_wait(s, 1);
    lathe_call_cancel(call);
    lathe_call_cancel(call);
    CHECK_INT(lathe_call_wait(call, 0, false), LATHE_WAIT_DONE);
    CHECK_CODE(call_finish(call, &error), LATHE_CANCELLED);
    call = call_started(client, NULL); /* freed before it was ever driven */
    lathe_call_free(call);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

static lathe_call *victim;

static void cancel_victim(void)
{
    alloc_on_free(NULL);
    lathe_call_cancel(victim);
}

/* Cancelled while somebody leads, who has then no reason to take another step: the leader's own
 * answer is what it frees memory for. */
TEST(cancel_while_the_leader_is_about_to_go)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    victim = call_started(client, NULL);
    lathe_error_init(&error);
    REQUIRE(victim != NULL);
    while (!server_requests(s))
        CHECK_INT(lathe_call_wait(victim, 0.05, false), LATHE_WAIT_AGAIN);
    lathe_call *call = call_started(client, NULL);
    REQUIRE(call != NULL);
    alloc_on_free(cancel_victim);
    CHECK_CODE(call_finish(call, &error), LATHE_OK);
    CHECK(victim->cancelled && victim->ended);
    CHECK_CODE(call_finish(victim, &error), LATHE_CANCELLED);
    lathe_error_clear(&error);
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

TEST(cancel_after_the_end_changes_nothing)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_call *call = call_started(client, NULL);
    lathe_error_init(&error);
    REQUIRE(call != NULL);
    CHECK_INT(lathe_call_wait(call, INFINITY, false), LATHE_WAIT_DONE);
    lathe_call_cancel(call);
    CHECK_CODE(call_finish(call, &error), LATHE_OK);
    lathe_client_free(client);
    server_free(s);
}

/* ---- Many threads ---------------------------------------------------------------------------- */

enum { THREADS = 32, CALLS_EACH = 25 };

static void *many_calls(void *self)
{
    size_t bad = 0;
    for (int i = 0; i < CALLS_EACH; i++) {
        lathe_error mine;
        int attempts;
        lathe_error_init(&mine);
        bad += call_whole(self, NULL, &mine, &attempts) != LATHE_OK;
        lathe_error_clear(&mine);
    }
    return (void *)bad;
}

TEST(threads_share_a_client)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(!pthread_create(&threads[i], NULL, many_calls, client));
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        CHECK(bad == NULL);
    }
    CHECK_INT(server_requests(s), THREADS * CALLS_EACH);
    lathe_client_free(client);
    server_free(s);
}

static void *one_held_call(void *self)
{
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_code code = call_finish(call_started(self, NULL), &mine);
    lathe_error_clear(&mine);
    return (void *)(uintptr_t)code;
}

TEST(close_ends_those_who_wait)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    pthread_t threads[4];
    int attempts;
    for (int i = 0; i < 4; i++)
        REQUIRE(!pthread_create(&threads[i], NULL, one_held_call, client));
    server_wait(s, 4);
    lathe_client_close(client);
    lathe_client_close(client);
    for (int i = 0; i < 4; i++) {
        void *code;
        pthread_join(threads[i], &code);
        CHECK_CODE((lathe_code)(uintptr_t)code, LATHE_CLIENT_CLOSED);
    }
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(close_with_nobody_waiting)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_call *driven = call_started(client, NULL), *queued = call_started(client, NULL);
    lathe_error_init(&error);
    REQUIRE(driven && queued);
    CHECK_INT(lathe_call_wait(driven, 0.05, false), LATHE_WAIT_AGAIN);
    lathe_client_free(client);
    CHECK_CODE(call_finish(driven, &error), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    CHECK_CODE(call_finish(queued, &error), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    server_free(s);
}

TEST(copies)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s)), *copy, *second;
    static const lathe_header headers[] = {{"x-mine", "1"}};
    static const char *const betas[] = {"other-beta", "prompt-tools-2025-04-02", "other-beta"};
    lathe_options options = timeout_of(7, 9), merged;
    int attempts;
    options.headers = headers;
    options.header_count = 1;
    options.betas = betas;
    options.beta_count = 3;
    lathe_error_init(&error);
    CHECK_CODE(lathe_client_copy(client, &options, &copy, &error), LATHE_OK);
    CHECK_CODE(lathe_client_copy(client, &options, &second, &error), LATHE_OK);
    lathe_client_call_options(copy, &merged);
    CHECK(merged.timeout == 7 && merged.connect_timeout == 5 && merged.max_retries == 9);
    CHECK_CODE(call_whole(copy, NULL, &error, &attempts), LATHE_OK);
    CHECK(strstr(server_request(s, 0), "\r\nx-mine: 1\r\n"));
    CHECK(
        strstr(server_request(s, 0), "\r\nanthropic-beta: prompt-tools-2025-04-02,other-beta\r\n"));
    lathe_client_free(copy);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK(!strstr(server_request(s, 1), "x-mine"));
    CHECK_INT(server_connections(s), 1);
    lathe_client_close(client);
    CHECK_CODE(call_whole(second, NULL, &error, &attempts), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    CHECK_CODE(lathe_client_copy(client, &options, &copy, &error), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    lathe_client_free(second);
    lathe_client_free(client);
    server_free(s);
}

/* ---- A loop of its own ----------------------------------------------------------------------- */

/* libcurl up to 8.1.1 reads freed memory here when the handle is one that had an answer before. */
TEST(folded_first_header)
{
    const server_step steps[] = {
        {"HTTP/1.1 500 No\r\nx-a: 1\r\nx-b: 2\r\ncontent-length: 0\r\n\r\n", 0, SERVER_KEEP},
        {"HTTP/1.1 500 No\r\n folded: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"
         "content-length: 0\r\n\r\n",
         0, SERVER_KEEP},
        {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 3);
    lathe_client *client = client_for(server_url(s));
    int attempts;
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    CHECK_INT(attempts, 3);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(loop_steps_and_reaps)
{
    enum { CALLS = 20 };
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop;
    int tags[CALLS] = {0};
    lathe_error_init(&error);
    REQUIRE(!lathe_loop_new(client, &loop, &error));
    for (int i = 0; i < CALLS; i++) {
        lathe_request request;
        lathe_call *call;
        request_init(&request);
        CHECK_CODE(lathe_call_new(client, &request, NULL, &call, &error), LATHE_OK);
        request_clear(&request);
        lathe_loop_start(loop, call, &tags[i]);
    }
    for (size_t reaped = 0; reaped < CALLS;) {
        struct pollfd watch = {.fd = lathe_loop_descriptor(loop), .events = POLLIN};
        if (watch.fd >= 0)
            poll(&watch, 1, lathe_milliseconds(lathe_loop_next(loop)));
        CHECK(lathe_loop_step(loop, watch.fd >= 0 ? 0 : 1, 0.002));
        lathe_wait what;
        for (lathe_call *call; (call = lathe_loop_reap(loop, &what)); reaped++) {
            lathe_response *response;
            CHECK_INT(what, LATHE_WAIT_DONE);
            CHECK_CODE(lathe_call_result(call, &response, &error), LATHE_OK);
            ++*(int *)lathe_call_tag(call);
            lathe_response_free(response);
            lathe_call_free(call);
        }
    }
    CHECK_INT(server_requests(s), CALLS);
    for (int i = 0; i < CALLS; i++)
        CHECK_INT(tags[i], 1);
    lathe_loop_free(loop);
    lathe_client_free(client);
    server_free(s);
}

/* ---- Signals and fork ------------------------------------------------------------------------ */

static void on_signal(int number)
{
    (void)number;
}

typedef struct signal_order {
    server *server;
    pthread_t whom;
    atomic_bool arrived; /* the wait has ended */
} signal_order;

static void *send_signal(void *self)
{
    signal_order *order = self;
    server_wait(order->server, 1);
    while (!order->arrived) { /* one that comes before the wait does not count */
        pthread_kill(order->whom, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

TEST(signal_ends_a_wait_that_asks_for_it)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    struct sigaction action = {.sa_handler = on_signal};
    signal_order order = {s, pthread_self(), false};
    pthread_t thread;
    sigaction(SIGUSR1, &action, NULL);
    REQUIRE(!pthread_create(&thread, NULL, send_signal, &order));
    lathe_call *call = call_started(client, NULL);
    double start = lathe_clock();
    CHECK_INT(lathe_call_wait(call, 30, true), LATHE_WAIT_AGAIN);
    CHECK(lathe_clock() - start < 10);
    order.arrived = true;
    pthread_join(thread, NULL);
    lathe_call_free(call);
    lathe_client_free(client);
    server_free(s);
}

/* What the child of a fork may do; the exit status says what went wrong. */
static int in_child(lathe_client *client, lathe_call *inherited)
{
    lathe_error mine;
    int attempts;
    lathe_error_init(&mine);
    if (lathe_call_wait(inherited, INFINITY, false) != LATHE_WAIT_DONE)
        return 1;
    if (call_finish(inherited, &mine) != LATHE_CLIENT_CLOSED)
        return 2;
    lathe_error_clear(&mine);
    if (call_whole(client, NULL, &mine, &attempts))
        return 3;
    lathe_client_free(client);
    return 0;
}

TEST(fork_in_flight)
{
    const server_step steps[] = {
        {server_good(), 0, SERVER_KEEP}, {NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 3);
    lathe_client *client = client_for(server_url(s));
    int attempts, ends[2];
    lathe_error_init(&error);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    lathe_call *call = call_started(client, NULL);
    CHECK_INT(lathe_call_wait(call, 0.05, false), LATHE_WAIT_AGAIN);
    server_wait(s, 2);
    REQUIRE(!pipe(ends));
    pid_t child = fork();
    if (!child) {
        char verdict = (char)in_child(client, call);
        (void)!write(ends[1], &verdict, 1);
        /* Not by exit: what the threads of the parent own is no leak of this process. */
        kill(getpid(), SIGKILL);
    }
    char verdict = -1;
    close(ends[1]);
    CHECK_INT(read(ends[0], &verdict, 1), 1);
    CHECK_INT(verdict, 0);
    close(ends[0]);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    lathe_call_cancel(call);
    CHECK_CODE(call_finish(call, &error), LATHE_CANCELLED);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* A client's whole life with one call. */
static lathe_code whole_life(void *self)
{
    static const lathe_header headers[] = {{"x-mine", "1"}};
    static const char *const betas[] = {"other"};
    lathe_client_options options;
    lathe_client *client;
    lathe_response *response = NULL;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = server_url(self);
    options.call.headers = headers;
    options.call.header_count = 1;
    options.call.betas = betas;
    options.call.beta_count = 1;
    lathe_code code = lathe_client_new(&options, &client, &mine);
    if (!code)
        code = lathe_call_run(client, &memory_request, NULL, &response, &mine);
    lathe_response_free(response);
    lathe_client_free(client);
    lathe_error_clear(&mine);
    return code;
}

static void check_memory(const char *response, size_t size, lathe_code expected)
{
    const server_step steps[] = {{response, size, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    request_init(&memory_request);
    alloc_try_each(whole_life, s, expected);
    request_clear(&memory_request);
    server_free(s);
}

TEST(memory_of_a_success)
{
    check_memory(server_good(), 0, LATHE_OK);
}

/* One that gets its room when it begins. */
TEST(memory_of_a_long_success)
{
    enum { PAD = 20000 };
    size_t size = strlen(server_good_body) + PAD;
    char *response = malloc(size + 100);
    REQUIRE(response != NULL);
    int head = snprintf(response, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
    memcpy(response + head, server_good_body, strlen(server_good_body));
    memset(response + head + strlen(server_good_body), ' ', PAD);
    check_memory(response, (size_t)head + size, LATHE_OK);
    free(response);
}

TEST(memory_of_a_refusal)
{
    check_memory("HTTP/1.1 302 Found\r\nlocation: /x\r\nrequest-id: r\r\nContent-Length: 0\r\n\r\n",
                 0, LATHE_STATUS);
}

TEST(memory_of_gzip)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n";
    static const unsigned char packed[] = {0x1f, 0x8b, 8,    0,    0,    0,    0, 0, 2, 3, 0x33,
                                           0x04, 0,    0xb7, 0xef, 0xdc, 0x83, 1, 0, 0, 0};
    char response[sizeof head + sizeof packed];
    memcpy(response, head, sizeof head - 1);
    memcpy(response + sizeof head - 1, packed, sizeof packed);
    char *length = strstr(response, "22");
    memcpy(length, "21", 2);
    check_memory(response, sizeof head - 1 + sizeof packed, LATHE_OK);
}

TESTS(ENTRY(one_call), ENTRY(retries_until_it_works), ENTRY(gives_up_with_the_last_error),
      ENTRY(long_hint_is_not_slept), ENTRY(deadline_in_each_state),
      ENTRY(connect_timeout_names_the_phase),
      ENTRY(connect_timeout_is_not_made_longer_by_an_idle_engine),
      ENTRY(dead_reused_connection_is_counted), ENTRY(stale_connection_costs_no_attempt),
      ENTRY(cancel), ENTRY(cancel_while_the_leader_is_about_to_go),
      ENTRY(cancel_after_the_end_changes_nothing), ENTRY(threads_share_a_client),
      ENTRY(close_ends_those_who_wait), ENTRY(close_with_nobody_waiting), ENTRY(copies),
      ENTRY(loop_steps_and_reaps), ENTRY(folded_first_header),
      ENTRY(signal_ends_a_wait_that_asks_for_it), ENTRY(fork_in_flight), ENTRY(memory_of_a_success),
      ENTRY(memory_of_a_long_success), ENTRY(memory_of_a_refusal), ENTRY(memory_of_gzip))
