/* The round trip: an answer of templatize, rendered with its own values, against its request. */
#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"

typedef struct trip_args {
    const json_t *messages, *system, *response;
} trip_args;

static lathe_code check(const trip_args *args, host_builder *builder, lathe_error *error)
{
    lathe_source source = host_source();
    lathe_error_init(error);
    host_builder_init(builder, false);
    return lathe_round_trip_check(&source, args->messages, args->system, args->response,
                                  &builder->sink, error);
}

static void check_case(json_t *item)
{
    const json_t *errors = json_object_get(item, "errors");
    trip_args args = {json_object_get(item, "messages"), json_object_get(item, "system"),
                      json_object_get(item, "response")};
    if (json_is_null(args.system))
        args.system = NULL;
    host_builder builder;
    lathe_error error;
    CHECK_CODE(check(&args, &builder, &error), errors ? LATHE_INVALID_REQUEST : LATHE_OK);
    cases_check_faults(&error.faults, errors);
    if (!errors)
        cases_check_built(&builder.inner, json_object_get(item, "differences"));
    host_builder_clear(&builder);
    lathe_error_clear(&error);
}

TEST(cases_hold)
{
    cases_each("round_trips", check_case);
}

/* The faults of a call with these JSON texts; NULL: not given. */
static void expect_fault(const char *messages, const char *system, const char *response,
                         const char *path, const char *code)
{
    json_t *values[] = {messages ? host_value(messages) : NULL, system ? host_value(system) : NULL,
                        response ? host_value(response) : NULL};
    trip_args args = {values[0], values[1], values[2]};
    host_builder builder;
    lathe_error error;
    CHECK_CODE(check(&args, &builder, &error), LATHE_INVALID_REQUEST);
    CHECK_INT(error.faults.total, 1);
    CHECK_STRING(error.faults.items[0].path, path);
    CHECK_STRING(error.faults.items[0].code, code);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    for (size_t i = 0; i < 3; i++)
        json_decref(values[i]);
}

#define ANSWER(content, values)                                                                    \
    "{\"messages\":[{\"role\":\"user\",\"content\":" content "}],\"system\":\"\","                 \
    "\"variable_values\":" values "}"

TEST(what_is_not_given_or_has_no_utf8_form)
{
    expect_fault(NULL, NULL, ANSWER("\"a\"", "{}"), "messages", "missing");
    expect_fault("\"a\"", NULL, NULL, "response", "missing");
    expect_fault("\"\\uffff\"", NULL, ANSWER("\"a\"", "{}"), "messages", "not_unicode");
    expect_fault("\"a\"", "\"\\uffff\"", ANSWER("\"a\"", "{}"), "system", "not_unicode");
    expect_fault("\"a\"", NULL, ANSWER("\"\\uffff\"", "{}"), "response.messages.0.content",
                 "not_unicode");
    expect_fault("\"a\"", NULL, ANSWER("\"a\"", "{\"A\":\"\\uffff\"}"),
                 "response.variable_values.A", "not_unicode");
    expect_fault("\"a\"", NULL, ANSWER("\"a\"", "{\"\\uffff\":\"a\"}"), "response.variable_values",
                 "not_unicode");
    expect_fault("\"a\"", NULL, ANSWER("\"a\"", "{\"#1\":\"a\"}"), "response.variable_values",
                 "wrong_type");
}

static lathe_code check_once(void *self)
{
    host_builder builder;
    lathe_error error;
    lathe_code code = check(self, &builder, &error);
    CHECK_CODE(error.code, code);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    return code;
}

TEST(every_allocation_and_every_callback_fails_once)
{
    json_t *messages = host_value("[{\"role\":\"user\",\"content\":\"a b\"},{\"role\":\"user\","
                                  "\"content\":[{\"type\":\"text\",\"text\":\"c\"}]}]");
    json_t *system = host_value("\"be a\"");
    json_t *good = host_value(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"{{A}} {{B}}\"},{\"role\":\"assistant\","
        "\"content\":[{\"type\":\"text\",\"text\":\"{{B}}\"},{\"type\":\"image\"}]}],"
        "\"system\":\"be {{A}}\",\"variable_values\":{\"A\":\"a\",\"B\":\"b\"}}");
    json_t *bad = host_value("{\"messages\":[3],\"variable_values\":{\"A\":3}}");
    trip_args args = {messages, system, good};
    alloc_try_each(check_once, &args, LATHE_OK);
    host_try_each(check_once, &args, LATHE_OK);
    args.response = bad;
    alloc_try_each(check_once, &args, LATHE_INVALID_REQUEST);
    host_try_each(check_once, &args, LATHE_INVALID_REQUEST);
    json_decref(messages);
    json_decref(system);
    json_decref(good);
    json_decref(bad);
}

TESTS(ENTRY(cases_hold), ENTRY(what_is_not_given_or_has_no_utf8_form),
      ENTRY(every_allocation_and_every_callback_fails_once))
