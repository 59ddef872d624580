/* No descriptors left: what needs one fails in words, nothing hangs, and the client works on when
 * there are some again. The server is a process of its own, since it needs descriptors too. */
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "promptlathe.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_elsewhere.h"
#include "test.h"

enum { LIMIT = 64, ENOUGH = 12, REQUESTS = 200 };

static lathe_error error;

/* ---- Few descriptors ------------------------------------------------------------------------- */

static struct rlimit usual;
static int fillers[LIMIT];
static size_t filler_count;

/* Leaves `count` descriptors under a low limit. */
static bool leave(size_t count)
{
    int fd;
    struct rlimit low;
    if (getrlimit(RLIMIT_NOFILE, &usual))
        return false;
    low = usual;
    low.rlim_cur = LIMIT;
    if (setrlimit(RLIMIT_NOFILE, &low))
        return false;
    for (filler_count = 0; filler_count < LIMIT && (fd = open("/dev/null", O_RDONLY)) >= 0;)
        fillers[filler_count++] = fd;
    for (; count && filler_count; count--)
        close(fillers[--filler_count]);
    return !count;
}

static void restore(void)
{
    while (filler_count)
        close(fillers[--filler_count]);
    CHECK(!setrlimit(RLIMIT_NOFILE, &usual));
}

static void check_end(lathe_code code)
{
    if (code && code != LATHE_CONNECTION &&
        !(code == LATHE_MEMORY && strstr(error.message, "of file descriptors")))
        FAIL("%s: %s", lathe_code_name(code), error.message);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* An engine needs two, a connection one, and libcurl takes some where it can. */
TEST(a_call)
{
    elsewhere e;
    int attempts;
    lathe_options once;
    lathe_options_init(&once);
    once.max_retries = 0;
    lathe_error_init(&error);
    REQUIRE(elsewhere_init(&e));
    for (size_t left = 0; left <= ENOUGH; left++) {
        test_context("%zu descriptors are left", left);
        lathe_client *client = client_for(e.url);
        REQUIRE(leave(left));
        lathe_code code = call_whole(client, &once, &error, &attempts);
        restore();
        check_end(code);
        if (left < 2)
            CHECK_CODE(code, LATHE_MEMORY);
        if (left == 2)
            CHECK(code != LATHE_OK); /* libcurl 8.23 cannot even begin */
        if (left == ENOUGH)
            CHECK_CODE(code, LATHE_OK);
        CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
        lathe_error_clear(&error);
        lathe_client_free(client);
    }
    elsewhere_clear(&e);
}

TEST(loops_and_maps)
{
    lathe_client *client = client_for("http://127.0.0.1:1");
    lathe_loop *loop = NULL;
    lathe_map *map = NULL;
    lathe_error_init(&error);
    for (size_t left = 0; left < 2; left++) {
        REQUIRE(leave(left));
        lathe_code code = lathe_loop_new(client, &loop, &error);
        CHECK(code == LATHE_MEMORY && !loop);
        check_end(code);
        lathe_error_clear(&error);
        code = lathe_map_new(client, 1, true, &map, &error);
        CHECK(code == LATHE_MEMORY && !map);
        check_end(code);
        lathe_error_clear(&error);
        restore();
    }
    CHECK_CODE(lathe_map_new(client, 1, true, &map, &error), LATHE_OK);
    lathe_map_free(map);
    lathe_client_free(client);
}

/* ---- More in flight than there are descriptors ----------------------------------------------- */

static void add(lathe_client *client, lathe_map *map)
{
    lathe_request request;
    lathe_call *call;
    request_init(&request);
    CHECK_CODE(lathe_call_new(client, &request, NULL, &call, &error), LATHE_OK);
    request_clear(&request);
    CHECK_CODE(lathe_map_add(map, call, NULL), LATHE_OK);
}

static lathe_code end_of(lathe_call *call)
{
    lathe_error_clear(&error);
    return call_take(call, &error);
}

/* The next result; events are read and forgotten. */
static lathe_code next(lathe_map *map)
{
    lathe_map_item item;
    lathe_wait what;
    while ((what = lathe_map_next(map, INFINITY, false, &item)) != LATHE_WAIT_DONE)
        for (lathe_event event; what == LATHE_WAIT_EVENT && lathe_call_event(item.call, &event);)
            continue;
    return end_of(item.call);
}

TEST(a_map_beyond_the_limit)
{
    elsewhere e;
    lathe_map *map = NULL;
    size_t served = 0;
    int attempts;
    lathe_error_init(&error);
    REQUIRE(elsewhere_init(&e));
    lathe_client *client = client_for(e.url);
    REQUIRE(leave(LIMIT / 2));
    CHECK_CODE(lathe_map_new(client, REQUESTS, false, &map, &error), LATHE_OK);
    for (size_t i = 0; i < REQUESTS; i++)
        add(client, map);
    for (size_t i = 0; i < REQUESTS; i++) {
        lathe_code code = next(map);
        check_end(code);
        served += !code;
    }
    CHECK(served >= LIMIT / 4);
    CHECK_INT(lathe_map_count(map), 0);
    restore();
    lathe_map_free(map);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_OK);
    lathe_error_clear(&error);
    lathe_client_free(client);
    elsewhere_clear(&e);
}

TESTS(ENTRY(a_call), ENTRY(loops_and_maps), ENTRY(a_map_beyond_the_limit))
