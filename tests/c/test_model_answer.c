/* Answers of a Messages API, by the case files model_answers*.json. A case has a `body` (or `raw`
 * bytes) and `error`, a part of the message, or what it says: its `text`, what is `spoken` without
 * a thought before, its `ending`, and the `sections` and `json` in it, null for what is not there
 * (with `null_is_value`: or is null). */
#include "model_answer.h"

#include <string.h>

#include "support_alloc.h"
#include "support_cases.h"
#include "test.h"

static lathe_error error;

static lathe_text text_of(const json_t *string)
{
    return (lathe_text){json_string_value(string), json_string_length(string)};
}

static lathe_text body_of(const json_t *item, char **dumped)
{
    const json_t *raw = json_object_get(item, "raw");
    *dumped = raw ? NULL : json_dumps(json_object_get(item, "body"), JSON_ENCODE_ANY);
    return raw ? text_of(raw) : (lathe_text){*dumped, strlen(*dumped)};
}

static void free_text(char *text)
{
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
}

/* ---- The cases ------------------------------------------------------------------------------- */

static void check_ending(lathe_ending ending, const json_t *expected)
{
    static const char *const names[] = {"whole", "cut off", "refusal"};
    if (expected)
        CHECK_STRING(names[ending], json_string_value(expected));
}

static void check_text(lathe_text text, const json_t *expected)
{
    if (expected)
        CHECK_BYTES(text.size ? text.data : "", text.size, json_string_value(expected),
                    json_string_length(expected));
}

static void check_sections(const lathe_model_answer *answer, json_t *sections)
{
    const char *name;
    json_t *expected;
    json_object_foreach(sections, name, expected)
    {
        lathe_text section = {NULL, 0};
        bool there = lathe_model_answer_section(answer, name, &section);
        if (CHECK_INT(there, json_is_string(expected)) && there)
            check_text(section, expected);
    }
}

static void check_json(const lathe_model_answer *answer, json_t *sections, bool null_is_value)
{
    const char *name;
    json_t *expected, *value;
    json_object_foreach(sections, name, expected)
    {
        CHECK_CODE(lathe_model_answer_json(answer, name, &value), LATHE_OK);
        if (json_is_null(expected) && !null_is_value)
            CHECK(!value);
        else
            CHECK(json_equal(value, expected));
        json_decref(value);
    }
}

static void check_answer(const lathe_model_answer *answer, const json_t *item)
{
    check_text((lathe_text){answer->text.data, answer->text.size}, json_object_get(item, "text"));
    check_text(answer->spoken, json_object_get(item, "spoken"));
    check_ending(answer->ending, json_object_get(item, "ending"));
    check_sections(answer, json_object_get(item, "sections"));
    check_json(answer, json_object_get(item, "json"),
               json_is_true(json_object_get(item, "null_is_value")));
    CHECK(json_is_object(answer->root));
}

static void check_case(json_t *item)
{
    lathe_model_answer answer;
    char *dumped;
    const json_t *expected = json_object_get(item, "error");
    lathe_text body = body_of(item, &dumped);
    lathe_error_init(&error);
    lathe_code code = lathe_model_answer_read(&answer, body.data, body.size, &error);
    CHECK_CODE(code, expected ? LATHE_RESPONSE_VALIDATION : LATHE_OK);
    if (expected && !strstr(error.message, json_string_value(expected)))
        FAIL("\"%s\" does not say \"%s\"", error.message, json_string_value(expected));
    if (!code)
        check_answer(&answer, item);
    lathe_model_answer_clear(&answer);
    lathe_error_clear(&error);
    free_text(dumped);
}

TEST(case_files)
{
    cases_each("model_answers", check_case);
}

/* ---- What is no data ------------------------------------------------------------------------- */

/* A server that answers with more and more marks costs no more than reading them does. */
TEST(many_marks_are_read_at_once)
{
    enum { TIMES = 200000 };
    static const char mark[] = "<result_prompt>";
    lathe_buf text;
    lathe_model_answer answer = {.ending = LATHE_ENDING_WHOLE};
    lathe_text section;
    lathe_buf_init(&text, SIZE_MAX / 2);
    for (int i = 0; i < TIMES; i++)
        CHECK_CODE(lathe_buf_string(&text, mark), LATHE_OK);
    answer.spoken = (lathe_text){text.data, text.size};
    CHECK(!lathe_model_answer_section(&answer, "result_prompt", &section));
    CHECK_CODE(lathe_buf_string(&text, "</result_prompt>"), LATHE_OK);
    answer.spoken = (lathe_text){text.data, text.size};
    CHECK(lathe_model_answer_section(&answer, "result_prompt", &section));
    CHECK_INT(section.size, (TIMES - 1) * (sizeof mark - 1));
    lathe_buf_clear(&text);
}

static lathe_code read_all(void *body)
{
    lathe_model_answer answer;
    lathe_error mine;
    lathe_text section;
    json_t *value = NULL;
    lathe_error_init(&mine);
    lathe_code code = lathe_model_answer_read(&answer, body, strlen(body), &mine);
    if (!code)
        CHECK(lathe_model_answer_section(&answer, "a", &section));
    if (!code)
        code = lathe_model_answer_json(&answer, "a", &value);
    if (!code)
        CHECK(value);
    json_decref(value);
    lathe_model_answer_clear(&answer);
    lathe_error_clear(&mine);
    return code;
}

TEST(memory)
{
    char marked[] = "{\"content\":[{\"type\":\"text\",\"text\":\"<a>[{\\\"b\\\":1.5}]</a>\"}]}";
    char object[] = "{\"content\":\"{\\\"a\\\":\\\"[true]\\\"}\"}";
    char wrong[] = "{\"content\":[{\"type\":\"text\",\"text\":5}]}";
    alloc_try_each(read_all, marked, LATHE_OK);
    alloc_try_each(read_all, object, LATHE_OK);
    alloc_try_each(read_all, wrong, LATHE_RESPONSE_VALIDATION);
}

TESTS(ENTRY(case_files), ENTRY(many_marks_are_read_at_once), ENTRY(memory))
