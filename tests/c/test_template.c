/* Finding and rendering variables. */
#include "template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"

static lathe_code find(const json_t *prompt, host_builder *builder, lathe_error *error)
{
    lathe_source source = host_source();
    lathe_error_init(error);
    host_builder_init(builder, true);
    return lathe_template_variables(&source, prompt, &builder->sink, error);
}

static lathe_code render(const json_t *prompt, const json_t *values, bool partial,
                         host_builder *builder, lathe_error *error)
{
    lathe_source source = host_source();
    lathe_error_init(error);
    host_builder_init(builder, true);
    return lathe_template_render(&source, prompt, values, partial, &builder->sink, error);
}

static void done(host_builder *builder, lathe_error *error)
{
    host_builder_clear(builder);
    lathe_error_clear(error);
}

static void check_found(const json_t *prompt, const json_t *item)
{
    const json_t *expected = json_object_get(item, "variables");
    host_builder builder;
    lathe_error error;
    lathe_code code = find(prompt, &builder, &error);
    if (json_is_array(expected)) {
        CHECK_CODE(code, LATHE_OK);
        cases_check_built(&builder.inner, expected);
    } else {
        CHECK_CODE(code, LATHE_INVALID_REQUEST);
        cases_check_faults(&error.faults, json_object_get(item, "errors"));
    }
    done(&builder, &error);
}

static void check_missing(const lathe_error *error, const json_t *names)
{
    CHECK_INT(error->name_count, json_array_size(names));
    for (size_t i = 0; i < error->name_count && i < json_array_size(names); i++) {
        CHECK_STRING(error->names[i], json_string_value(json_array_get(names, i)));
        CHECK(strstr(error->message, error->names[i]));
    }
}

static void check_rendered(const json_t *prompt, const json_t *item)
{
    const json_t *rendered = json_object_get(item, "rendered");
    const json_t *missing = json_object_get(item, "missing");
    const json_t *errors = json_object_get(item, "errors");
    bool partial = json_is_true(json_object_get(item, "partial"));
    host_builder builder;
    lathe_error error;
    lathe_code code = render(prompt, json_object_get(item, "values"), partial, &builder, &error);
    CHECK_CODE(code, missing ? LATHE_MISSING_VARIABLE : errors ? LATHE_INVALID_REQUEST : LATHE_OK);
    CHECK_CODE(error.code, code);
    check_missing(&error, missing);
    cases_check_faults(&error.faults, errors);
    if (!code)
        cases_check_built(&builder.inner, rendered);
    done(&builder, &error);
}

static void check_text(json_t *item)
{
    check_found(json_object_get(item, "template"), item);
    check_rendered(json_object_get(item, "template"), item);
}

static void check_prompt(json_t *item)
{
    check_found(json_object_get(item, "prompt"), item);
    check_rendered(json_object_get(item, "prompt"), item);
}

TEST(published_cases_hold)
{
    cases_each("templates", check_text);
}

TEST(messages_and_responses)
{
    cases_each("renders", check_prompt);
}

/* The first fault of rendering with no values, partially: "path code", or "" when there is none. */
static void expect_fault(json_t *prompt, const char *expected)
{
    json_t *values = json_object();
    host_builder builder;
    lathe_error error;
    char got[300] = "";
    lathe_code code = render(prompt, values, true, &builder, &error);
    if (error.faults.count)
        snprintf(got, sizeof got, "%s %s", error.faults.items[0].path, error.faults.items[0].code);
    CHECK_STRING(got, expected);
    CHECK_CODE(code, *expected ? LATHE_INVALID_REQUEST : LATHE_OK);
    done(&builder, &error);
    json_decref(values);
    json_decref(prompt);
}

TEST(text_without_a_utf8_form)
{
    expect_fault(host_value("\"\\uffff\""), "prompt not_unicode");
    expect_fault(host_value("[{\"content\":\"\\uffff\"}]"), "messages.0.content not_unicode");
    expect_fault(host_value("[{\"content\":[{\"type\":\"text\",\"text\":\"\\uffff\"}]}]"),
                 "messages.0.content.0.text not_unicode");
    expect_fault(host_value("{\"system\":\"\\uffff\",\"messages\":[]}"), "system not_unicode");
    expect_fault(host_value("{\"messages\":[],\"usage\":{\"a\":[\"\\uffff\"]}}"),
                 "usage.a.0 not_unicode");
    expect_fault(host_value("{\"messages\":[],\"usage\":{\"\\uffff\":1}}"), "usage not_unicode");
    expect_fault(host_value("[{\"content\":[{\"type\":\"\\uffff\",\"text\":\"a\"}]}]"),
                 "messages.0.content.0.type not_unicode");
}

