/* A success body read and checked; an error body classified. */
#include "response.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "error.h"
#include "headers.h"
#include "support_alloc.h"
#include "test.h"

static lathe_client *client;
static lathe_error error;

static void open_client(void)
{
    lathe_client_options options;
    lathe_client_options_init(&options);
    options.api_key = "sk-test-key";
    options.base_url = "http://127.0.0.1:1";
    lathe_error_init(&error);
    CHECK_CODE(lathe_client_new(&options, &client, &error), LATHE_OK);
}

static void close_client(void)
{
    lathe_error_clear(&error);
    lathe_client_free(client);
}

/* Reads `body` as the answer of a verb; *built is the caller's. */
static lathe_code read_body(lathe_verb verb, const char *body, json_t **built)
{
    lathe_response response = {.verb = verb,
                               .status = 200,
                               .attempts = 2,
                               .body = strdup(body),
                               .body_size = strlen(body),
                               .client = client};
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    lathe_error_clear(&error);
    lathe_code code = lathe_headers_parse(&response.headers, "request-id: r1\n", 15);
    if (!code)
        code = lathe_response_read(&response, &sink, &error);
    *built = code ? NULL : lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    lathe_headers_clear(&response.headers);
    free(response.body);
    return code;
}

#define USER "[{\"role\":\"user\",\"content\":\"x\"}]"
#define REST ",\"system\":\"\",\"usage\":{}}"

TEST(shapes_that_pass)
{
    static const char *const bodies[] = {
        "{\"messages\":" USER REST,
        "{\"messages\":[]" REST,
        "{\"usage\":[{\"a\":1}],\"system\":\"s\",\"messages\":" USER ",\"new\":{\"a\":[1,{}]}}",
        "{\"messages\":[{\"content\":[{\"text\":\"t\",\"type\":\"text\",\"more\":[]}],\"role\":"
        "\"any\",\"id\":null}]" REST,
        "{\"messages\":[{\"role\":\"a\",\"content\":[]}]" REST,
        "{\"messages\":[{\"role\":\"a\",\"content\":[{\"type\":\"image\",\"text\":5}]}]" REST,
        "{\"messages\":[{\"role\":\"a\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]" REST,
        "{\"messages\":" USER ",\"variable_values\":7" REST,
    };
    open_client();
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        json_t *built, *expected = json_loads(bodies[i], JSON_ALLOW_NUL, NULL);
        test_context("%s", bodies[i]);
        CHECK_CODE(read_body(LATHE_GENERATE, bodies[i], &built), LATHE_OK);
        CHECK(built && expected && json_equal(built, expected));
        json_decref(built);
        json_decref(expected);
    }
    close_client();
}

static void check_refused(lathe_verb verb, const char *body, const char *needle)
{
    json_t *built;
    test_context("%s", body);
    CHECK_CODE(read_body(verb, body, &built), LATHE_RESPONSE_VALIDATION);
    if (!strstr(error.message, needle))
        FAIL("\"%s\" is not in \"%s\"", needle, error.message);
    CHECK_STRING(error.request_id, "r1");
    CHECK_INT(error.status, 200);
    CHECK_INT(error.attempts, 2);
    CHECK_STRING(error.body, body);
    test_context(NULL);
}

TEST(shapes_that_do_not)
{
    static const struct {
        const char *body, *needle;
    } rows[] = {
        {"", "JSON"},
        {"<html>", "JSON"},
        {"null", "the body must be an object"},
        {"[]", "the body must be an object"},
        {"\"text\"", "the body must be an object"},
        {"{}", "messages is missing"},
        {"{\"messages\":null" REST, "messages must be a list"},
        {"{\"messages\":{}" REST, "messages must be a list"},
        {"{\"messages\":[1]" REST, "messages.0 must be an object"},
        {"{\"messages\":[[]]" REST, "messages.0 must be an object"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":\"\"},null]" REST,
         "messages.1 must be an object"},
        {"{\"messages\":[{\"content\":\"x\"}]" REST, "messages.0.role is missing"},
        {"{\"messages\":[{\"role\":1,\"content\":\"x\"}]" REST, "messages.0.role must be a string"},
        {"{\"messages\":[{\"role\":\"a\"}]" REST, "messages.0.content is missing"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":{}}]" REST,
         "messages.0.content must be a string or a list"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":[1]}]" REST,
         "messages.0.content.0 must be an object"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":[{},{}]}]" REST,
         "messages.0.content.0.type is missing"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":[{\"type\":null}]}]" REST,
         "messages.0.content.0.type must be a string"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":[{\"type\":\"text\"}]}]" REST,
         "messages.0.content.0.text is missing"},
        {"{\"messages\":[{\"role\":\"a\",\"content\":[{\"text\":{\"a\":[]},\"type\":\"text\"}]}"
         "]" REST,
         "messages.0.content.0.text must be a string"},
        {"{\"messages\":[],\"usage\":{}}", "system is missing"},
        {"{\"messages\":[],\"usage\":{},\"system\":null}", "system must be a string"},
        {"{\"messages\":[],\"system\":\"\"}", "usage is missing"},
        {"{\"messages\":[],\"system\":\"\",\"usage\":3}", "usage must be an object or a list"},
        {"{\"type\":\"error\",\"error\":{\"type\":\"x\"}}", "error of the service"},
    };
    open_client();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_refused(LATHE_IMPROVE, rows[i].body, rows[i].needle);
    check_refused(LATHE_TEMPLATIZE, "{\"messages\":[]" REST, "variable_values is missing");
    check_refused(LATHE_TEMPLATIZE, "{\"messages\":[],\"variable_values\":[]" REST,
                  "variable_values must be an object");
    check_refused(LATHE_TEMPLATIZE, "{\"messages\":[],\"variable_values\":{\"A\":1}" REST,
                  "variable_values.(a value) must be a string");
    close_client();
}

