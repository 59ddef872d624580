/* Maps: many requests in order or as they end, within their bounds, and every way for one to end.
 */
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "promptlathe.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

#define ANSWER(status, headers)                                                                    \
    "HTTP/1.1 " status "\r\n" headers "request-id: r\r\nContent-Length: 0\r\n\r\n"

static lathe_error error;

/* A map on a server of its own. */
typedef struct world {
    server *server;
    lathe_client *client;
    lathe_map *map;
} world;

static world world_of(const server_step *steps, size_t count, size_t concurrency, bool ordered)
{
    world w = {.server = server_new(steps, count)};
    lathe_error_init(&error);
    w.client = client_for(server_url(w.server));
    CHECK_CODE(lathe_map_new(w.client, concurrency, ordered, &w.map, &error), LATHE_OK);
    return w;
}

static void world_end(world *w)
{
    lathe_map_free(w->map);
    lathe_client_free(w->client);
    server_free(w->server);
    lathe_error_clear(&error);
}

/* Adds a request that is known by its number. */
static lathe_code add_with(const world *w, size_t number, const lathe_options *options)
{
    lathe_request request;
    lathe_call *call;
    request_init(&request);
    lathe_error_clear(&error);
    lathe_code code = lathe_call_new(w->client, &request, options, &call, &error);
    request_clear(&request);
    if (!code && (code = lathe_map_add(w->map, call, (void *)(uintptr_t)number)))
        lathe_call_free(call);
    return code;
}

static void add(const world *w, size_t number)
{
    CHECK_CODE(add_with(w, number, NULL), LATHE_OK);
}

static lathe_code end_of(lathe_call *call)
{
    lathe_error_clear(&error);
    return call_take(call, &error);
}

/* The next item, and how it ended; false when there is none. Events are read and forgotten. */
static bool next(const world *w, size_t *index, lathe_code *code)
{
    lathe_map_item item;
    lathe_wait what;
    while ((what = lathe_map_next(w->map, INFINITY, false, &item)) == LATHE_WAIT_EVENT)
        for (lathe_event event; lathe_call_event(item.call, &event);)
            continue;
    if (what == LATHE_WAIT_AGAIN)
        return false;
    CHECK_INT((uintptr_t)item.kept, item.index);
    *index = item.index;
    *code = item.call ? end_of(item.call) : LATHE_HOST;
    return true;
}

/* Drives until that many requests have arrived; nothing is to end meanwhile. */
static void drive_until(const world *w, size_t requests)
{
    lathe_map_item item;
    while (server_requests(w->server) < requests)
        CHECK_INT(lathe_map_next(w->map, 0.01, false, &item), LATHE_WAIT_AGAIN);
}

/* ---- Order ----------------------------------------------------------------------------------- */

TEST(in_order)
{
    enum { COUNT = 40, CONCURRENCY = 4 };
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 1, CONCURRENCY, true);
    size_t added = 0, given = 0, index;
    lathe_code code;
    while (given < COUNT) {
        while (added < COUNT && lathe_map_wants(w.map))
            add(&w, added++);
        CHECK(added - given <= 2 * CONCURRENCY);
        CHECK_INT(lathe_map_count(w.map), added - given);
        if (!next(&w, &index, &code))
            continue;
        CHECK_INT(index, given++);
        CHECK_CODE(code, LATHE_OK);
    }
    CHECK_INT(server_requests(w.server), COUNT);
    CHECK(server_connections(w.server) <= CONCURRENCY);
    CHECK(!next(&w, &index, &code));
    world_end(&w);
}

/* The first is held by the server until the others have been given out, then it is sent again. */
TEST(as_they_end)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 2, 3, false);
    bool seen[6] = {false};
    size_t index;
    lathe_code code;
    add(&w, 0);
    drive_until(&w, 1);
    for (size_t i = 1; i < 6; i++) {
        add(&w, i);
        REQUIRE(next(&w, &index, &code));
        CHECK_CODE(code, LATHE_OK);
        CHECK(index >= 1 && index < 6 && !seen[index]);
        seen[index] = true;
    }
    server_release(w.server);
    REQUIRE(next(&w, &index, &code));
    CHECK_CODE(code, LATHE_OK);
    CHECK_INT(index, 0);
    world_end(&w);
}

