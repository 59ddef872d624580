#include "support_host.h"

#include <stdint.h>
#include <string.h>

#include "support_alloc.h"
#include "test.h"

static size_t cut = SIZE_MAX, countdown;
static bool failed;

static lathe_code maybe_fail(void)
{
    if (!countdown || --countdown)
        return LATHE_OK;
    failed = true;
    return LATHE_HOST;
}

static const lathe_source_table *inner_source(void)
{
    return lathe_jansson_source().table;
}

/* A key of jansson's source is no json_t; its bytes are all there is to tell. */
static bool text_begins(const void *value, const char *prefix)
{
    lathe_text text;
    size_t size = strlen(prefix);
    return inner_source()->kind(NULL, value) == LATHE_KIND_STRING &&
           !inner_source()->text(NULL, value, &text) && text.size >= size &&
           memcmp(text.data, prefix, size) == 0;
}

static lathe_kind source_kind(void *self, const void *value)
{
    if (text_begins(value, "#other"))
        return LATHE_KIND_OTHER;
    return text_begins(value, "#") ? LATHE_KIND_INTEGER : inner_source()->kind(self, value);
}

static lathe_code source_text(void *self, const void *string, lathe_text *text)
{
    lathe_code code = maybe_fail();
    if (!code)
        code = inner_source()->text(self, string, text);
    if (!code && !text->size)
        text->data = NULL;
    return code;
}

static size_t source_length(void *self, const void *list)
{
    return inner_source()->length(self, list);
}

static lathe_code source_item(void *self, const void *list, size_t index, const void **item)
{
    lathe_code code = maybe_fail();
    if (!code)
        code = inner_source()->item(self, list, index, item);
    if (index >= cut)
        *item = NULL;
    return code;
}

static lathe_code source_member(void *self, const void *object, lathe_cursor *cursor,
                                const void **key, const void **value)
{
    lathe_code code = maybe_fail();
    return code ? code : inner_source()->member(self, object, cursor, key, value);
}

static const lathe_source_table source_table = {
    .kind = source_kind,
    .text = source_text,
    .length = source_length,
    .item = source_item,
    .member = source_member,
};

lathe_source host_source(void)
{
    return (lathe_source){&source_table, NULL};
}

void host_cut_lists(size_t length)
{
    cut = length;
}

/* Counts an event; true when it is to be passed on. */
static bool event(host_builder *builder, lathe_code *code)
{
    builder->events++;
    *code = maybe_fail();
    return !*code;
}

#define PASS_ON(name, ...)                                                                         \
    host_builder *builder = self;                                                                  \
    lathe_code code;                                                                               \
    return event(builder, &code) ? builder->inner_sink.table->name(__VA_ARGS__) : code

#define INNER builder->inner_sink.self

static lathe_code sink_null(void *self)
{
    PASS_ON(null, INNER);
}

static lathe_code sink_boolean(void *self, bool value)
{
    PASS_ON(boolean, INNER, value);
}

static lathe_code sink_integer(void *self, int64_t value)
{
    PASS_ON(integer, INNER, value);
}

static lathe_code sink_real(void *self, double value)
{
    PASS_ON(real, INNER, value);
}

static lathe_code sink_string(void *self, const char *data, size_t size)
{
    PASS_ON(string, INNER, data, size);
}

static lathe_code sink_begin_list(void *self)
{
    PASS_ON(begin_list, INNER);
}

static lathe_code sink_begin_object(void *self)
{
    PASS_ON(begin_object, INNER);
}

static lathe_code sink_key(void *self, const char *data, size_t size)
{
    PASS_ON(key, INNER, data, size);
}

static lathe_code sink_end(void *self)
{
    PASS_ON(end, INNER);
}

static lathe_code sink_pass(void *self, const void *value)
{
    PASS_ON(pass, INNER, value);
}

#define TABLE                                                                                      \
    .null = sink_null, .boolean = sink_boolean, .integer = sink_integer, .real = sink_real,        \
    .string = sink_string, .begin_list = sink_begin_list, .begin_object = sink_begin_object,       \
    .key = sink_key, .end = sink_end

void host_builder_init(host_builder *builder, bool pass)
{
    static const lathe_sink_table same = {TABLE, .pass = sink_pass, .host = &source_table};
    static const lathe_sink_table foreign = {TABLE};
    lathe_jansson_builder_init(&builder->inner);
    builder->inner_sink = lathe_jansson_sink(&builder->inner);
    builder->sink = (lathe_sink){pass ? &same : &foreign, builder};
    builder->events = 0;
}

void host_builder_clear(host_builder *builder)
{
    lathe_jansson_builder_clear(&builder->inner);
}

void host_try_each(lathe_code (*attempt)(void *self), void *self, lathe_code expected)
{
    for (size_t nth = 1;; nth++) {
        size_t before = alloc_blocks();
        failed = false;
        countdown = nth;
        lathe_code code = attempt(self);
        countdown = 0;
        test_context("callback %zu fails", nth);
        CHECK_CODE(code, failed ? LATHE_HOST : expected);
        CHECK_INT(alloc_blocks(), before);
        test_context(NULL);
        if (!failed)
            return;
    }
}

/* jansson reads no lone surrogates, so they are read as U+FFFF and put in afterwards. */
static void put_surrogates(json_t *value)
{
    static const char surrogate[] = "\xED\xA0\x80", stand_in[] = "\xEF\xBF\xBF";
    void *iterator = json_object_iter(value);
    for (; iterator; iterator = json_object_iter_next(value, iterator)) {
        char *key = (char *)(uintptr_t)json_object_iter_key(iterator);
        for (char *at = key; (at = strstr(at, stand_in)); at += 3)
            memcpy(at, surrogate, 3);
        put_surrogates(json_object_iter_value(iterator));
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        put_surrogates(json_array_get(value, i));
    if (!json_is_string(value))
        return;
    char *text = (char *)(uintptr_t)json_string_value(value);
    for (char *at = text; (at = strstr(at, stand_in)); at += 3)
        memcpy(at, surrogate, 3);
}

json_t *host_value(const char *text)
{
    json_error_t reason;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &reason);
    if (!value) {
        FAIL("%s: %s", text, reason.text);
        return json_null();
    }
    put_surrogates(value);
    return value;
}
