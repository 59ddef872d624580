/* Each of libcurl's own allocations, and each of ours, fails in turn during a call: the call ends,
 * nothing is left behind, and the same client works on. A program of its own, since libcurl takes
 * its allocator once. */
#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support_alloc.h"
#include "support_client.h"
#include "support_elsewhere.h"
#include "test.h"

enum { AT_ONCE = 9, LIVES_EACH = 50, MOST = 5000 }; /* allocations: far fewer */

static lathe_error error;

/* ---- libcurl's memory ------------------------------------------------------------------------ */

static atomic_size_t blocks;
static alloc_plan plan;

static void *counted(void *block)
{
    blocks += block != NULL;
    return block;
}

static void *curl_malloc(size_t size)
{
    return alloc_plan_fails(&plan) ? NULL : counted(malloc(size));
}

static void *curl_zeroed(size_t count, size_t size)
{
    return alloc_plan_fails(&plan) ? NULL : counted(calloc(count, size));
}

static void *curl_resized(void *block, size_t size)
{
    void *moved = alloc_plan_fails(&plan) ? NULL : realloc(block, size);
    blocks += moved && !block;
    return moved;
}

static char *curl_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = curl_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static void curl_release(void *block)
{
    blocks -= block != NULL;
    free(block);
}

static void install(void)
{
    static bool done;
    if (!done)
        CHECK(!curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, curl_release, curl_resized,
                                    curl_copy, curl_zeroed));
    done = true;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

typedef struct setting {
    lathe_client_options options;
    lathe_request request;
    elsewhere server;
    const char **place; /* which option is the server's URL */
    bool warm;          /* what fails is the second call, over the first one's connection */
    bool ours;          /* what fails is an allocation of the library or of jansson */
    bool many;          /* not one call, but a map of some at once */
} setting;

static lathe_code one_call(lathe_client *client, const setting *set)
{
    lathe_response *response;
    lathe_error_clear(&error);
    lathe_code code = lathe_call_run(client, &set->request, NULL, &response, &error);
    lathe_response_free(response);
    return code;
}

/* Without memory, or libcurl did without, or gave it another name: before 8.6 it has one for no
 * memory and for a head that is too large. */
static void check_end(lathe_code code, bool hit)
{
    bool head = code == LATHE_RESPONSE_VALIDATION && strstr(error.message, "headers");
    if (!hit)
        CHECK_CODE(code, LATHE_OK);
    else if (code && code != LATHE_MEMORY && code != LATHE_CONNECTION && !head)
        FAIL("%s: %s", lathe_code_name(code), error.message);
}

/* The call's code, or the first failure. */
static lathe_code take(lathe_call *call)
{
    lathe_response *response;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_code code = lathe_call_result(call, &response, error.code ? &mine : &error);
    lathe_response_free(response);
    lathe_call_free(call);
    lathe_error_clear(&mine);
    return code;
}

static void add_some(lathe_client *client, const setting *set, lathe_map *map)
{
    for (lathe_call *call; !error.code && lathe_map_wants(map);)
        if (!lathe_call_new(client, &set->request, NULL, &call, &error) &&
            lathe_map_add(map, call, NULL)) {
            lathe_call_free(call);
            error.code = LATHE_MEMORY;
        }
}

/* More than the first tables of a poller hold. */
static lathe_code some_calls(lathe_client *client, const setting *set)
{
    lathe_map *map;
    lathe_map_item item;
    lathe_error_clear(&error);
    if (lathe_map_new(client, AT_ONCE, false, &map, &error))
        return error.code;
    add_some(client, set, map);
    while (lathe_map_count(map))
        if (lathe_map_next(map, INFINITY, false, &item) == LATHE_WAIT_DONE)
            take(item.call);
    lathe_map_free(map);
    return error.code;
}

static lathe_code calls(lathe_client *client, const setting *set)
{
    return set->many ? some_calls(client, set) : one_call(client, set);
}

static void begin_failing(const setting *set, size_t nth, bool on)
{
    if (set->ours)
        alloc_fail_at(nth, on);
    else
        alloc_plan_set(&plan, nth, on);
}