/* With the first one held, twice the concurrency are taken and no more. */
TEST(bounds)
{
    enum { CONCURRENCY = 3 };
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 2, CONCURRENCY, true);
    lathe_map_item item;
    size_t added = 1, index;
    lathe_code code;
    add(&w, 0);
    drive_until(&w, 1);
    while (added < 2 * CONCURRENCY) {
        while (lathe_map_wants(w.map))
            add(&w, added++);
        if (added < 2 * CONCURRENCY) /* ends when there is room, not when its time is over */
            CHECK_INT(lathe_map_next(w.map, INFINITY, false, &item), LATHE_WAIT_AGAIN);
    }
    drive_until(&w, 2 * CONCURRENCY);
    CHECK_INT(lathe_map_next(w.map, 0.05, false, &item), LATHE_WAIT_AGAIN);
    CHECK(!lathe_map_wants(w.map));
    CHECK_INT(lathe_map_count(w.map), 2 * CONCURRENCY);
    server_release(w.server);
    for (size_t i = 0; i < added; i++) {
        REQUIRE(next(&w, &index, &code));
        CHECK_INT(index, i);
        CHECK_CODE(code, LATHE_OK);
        CHECK(lathe_map_wants(w.map));
    }
    world_end(&w);
}

TEST(thousand_in_flight)
{
    enum { COUNT = 1000 };
    struct rlimit files;
    REQUIRE(!getrlimit(RLIMIT_NOFILE, &files));
    files.rlim_cur = files.rlim_max;
    REQUIRE(!setrlimit(RLIMIT_NOFILE, &files));
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 1, COUNT, false);
    static bool seen[COUNT];
    size_t index;
    lathe_code code;
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(lathe_map_wants(w.map));
        add(&w, i);
    }
    CHECK(!lathe_map_wants(w.map));
    for (size_t i = 0; i < COUNT;) {
        if (!next(&w, &index, &code))
            continue;
        i++;
        CHECK_CODE(code, LATHE_OK);
        REQUIRE(index < COUNT && !seen[index]);
        seen[index] = true;
    }
    CHECK_INT(lathe_map_count(w.map), 0);
    world_end(&w);
}

/* ---- Failures -------------------------------------------------------------------------------- */

TEST(failures_keep_their_place)
{
    const server_step steps[] = {{ANSWER("400 No", ""), 0, SERVER_KEEP},
                                 {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 2, 1, true);
    static const lathe_code expected[] = {LATHE_BAD_REQUEST, LATHE_HOST, LATHE_OK, LATHE_HOST,
                                          LATHE_OK};
    size_t index, added = 0;
    lathe_code code;
    for (size_t i = 0; i < 5;) {
        for (; added < 5 && lathe_map_wants(w.map); added++)
            if (expected[added] == LATHE_HOST)
                CHECK_CODE(lathe_map_add(w.map, NULL, (void *)(uintptr_t)added), LATHE_OK);
            else
                add(&w, added);
        if (!next(&w, &index, &code))
            continue;
        CHECK_INT(index, i);
        CHECK_CODE(code, expected[i++]);
    }
    world_end(&w);
}

/* What was kept is there at once; in no order nobody waits for others. */
TEST(kept_ones_come_first_without_order)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    world w = world_of(steps, 1, 2, false);
    size_t index;
    lathe_code code;
    add(&w, 0);
    CHECK_CODE(lathe_map_add(w.map, NULL, (void *)(uintptr_t)1), LATHE_OK);
    REQUIRE(next(&w, &index, &code));
    CHECK_INT(index, 1);
    CHECK_CODE(code, LATHE_HOST);
    server_wait(w.server, 1); /* the other was sent all the same */
    CHECK_INT(lathe_map_count(w.map), 1);
    world_end(&w);
}