TEST(keys_that_are_no_strings)
{
    expect_fault(host_value("{\"messages\":[],\"#1\":1}"), "prompt wrong_type");
    expect_fault(host_value("{\"messages\":[],\"usage\":{\"#1\":1}}"), "usage wrong_type");
    expect_fault(host_value("[{\"content\":\"a\",\"#1\":1}]"), "messages.0 wrong_type");
}

TEST(values_with_odd_keys_are_ignored)
{
    json_t *prompt = host_value("\"{{A}}\"");
    json_t *values = host_value("{\"#1\":1,\"\\uffff\":\"x\",\"A\":\"a\"}");
    host_builder builder;
    lathe_error error;
    CHECK_CODE(render(prompt, values, false, &builder, &error), LATHE_OK);
    json_t *expected = json_string("a");
    cases_check_built(&builder.inner, expected);
    json_decref(expected);
    done(&builder, &error);
    json_decref(values);
    values = host_value("{\"A\":\"\\uffff\"}");
    CHECK_CODE(render(prompt, values, false, &builder, &error), LATHE_INVALID_REQUEST);
    CHECK_STRING(error.faults.items[0].path, "values.A");
    CHECK_STRING(error.faults.items[0].code, "not_unicode");
    done(&builder, &error);
    CHECK_CODE(render(prompt, NULL, false, &builder, &error), LATHE_INVALID_REQUEST);
    CHECK_STRING(error.faults.items[0].path, "values");
    done(&builder, &error);
    CHECK_CODE(render(NULL, values, false, &builder, &error), LATHE_INVALID_REQUEST);
    CHECK_STRING(error.faults.items[0].path, "prompt");
    done(&builder, &error);
    json_decref(values);
    json_decref(prompt);
}

