/* Headers as they come (retry hints, dates, rate limits) and as users give them. */
#include "headers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimits.h"
#include "retry.h"
#include "support.h"
#include "support_alloc.h"
#include "transport.h"

enum { GIVEN = 6 };

/* ---- Received ---- */

static void check_names(const lathe_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        const lathe_header *header = &headers->items[i];
        MUST(lathe_headers_get(headers, header->name) == header->value);
        MUST(!strpbrk(header->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ:"));
        MUST(!strpbrk(header->value, "\r\n"));
    }
}

static bool same(const lathe_headers *a, const lathe_headers *b)
{
    for (size_t i = 0; i < a->count && a->count == b->count; i++)
        if (strcmp(a->items[i].name, b->items[i].name) ||
            strcmp(a->items[i].value, b->items[i].value))
            return false;
    return a->count == b->count;
}

/* A NUL, which libcurl lets no server send, would end a name or a value early. */
static void check_parsed(lathe_text raw, unsigned order)
{
    lathe_headers headers, copy;
    fuzz_arm(order);
    lathe_code code = lathe_headers_parse(&headers, raw.data, raw.size);
    MUST(code == (fuzz_disarm() ? LATHE_MEMORY : LATHE_OK));
    if (code)
        return;
    if (!raw.size || !memchr(raw.data, '\0', raw.size)) {
        check_names(&headers);
        MUST(lathe_headers_copy(&copy, &headers) == LATHE_OK);
        MUST(same(&headers, &copy));
        lathe_headers_clear(&copy);
    }
    lathe_headers_clear(&headers);
}

static void check_retry(const lathe_headers *headers, unsigned flags)
{
    const char *seconds = lathe_headers_get(headers, "retry-after");
    double date = seconds ? lathe_http_date(seconds, lathe_headers_get(headers, "date")) : NAN;
    double hint = lathe_retry_hint(lathe_headers_get(headers, "retry-after-ms"), seconds, date);
    MUST(hint == -1 || (isfinite(hint) && hint > 0));
    lathe_outcome outcome = {.attempts = 1 + (int)(flags & 3),
                             .max_retries = 2,
                             .status = flags & 4 ? 429 : 500,
                             .should_retry = lathe_headers_get(headers, "x-should-retry"),
                             .hint = hint,
                             .remaining = flags & 8 ? INFINITY : flags / 16.0,
                             .random = flags / 256.0};
    lathe_decision decision = lathe_retry_decide(&outcome);
    MUST(decision.delay >= 0 && decision.delay <= 120 * 1.2);
    MUST(!decision.retry || decision.delay < outcome.remaining);
    MUST(!decision.retry || outcome.attempts <= outcome.max_retries);
    MUST(decision.retry || decision.delay == 0);
}

static bool is_count(const json_t *value)
{
    return json_is_null(value) || (json_is_integer(value) && json_integer_value(value) >= 0);
}

static void check_limits(const lathe_headers *headers)
{
    lathe_limits limits = {0};
    lathe_jansson_builder builder;
    const char *kind;
    json_t *limit;
    lathe_limits_take(&limits, headers);
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    MUST(lathe_limits_feed(&limits, &sink) == LATHE_OK);
    json_t *fed = lathe_jansson_builder_take(&builder);
    MUST(json_object_size(fed) == limits.count && limits.count <= LATHE_LIMIT_KINDS);
    json_object_foreach(fed, kind, limit)
    {
        const json_t *reset = json_object_get(limit, "reset");
        MUST(json_object_size(limit) == 3 && fuzz_is_text((lathe_text){kind, strlen(kind)}));
        MUST(is_count(json_object_get(limit, "limit")));
        MUST(is_count(json_object_get(limit, "remaining")));
        MUST(json_is_null(reset) ||
             fuzz_is_text((lathe_text){json_string_value(reset), json_string_length(reset)}));
    }
    json_decref(fed);
    lathe_jansson_builder_clear(&builder);
}

/* ---- Given ---- */

static bool may_be_sent(const lathe_header *header)
{
    static const char *const refused[] = {"x-api-key",      "authorization",     "host",
                                          "content-length", "transfer-encoding", "connection",
                                          "expect",         "accept-encoding",   "content-type",
                                          "anthropic-beta"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (lathe_same_word(header->name, refused[i]))
            return false;
    return *header->name && !strpbrk(header->name, " :\r\n\t") && !strpbrk(header->value, "\r\n");
}

/* Each name stands in one line, with the value that was given last. */
static void check_line(const lathe_lines *lines, const lathe_header *given, size_t count)
{
    const lathe_header *last = given;
    size_t name = strlen(given->name), found = 0;
    for (size_t i = 0; i < count; i++)
        if (lathe_same_word(given[i].name, given->name))
            last = &given[i];
    for (size_t i = 0; i < lines->count; i++) {
        char *line = fuzz_string((lathe_text){lines->items[i], strlen(lines->items[i])});
        const char *rest = line + (strlen(line) < name ? strlen(line) : name);
        bool empty = !strcmp(rest, ";") && !*last->value;
        bool equal = !strncmp(rest, ": ", 2) && !strcmp(rest + 2, last->value);
        if (*rest) {
            bool mark = *rest == ':' || *rest == ';';
            line[name] = '\0';
            if (mark && lathe_same_word(line, last->name) && ++found)
                MUST(empty || equal);
        }
        free(line);
    }
    MUST(found == 1);
}

static void check_lines(const lathe_header *given, size_t count, unsigned order)
{
    size_t first = count / 2;
    const lathe_header *const lists[] = {given, given + first};
    const size_t counts[] = {first, count - first};
    lathe_lines lines;
    fuzz_arm(order);
    lathe_code code = lathe_lines_init(&lines, lists, counts, 2);
    MUST(code == (fuzz_disarm() ? LATHE_MEMORY : LATHE_OK));
    for (size_t i = 0; i < count && !code; i++) {
        bool repeated = false;
        for (size_t j = 0; j < i; j++)
            repeated = repeated || lathe_same_word(given[i].name, given[j].name);
        if (!repeated)
            check_line(&lines, given + i, count - i);
    }
    lathe_lines_clear(&lines);
}

static void check_given(fuzz_input *input, unsigned order)
{
    lathe_header given[GIVEN];
    size_t count = 0;
    lathe_error error;
    while (input->size && count < GIVEN) {
        lathe_header header = {fuzz_string(fuzz_piece(input)), fuzz_string(fuzz_piece(input))};
        lathe_error_init(&error);
        lathe_code code = lathe_header_check(&header, "extra_headers", &error);
        fuzz_check_error(&error, code);
        lathe_error_clear(&error);
        MUST(code || may_be_sent(&header));
        if (!lathe_beta_check(header.name, "betas", &error))
            MUST(*header.name && !strpbrk(header.name, " ,\r\n\t"));
        lathe_error_clear(&error);
        given[count] = header;
        count += !code;
        if (!code)
            continue;
        free((char *)(uintptr_t)header.name);
        free((char *)(uintptr_t)header.value);
    }
    check_lines(given, count, order);
    while (count--) {
        free((char *)(uintptr_t)given[count].name);
        free((char *)(uintptr_t)given[count].value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), flags = fuzz_byte(&input);
    size_t before = alloc_blocks();
    lathe_text piece = fuzz_piece(&input);
    lathe_text raw = {fuzz_copy(piece), piece.size};
    lathe_headers headers;
    check_parsed(raw, order);
    MUST(lathe_headers_parse(&headers, raw.data, raw.size) == LATHE_OK);
    check_retry(&headers, flags);
    check_limits(&headers);
    lathe_headers_clear(&headers);
    check_given(&input, order);
    free((char *)(uintptr_t)raw.data);
    MUST(alloc_blocks() == before);
    return 0;
}
