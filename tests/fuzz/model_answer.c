/* Answers of a Messages API: any body is read or refused, and the sections that are found are those
 * of a second implementation. The same body then answers a whole verb, twice: what comes of it has
 * the documented shape, an improved prompt the variables of its original, and a template renders
 * back. */
#include "model_answer.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "support.h"
#include "support_alloc.h"
#include "task.h"

static const char *const names[] = {"result_prompt", "result_prefill", "result_examples",
                                    "result_variables"};

/* ---- The second implementation --------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c && strchr(" \t\n\v\f\r", c);
}

static lathe_text trim(const char *begin, const char *end)
{
    for (; begin < end && is_blank(*begin); begin++)
        continue;
    for (; begin < end && is_blank(end[-1]); end--)
        continue;
    return (lathe_text){begin, (size_t)(end - begin)};
}

static bool is_at(lathe_text text, size_t at, const char *mark)
{
    size_t size = strlen(mark);
    return at + size <= text.size && !memcmp(text.data + at, mark, size);
}

/* Where a section opens: at the beginning of a line, else anywhere; SIZE_MAX: nowhere. */
static size_t opening(lathe_text text, const char *mark, size_t from, bool *line)
{
    size_t any = SIZE_MAX;
    for (size_t at = from; at < text.size; at++) {
        if (!is_at(text, at, mark))
            continue;
        *line = !at || text.data[at - 1] == '\n';
        if (*line)
            return at;
        any = any == SIZE_MAX ? at : any;
    }
    return any;
}

/* How often a mark stands behind a place, and where first. */
static size_t count(lathe_text text, const char *mark, size_t from, size_t *first)
{
    size_t times = 0;
    for (size_t at = from; at < text.size; at++)
        if (is_at(text, at, mark) && !times++)
            *first = at;
    return times;
}

