/* Templates from the spans that a model names, by the case files spans*.json: a `prompt` (a text,
 * or
 * {"system", "messages": [[role, [text, ...]], ...]}), what is proposed, and the template in the
 * same form, its values in order, and the notes: [code, name, the message or nothing]. Each result
 * renders back. */
#include "spans.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "support_alloc.h"
#include "support_cases.h"
#include "support_prompt.h"
#include "test.h"

/* ---- Prompts --------------------------------------------------------------------------------- */

static json_t *message_of(json_t *pair)
{
    json_t *content = json_array();
    const json_t *texts = json_array_get(pair, 1);
    for (size_t i = 0; i < json_array_size(texts); i++)
        json_array_append_new(
            content, json_pack("{s:s,s:O}", "type", "text", "text", json_array_get(texts, i)));
    return json_pack("{s:O,s:o}", "role", json_array_get(pair, 0), "content", content);
}

/* {"messages", "system"}, the messages in normal form. */
static json_t *prompt_of(json_t *given)
{
    json_t *messages = json_array(), *system = json_object_get(given, "system");
    const json_t *pairs = json_object_get(given, "messages");
    if (json_is_string(given))
        json_array_append_new(messages, json_pack("{s:s,s:[{s:s,s:O}]}", "role", "user", "content",
                                                  "type", "text", "text", given));
    for (size_t i = 0; i < json_array_size(pairs); i++)
        json_array_append_new(messages, message_of(json_array_get(pairs, i)));
    return json_pack("{s:o,s:o}", "messages", messages, "system",
                     system ? json_incref(system) : json_string(""));
}

/* ---- The cases ------------------------------------------------------------------------------- */

static void check_dump(const json_t *value, const json_t *expected)
{
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    char *got = json_dumps(value, JSON_COMPACT), *want = json_dumps(expected, JSON_COMPACT);
    CHECK_STRING(got, want);
    CHECK(got && want);
    release(got);
    release(want);
}

static void check_note(const json_t *note, const json_t *expected, const json_t *spans)
{
    const json_t *message = json_array_get(expected, 2);
    bool proposed = false;
    CHECK(json_equal(json_object_get(note, "code"), json_array_get(expected, 0)));
    CHECK(json_equal(json_object_get(note, "name"), json_array_get(expected, 1)));
    CHECK(!message || json_equal(json_object_get(note, "message"), message));
    CHECK(json_string_length(json_object_get(note, "message")) > 0);
    for (size_t i = 0; i < json_array_size(spans); i++)
        proposed |= json_equal(json_object_get(json_array_get(spans, i), "text"),
                               json_object_get(note, "text"));
    CHECK(proposed);
    CHECK_INT(json_object_size(note), 4);
}

static void check_case(json_t *item)
{
    json_t *prompt = prompt_of(json_object_get(item, "prompt")), *made = json_deep_copy(prompt);
    json_t *expected = prompt_of(json_object_get(item, "template")), *notes = json_array();
    const json_t *spans = json_object_get(item, "spans"), *wanted = json_object_get(item, "notes");
    json_t *variables = prompt_variables(prompt);
    json_object_set(expected, "variable_values", json_object_get(item, "values"));
    CHECK(lathe_spans_valid(spans));
    CHECK_CODE(lathe_spans_replace(made, spans, variables, notes), LATHE_OK);
    check_dump(made, expected);
    CHECK(prompt_renders_back(prompt, made));
    CHECK_INT(json_array_size(notes), json_array_size(wanted));
    for (size_t i = 0; i < json_array_size(notes); i++)
        check_note(json_array_get(notes, i), json_array_get(wanted, i), spans);
    json_t *const all[] = {prompt, made, expected, notes, variables};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        json_decref(all[i]);
}

TEST(case_files)
{
    cases_each("spans", check_case);
}

