#include "request.h"

#include <jansson.h>
#include <string.h>

#include "support_alloc.h"
#include "support_host.h"
#include "test.h"

static lathe_error error;

/* Writes a request whose arguments are given as one JSON object. */
static lathe_code write_request(lathe_verb verb, const char *arguments, lathe_buf *body)
{
    json_t *object = host_value(arguments);
    const lathe_request request = {.verb = verb,
                                   .source = host_source(),
                                   .task = json_object_get(object, "task"),
                                   .messages = json_object_get(object, "messages"),
                                   .feedback = json_object_get(object, "feedback"),
                                   .system = json_object_get(object, "system"),
                                   .target_model = json_object_get(object, "target_model")};
    lathe_buf_init(body, SIZE_MAX);
    lathe_error_clear(&error);
    lathe_code code = lathe_request_write(&request, body, &error);
    json_decref(object);
    return code;
}

static void check_body(lathe_verb verb, const char *arguments, const char *expected)
{
    lathe_buf body;
    test_context("%s", arguments);
    CHECK_CODE(write_request(verb, arguments, &body), LATHE_OK);
    CHECK_BYTES(body.data ? body.data : "", body.size, expected, strlen(expected));
    lathe_buf_clear(&body);
}

TEST(bodies)
{
    lathe_error_init(&error);
    check_body(LATHE_GENERATE, "{\"task\":\"a chef\"}", "{\"task\":\"a chef\"}");
    check_body(LATHE_GENERATE, "{\"task\":\"\",\"target_model\":\"m\"}",
               "{\"task\":\"\",\"target_model\":\"m\"}");
    check_body(LATHE_GENERATE, "{\"task\":\"\\u0000\\u0001\\n\\r\\t\\\"\\\\/\\u007f\\u00e9\"}",
               "{\"task\":\"\\u0000\\u0001\\n\\r\\t\\\"\\\\/\x7f\xc3\xa9\"}");
    check_body(LATHE_IMPROVE, "{\"messages\":\"hi\",\"feedback\":\"f\",\"system\":\"s\"}",
               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]"
               "}],\"feedback\":\"f\",\"system\":\"s\"}");
    check_body(LATHE_TEMPLATIZE,
               "{\"messages\":[{\"content\":\"a\",\"role\":\"user\"},{\"role\":\"assistant\","
               "\"content\":[{\"type\":\"text\",\"text\":\"b\",\"cache_control\":null}]}]}",
               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}"
               ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]}]}");
    lathe_error_clear(&error);
}

static void check_faults(lathe_verb verb, const char *arguments, const char *expected)
{
    char found[1000] = "";
    lathe_buf body;
    test_context("%s", arguments);
    CHECK_CODE(write_request(verb, arguments, &body), LATHE_INVALID_REQUEST);
    for (size_t i = 0; i < error.faults.count; i++) {
        strcat(found, i ? " " : "");
        strcat(found, error.faults.items[i].path);
        strcat(found, "=");
        strcat(found, error.faults.items[i].code);
    }
    CHECK_STRING(found, expected);
    lathe_buf_clear(&body);
}

TEST(every_fault_at_once)
{
    lathe_error_init(&error);
    check_faults(LATHE_GENERATE, "{}", "task=missing");
    check_faults(LATHE_GENERATE, "{\"task\":null}", "task=wrong_type");
    check_faults(LATHE_GENERATE, "{\"task\":5,\"target_model\":\"\"}",
                 "task=wrong_type target_model=bad_length");
    check_faults(LATHE_GENERATE, "{\"task\":\"\\uffff\"}", "task=not_unicode");
    check_faults(LATHE_IMPROVE, "{\"feedback\":[],\"system\":{},\"target_model\":true}",
                 "messages=missing feedback=wrong_type system=wrong_type target_model=wrong_type");
    check_faults(LATHE_IMPROVE,
                 "{\"messages\":[{\"role\":\"assistant\"},3],\"system\":\"\\uffff\"}",
                 "messages.0.content=missing messages.0.role=assistant_not_last "
                 "messages.1=wrong_type system=not_unicode");
    CHECK(strstr(error.message, "4 faults"));
    lathe_error_clear(&error);
}

/* `count` characters of `character` as the model's name. */
static lathe_code model_of(size_t count, const char *character)
{
    char arguments[2000] = "{\"task\":\"t\",\"target_model\":\"";
    lathe_buf body;
    for (size_t i = 0; i < count; i++)
        strcat(arguments, character);
    strcat(arguments, "\"}");
    lathe_code code = write_request(LATHE_GENERATE, arguments, &body);
    lathe_buf_clear(&body);
    return code;
}

TEST(model_is_measured_in_characters)
{
    lathe_error_init(&error);
    CHECK_CODE(model_of(0, "m"), LATHE_INVALID_REQUEST);
    CHECK_CODE(model_of(1, "m"), LATHE_OK);
    CHECK_CODE(model_of(256, "m"), LATHE_OK);
    CHECK_CODE(model_of(257, "m"), LATHE_INVALID_REQUEST);
    CHECK_CODE(model_of(256, "\xf0\x9f\x91\x8b"), LATHE_OK);
    CHECK_CODE(model_of(257, "\xf0\x9f\x91\x8b"), LATHE_INVALID_REQUEST);
    lathe_error_clear(&error);
}

TEST(names)
{
    CHECK_STRING(lathe_verb_name(LATHE_GENERATE), "generate");
    CHECK_STRING(lathe_verb_name(LATHE_IMPROVE), "improve");
    CHECK_STRING(lathe_verb_name(LATHE_TEMPLATIZE), "templatize");
    CHECK_STRING(lathe_verb_path(LATHE_IMPROVE), "/v1/experimental/improve_prompt");
}

typedef struct fixed {
    lathe_request request;
} fixed;

static lathe_code write_fixed(void *self)
{
    lathe_buf body;
    lathe_error mine;
    lathe_buf_init(&body, SIZE_MAX);
    lathe_error_init(&mine);
    lathe_code code = lathe_request_write(&((fixed *)self)->request, &body, &mine);
    lathe_buf_clear(&body);
    lathe_error_clear(&mine);
    return code;
}

TEST(memory_and_host)
{
    json_t *good = host_value("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                              "\"a long text that makes the body grow more than once, and then "
                              "some more of it so that it really does\"}]}]");
    json_t *bad = host_value("[{\"role\":\"tool\",\"content\":[]}]");
    fixed it = {{.verb = LATHE_IMPROVE, .source = host_source(), .messages = good}};
    alloc_try_each(write_fixed, &it, LATHE_OK);
    host_try_each(write_fixed, &it, LATHE_OK);
    it.request.messages = bad;
    alloc_try_each(write_fixed, &it, LATHE_INVALID_REQUEST);
    json_decref(good);
    json_decref(bad);
}

TESTS(ENTRY(bodies), ENTRY(every_fault_at_once), ENTRY(model_is_measured_in_characters),
      ENTRY(names), ENTRY(memory_and_host))