static bool expected_section(lathe_text text, const char *name, lathe_text *section)
{
    char open[64], close[64];
    bool line = false, again = false;
    size_t end = 0;
    strcat(strcat(strcpy(open, "<"), name), ">");
    strcat(strcat(strcpy(close, "</"), name), ">");
    size_t begin = opening(text, open, 0, &line);
    if (begin == SIZE_MAX || count(text, close, begin, &end) != 1)
        return false;
    size_t second = opening(text, open, begin + 1, &again);
    if (second < end && again)
        return false;
    *section = trim(text.data + begin + strlen(open), text.data + end);
    return true;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void check_section(const lathe_model_answer *answer, const char *name)
{
    lathe_text got = {NULL, 0}, expected = {NULL, 0};
    bool there = lathe_model_answer_section(answer, name, &got), wanted;
    const json_t *object = answer->members ? answer->members : answer->amid;
    const json_t *member = json_object_get(object, name);
    wanted = !answer->members && expected_section(answer->spoken, name, &expected);
    if (!wanted && json_is_string(member)) {
        wanted = true;
        expected =
            trim(json_string_value(member), json_string_value(member) + json_string_length(member));
    }
    MUST(there == wanted);
    MUST(!there || fuzz_same(got, expected));
    json_t *value;
    MUST(lathe_model_answer_json(answer, name, &value) == LATHE_OK);
    MUST(!value || there || member);
    json_decref(value);
}

static void check_answer(const lathe_model_answer *answer)
{
    lathe_text text = {answer->text.data, answer->text.size};
    MUST(json_is_object(answer->root) && fuzz_is_text(text));
    MUST(answer->spoken.size <= text.size);
    MUST(!answer->spoken.size || fuzz_has(text, answer->spoken.data, answer->spoken.size));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_section(answer, names[i]);
}

static void check_body(lathe_text body, unsigned order)
{
    lathe_model_answer answer;
    lathe_error error;
    lathe_error_init(&error);
    fuzz_arm(order);
    lathe_code code = lathe_model_answer_read(&answer, body.data, body.size, &error);
    MUST(!fuzz_disarm() || code == LATHE_MEMORY);
    MUST(order || !code || code == LATHE_RESPONSE_VALIDATION);
    fuzz_check_error(&error, code);
    if (!code)
        check_answer(&answer);
    lathe_model_answer_clear(&answer);
    lathe_error_clear(&error);
}

/* ---- A whole verb ---------------------------------------------------------------------------- */

#define MESSAGES                                                                                   \
    "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi {{A}}, hello " \
    "hello\"}]}]"

static const char *const inputs[] = {"{\"task\":\"a chef\"}", "{" MESSAGES "}", "{" MESSAGES "}"};

static lathe_task *task_of(lathe_verb verb, unsigned mode, unsigned order)
{
    static lathe_instructions *instructions;
    lathe_error error;
    lathe_error_init(&error);
    if (!instructions)
        MUST(!lathe_instructions_load(NULL, &instructions, &error));
    lathe_options options;
    lathe_options_init(&options);
    options.model = "m";
    options.max_tokens = 9;
    options.effort = mode & 8 ? LATHE_EFFORT_THOROUGH : LATHE_EFFORT_FAST;
    options.on_variable_change = LATHE_CHANGE_RAISE;
    lathe_buf body;
    lathe_buf_init(&body, SIZE_MAX / 2);
    MUST(!lathe_buf_string(&body, inputs[verb]));
    fuzz_arm(order);
    lathe_task *task = lathe_task_new(verb, &body, &options, instructions, mode & 16);
    MUST(!fuzz_disarm() == (task != NULL));
    lathe_buf_clear(&body);
    return task;
}

static json_t *build(lathe_code code, lathe_jansson_builder *builder)
{
    MUST(!code);
    json_t *value = lathe_jansson_builder_take(builder);
    lathe_jansson_builder_clear(builder);
    return value;
}

static void check_variables(const json_t *result)
{
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    json_t *found = build(lathe_template_variables(&source, result, &sink, &error), &builder);
    MUST(json_array_size(found) == 1);
    MUST(!strcmp(json_string_value(json_array_get(found, 0)), "A"));
    json_decref(found);
}

static void check_trip(const json_t *result)
{
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    json_t *input = json_loads(inputs[LATHE_TEMPLATIZE], 0, NULL);
    json_t *found = build(lathe_round_trip_check(&source, json_object_get(input, "messages"), NULL,
                                                 result, &sink, &error),
                          &builder);
    MUST(!json_array_size(found));
    json_decref(found);
    json_decref(input);
}

static void check_result(lathe_verb verb, const lathe_response *response)
{
    json_t *result = json_loadb(response->body, response->body_size, JSON_ALLOW_NUL, NULL);
    json_t *notes = json_loads(response->notes, JSON_ALLOW_NUL, NULL);
    MUST(json_is_array(json_object_get(result, "messages")) && json_is_array(notes));
    MUST(json_is_string(json_object_get(result, "system")));
    MUST(json_is_object(json_object_get(result, "usage")));
    MUST(response->answers && response->instructions && !response->warning);
    if (verb == LATHE_IMPROVE)
        check_variables(result);
    if (verb == LATHE_TEMPLATIZE)
        check_trip(result);
    json_decref(notes);
    json_decref(result);
}

/* Whether more is to be sent. */
static bool answer_task(lathe_task *task, lathe_verb verb, lathe_text body, unsigned order)
{
    lathe_error error;
    lathe_buf request;
    bool more = false;
    lathe_error_init(&error);
    lathe_buf_init(&request, SIZE_MAX / 2);
    MUST(!lathe_task_write(task, &request));
    lathe_response *response = lathe_calloc(1, sizeof *response);
    MUST(response && (response->body = lathe_copy(body.data, body.size)));
    response->body_size = body.size;
    response->status = 200;
    fuzz_arm(order);
    lathe_code code = lathe_task_take(task, response, &more, &error);
    MUST(!fuzz_disarm() || code == LATHE_MEMORY);
    fuzz_check_error(&error, code);
    MUST(!code || code == LATHE_RESPONSE_VALIDATION || code == LATHE_MODEL_ANSWER ||
         code == LATHE_VARIABLES_CHANGED || (order && code == LATHE_MEMORY));
    if (!code && !more)
        check_result(verb, response);
    lathe_response_free(response);
    lathe_buf_clear(&request);
    lathe_error_clear(&error);
    return !code && more;
}

static void check_verb(lathe_verb verb, lathe_text body, unsigned mode, unsigned order)
{
    lathe_task *task = task_of(verb, mode, 0);
    bool more = true;
    for (int i = 0; i < 8 && more; i++)
        more = answer_task(task, verb, body, i == 1 ? order : 0);
    MUST(!more);
    lathe_task_free(task);
    lathe_task_free(task_of(verb, mode, order));
}

/* What the model says, in a body. */
static lathe_text body_with(lathe_text text, char **dumped)
{
    json_t *said = fuzz_json_string((lathe_text){text.data, fuzz_text_prefix(text)});
    json_t *body = json_pack("{s:[{s:s,s:o}],s:{s:i,s:f}}", "content", "type", "text", "text", said,
                             "usage", "input_tokens", 3, "cost", 0.5);
    *dumped = json_dumps(body, JSON_COMPACT);
    MUST(*dumped != NULL);
    json_decref(body);
    return (lathe_text){*dumped, strlen(*dumped)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), mode = fuzz_byte(&input);
    lathe_task_free(task_of(LATHE_GENERATE, 0, 0)); /* the instructions are made once */
    size_t before = alloc_blocks();
    lathe_text rest = fuzz_rest(&input);
    char *copy = NULL;
    lathe_text body = rest;
    if (mode & 1) {
        body = body_with(rest, &copy);
    } else {
        copy = fuzz_copy(rest);
        body.data = copy;
    }
    check_body(body, 0);
    check_body(body, order);
    check_verb((lathe_verb)((mode >> 1) % 3), body, mode, order);
    if (mode & 1) {
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        release(copy);
    } else {
        free(copy);
    }
    MUST(alloc_blocks() == before);
    return 0;
}
