/* The rules for input messages. */
#include "error.h"
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"

static int compare_faults(const void *left, const void *right)
{
    const lathe_fault *a = left, *b = right;
    size_t size = a->path_size < b->path_size ? a->path_size : b->path_size;
    int order = memcmp(a->path, b->path, size);
    if (!order)
        order = (a->path_size > b->path_size) - (a->path_size < b->path_size);
    return order ? order : strcmp(a->code, b->code);
}

/* With a sink and without one: the verdict must be the same. */
static void check_case(json_t *item, bool sorted)
{
    const json_t *messages = json_object_get(item, "messages");
    const json_t *errors = json_object_get(item, "errors");
    lathe_source source = host_source();
    for (int feeding = 0; feeding < 2; feeding++) {
        host_builder builder;
        lathe_error error;
        host_builder_init(&builder, true);
        lathe_error_init(&error);
        lathe_code code =
            lathe_messages_check(&source, messages, feeding ? &builder.sink : NULL, &error);
        CHECK_CODE(code, json_array_size(errors) ? LATHE_INVALID_REQUEST : LATHE_OK);
        if (sorted && error.faults.count)
            qsort(error.faults.items, error.faults.count, sizeof *error.faults.items,
                  compare_faults);
        cases_check_faults(&error.faults, errors);
        if (!code && feeding)
            cases_check_built(&builder.inner, json_object_get(item, "normalized"));
        host_builder_clear(&builder);
        lathe_error_clear(&error);
    }
}

static void check_sorted(json_t *item)
{
    check_case(item, true);
}

static void check_ordered(json_t *item)
{
    check_case(item, false);
}

TEST(published_cases_hold)
{
    cases_each("messages", check_sorted);
}

TEST(faults_come_in_the_documented_order)
{
    cases_each("faults_messages", check_ordered);
}

/* Checks a JSON text; `expected` is "path code" line by line. */
static void expect(const char *messages, const char *expected)
{
    lathe_source source = host_source();
    json_t *value = host_value(messages);
    lathe_error error;
    char got[2000] = "";
    lathe_error_init(&error);
    lathe_code code = lathe_messages_check(&source, value, NULL, &error);
    for (size_t i = 0; i < error.faults.count; i++) {
        const lathe_fault *fault = &error.faults.items[i];
        size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s%s %s", i ? "\n" : "", fault->path, fault->code);
    }
    CHECK_STRING(got, expected);
    CHECK_CODE(code, *expected ? LATHE_INVALID_REQUEST : LATHE_OK);
    lathe_error_clear(&error);
    json_decref(value);
}

TEST(keys_that_are_no_names)
{
    expect("[{\"role\":\"user\",\"#1\":null,\"content\":\"a\"}]", "messages.0 wrong_type");
    expect("[{\"role\":\"user\",\"\\uffff\":null,\"content\":\"a\"}]", "messages.0 not_unicode");
    expect("[{\"#1\":1,\"x\":1,\"\\uffff\":1,\"#2\":1,\"y\":1,\"\\uffffa\":1,\"role\":\"user\","
           "\"content\":[]}]",
           "messages.0.content empty\nmessages.0 wrong_type\nmessages.0.x unexpected_key\n"
           "messages.0 not_unicode\nmessages.0.y unexpected_key");
    expect("[{\"role\":\"user\",\"content\":[{\"#1\":1,\"type\":\"text\",\"text\":\"a\"},"
           "{\"#1\":1,\"type\":\"text\",\"#2\":1,\"text\":\"a\",\"\\uffff\":null}]}]",
           "messages.0.content.0 wrong_type\nmessages.0.content.1 wrong_type\n"
           "messages.0.content.1 not_unicode");
    expect("[{\"role\":\"user\",\"content\":[{\"#1\":1,\"type\":\"image\",\"\\uffff\":1}]}]",
           "messages.0.content.0.type not_text");
}

TEST(text_without_a_utf8_form)
{
    expect("\"a\\uffff\"", "messages not_unicode");
    expect("[{\"role\":\"user\",\"content\":\"\\uffff\"}]", "messages.0.content not_unicode");
    expect("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\uffff\"}]}]",
           "messages.0.content.0.text not_unicode");
    expect("[{\"role\":\"\\uffff\",\"content\":\"a\"}]", "messages.0.role bad_role");
    expect("[{\"role\":\"user\",\"content\":[{\"type\":\"\\uffff\",\"text\":\"a\"}]}]",
           "messages.0.content.0.type not_text");
}