/* {"messages": [], "deep": [[[...]]]} with `levels` levels in all. */
static json_t *deep_response(int levels)
{
    json_t *value = json_array();
    for (int i = 2; i < levels; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    return json_pack("{s:[], s:o}", "messages", "deep", value);
}

TEST(depth_has_a_limit)
{
    expect_fault(deep_response(LATHE_INPUT_DEPTH), "");
    expect_fault(deep_response(LATHE_INPUT_DEPTH + 1), "deep too_deep");
}

TEST(a_cycle_ends_in_a_fault)
{
    json_t *cycle = json_array(), *prompt = json_pack("{s:[], s:O}", "messages", "loop", cycle);
    json_array_append(cycle, prompt);
    json_array_append(cycle, cycle);
    json_array_append(cycle, prompt);
    json_incref(prompt);
    expect_fault(prompt, "loop too_deep");
    json_array_clear(cycle);
    json_decref(cycle);
    json_decref(prompt);
}

TEST(a_sink_of_another_host_takes_no_numbers)
{
    static const char *const prompts[] = {"{\"messages\":[],\"a\":null,\"b\":[\"x\"]}",
                                          "{\"messages\":[],\"a\":5}"};
    for (int i = 0; i < 2; i++) {
        json_t *prompt = host_value(prompts[i]), *values = json_object();
        lathe_source source = host_source();
        host_builder builder;
        lathe_error error;
        lathe_error_init(&error);
        host_builder_init(&builder, false);
        CHECK_CODE(lathe_template_render(&source, prompt, values, false, &builder.sink, &error),
                   i ? LATHE_TOO_LARGE : LATHE_OK);
        if (!i)
            cases_check_built(&builder.inner, prompt);
        done(&builder, &error);
        json_decref(values);
        json_decref(prompt);
    }
}

TEST(many_missing_names_are_told_shortly)
{
    enum { COUNT = 30 };
    char text[COUNT * 70] = "";
    for (int i = 0; i < COUNT; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "{{a_name_of_more_than_forty_bytes_0123456789_%d}}", i);
    json_t *prompt = json_string(text), *values = json_object();
    host_builder builder;
    lathe_error error;
    CHECK_CODE(render(prompt, values, false, &builder, &error), LATHE_MISSING_VARIABLE);
    CHECK_INT(error.name_count, COUNT);
    CHECK_STRING(error.names[29], "a_name_of_more_than_forty_bytes_0123456789_29");
    CHECK(strstr(error.message, "and 22 more variables"));
    done(&builder, &error);
    json_decref(values);
    json_decref(prompt);
}

/* Quadratic work on this much would take hours, so a generous limit is enough. */
enum { SIZE = 2 << 20, SECONDS = 20 };

static void find_in(const char *text)
{
    json_t *prompt = json_stringn_nocheck(text, SIZE), *values = json_object();
    host_builder builder;
    lathe_error error;
    clock_t start = clock();
    CHECK_CODE(find(prompt, &builder, &error), LATHE_OK);
    done(&builder, &error);
    CHECK_CODE(render(prompt, values, true, &builder, &error), LATHE_OK);
    CHECK((clock() - start) / CLOCKS_PER_SEC < SECONDS);
    json_t *same = lathe_jansson_builder_take(&builder.inner);
    CHECK(json_equal(same, prompt));
    json_decref(same);
    done(&builder, &error);
    json_decref(values);
    json_decref(prompt);
}

/* `text` filled with `piece`, behind one `beginning`. */
static void find_in_repeated(char *text, const char *beginning, const char *piece)
{
    size_t skip = strlen(beginning), step = strlen(piece);
    memcpy(text, beginning, skip);
    for (size_t at = skip; at < SIZE; at++)
        text[at] = piece[(at - skip) % step];
    test_context("%s and many of %s", beginning, piece);
    find_in(text);
    test_context(NULL);
}

TEST(hostile_text_takes_linear_time)
{
    static const char *const pieces[] = {"{",     "{{A",     "{{ ", "{{A ",      "{{{A}", "{{A}",
                                         "{{A}}", "{{ \t A", "}}",  "{{{{A}}}}", " ",     "A"};
    char *text = malloc(SIZE);
    REQUIRE(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        find_in_repeated(text, "", pieces[i]);
        find_in_repeated(text, "{{A", pieces[i]);
    }
    free(text);
}

TEST(many_distinct_variables)
{
    enum { COUNT = 100000 };
    char *text = malloc(COUNT * 16), *at = text;
    REQUIRE(text);
    json_t *values = json_object(), *names = json_array();
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "V%d", i);
        at += sprintf(at, "{{%s}}", name);
        json_object_set_new(values, name, json_string("ab"));
        json_array_append_new(names, json_string(name));
    }
    json_t *prompt = json_string(text);
    host_builder builder;
    lathe_error error;
    clock_t start = clock();
    CHECK_CODE(find(prompt, &builder, &error), LATHE_OK);
    json_t *found = lathe_jansson_builder_take(&builder.inner);
    CHECK(json_equal(found, names));
    json_decref(found);
    done(&builder, &error);
    CHECK_CODE(render(prompt, values, false, &builder, &error), LATHE_OK);
    json_t *rendered = lathe_jansson_builder_take(&builder.inner);
    CHECK_INT(json_string_length(rendered), COUNT * 2);
    json_decref(rendered);
    done(&builder, &error);
    CHECK((clock() - start) / CLOCKS_PER_SEC < SECONDS);
    json_decref(prompt);
    json_decref(names);
    json_decref(values);
    free(text);
}

/* Texts of their exact size, so that a look behind the end is seen. Each noise but the first sends
 * a search for two braces another way. */
TEST(a_variable_is_found_at_every_place)
{
    static const char *const noises[] = {
        "x", "{", "{x", "{z", "{{}}", "{{{ x", "{abcdefghijklmnopqrstuvw"};
    enum { SIZE_MOST = 400, PLACES = 100, VARIABLE = 5 };
    for (size_t n = 0; n < sizeof noises / sizeof *noises; n++)
        for (size_t size = VARIABLE; size < SIZE_MOST; size += size < PLACES ? 1 : 37)
            for (size_t place = 0; place + VARIABLE <= size; place++) {
                test_context("noise %zu, size %zu, place %zu", n, size, place);
                char *data = malloc(size);
                REQUIRE(data);
                for (size_t i = 0; i < size; i++)
                    data[i] = noises[n][i % strlen(noises[n])];
                memcpy(data + place, "{{A}}", VARIABLE);
                lathe_text text = {data, size};
                lathe_variable found = {0};
                CHECK(lathe_next_variable(text, 0, &found));
                CHECK_INT(found.start, place);
                CHECK_INT(found.end, place + VARIABLE);
                CHECK(!lathe_next_variable(text, found.end, &found));
                free(data);
            }
    test_context(NULL);
}

