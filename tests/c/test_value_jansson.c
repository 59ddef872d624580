/* jansson as a host: its source and its sink. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"

/* ---- The source ---- */

TEST(kinds)
{
    static const lathe_kind kinds[] = {LATHE_KIND_NULL,    LATHE_KIND_BOOLEAN, LATHE_KIND_BOOLEAN,
                                       LATHE_KIND_INTEGER, LATHE_KIND_REAL,    LATHE_KIND_STRING,
                                       LATHE_KIND_LIST,    LATHE_KIND_OBJECT};
    json_t *list = host_value("[null, true, false, 1, 1.0, \"a\", [], {}]");
    lathe_source source = lathe_jansson_source();
    CHECK_INT(source.table->length(source.self, list), 8);
    for (size_t i = 0; i < 8; i++) {
        const void *item;
        CHECK_CODE(source.table->item(source.self, list, i, &item), LATHE_OK);
        CHECK_INT(source.table->kind(source.self, item), kinds[i]);
    }
    const void *item = list;
    CHECK_CODE(source.table->item(source.self, list, 8, &item), LATHE_OK);
    CHECK(!item);
    json_decref(list);
}

TEST(members_in_order_with_keys_that_are_strings)
{
    static const char *const keys[] = {"b", "", "a", "\xED\xA0\x80"};
    json_t *object = host_value("{\"b\": 0, \"\": 1, \"a\": 2, \"\\uffff\": 3}");
    lathe_source source = lathe_jansson_source();
    lathe_cursor cursor = {0};
    const void *key, *value;
    for (int i = 0; i < 4; i++) {
        lathe_text text;
        CHECK_CODE(source.table->member(source.self, object, &cursor, &key, &value), LATHE_OK);
        REQUIRE(key);
        CHECK_INT(source.table->kind(source.self, key), LATHE_KIND_STRING);
        CHECK_CODE(source.table->text(source.self, key, &text),
                   i == 3 ? LATHE_NOT_UNICODE : LATHE_OK);
        CHECK_BYTES(text.data, text.size, keys[i], strlen(keys[i]));
        CHECK_INT(json_integer_value(value), i);
    }
    CHECK_CODE(source.table->member(source.self, object, &cursor, &key, &value), LATHE_OK);
    CHECK(!key);
    json_decref(object);
}

TEST(text_is_checked)
{
    static const char *const bad[] = {"\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\x80"};
    lathe_source source = lathe_jansson_source();
    lathe_text text;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *string = json_string_nocheck(bad[i]);
        CHECK_CODE(source.table->text(source.self, string, &text), LATHE_NOT_UNICODE);
        json_decref(string);
    }
    json_t *string = json_stringn("a\0b", 3);
    CHECK_CODE(source.table->text(source.self, string, &text), LATHE_OK);
    CHECK_BYTES(text.data, text.size, "a\0b", 3);
    json_decref(string);
}

/* ---- The sink ---- */

TEST(builds_everything)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    const lathe_sink_table *to = sink.table;
    json_t *passed = json_string("p");
    lathe_code code = to->begin_object(sink.self);
    code |= to->key(sink.self, "list", 4);
    code |= to->begin_list(sink.self);
    code |= to->null(sink.self) | to->boolean(sink.self, true) | to->boolean(sink.self, false);
    code |= to->integer(sink.self, INT64_MIN) | to->real(sink.self, 0.5);
    code |= to->string(sink.self, "a\0b", 3) | to->string(sink.self, NULL, 0);
    code |= to->begin_object(sink.self) | to->end(sink.self) | to->end(sink.self);
    code |= to->key(sink.self, "", 0);
    code |= to->pass(sink.self, passed);
    CHECK_INT(passed->refcount, 1);               /* a copy: its owner may change it */
    CHECK(!lathe_jansson_builder_take(&builder)); /* not finished */
    code |= to->end(sink.self);
    CHECK_CODE(code, LATHE_OK);
    json_t *expected = host_value("{\"list\": [null, true, false, -9223372036854775808, 0.5, "
                                  "\"a\\u0000b\", \"\", {}], \"\": \"p\"}");
    cases_check_built(&builder, expected);
    CHECK(!lathe_jansson_builder_take(&builder));
    json_decref(expected);
    json_decref(passed);
    lathe_jansson_builder_clear(&builder);
}

TEST(what_is_half_made_is_freed)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_jansson_builder_clear(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    CHECK_CODE(sink.table->begin_list(sink.self), LATHE_OK);
    CHECK_CODE(sink.table->begin_object(sink.self), LATHE_OK);
    CHECK_CODE(sink.table->key(sink.self, "a", 1), LATHE_OK);
    lathe_jansson_builder_clear(&builder);
    lathe_jansson_builder_clear(&builder);
    CHECK(!lathe_jansson_builder_take(&builder));
}

TEST(what_jansson_cannot_hold_is_refused)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    CHECK_CODE(sink.table->real(sink.self, (double)INFINITY), LATHE_TOO_LARGE);
    CHECK_CODE(sink.table->real(sink.self, (double)NAN), LATHE_TOO_LARGE);
    CHECK_CODE(sink.table->null(sink.self), LATHE_OK);
    CHECK_CODE(sink.table->string(sink.self, "second", 6), LATHE_TOO_LARGE);
    CHECK_CODE(sink.table->begin_list(sink.self), LATHE_TOO_LARGE);
    lathe_jansson_builder_clear(&builder);
    for (int i = 0; i < 2048; i++)
        REQUIRE(sink.table->begin_list(sink.self) == LATHE_OK);
    CHECK_CODE(sink.table->begin_list(sink.self), LATHE_TOO_LARGE);
    lathe_jansson_builder_clear(&builder);
}

static lathe_code build_once(void *self)
{
    const json_t *passed = self;
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    lathe_code code = LATHE_OK;
    for (int i = 0; i < 20 && !code; i++)
        code = sink.table->begin_list(sink.self);
    if (!code)
        code = sink.table->begin_object(sink.self);
    for (int i = 0; i < 20 && !code; i++) {
        char key[8];
        code = sink.table->key(sink.self, key, (size_t)snprintf(key, sizeof key, "k%d", i));
        if (!code)
            code = i % 2 ? sink.table->string(sink.self, "text", 4)
                         : sink.table->pass(sink.self, passed);
    }
    for (int i = 0; i < 21 && !code; i++)
        code = sink.table->end(sink.self);
    json_t *built = lathe_jansson_builder_take(&builder);
    CHECK(code || json_is_array(built));
    json_decref(built);
    lathe_jansson_builder_clear(&builder);
    return code;
}

TEST(every_allocation_fails_once)
{
    json_t *passed = json_integer(5);
    alloc_try_each(build_once, passed, LATHE_OK);
    CHECK_INT(passed->refcount, 1);
    json_decref(passed);
}

TESTS(ENTRY(kinds), ENTRY(members_in_order_with_keys_that_are_strings), ENTRY(text_is_checked),
      ENTRY(builds_everything), ENTRY(what_is_half_made_is_freed),
      ENTRY(what_jansson_cannot_hold_is_refused), ENTRY(every_allocation_fails_once))