TEST(events_are_told)
{
    const server_step steps[] = {{ANSWER("529 Busy", "retry-after-ms: 1\r\n"), 0, SERVER_KEEP},
                                 {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 2, 1, true);
    lathe_map_item item;
    size_t retries = 0;
    lathe_wait what;
    add(&w, 0);
    while ((what = lathe_map_next(w.map, INFINITY, false, &item)) == LATHE_WAIT_EVENT)
        for (lathe_event event; lathe_call_event(item.call, &event);)
            retries += event.kind == LATHE_EVENT_RETRY;
    CHECK_INT(what, LATHE_WAIT_DONE);
    CHECK_INT(retries, 1);
    CHECK_CODE(end_of(item.call), LATHE_OK);
    world_end(&w);
}

TEST(wrong_concurrency)
{
    lathe_client *client = client_for("http://127.0.0.1:1");
    lathe_map *map;
    static const size_t wrong[] = {0, LATHE_MAP_MOST + 1, SIZE_MAX};
    lathe_error_init(&error);
    for (size_t i = 0; i < 3; i++) {
        CHECK_CODE(lathe_map_new(client, wrong[i], true, &map, &error), LATHE_CONFIGURATION);
        CHECK(map == NULL);
        lathe_error_clear(&error);
    }
    CHECK_CODE(lathe_map_new(client, LATHE_MAP_MOST, true, &map, &error), LATHE_OK);
    lathe_map_free(map);
    lathe_client_close(client);
    CHECK_CODE(lathe_map_new(client, 1, true, &map, &error), LATHE_CLIENT_CLOSED);
    CHECK(map == NULL);
    lathe_error_clear(&error);
    lathe_client_free(client);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

TEST(freed_with_calls_in_flight)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD},
                                 {NULL, 0, SERVER_HOLD},
                                 {ANSWER("529 Busy", ""), 0, SERVER_KEEP},
                                 {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 4, 5, true);
    int attempts;
    lathe_map_item item;
    add(&w, 0);
    add(&w, 1);
    drive_until(&w, 2);
    add(&w, 2);
    while (lathe_map_next(w.map, 0.01, false, &item) != LATHE_WAIT_EVENT)
        continue;
    add(&w, 3); /* never driven */
    CHECK_CODE(lathe_map_add(w.map, NULL, (void *)(uintptr_t)4), LATHE_OK);
    lathe_map_free(w.map);
    w.map = NULL;
    CHECK_CODE(call_whole(w.client, NULL, &error, &attempts), LATHE_OK);
    world_end(&w);
    lathe_map_free(NULL);
}

static void *close_it(void *self)
{
    const world *w = self;
    server_wait(w->server, 3);
    lathe_client_close(w->client);
    return NULL;
}

TEST(closed_while_it_waits)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    world w = world_of(steps, 1, 3, true);
    pthread_t thread;
    size_t index;
    lathe_code code;
    for (size_t i = 0; i < 3; i++)
        add(&w, i);
    REQUIRE(!pthread_create(&thread, NULL, close_it, &w));
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(next(&w, &index, &code));
        CHECK_INT(index, i);
        CHECK_CODE(code, LATHE_CLIENT_CLOSED);
    }
    pthread_join(thread, NULL);
    CHECK_CODE(add_with(&w, 3, NULL), LATHE_CLIENT_CLOSED);
    world_end(&w);
}

/* The deadline passes while the caller is away, and does not count; then it does. */
TEST(deadline_stands_still)
{
    const server_step steps[] = {{NULL, 0, SERVER_HOLD}};
    world w = world_of(steps, 1, 1, true);
    lathe_options options;
    lathe_map_item item;
    lathe_options_init(&options);
    options.timeout = 0.6;
    options.max_retries = 0;
    double start = lathe_clock();
    CHECK_CODE(add_with(&w, 0, &options), LATHE_OK);
    drive_until(&w, 1);
    lathe_map_leave(w.map);
    lathe_map_leave(w.map);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    CHECK_INT(lathe_map_next(w.map, 0.01, false, &item), LATHE_WAIT_AGAIN);
    size_t index;
    lathe_code code;
    REQUIRE(next(&w, &index, &code));
    CHECK_CODE(code, LATHE_TIMEOUT);
    double took = lathe_clock() - start;
    CHECK(took >= 1.59 && took < 10);
    world_end(&w);
}

/* What a fork's child may do; the exit status says what went wrong. */
static int in_child(const world *w)
{
    int attempts;
    lathe_error mine;
    lathe_error_init(&mine);
    if (lathe_map_is_ours(w->map))
        return 1;
    lathe_map_free(w->map);
    return call_whole(w->client, NULL, &mine, &attempts) ? 2 : 0;
}