TEST(values_of_no_json_type)
{
    expect("\"#other\"", "messages wrong_type");
    expect("[\"#other\"]", "messages.0 wrong_type");
    expect("[{\"role\":\"#other\",\"content\":\"#other\",\"x\":\"#other\"}]",
           "messages.0.role wrong_type\nmessages.0.content wrong_type\n"
           "messages.0.x unexpected_key");
}

TEST(a_missing_argument_is_told)
{
    lathe_source source = host_source();
    lathe_error error;
    lathe_error_init(&error);
    CHECK_CODE(lathe_messages_check(&source, NULL, NULL, &error), LATHE_INVALID_REQUEST);
    CHECK_INT(error.faults.total, 1);
    CHECK_STRING(error.faults.items[0].code, "missing");
    CHECK_STRING(error.faults.items[0].path, "messages");
    lathe_error_clear(&error);
}

TEST(lists_that_another_thread_cuts)
{
    static const char two[] = "[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\","
                              "\"text\":\"a\"},3]},{\"role\":\"user\",\"content\":\"b\"}]";
    host_cut_lists(0);
    expect(two, "messages empty");
    host_cut_lists(1);
    expect(two, "messages no_user_message");
    host_cut_lists(SIZE_MAX);
    expect(two, "messages.0.content.1 wrong_type\nmessages.0.role assistant_not_last");
}

TEST(the_sink_is_fed_no_more_after_a_fault)
{
    json_t *messages = host_value("[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"x\"},"
                                  "{\"role\":\"user\",\"content\":\"b\"}]");
    lathe_source source = host_source();
    host_builder builder;
    lathe_faults faults = {0};
    host_builder_init(&builder, true);
    CHECK_CODE(lathe_messages_walk(&source, messages, "m", &builder.sink, &faults), LATHE_OK);
    CHECK_INT(faults.total, 2);
    CHECK_STRING(faults.items[0].path, "m.1.role");
    /* [ { role user content [ { type text text a } ] } */
    CHECK_INT(builder.events, 14);
    host_builder_clear(&builder);

    /* What is known from elsewhere counts too. */
    host_builder_init(&builder, true);
    CHECK_CODE(lathe_messages_walk(&source, messages, "m", &builder.sink, &faults), LATHE_OK);
    CHECK_INT(builder.events, 0);
    host_builder_clear(&builder);
    lathe_faults_clear(&faults);
    json_decref(messages);
}

TEST(a_thousand_faults_are_kept_and_all_are_counted)
{
    enum { COUNT = 1500 };
    json_t *messages = json_array();
    for (int i = 0; i < COUNT; i++)
        json_array_append_new(messages, json_integer(i));
    lathe_source source = host_source();
    lathe_error error;
    lathe_error_init(&error);
    CHECK_CODE(lathe_messages_check(&source, messages, NULL, &error), LATHE_INVALID_REQUEST);
    CHECK_INT(error.faults.total, COUNT);
    CHECK_INT(error.faults.count, LATHE_FAULTS_KEPT);
    CHECK_STRING(error.faults.items[999].path, "messages.999");
    CHECK(strstr(error.message, "1500 faults"));
    lathe_error_clear(&error);
    json_decref(messages);
}

TEST(no_message_shows_text_of_the_input)
{
    json_t *messages = host_value(
        "[{\"role\":\"SECRET\",\"content\":[{\"type\":\"SECRET\"},\"SECRET\"],"
        "\"a SECRET key that is long enough to be part of a prompt\":\"SECRET\"},\"SECRET\"]");
    lathe_source source = host_source();
    lathe_error error;
    lathe_error_init(&error);
    lathe_messages_check(&source, messages, NULL, &error);
    CHECK_INT(error.faults.total, 5);
    CHECK(!strstr(error.message, "SECRET"));
    for (size_t i = 0; i < error.faults.count; i++)
        CHECK(!strstr(error.faults.items[i].message, "SECRET"));
    lathe_error_clear(&error);
    json_decref(messages);
}

/* The sentence that a newcomer gets. */
static void expect_advice(const char *messages, const char *advice)
{
    lathe_source source = host_source();
    json_t *value = host_value(messages);
    lathe_error error;
    lathe_error_init(&error);
    test_context("%s", messages);
    lathe_messages_check(&source, value, NULL, &error);
    CHECK(strstr(error.message, advice));
    lathe_error_clear(&error);
    json_decref(value);
    test_context(NULL);
}