TEST(unusable_answer_does_not_carry_the_key)
{
    json_t *built;
    open_client();
    CHECK_CODE(read_body(LATHE_GENERATE, "<p>sk-test-key", &built), LATHE_RESPONSE_VALIDATION);
    CHECK_STRING(error.body, "<p>***********");
    close_client();
}

static void refuse(int status, const char *raw, const char *body, const char *sent, bool vendor,
                   lathe_refusal *refusal)
{
    lathe_headers headers;
    const lathe_text body_sent = {sent, strlen(sent)};
    *refusal = (lathe_refusal){.vendor_host = vendor};
    lathe_error_clear(&error);
    CHECK_CODE(lathe_headers_parse(&headers, raw, strlen(raw)), LATHE_OK);
    lathe_response_refuse(&error, status, &headers, body, strlen(body), refusal);
    lathe_response_describe(&error, &body_sent);
    lathe_headers_clear(&headers);
}

TEST(classes)
{
    static const struct {
        int status;
        lathe_code code;
    } rows[] = {{300, LATHE_STATUS},          {307, LATHE_STATUS},
                {400, LATHE_BAD_REQUEST},     {401, LATHE_AUTHENTICATION},
                {402, LATHE_STATUS},          {403, LATHE_PERMISSION_DENIED},
                {404, LATHE_NOT_FOUND},       {409, LATHE_CONFLICT},
                {410, LATHE_STATUS},          {413, LATHE_REQUEST_TOO_LARGE},
                {418, LATHE_STATUS},          {422, LATHE_UNPROCESSABLE},
                {429, LATHE_RATE_LIMIT},      {500, LATHE_INTERNAL_SERVER},
                {503, LATHE_INTERNAL_SERVER}, {529, LATHE_OVERLOADED},
                {599, LATHE_INTERNAL_SERVER}};
    lathe_refusal refusal;
    lathe_error_init(&error);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_context("status %d", rows[i].status);
        refuse(rows[i].status, "", "", "", false, &refusal);
        CHECK_CODE(error.code, rows[i].code);
        CHECK_INT(error.status, rows[i].status);
    }
    lathe_error_clear(&error);
}

TEST(what_the_service_said)
{
    static const char body[] =
        "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"task: too "
        "long\"},\"request_id\":\"from-body\"}";
    lathe_refusal refusal;
    lathe_error_init(&error);
    refuse(400, "", body, "{\"task\":\"hello\"}", false, &refusal);
    CHECK_STRING(error.type, "invalid_request_error");
    CHECK_STRING(error.said, "task: too long");
    CHECK_STRING(error.request_id, "from-body");
    CHECK_STRING(error.body, body);
    CHECK(error.body_is_json && strstr(error.message, "task: too long"));
    refuse(400, "request-id: from-header\n", body, "", false, &refusal);
    CHECK_STRING(error.request_id, "from-header");
    refuse(302, "location: https://elsewhere.example/\n", "", "", false, &refusal);
    CHECK_STRING(error.location, "https://elsewhere.example/");
    CHECK(strstr(error.message, "elsewhere.example"));
    lathe_error_clear(&error);
}

TEST(message_is_text_whatever_the_location_is)
{
    lathe_refusal refusal;
    lathe_error_init(&error);
    refuse(302, "location: https://a/\xC3\xA9\xFF/b\n", "", "", false, &refusal);
    CHECK_STRING(error.location, "https://a/\xC3\xA9\xFF/b");
    CHECK(strstr(error.message, "redirects to https://a/\xC3\xA9?/b, and"));
    lathe_error_clear(&error);
}

TEST(message_does_not_quote_the_request)
{
    lathe_refusal refusal;
    lathe_error_init(&error);
    refuse(400, "", "{\"error\":{\"message\":\"bad text: my secret plan\"}}",
           "{\"task\":\"tell my secret plan to no one\"}", false, &refusal);
    CHECK(!strstr(error.message, "secret"));
    CHECK_STRING(error.said, "bad text: my secret plan");
    lathe_error_clear(&error);
}