/* Whether it did. */
static bool end_failing(const setting *set)
{
    bool hit = set->ours ? alloc_failed() : plan.failed;
    begin_failing(set, 0, false);
    return hit;
}

/* A client's life in which the nth allocation fails; whether there were that many. */
static bool life(setting *set, size_t nth, bool on)
{
    lathe_client *client = NULL;
    if (nth % LIVES_EACH == 0) /* a server keeps all that it received */
        CHECK(elsewhere_renew(&set->server));
    *set->place = set->server.url;
    lathe_code code = LATHE_OK;
    lathe_error_clear(&error);
    if (set->warm) {
        CHECK_CODE(lathe_client_new(&set->options, &client, &error), LATHE_OK);
        CHECK_CODE(calls(client, set), LATHE_OK);
    }
    begin_failing(set, nth, on);
    if (!set->warm)
        code = lathe_client_new(&set->options, &client, &error);
    if (!code)
        code = calls(client, set);
    bool hit = end_failing(set);
    check_end(code, hit);
    if (client)
        CHECK_CODE(calls(client, set), LATHE_OK);
    lathe_client_free(client);
    return hit;
}

static void each_fails(setting *set)
{
    for (int on = 0; on < 2; on++)
        for (size_t nth = 1, hit = 1; hit; nth++) {
            size_t before = blocks, before_ours = alloc_blocks();
            test_context("allocation %zu fails%s", nth, on ? " and all after it" : "");
            hit = life(set, nth, on);
            CHECK_INT(blocks, before);
            CHECK_INT(alloc_blocks(), before_ours);
            REQUIRE(nth < MOST);
        }
    test_context(NULL);
}

static void setting_init(setting *set)
{
    *set = (setting){.place = &set->options.base_url};
    CHECK(elsewhere_init(&set->server));
    install();
    lathe_error_init(&error);
    request_init(&set->request);
    lathe_client_options_init(&set->options);
    set->options.api_key = TEST_KEY;
    set->options.call.max_retries = 0;
}

/* Cold and warm. */
static void check_setting(setting *set)
{
    each_fails(set);
    set->warm = true;
    each_fails(set);
    elsewhere_clear(&set->server);
    request_clear(&set->request);
    lathe_error_clear(&error);
}

TEST(libcurl_has_no_memory)
{
    setting set;
    setting_init(&set);
    check_setting(&set);
}

TEST(libcurl_has_no_memory_for_a_proxy)
{
    setting set;
    setting_init(&set);
    set.options.base_url = "http://gateway.example/path";
    set.options.allow_http = true;
    set.place = &set.options.proxy;
    check_setting(&set);
}

/* What libcurl's callbacks need is among it. */
TEST(we_have_no_memory)
{
    setting set;
    setting_init(&set);
    set.ours = true;
    check_setting(&set);
}

TEST(libcurl_has_no_memory_for_many)
{
    setting set;
    setting_init(&set);
    set.many = true;
    check_setting(&set);
}

TEST(we_have_no_memory_for_many)
{
    setting set;
    setting_init(&set);
    set.many = set.ours = true;
    check_setting(&set);
}

/* One call, four requests. */
static void check_model(bool ours)
{
    setting set;
    setting_init(&set);
    json_t *messages = json_string("Hi");
    request_clear(&set.request);
    set.request = (lathe_request){
        .verb = LATHE_IMPROVE, .source = lathe_jansson_source(), .messages = messages};
    set.options.call.model = "m-1";
    set.options.call.effort = LATHE_EFFORT_THOROUGH;
    set.ours = ours;
    check_setting(&set);
    json_decref(messages);
}

TEST(libcurl_has_no_memory_for_a_model)
{
    check_model(false);
}

TEST(we_have_no_memory_for_a_model)
{
    check_model(true);
}

TESTS(ENTRY(libcurl_has_no_memory), ENTRY(libcurl_has_no_memory_for_a_proxy),
      ENTRY(we_have_no_memory), ENTRY(libcurl_has_no_memory_for_many),
      ENTRY(we_have_no_memory_for_many), ENTRY(libcurl_has_no_memory_for_a_model),
      ENTRY(we_have_no_memory_for_a_model))
