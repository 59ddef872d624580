/* Many threads on one client that end their calls in every way there is: for the sanitizers, and
 * for hangs and leaks. What each thread does comes from its number alone. */
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "promptlathe.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

enum { THREADS = 16, ROUNDS = 120, STEPS = 11, BUNCH = 20 };

typedef enum way {
    SHORT_TIME,
    OWN_COPY_CLOSED,
    WAIT_THEN_CANCEL,
    FREE_AT_ONCE,
    WAIT_THEN_FREE,
    TO_THE_END, /* and what is beyond it */
    WAYS = 8,
} way;

static lathe_client *shared;
static atomic_size_t ended[LATHE_OVERLOADED + 1];

static unsigned draw(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return *seed >> 8;
}

/* Ends a call that runs; true when the call is gone. */
static bool disturb(lathe_call *call, way deed, lathe_client *copy)
{
    if (deed == OWN_COPY_CLOSED)
        lathe_client_close(copy);
    if (deed == WAIT_THEN_CANCEL || deed == WAIT_THEN_FREE)
        lathe_call_wait(call, 0.0005, deed == WAIT_THEN_FREE);
    if (deed == WAIT_THEN_CANCEL)
        lathe_call_cancel(call);
    if (deed != FREE_AT_ONCE && deed != WAIT_THEN_FREE)
        return false;
    lathe_call_free(call);
    return true;
}

static void one_round(unsigned *seed)
{
    way deed = (way)(draw(seed) % WAYS);
    lathe_client *copy = NULL;
    lathe_options options;
    lathe_error error;
    lathe_error_init(&error);
    lathe_options_init(&options);
    options.max_retries = (int)(draw(seed) % 3);
    if (deed == SHORT_TIME)
        options.timeout = 0.002;
    CHECK_CODE(lathe_client_copy(shared, &options, &copy, &error), LATHE_OK);
    lathe_call *call = call_started(deed == OWN_COPY_CLOSED ? copy : shared, &options);
    if (call && !disturb(call, deed, copy))
        ended[call_finish(call, &error)]++;
    lathe_error_clear(&error);
    lathe_client_free(copy);
}

static void *work(void *self)
{
    unsigned seed = *(unsigned *)self;
    for (int i = 0; i < ROUNDS; i++)
        one_round(&seed);
    return NULL;
}

/* A server that is well, busy, or breaks off. */
static void make_steps(server_step steps[STEPS])
{
    static const char busy[] =
        "HTTP/1.1 529 Busy\r\nretry-after-ms: 1\r\nContent-Length: 0\r\n\r\n";
    for (int i = 0; i < STEPS; i++)
        steps[i] = (server_step){server_good(), 0, SERVER_KEEP};
    steps[3] = (server_step){NULL, 0, SERVER_RESET};
    steps[5] = (server_step){busy, 0, SERVER_KEEP};
    steps[7].end = SERVER_CLOSE;
}

/* ---- Loops and maps beside them -------------------------------------------------------------- */

static lathe_call *call_new(lathe_client *client, const lathe_options *options)
{
    lathe_request request;
    lathe_call *call = NULL;
    lathe_error error;
    lathe_error_init(&error);
    request_init(&request);
    lathe_call_new(client, &request, options, &call, &error);
    request_clear(&request);
    lathe_error_clear(&error);
    return call;
}

static void take_result(lathe_call *call)
{
    lathe_error error;
    lathe_error_init(&error);
    ended[call_take(call, &error)]++;
    lathe_error_clear(&error);
}

/* As an event loop does: waits for the descriptor, drives for a while, reaps. */
static void turn(lathe_loop *loop, size_t *left)
{
    struct pollfd watch = {.fd = lathe_loop_descriptor(loop), .events = POLLIN};
    double next = fmin(lathe_loop_next(loop), 0.05);
    lathe_wait what;
    if (watch.fd >= 0)
        poll(&watch, 1, (int)(next * 1000) + (next > 0));
    lathe_loop_step(loop, watch.fd >= 0 ? 0 : next, 0.0005);
    for (lathe_call *call; (call = lathe_loop_reap(loop, &what));) {
        if (what != LATHE_WAIT_DONE)
            continue;
        *(lathe_call **)lathe_call_tag(call) = NULL;
        take_result(call);
        --*left;
    }
}