/* What a variable is, found by trying every place and every length. */
static bool plain_variable(const char *text, size_t size, size_t start, size_t *end)
{
    size_t at = start + 2;
    if (size - start < 5 || memcmp(text + start, "{{", 2) != 0)
        return false;
    while (at < size && (text[at] == ' ' || text[at] == '\t'))
        at++;
    size_t name = at;
    while (at < size && strchr("aZ_", text[at]))
        at++;
    while (at > name && at < size && strchr("aZ_7", text[at]))
        at++;
    if (at == name)
        return false;
    while (at < size && (text[at] == ' ' || text[at] == '\t'))
        at++;
    *end = at + 2;
    return size - at >= 2 && memcmp(text + at, "}}", 2) == 0;
}

TEST(finding_agrees_with_trying_every_place)
{
    static const char alphabet[] = "{{{}}} \taZ_7-";
    unsigned state = 7;
    for (int round = 0; round < 50000; round++) {
        char text[25];
        size_t size = 0;
        for (; size < sizeof text - 1; size++) {
            state = state * 1103515245 + 12345;
            text[size] = alphabet[(state >> 16) % (sizeof alphabet - 1)];
        }
        text[size] = '\0';
        lathe_variable variable;
        size_t from = 0;
        bool more = true;
        for (size_t start = 0; start < size && more; start++) {
            size_t end;
            if (!plain_variable(text, size, start, &end))
                continue;
            more = lathe_next_variable((lathe_text){text, size}, from, &variable);
            if (!CHECK(more && variable.start == start && variable.end == end)) {
                FAIL("in %s", text);
                return;
            }
            from = end;
            start = end - 1;
        }
        if (!CHECK(!lathe_next_variable((lathe_text){text, size}, from, &variable)))
            return;
    }
}

typedef struct render_args {
    json_t *prompt, *values;
} render_args;

static lathe_code render_once(void *self)
{
    const render_args *args = self;
    host_builder builder;
    lathe_error error;
    lathe_code code = render(args->prompt, args->values, false, &builder, &error);
    CHECK_CODE(error.code, code);
    done(&builder, &error);
    return code;
}

static lathe_code find_once(void *self)
{
    const render_args *args = self;
    host_builder builder;
    lathe_error error;
    lathe_code code = find(args->prompt, &builder, &error);
    done(&builder, &error);
    return code;
}

static void try_each(const char *prompt, const char *values, lathe_code found, lathe_code rendered)
{
    render_args args = {host_value(prompt), host_value(values)};
    alloc_try_each(find_once, &args, found);
    host_try_each(find_once, &args, found);
    alloc_try_each(render_once, &args, rendered);
    host_try_each(render_once, &args, rendered);
    json_decref(args.prompt);
    json_decref(args.values);
}

TEST(every_allocation_and_every_callback_fails_once)
{
    try_each("\"{{A}} {{B}} {{C}} {{D}} {{E}} {{F}} {{G}} {{H}} {{I}} {{J}}\"",
             "{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\",\"D\":\"4\",\"E\":\"\",\"F\":\"6\",\"G\":\"7\","
             "\"H\":\"8\",\"I\":\"9\",\"J\":\"0\"}",
             LATHE_OK, LATHE_OK);
    try_each("\"{{A}} {{B}}\"", "{}", LATHE_OK, LATHE_MISSING_VARIABLE);
    try_each("{\"system\":\"{{A}}\",\"messages\":[{\"role\":\"user\",\"content\":\"{{A}}\"},"
             "{\"content\":[{\"type\":\"text\",\"text\":\"{{A}}\"},{\"type\":\"x\"}]}],"
             "\"usage\":[{\"a\":null,\"b\":[1]}]}",
             "{\"A\":\"x\"}", LATHE_OK, LATHE_OK);
    try_each("[{},5,{\"content\":5}]", "[]", LATHE_INVALID_REQUEST, LATHE_INVALID_REQUEST);
}

TESTS(ENTRY(published_cases_hold), ENTRY(messages_and_responses), ENTRY(text_without_a_utf8_form),
      ENTRY(keys_that_are_no_strings), ENTRY(values_with_odd_keys_are_ignored),
      ENTRY(depth_has_a_limit), ENTRY(a_cycle_ends_in_a_fault),
      ENTRY(a_sink_of_another_host_takes_no_numbers), ENTRY(many_missing_names_are_told_shortly),
      ENTRY(hostile_text_takes_linear_time), ENTRY(many_distinct_variables),
      ENTRY(a_variable_is_found_at_every_place), ENTRY(finding_agrees_with_trying_every_place),
      ENTRY(every_allocation_and_every_callback_fails_once))
