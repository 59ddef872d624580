/* Loops: one driver, many calls; what others do to them meanwhile; pacing, which shows here best.
 */
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "promptlathe.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

enum { MANY = 300 };

static lathe_error error;

static lathe_loop *loop_for(lathe_client *client)
{
    lathe_loop *loop = NULL;
    lathe_error_init(&error);
    CHECK_CODE(lathe_loop_new(client, &loop, &error), LATHE_OK);
    return loop;
}

static lathe_call *start(lathe_client *client, lathe_loop *loop, double timeout, void *tag)
{
    lathe_request request;
    lathe_options options;
    lathe_call *call = NULL;
    lathe_options_init(&options);
    options.timeout = timeout;
    options.max_retries = 1;
    request_init(&request);
    CHECK_CODE(lathe_call_new(client, &request, &options, &call, &error), LATHE_OK);
    request_clear(&request);
    lathe_loop_start(loop, call, tag);
    return call;
}

/* Waits as an event loop does, then drives. */
static void turn(lathe_loop *loop, double budget)
{
    struct pollfd watch = {.fd = lathe_loop_descriptor(loop), .events = POLLIN};
    double next = lathe_loop_next(loop);
    if (watch.fd < 0) { /* no epoll: the step itself waits */
        lathe_loop_step(loop, next, budget);
        return;
    }
    poll(&watch, 1, isinf(next) ? -1 : lathe_milliseconds(next));
    lathe_loop_step(loop, 0, budget);
}

/* The code of the next call that ends; it is freed. */
static lathe_code next_end(lathe_loop *loop, double budget, void **tag)
{
    lathe_wait what;
    for (;;) {
        lathe_call *call = lathe_loop_reap(loop, &what);
        if (!call) {
            turn(loop, budget);
        } else if (what == LATHE_WAIT_DONE) {
            *tag = lathe_call_tag(call);
            lathe_error_clear(&error);
            return call_take(call, &error);
        }
    }
}

TEST(a_small_budget_only_takes_more_steps)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    int tags[MANY] = {0};
    void *tag;
    for (int i = 0; i < MANY; i++)
        start(client, loop, 60, &tags[i]);
    for (int i = 0; i < MANY; i++) {
        CHECK_CODE(next_end(loop, 1e-6, &tag), LATHE_OK);
        ++*(int *)tag;
    }
    for (int i = 0; i < MANY; i++)
        CHECK_INT(tags[i], 1);
    lathe_loop_free(loop);
    lathe_client_free(client);
    server_free(s);
}

TEST(a_loop_leaves_its_connections_to_the_next)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    void *tag;
    for (int i = 0; i < 3; i++) {
        lathe_loop *loop = loop_for(client);
        start(client, loop, 60, NULL);
        CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_OK);
        lathe_loop_free(loop);
    }
    CHECK_INT(server_connections(s), 1);
    lathe_client_free(client);
    server_free(s);
}

TEST(a_step_that_does_not_look_sends_all_the_same)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    void *tag;
    start(client, loop, 60, NULL);
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_OK);
    start(client, loop, 60, NULL);
    CHECK(lathe_loop_step(loop, -1, INFINITY));
    const double until = lathe_clock() + 20;
    while (server_requests(s) < 2 && lathe_clock() < until)
        poll(NULL, 0, 1);
    CHECK_INT(server_requests(s), 2);
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_OK);
    CHECK_INT(server_connections(s), 1);
    lathe_loop_free(loop);
    lathe_client_free(client);
    server_free(s);
}

TEST(deadlines_stand_still_while_the_driver_is_away)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    void *tag;
    start(client, loop, 0.3, NULL);
    while (!server_requests(s))
        lathe_loop_step(loop, 0.01, INFINITY);
    lathe_loop_leave(loop);
    poll(NULL, 0, 500); /* the absence is what is tested */
    double back = lathe_clock();
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_TIMEOUT);
    CHECK(lathe_clock() - back > 0.1);
    lathe_loop_free(loop);
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

TEST(a_cancelled_call_is_not_reaped)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}, {NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    lathe_wait what;
    lathe_call *ended = start(client, loop, 60, NULL);
    while (isinf(lathe_loop_next(loop)) || lathe_loop_next(loop) > 1e-9 || !server_requests(s))
        turn(loop, INFINITY);
    lathe_call *held = start(client, loop, 60, NULL);
    while (server_requests(s) < 2)
        lathe_loop_step(loop, 0.01, INFINITY);
    lathe_call_free(ended);
    lathe_call_cancel(held);
    lathe_call_free(held);
    lathe_loop_step(loop, 0, INFINITY);
    CHECK(!lathe_loop_reap(loop, &what));
    lathe_loop_free(loop);
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

static void *close_client(void *client)
{
    lathe_client_close(client);
    return NULL;
}

TEST(closing_from_another_thread_reaches_the_loop)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    pthread_t thread;
    void *tag;
    for (int i = 0; i < 5; i++)
        start(client, loop, 60, NULL);
    while (server_requests(s) < 5)
        lathe_loop_step(loop, 0.01, INFINITY);
    REQUIRE(!pthread_create(&thread, NULL, close_client, client));
    for (int i = 0; i < 5; i++)
        CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_CLIENT_CLOSED);
    pthread_join(thread, NULL);
    lathe_loop_free(loop);
    lathe_loop *late;
    lathe_error_clear(&error);
    CHECK_CODE(lathe_loop_new(client, &late, &error), LATHE_CLIENT_CLOSED);
    lathe_error_clear(&error);
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