TEST(fork_in_flight)
{
    const server_step steps[] = {
        {NULL, 0, SERVER_HOLD}, {NULL, 0, SERVER_HOLD}, {server_good(), 0, SERVER_KEEP}};
    world w = world_of(steps, 3, 3, true);
    int ends[2];
    add(&w, 0);
    add(&w, 1);
    drive_until(&w, 2);
    CHECK(lathe_map_is_ours(w.map));
    REQUIRE(!pipe(ends));
    pid_t child = fork();
    if (!child) {
        char verdict = (char)in_child(&w);
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
    size_t index;
    lathe_code code;
    server_release(w.server);
    for (size_t i = 0; i < 2; i++) {
        REQUIRE(next(&w, &index, &code));
        CHECK_CODE(code, LATHE_OK);
    }
    world_end(&w);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

typedef struct life {
    const char *url;
    lathe_request request;
    lathe_code worst; /* of the calls */
} life;

static void take(life *l, const lathe_map_item *item)
{
    lathe_response *response = NULL;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_code code = lathe_call_result(item->call, &response, &mine);
    if (code)
        l->worst = code;
    lathe_response_free(response);
    lathe_call_free(item->call);
    lathe_error_clear(&mine);
}

static lathe_code add_one(const life *l, lathe_client *client, lathe_map *map, lathe_error *mine)
{
    lathe_call *call;
    lathe_code code = lathe_call_new(client, &l->request, NULL, &call, mine);
    if (!code && (code = lathe_map_add(map, call, NULL)))
        lathe_call_free(call);
    return code;
}

/* A map's whole life with three requests. */
static lathe_code whole_life(void *self)
{
    life *l = self;
    lathe_client_options options;
    lathe_client *client = NULL;
    lathe_map *map = NULL;
    lathe_map_item item;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = l->url;
    l->worst = LATHE_OK;
    lathe_code code = lathe_client_new(&options, &client, &mine);
    if (!code)
        code = lathe_map_new(client, 2, false, &map, &mine);
    for (int i = 0; i < 3 && !code; i++)
        code = add_one(l, client, map, &mine);
    while (!code && lathe_map_count(map))
        if (lathe_map_next(map, INFINITY, false, &item) == LATHE_WAIT_DONE)
            take(l, &item);
    lathe_map_free(map);
    lathe_client_free(client);
    lathe_error_clear(&mine);
    return code ? code : l->worst;
}

TEST(memory)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    life l = {.url = server_url(s)};
    request_init(&l.request);
    alloc_try_each(whole_life, &l, LATHE_OK);
    request_clear(&l.request);
    server_free(s);
}

/* ---- Verbs ----------------------------------------------------------------------------------- */

TEST(verbs)
{
    static const struct {
        const char *json, *fault;
        lathe_verb verb;
    } cases[] = {
        {"\"generate\"", NULL, LATHE_GENERATE},
        {"\"improve\"", NULL, LATHE_IMPROVE},
        {"\"templatize\"", NULL, LATHE_TEMPLATIZE},
        {"\"Generate\"", "bad_verb", LATHE_GENERATE},
        {"\"\"", "bad_verb", LATHE_GENERATE},
        {"\"generate\\u0000\"", "bad_verb", LATHE_GENERATE},
        {"null", "wrong_type", LATHE_GENERATE},
        {"5", "wrong_type", LATHE_GENERATE},
        {NULL, "missing", LATHE_GENERATE},
    };
    const lathe_source source = lathe_jansson_source();
    lathe_error_init(&error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
        json_t *value = cases[i].json ? json_loads(cases[i].json, flags, NULL) : NULL;
        lathe_verb verb = LATHE_GENERATE;
        test_context("%s", cases[i].json ? cases[i].json : "none");
        CHECK_CODE(lathe_verb_read(&source, value, &verb, &error),
                   cases[i].fault ? LATHE_INVALID_REQUEST : LATHE_OK);
        CHECK_INT(verb, cases[i].verb);
        CHECK_INT(error.faults.count, cases[i].fault ? 1 : 0);
        if (error.faults.count) {
            CHECK_STRING(error.faults.items[0].path, "verb");
            CHECK_STRING(error.faults.items[0].code, cases[i].fault);
        }
        lathe_error_clear(&error);
        json_decref(value);
    }
}

TESTS(ENTRY(in_order), ENTRY(as_they_end), ENTRY(bounds), ENTRY(thousand_in_flight),
      ENTRY(failures_keep_their_place), ENTRY(kept_ones_come_first_without_order),
      ENTRY(events_are_told), ENTRY(wrong_concurrency), ENTRY(freed_with_calls_in_flight),
      ENTRY(closed_while_it_waits), ENTRY(deadline_stands_still), ENTRY(fork_in_flight),
      ENTRY(memory), ENTRY(verbs))