TEST(odd_error_bodies)
{
    static const char *const bodies[] = {"null",
                                         "[]",
                                         "3",
                                         "\"x\"",
                                         "{\"error\":null}",
                                         "{\"error\":[]}",
                                         "{\"error\":\"text\"}",
                                         "{\"error\":{\"type\":null,\"message\":3}}",
                                         "{\"request_id\":5}",
                                         "<html>",
                                         "{",
                                         "{\"error\":{\"details\":[]}}"};
    lathe_refusal refusal;
    lathe_error_init(&error);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        test_context("%s", bodies[i]);
        refuse(429, "", bodies[i], "", false, &refusal);
        CHECK_CODE(error.code, LATHE_RATE_LIMIT);
        CHECK(!error.type && !error.said && !error.request_id);
        CHECK_INT(error.body_is_json, bodies[i][0] != '<' && strcmp(bodies[i], "{") != 0);
        CHECK_STRING(error.body, bodies[i]);
    }
    lathe_error_clear(&error);
}

TEST(long_bodies_are_cut_between_characters)
{
    enum { SIZE = LATHE_BODY_KEPT + 100 };
    char *body = malloc(SIZE + 1);
    lathe_refusal refusal;
    REQUIRE(body != NULL);
    for (size_t i = 0; i < SIZE; i++)
        body[i] = i % 2 ? '\xA9' : '\xC3';
    body[0] = 'x'; /* so that the cut would fall into a character */
    memmove(body + 1, body + 2, SIZE - 2);
    body[SIZE - 1] = '\0';
    lathe_error_init(&error);
    refuse(500, "", body, "", false, &refusal);
    CHECK(error.body_size <= LATHE_BODY_KEPT && error.body_size >= LATHE_BODY_KEPT - 3);
    CHECK_INT((unsigned char)error.body[error.body_size - 1], 0xA9);
    lathe_error_clear(&error);
    free(body);
}

TEST(spend_limits)
{
    lathe_refusal refusal;
    lathe_error_init(&error);
    refuse(429, "", "{\"error\":{\"details\":{\"error_code\":\"enforced_spend_limit_reached\"}}}",
           "", false, &refusal);
    CHECK(refusal.spend_limit);
    refuse(429, "", "{\"error\":{\"details\":{\"error_code\":\"contract_spend_limit_reached\"}}}",
           "", false, &refusal);
    CHECK(refusal.spend_limit);
    refuse(429, "", "{\"error\":{\"details\":{\"error_code\":\"other\"}}}", "", false, &refusal);
    CHECK(!refusal.spend_limit);
    lathe_error_clear(&error);
}

TEST(retired)
{
    static const char not_found[] = "{\"error\":{\"type\":\"not_found_error\"}}";
    lathe_refusal refusal;
    lathe_error_init(&error);
    refuse(404, "", "", "", true, &refusal);
    CHECK_CODE(error.code, LATHE_ENDPOINT_RETIRED);
    CHECK(strstr(error.message, "2026-08-17"));
    refuse(410, "", "", "", true, &refusal);
    CHECK_CODE(error.code, LATHE_ENDPOINT_RETIRED);
    refuse(400, "", not_found, "", true, &refusal);
    CHECK_CODE(error.code, LATHE_ENDPOINT_RETIRED);
    refuse(400, "", not_found, "", false, &refusal);
    CHECK_CODE(error.code, LATHE_BAD_REQUEST);
    refuse(404, "", "", "", false, &refusal);
    CHECK_CODE(error.code, LATHE_NOT_FOUND);
    lathe_error_clear(&error);
}

static lathe_code read_good(void *self)
{
    json_t *built;
    (void)self;
    lathe_code code = read_body(LATHE_GENERATE, "{\"messages\":" USER REST, &built);
    json_decref(built);
    lathe_error_clear(&error);
    return code;
}

static lathe_code read_bad(void *self)
{
    json_t *built;
    (void)self;
    lathe_code code = read_body(LATHE_GENERATE, "{\"messages\":3}", &built);
    lathe_error_clear(&error);
    return code;
}

TEST(memory)
{
    open_client();
    alloc_try_each(read_good, NULL, LATHE_OK);
    alloc_try_each(read_bad, NULL, LATHE_RESPONSE_VALIDATION);
    close_client();
}

TESTS(ENTRY(shapes_that_pass), ENTRY(shapes_that_do_not),
      ENTRY(unusable_answer_does_not_carry_the_key), ENTRY(classes), ENTRY(what_the_service_said),
      ENTRY(message_is_text_whatever_the_location_is), ENTRY(message_does_not_quote_the_request),
      ENTRY(odd_error_bodies), ENTRY(long_bodies_are_cut_between_characters), ENTRY(spend_limits),
      ENTRY(retired), ENTRY(memory))