static void one_loop(unsigned *seed)
{
    lathe_call *calls[BUNCH] = {NULL};
    lathe_options options;
    lathe_error error;
    lathe_loop *loop;
    size_t left = 0;
    lathe_error_init(&error);
    lathe_options_init(&options);
    REQUIRE(!lathe_loop_new(shared, &loop, &error));
    for (int i = 0; i < BUNCH; i++) {
        options.timeout = draw(seed) % 8 ? 60 : 0.002;
        calls[i] = call_new(shared, &options);
        lathe_loop_start(loop, calls[i], &calls[i]);
        left++;
    }
    bool early = draw(seed) % 4 == 0; /* it is freed with calls in flight */
    while (left && !(early && left < BUNCH / 2)) {
        lathe_call **any = &calls[draw(seed) % BUNCH];
        if (*any && draw(seed) % 8 == 0) {
            lathe_call_free(*any);
            *any = NULL;
            ended[LATHE_CANCELLED]++;
            left--;
        }
        turn(loop, &left);
    }
    lathe_loop_free(loop);
    for (int i = 0; i < BUNCH; i++)
        lathe_call_free(calls[i]);
}

/* On a copy that another thread may close meanwhile. */
static void one_map(unsigned *seed, lathe_client *copy)
{
    lathe_map *map;
    lathe_error error;
    lathe_map_item item;
    size_t added = 0, most = draw(seed) % (4 * BUNCH);
    lathe_error_init(&error);
    if (lathe_map_new(copy, 1 + draw(seed) % BUNCH, draw(seed) % 2, &map, &error))
        return;
    do {
        while (added < most && lathe_map_wants(map)) {
            lathe_map_leave(map); /* as who reads the next request */
            lathe_call *call = call_new(copy, NULL);
            CHECK_CODE(lathe_map_add(map, call, call ? NULL : map), LATHE_OK);
            added++;
        }
        if (lathe_map_next(map, 0.05, false, &item) == LATHE_WAIT_DONE && item.call)
            take_result(item.call);
    } while ((lathe_map_count(map) || added < most) && draw(seed) % 100);
    lathe_map_free(map);
}

static void *run_loops(void *self)
{
    for (int i = 0; i < ROUNDS / 10; i++)
        one_loop(self);
    return NULL;
}

static void *close_soon(void *copy)
{
    sched_yield();
    lathe_client_close(copy);
    return NULL;
}

static void *run_maps(void *self)
{
    lathe_options options;
    lathe_error error;
    lathe_options_init(&options);
    lathe_error_init(&error);
    for (int i = 0; i < ROUNDS / 10; i++) {
        lathe_client *copy;
        pthread_t closer;
        CHECK_CODE(lathe_client_copy(shared, &options, &copy, &error), LATHE_OK);
        bool closes = draw(self) % 3 == 0 && !pthread_create(&closer, NULL, close_soon, copy);
        one_map(self, copy);
        if (closes)
            pthread_join(closer, NULL);
        lathe_client_free(copy);
    }
    return NULL;
}

/* ---- The tests ------------------------------------------------------------------------------- */

/* Every third thread does the second thing, the one after it the third. */
static void run_threads(void *(*first)(void *), void *(*second)(void *), void *(*third)(void *))
{
    void *(*const works[])(void *) = {first, second, third};
    server_step steps[STEPS];
    pthread_t threads[THREADS];
    unsigned seeds[THREADS];
    make_steps(steps);
    memset(ended, 0, sizeof ended);
    server *s = server_new(steps, STEPS);
    server_repeat(s);
    shared = client_for(server_url(s));
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = i * 7919 + 13;
        REQUIRE(!pthread_create(&threads[i], NULL, works[i % 3], &seeds[i]));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    lathe_client_free(shared);
    server_free(s);
}

static void check_ends(void)
{
    CHECK(ended[LATHE_OK] > 0 && ended[LATHE_CANCELLED] > 0 && ended[LATHE_CLIENT_CLOSED] > 0);
    size_t known = ended[LATHE_OK] + ended[LATHE_CANCELLED] + ended[LATHE_CLIENT_CLOSED] +
                   ended[LATHE_CONNECTION] + ended[LATHE_TIMEOUT] + ended[LATHE_OVERLOADED];
    size_t all = 0;
    for (size_t i = 0; i <= LATHE_OVERLOADED; i++)
        all += ended[i];
    CHECK_INT(known, all);
}

TEST(every_way_to_end_at_once)
{
    run_threads(work, work, work);
    check_ends();
}

/* What synchronous calls, event loops, maps, cancelling and closing do to one client together. */
TEST(everybody_at_once)
{
    run_threads(work, run_loops, run_maps);
    check_ends();
}

TESTS(ENTRY(every_way_to_end_at_once), ENTRY(everybody_at_once))