TEST(a_loop_is_freed_with_calls_in_every_state)
{
    const server_step steps[] = {
        {"HTTP/1.1 529 Busy\r\nretry-after: 9\r\nContent-Length: 0\r\n\r\n", 0, SERVER_KEEP},
        {server_good(), 0, SERVER_KEEP},
        {NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 3);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    lathe_call *calls[4];
    for (size_t i = 0; i < 3; i++) {
        calls[i] = start(client, loop, 60, NULL);
        while (server_requests(s) <= i && i != 1) /* one is held back by the gate */
            lathe_loop_step(loop, 0.01, INFINITY);
        if (i == 0)
            while (lathe_loop_next(loop) > 0) /* until there is news of its retry */
                turn(loop, INFINITY);
        if (i == 1)
            break;
    }
    calls[2] = start(client, loop, 60, NULL); /* not even taken in */
    lathe_loop_free(loop);
    for (int i = 0; i < 3; i++) {
        lathe_call_cancel(calls[i]);
        lathe_call_free(calls[i]);
    }
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

/* One is refused with a hint: nobody's request goes out before it is over. */
TEST(a_refusal_holds_everybody_back)
{
    const server_step steps[] = {
        {"HTTP/1.1 429 Slow\r\nretry-after-ms: 300\r\nContent-Length: 0\r\n\r\n", 0, SERVER_KEEP},
        {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    lathe_wait what;
    void *tag;
    start(client, loop, 60, NULL);
    while (lathe_loop_reap(loop, &what) == NULL) /* the news of the retry */
        turn(loop, INFINITY);
    double refused = lathe_clock();
    CHECK_INT(what, LATHE_WAIT_EVENT);
    lathe_call *other = call_started(client, NULL); /* on the client's other engine */
    start(client, loop, 60, NULL);
    CHECK_CODE(call_finish(other, &error), LATHE_OK);
    CHECK(lathe_clock() - refused > 0.25);
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_OK);
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_OK);
    CHECK_INT(server_requests(s), 4);
    lathe_loop_free(loop);
    lathe_client_free(client);
    server_free(s);
}

/* A call that waits for its turn has a deadline, too, and may be cancelled. */
TEST(held_calls_end)
{
    const server_step steps[] = {
        {"HTTP/1.1 429 Slow\r\nretry-after: 60\r\nContent-Length: 0\r\n\r\n", 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    void *tag;
    start(client, loop, 1, NULL); /* its hint lies beyond its deadline */
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_RATE_LIMIT);
    lathe_error_clear(&error);
    start(client, loop, 0.05, NULL);
    lathe_call *cancelled = start(client, loop, 60, NULL);
    lathe_loop_step(loop, 0, INFINITY);
    lathe_call_free(cancelled);
    CHECK_CODE(next_end(loop, INFINITY, &tag), LATHE_TIMEOUT);
    CHECK_INT(error.phase, LATHE_PHASE_QUEUE);
    CHECK_INT(error.attempts, 0);
    CHECK_INT(server_requests(s), 1);
    lathe_loop_free(loop);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

TEST(a_child_has_nothing_of_a_loop)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    server *s = server_new(steps, 1);
    lathe_client *client = client_for(server_url(s));
    lathe_loop *loop = loop_for(client);
    lathe_call *call = start(client, loop, 60, NULL);
    while (!server_requests(s))
        lathe_loop_step(loop, 0.01, INFINITY);
    pid_t child = fork();
    if (!child) {
        lathe_wait what;
        bool none = !lathe_loop_is_ours(loop) && lathe_loop_descriptor(loop) == -1 &&
                    isinf(lathe_loop_next(loop)) && lathe_loop_step(loop, 5, INFINITY) &&
                    !lathe_loop_reap(loop, &what);
        lathe_call_free(call);
        lathe_loop_free(loop);
        lathe_client_free(client);
        _exit(none ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_INT(status, 0);
    lathe_call_free(call);
    lathe_loop_free(loop);
    server_release(s);
    lathe_client_free(client);
    server_free(s);
}

TESTS(ENTRY(a_small_budget_only_takes_more_steps), ENTRY(a_loop_leaves_its_connections_to_the_next),
      ENTRY(a_step_that_does_not_look_sends_all_the_same),
      ENTRY(deadlines_stand_still_while_the_driver_is_away), ENTRY(a_cancelled_call_is_not_reaped),
      ENTRY(closing_from_another_thread_reaches_the_loop),
      ENTRY(a_loop_is_freed_with_calls_in_every_state), ENTRY(a_refusal_holds_everybody_back),
      ENTRY(held_calls_end), ENTRY(a_child_has_nothing_of_a_loop))