TEST(messages_say_what_to_do)
{
    expect_advice("[{\"role\":\"system\",\"content\":\"a\"}]", "system=");
    expect_advice("[{\"role\":\"model\",\"content\":\"a\"}]", "must be user");
    expect_advice("[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]", "images");
    expect_advice("[{\"role\":\"user\",\"content\":[{\"type\":\"video\"}]}]", "type text only");
    expect_advice("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\","
                  "\"cache_control\":1}]}]",
                  "remove cache_control");
    expect_advice("[{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\","
                  "\"content\":\"a\"}]",
                  "may only be the last message");
    expect_advice("[{\"role\":\"user\",\"content\":5}]", "must be a string or a list");
    expect_advice("[{\"role\":\"user\",\"content\":5}]", "not a number");
    expect_advice("[]", "at least one user message");
}

/* A string argument: what becomes of it, and its one fault. */
static void expect_string(const char *json, const char *text, const char *fault)
{
    json_t *value = host_value(json);
    lathe_source source = host_source();
    host_builder builder;
    lathe_faults faults = {0};
    lathe_text got;
    host_builder_init(&builder, true);
    CHECK_CODE(lathe_string_walk(&source, value, "task", &builder.sink, &got, &faults), LATHE_OK);
    CHECK_BYTES(got.data, got.size, text, text ? strlen(text) : 0);
    CHECK_INT(builder.events, text != NULL);
    CHECK_STRING(faults.count ? faults.items[0].code : NULL, fault);
    CHECK_STRING(faults.count ? faults.items[0].path : NULL, fault ? "task" : NULL);
    host_builder_clear(&builder);
    lathe_faults_clear(&faults);
    json_decref(value);
}

TEST(a_string_argument)
{
    expect_string("\"caf\xC3\xA9\"", "caf\xC3\xA9", NULL);
    expect_string("\"\"", "", NULL);
    expect_string("\"\\uffff\"", NULL, "not_unicode");
    expect_string("null", NULL, "wrong_type");
    expect_string("[\"a\"]", NULL, "wrong_type");
}

typedef struct check_args {
    json_t *messages;
    bool feeding;
} check_args;

static lathe_code check_once(void *self)
{
    const check_args *attempt = self;
    lathe_source source = host_source();
    host_builder builder;
    lathe_error error;
    host_builder_init(&builder, true);
    lathe_error_init(&error);
    lathe_code code = lathe_messages_check(&source, attempt->messages,
                                           attempt->feeding ? &builder.sink : NULL, &error);
    CHECK_CODE(error.code, code);
    CHECK(code != LATHE_MEMORY || !error.faults.total);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    return code;
}

static void try_each(const char *messages, lathe_code expected)
{
    check_args attempt = {host_value(messages), false};
    alloc_try_each(check_once, &attempt, expected);
    host_try_each(check_once, &attempt, expected);
    attempt.feeding = true;
    alloc_try_each(check_once, &attempt, expected);
    host_try_each(check_once, &attempt, expected);
    json_decref(attempt.messages);
}

TEST(every_allocation_and_every_callback_fails_once)
{
    try_each("\"a\"", LATHE_OK);
    try_each("[{\"role\":\"user\",\"content\":\"a\",\"x\":null},{\"role\":\"assistant\","
             "\"content\":[{\"type\":\"text\",\"text\":\"b\",\"y\":null}]}]",
             LATHE_OK);
    try_each("[{\"role\":\"x\",\"#\":1,\"content\":[{\"type\":\"text\",\"cache_control\":1},"
             "{\"type\":5}]},{\"role\":\"assistant\"},3]",
             LATHE_INVALID_REQUEST);
}

TESTS(ENTRY(published_cases_hold), ENTRY(faults_come_in_the_documented_order),
      ENTRY(keys_that_are_no_names), ENTRY(text_without_a_utf8_form), ENTRY(values_of_no_json_type),
      ENTRY(a_missing_argument_is_told), ENTRY(lists_that_another_thread_cuts),
      ENTRY(the_sink_is_fed_no_more_after_a_fault),
      ENTRY(a_thousand_faults_are_kept_and_all_are_counted),
      ENTRY(no_message_shows_text_of_the_input), ENTRY(messages_say_what_to_do),
      ENTRY(a_string_argument), ENTRY(every_allocation_and_every_callback_fails_once))
