#include "ratelimits.h"

#include <stdio.h>
#include <string.h>

#include "value.h"

static const char prefix[] = "anthropic-ratelimit-";

static int64_t number(const char *text)
{
    int64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 18 || text[digits])
        return -1;
    for (; *text; text++)
        value = value * 10 + (*text - '0');
    return value;
}

static lathe_limit *find(lathe_limits *limits, const char *kind, size_t size)
{
    for (size_t i = 0; i < limits->count; i++)
        if (strlen(limits->items[i].kind) == size && !memcmp(limits->items[i].kind, kind, size))
            return &limits->items[i];
    if (limits->count == LATHE_LIMIT_KINDS || !size || size >= sizeof limits->items[0].kind ||
        !lathe_utf8_valid(kind, size))
        return NULL;
    lathe_limit *limit = &limits->items[limits->count++];
    *limit = (lathe_limit){.limit = -1, .remaining = -1};
    memcpy(limit->kind, kind, size);
    return limit;
}

/* "anthropic-ratelimit-KIND-limit" and its two kin. */
static void take_one(lathe_limits *limits, const lathe_header *header)
{
    if (strncmp(header->name, prefix, sizeof prefix - 1))
        return;
    const char *kind = header->name + sizeof prefix - 1, *dash = strrchr(kind, '-');
    if (!dash || (strcmp(dash, "-limit") && strcmp(dash, "-remaining") && strcmp(dash, "-reset")))
        return;
    lathe_limit *limit = find(limits, kind, (size_t)(dash - kind));
    if (!limit)
        return;
    if (!strcmp(dash, "-limit"))
        limit->limit = number(header->value);
    else if (!strcmp(dash, "-remaining"))
        limit->remaining = number(header->value);
    else
        snprintf(limit->reset, sizeof limit->reset, "%s", header->value);
}

void lathe_limits_take(lathe_limits *limits, const lathe_headers *headers)
{
    lathe_limits told = {0};
    for (size_t i = 0; i < headers->count; i++)
        take_one(&told, &headers->items[i]);
    if (told.count)
        *limits = told;
}

static lathe_code feed_number(const lathe_sink *sink, const char *key, int64_t value)
{
    lathe_code code = lathe_sink_key(sink, key);
    if (code)
        return code;
    return value < 0 ? sink->table->null(sink->self) : sink->table->integer(sink->self, value);
}

static lathe_code feed_reset(const lathe_sink *sink, const char *reset)
{
    lathe_code code = lathe_sink_key(sink, "reset");
    if (code)
        return code;
    bool told = *reset && lathe_utf8_valid(reset, strlen(reset));
    return told ? sink->table->string(sink->self, reset, strlen(reset))
                : sink->table->null(sink->self);
}

static lathe_code feed_one(const lathe_limit *limit, const lathe_sink *sink)
{
    lathe_code code = lathe_sink_key(sink, limit->kind);
    if (!code)
        code = sink->table->begin_object(sink->self);
    if (!code)
        code = feed_number(sink, "limit", limit->limit);
    if (!code)
        code = feed_number(sink, "remaining", limit->remaining);
    if (!code)
        code = feed_reset(sink, limit->reset);
    return code ? code : sink->table->end(sink->self);
}

lathe_code lathe_limits_feed(const lathe_limits *limits, const lathe_sink *sink)
{
    lathe_code code = sink->table->begin_object(sink->self);
    for (size_t i = 0; i < limits->count && !code; i++)
        code = feed_one(&limits->items[i], sink);
    return code ? code : sink->table->end(sink->self);
}
