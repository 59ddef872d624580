#include "ratelimits.h"

#include <jansson.h>
#include <string.h>

#include "headers.h"
#include "test.h"

static void take(lathe_limits *limits, const char *raw)
{
    lathe_headers headers;
    CHECK_CODE(lathe_headers_parse(&headers, raw, strlen(raw)), LATHE_OK);
    lathe_limits_take(limits, &headers);
    lathe_headers_clear(&headers);
}

static void check_fed(const lathe_limits *limits, const char *expected)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    CHECK_CODE(lathe_limits_feed(limits, &sink), LATHE_OK);
    json_t *built = lathe_jansson_builder_take(&builder);
    json_t *value = json_loads(expected, 0, NULL);
    CHECK(built && value && json_equal(built, value));
    json_decref(built);
    json_decref(value);
    lathe_jansson_builder_clear(&builder);
}

TEST(told)
{
    lathe_limits limits = {0};
    check_fed(&limits, "{}");
    take(&limits, "anthropic-ratelimit-requests-limit: 50\n"
                  "anthropic-ratelimit-requests-remaining: 49\n"
                  "anthropic-ratelimit-requests-reset: 2026-11-22T00:00:00Z\n"
                  "anthropic-ratelimit-input-tokens-remaining: 7\n");
    check_fed(&limits, "{\"requests\":{\"limit\":50,\"remaining\":49,\"reset\":"
                       "\"2026-11-22T00:00:00Z\"},\"input-tokens\":{\"limit\":null,"
                       "\"remaining\":7,\"reset\":null}}");
    take(&limits, "content-type: x\n");
    CHECK_INT(limits.count, 2);
    take(&limits, "anthropic-ratelimit-tokens-limit: 5\n");
    check_fed(&limits, "{\"tokens\":{\"limit\":5,\"remaining\":null,\"reset\":null}}");
}

TEST(odd_headers)
{
    lathe_limits limits = {0};
    take(&limits, "anthropic-ratelimit-limit: 1\nanthropic-ratelimit--limit: 1\n"
                  "anthropic-ratelimit-x-other: 1\nanthropic-ratelimit-\xFF-limit: 1\n"
                  "anthropic-ratelimit-a-name-that-is-longer-than-any-kind-limit: 1\n");
    CHECK_INT(limits.count, 0);
    take(&limits, "anthropic-ratelimit-a-limit: -1\nanthropic-ratelimit-b-limit: 1x\n"
                  "anthropic-ratelimit-c-limit: 99999999999999999999\n"
                  "anthropic-ratelimit-d-reset: \xFF\n");
    check_fed(&limits, "{\"a\":{\"limit\":null,\"remaining\":null,\"reset\":null},"
                       "\"b\":{\"limit\":null,\"remaining\":null,\"reset\":null},"
                       "\"c\":{\"limit\":null,\"remaining\":null,\"reset\":null},"
                       "\"d\":{\"limit\":null,\"remaining\":null,\"reset\":null}}");
    take(&limits, "anthropic-ratelimit-1-limit: 1\nanthropic-ratelimit-2-limit: 1\n"
                  "anthropic-ratelimit-3-limit: 1\nanthropic-ratelimit-4-limit: 1\n"
                  "anthropic-ratelimit-5-limit: 1\nanthropic-ratelimit-6-limit: 1\n"
                  "anthropic-ratelimit-7-limit: 1\nanthropic-ratelimit-8-limit: 1\n"
                  "anthropic-ratelimit-9-limit: 1\n");
    CHECK_INT(limits.count, LATHE_LIMIT_KINDS);
}

TESTS(ENTRY(told), ENTRY(odd_headers))