TEST(what_is_no_list_of_spans)
{
    static const char *const texts[] = {"{}",
                                        "null",
                                        "\"a\"",
                                        "{\"name\": \"A\", \"text\": \"x\"}",
                                        "[1]",
                                        "[[]]",
                                        "[null]",
                                        "[{}]",
                                        "[{\"name\": \"A\"}]",
                                        "[{\"text\": \"x\"}]",
                                        "[{\"name\": 5, \"text\": \"x\"}]",
                                        "[{\"name\": \"A\", \"text\": null}]",
                                        "[{\"name\": \"A\", \"text\": \"x\"}, {}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *value = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        test_context("%s", texts[i]);
        CHECK(value && !lathe_spans_valid(value));
        json_decref(value);
    }
    CHECK(!lathe_spans_valid(NULL));
    json_t *more = json_pack("[{s:s,s:s,s:i}]", "name", "A", "text", "x", "why", 5);
    CHECK(lathe_spans_valid(more));
    json_decref(more);
}

/* ---- As many as there may be ----------------------------------------------------------------- */

static void add_number(json_t *spans, lathe_buf *text, int number)
{
    char name[16], value[16];
    snprintf(name, sizeof name, "N%d", number);
    snprintf(value, sizeof value, "%d", number);
    json_array_append_new(spans, json_pack("{s:s,s:s}", "name", name, "text", value));
    CHECK_CODE(lathe_buf_printf(text, "%s ", value), LATHE_OK);
}

TEST(no_more_than_256)
{
    json_t *spans = json_array(), *notes = json_array(), *none = json_array();
    lathe_buf text;
    lathe_buf_init(&text, SIZE_MAX / 2);
    for (int i = 1; i <= LATHE_SPANS_MOST + 2; i++)
        add_number(spans, &text, i);
    json_array_append(spans, json_array_get(spans, 0)); /* known already: that is no more */
    json_t *whole = json_stringn(text.data, text.size), *prompt = prompt_of(whole);
    json_t *made = json_deep_copy(prompt);
    CHECK_CODE(lathe_spans_replace(made, spans, none, notes), LATHE_OK);
    CHECK_INT(json_object_size(json_object_get(made, "variable_values")), LATHE_SPANS_MOST);
    CHECK_INT(json_array_size(notes), 2);
    for (size_t i = 0; i < 2; i++)
        CHECK_STRING(json_string_value(json_object_get(json_array_get(notes, i), "code")),
                     "too_many");
    CHECK(prompt_renders_back(prompt, made));
    lathe_buf_clear(&text);
    json_t *const all[] = {spans, notes, none, whole, prompt, made};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        json_decref(all[i]);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

typedef struct arguments {
    const json_t *prompt, *spans, *variables;
} arguments;

static lathe_code replace(void *self)
{
    const arguments *args = self;
    json_t *made = json_deep_copy(args->prompt), *notes = json_array();
    lathe_code code = made && notes ? lathe_spans_replace(made, args->spans, args->variables, notes)
                                    : LATHE_MEMORY;
    json_decref(made);
    json_decref(notes);
    return code;
}

TEST(memory)
{
    static const char text[] =
        "{\"system\": \"{{X}} a\", \"messages\": [[\"user\", [\"b\", \"c\"]]]}";
    json_t *given = json_loads(text, 0, NULL), *prompt = prompt_of(given);
    json_t *spans = json_pack("[{s:s,s:s},{s:s,s:s},{s:s,s:s}]", "name", "X", "text", "a", "name",
                              "Y", "text", "b", "name", "Z", "text", "not there");
    arguments args = {prompt, spans, prompt_variables(prompt)};
    alloc_try_each(replace, &args, LATHE_OK);
    json_decref((json_t *)(uintptr_t)args.variables);
    json_decref(spans);
    json_decref(prompt);
    json_decref(given);
}

TESTS(ENTRY(case_files), ENTRY(what_is_no_list_of_spans), ENTRY(no_more_than_256), ENTRY(memory))
