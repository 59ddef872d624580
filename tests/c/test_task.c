/* Verbs that a model does, without a network, by the case files tasks*.json. A case has the `verb`,
 * its `input`, options, and the `answers`: a text, a whole body, or {"refused", "body"} for a
 * request that the server refuses, with what lathe_task_refused says. It ends in a `result` with
 * its notes' codes and a warning, or in an `error`. What is `requests` is what is sent: `turns` (a
 * text that is null is not compared), the `system`'s name, the `schema`. The instructions are a
 * folder's, each the name of its file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "support_alloc.h"
#include "support_cases.h"
#include "task_state.h"
#include "test.h"

static lathe_instructions *instructions;

/* ---- The instructions ------------------------------------------------------------------------ */

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.txt", folder, name);
    FILE *file = fopen(path, "wb");
    if (!CHECK(file))
        return;
    fputs(text, file);
    fclose(file);
}

static void instructions_init(void)
{
    char folder[] = "/tmp/instructions-XXXXXX", path[256];
    lathe_error error;
    lathe_error_init(&error);
    CHECK(mkdtemp(folder));
    for (int kind = 0; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        const char *name = lathe_builtin_instructions[kind].name;
        write_text(folder, name, kind == LATHE_INSTRUCTION_AGAIN ? "again: " : name);
    }
    CHECK_CODE(lathe_instructions_load(folder, &instructions, &error), LATHE_OK);
    for (int kind = 0; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        snprintf(path, sizeof path, "%s/%s.txt", folder, lathe_builtin_instructions[kind].name);
        CHECK(!remove(path));
    }
    CHECK(!rmdir(folder));
}

/* ---- A case ---------------------------------------------------------------------------------- */

static const char *string_of(const json_t *item, const char *name)
{
    return json_string_value(json_object_get(item, name));
}

static bool is(const json_t *item, const char *name, const char *value)
{
    const char *given = string_of(item, name);
    return given && !strcmp(given, value);
}

static lathe_verb verb_of(const json_t *item)
{
    return is(item, "verb", "generate")  ? LATHE_GENERATE
           : is(item, "verb", "improve") ? LATHE_IMPROVE
                                         : LATHE_TEMPLATIZE;
}

static lathe_options options_of(const json_t *item)
{
    lathe_options options;
    lathe_options_init(&options);
    options.model = "m-1";
    options.max_tokens = 99;
    options.effort = is(item, "effort", "thorough") ? LATHE_EFFORT_THOROUGH : LATHE_EFFORT_FAST;
    options.on_variable_change = is(item, "on_variable_change", "keep_original") ? LATHE_CHANGE_KEEP
                                 : is(item, "on_variable_change", "warn")        ? LATHE_CHANGE_WARN
                                                                          : LATHE_CHANGE_RAISE;
    return options;
}

static lathe_buf dump(const json_t *value)
{
    lathe_buf text;
    lathe_buf_init(&text, SIZE_MAX / 2);
    if (json_is_string(value))
        CHECK_CODE(lathe_buf_append(&text, json_string_value(value), json_string_length(value)),
                   LATHE_OK);
    else
        CHECK_CODE(lathe_json_dump(value, &text), LATHE_OK);
    return text;
}

/* The body of an answer; those of refusals as they are. */
static lathe_buf body_of(json_t *answer)
{
    if (json_object_get(answer, "refused"))
        return dump(json_object_get(answer, "body"));
    if (!json_is_string(answer))
        return dump(answer);
    json_t *body =
        json_pack("{s:[{s:s,s:O}],s:s,s:{s:i,s:i}}", "content", "type", "text", "text", answer,
                  "stop_reason", "end_turn", "usage", "input_tokens", 1, "output_tokens", 2);
    lathe_buf text = dump(body);
    json_decref(body);
    return text;
}

enum { MOST_ANSWERS = 8 };

typedef struct play {
    const json_t *item;
    lathe_buf input, answers[MOST_ANSWERS];
    size_t count, sent;
    lathe_task *task;
    lathe_buf request;
    lathe_response *response;
    lathe_error error;
    bool silent; /* nothing is checked on the way */
} play;

static void play_init(play *p, const json_t *item)
{
    const json_t *answers = json_object_get(item, "answers");
    *p = (play){.item = item, .count = json_array_size(answers)};
    CHECK(p->count <= MOST_ANSWERS);
    p->input = dump(json_object_get(item, "input"));
    for (size_t i = 0; i < p->count; i++)
        p->answers[i] = body_of(json_array_get(answers, i));
    lathe_buf_init(&p->request, SIZE_MAX / 2);
    lathe_error_init(&p->error);
}

/* So that it can be played again. */
static void play_rewind(play *p)
{
    lathe_task_free(p->task);
    lathe_buf_clear(&p->request);
    lathe_response_free(p->response);
    lathe_error_clear(&p->error);
    p->task = NULL;
    p->response = NULL;
    p->sent = 0;
}

static void play_clear(play *p)
{
    play_rewind(p);
    lathe_buf_clear(&p->input);
    for (size_t i = 0; i < p->count; i++)
        lathe_buf_clear(&p->answers[i]);
}

/* ---- What is sent ---------------------------------------------------------------------------- */

static void check_turns(const json_t *messages, const json_t *turns)
{
    CHECK_INT(json_array_size(messages), json_array_size(turns));
    for (size_t i = 0; i < json_array_size(turns); i++) {
        const json_t *message = json_array_get(messages, i), *turn = json_array_get(turns, i);
        const json_t *text = json_array_get(turn, 1), *sent = json_object_get(message, "content");
        CHECK_STRING(string_of(message, "role"), json_string_value(json_array_get(turn, 0)));
        if (json_is_string(text))
            CHECK_BYTES(json_string_value(sent), json_string_length(sent), json_string_value(text),
                        json_string_length(text));
    }
}

/* What every request is: no prefill, no sampling, no stream, and user and model take turns. */
static void check_form(const play *p, const json_t *request)
{
    const json_t *messages = json_object_get(request, "messages");
    CHECK_STRING(string_of(request, "model"), "m-1");
    CHECK_INT(json_integer_value(json_object_get(request, "max_tokens")), 99);
    CHECK_STRING(string_of(request, "system"),
                 lathe_instructions_text(instructions, p->task->step));
    CHECK_INT(json_object_size(request), json_object_get(request, "output_config") ? 5 : 4);
    CHECK_INT(json_array_size(messages) % 2, 1);
    for (size_t i = 0; i < json_array_size(messages); i++)
        CHECK_STRING(string_of(json_array_get(messages, i), "role"), i % 2 ? "assistant" : "user");
}

static void check_schema(const json_t *request, const json_t *expected)
{
    const json_t *config = json_object_get(request, "output_config");
    const json_t *format = json_object_get(config, "format");
    if (json_is_null(expected)) {
        CHECK(!config);
        return;
    }
    CHECK_INT(json_object_size(config), 1);
    CHECK_STRING(string_of(format, "type"), "json_schema");
    CHECK(json_equal(json_object_get(format, "schema"), expected));
}

static void check_request(const play *p)
{
    const json_t *expected = json_array_get(json_object_get(p->item, "requests"), p->sent);
    json_t *request = json_loadb(p->request.data, p->request.size, JSON_ALLOW_NUL, NULL);
    if (!CHECK(request))
        return;
    check_form(p, request);
    if (json_object_get(expected, "system"))
        CHECK_STRING(string_of(request, "system"), string_of(expected, "system"));
    if (json_object_get(expected, "turns"))
        check_turns(json_object_get(request, "messages"), json_object_get(expected, "turns"));
    if (json_object_get(expected, "schema"))
        check_schema(request, json_object_get(expected, "schema"));
    json_decref(request);
}

/* ---- Playing --------------------------------------------------------------------------------- */

static lathe_code give_answer(play *p, const lathe_buf *body, bool *more)
{
    lathe_response_free(p->response);
    p->response = lathe_calloc(1, sizeof *p->response);
    if (!p->response || !(p->response->body = lathe_copy(body->data, body->size)))
        return LATHE_MEMORY;
    p->response->body_size = body->size;
    p->response->status = 200;
    return lathe_task_take(p->task, p->response, more, &p->error);
}

static lathe_code send_one(play *p, bool *more)
{
    const json_t *answers = json_object_get(p->item, "answers");
    const json_t *refused = json_object_get(json_array_get(answers, p->sent), "refused");
    if (lathe_task_write(p->task, &p->request))
        return LATHE_MEMORY;
    if (!p->silent)
        check_request(p);
    const lathe_buf *body = &p->answers[p->sent++];
    *more = true;
    if (!refused)
        return give_answer(p, body, more);
    CHECK_INT(lathe_task_refused(p->task, body->data, body->size), json_is_true(refused));
    CHECK(!lathe_task_knows_no_schema(p->task)); /* another request may fail as well */
    return LATHE_OK;
}

/* The end: LATHE_OK, or the error's code. */
static lathe_code play_all(void *self)
{
    play *p = self;
    bool more = true;
    const lathe_options options = options_of(p->item);
    play_rewind(p);
    p->task = lathe_task_new(verb_of(p->item), &p->input, &options, instructions,
                             json_is_true(json_object_get(p->item, "schema")));
    lathe_code code = p->task ? LATHE_OK : LATHE_MEMORY;
    if (!code && json_object_get(p->item, "takes_prefill"))
        p->task->takes_prefill = true; /* whatever the model is called */
    while (!code && more && p->sent < p->count)
        code = send_one(p, &more);
    if (!code && !p->silent)
        CHECK(!more);
    return code;
}

/* ---- What comes of it ------------------------------------------------------------------------ */

static json_t *load(const char *text)
{
    json_t *value = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    CHECK(value);
    return value;
}

static void check_notes(const json_t *notes, const json_t *codes)
{
    CHECK_INT(json_array_size(notes), json_array_size(codes));
    for (size_t i = 0; i < json_array_size(notes); i++) {
        const json_t *note = json_array_get(notes, i);
        CHECK_STRING(string_of(note, "code"), json_string_value(json_array_get(codes, i)));
        CHECK(string_of(note, "message"));
    }
}

/* All answers that could be read, as they came. */
static void check_answers(const play *p, const json_t *answers)
{
    size_t count = 0;
    for (size_t i = 0; i < p->sent; i++) {
        const json_t *given = json_array_get(json_object_get(p->item, "answers"), i);
        if (json_object_get(given, "refused"))
            continue;
        json_t *body = json_loadb(p->answers[i].data, p->answers[i].size, JSON_ALLOW_NUL, NULL);
        CHECK(json_equal(json_array_get(answers, count++), body));
        json_decref(body);
    }
    CHECK_INT(json_array_size(answers), count);
}

static void check_result(const play *p, const json_t *expected)
{
    const lathe_response *response = p->response;
    json_t *body = json_loadb(response->body, response->body_size, JSON_ALLOW_NUL, NULL);
    json_t *notes = load(response->notes), *answers = load(response->answers);
    CHECK(body);
    if (!json_equal(body, expected))
        FAIL("the result is %s", response->body);
    check_notes(notes, json_object_get(p->item, "notes"));
    check_answers(p, answers);
    CHECK_STRING(response->instructions, "version");
    CHECK_STRING(response->warning, string_of(p->item, "warning"));
    json_decref(answers);
    json_decref(notes);
    json_decref(body);
}

static void check_names(char **names, size_t count, const json_t *expected)
{
    CHECK_INT(count, json_array_size(expected));
    for (size_t i = 0; i < count && i < json_array_size(expected); i++)
        CHECK_STRING(names[i], json_string_value(json_array_get(expected, i)));
}

static void check_answer_error(const lathe_error *error, const json_t *expected)
{
    const char *answer = string_of(expected, "answer");
    json_t *usage = load(error->usage);
    CHECK(json_equal(usage, json_object_get(expected, "usage")));
    CHECK_STRING(error->type, string_of(expected, "type"));
    CHECK(error->answer);
    if (answer)
        CHECK_BYTES(error->answer, error->answer_size, answer, strlen(answer));
    json_decref(usage);
}

static void check_error(const play *p, const json_t *expected)
{
    const lathe_error *error = &p->error;
    const lathe_buf *body = &p->answers[p->sent - 1];
    CHECK_STRING(lathe_code_name(error->code), string_of(expected, "code"));
    if (!strstr(error->message, string_of(expected, "message")))
        FAIL("\"%s\" does not say \"%s\"", error->message, string_of(expected, "message"));
    CHECK(!strstr(error->message, "SECRET")); /* nothing of what the model wrote */
    CHECK_INT(error->status, 200);
    CHECK_BYTES(error->body, error->body_size, body->data, body->size);
    check_names(error->names, error->name_count, json_object_get(expected, "names"));
    check_names(error->won, error->won_count, json_object_get(expected, "won"));
    if (error->code != LATHE_RESPONSE_VALIDATION)
        check_answer_error(error, expected);
}

static void check_case(json_t *item)
{
    play p;
    const json_t *error = json_object_get(item, "error");
    play_init(&p, item);
    lathe_code code = play_all(&p);
    CHECK_INT(p.sent, p.count);
    if (error)
        check_error(&p, error);
    else if (CHECK_CODE(code, LATHE_OK))
        check_result(&p, json_object_get(item, "result"));
    CHECK_INT(p.task && lathe_task_knows_no_schema(p.task),
              json_is_true(json_object_get(item, "no_schema")));
    play_clear(&p);
}

TEST(case_files)
{
    instructions_init();
    cases_each("tasks", check_case);
    lathe_instructions_release(instructions);
}

/* Nothing of what a body may hold is in the message, nor is it kept beyond its ceiling. */
TEST(a_long_answer_is_kept_whole_and_its_body_in_part)
{
    enum { SIZE = 100000 };
    char *text = lathe_calloc(SIZE + 1, 1);
    instructions_init();
    REQUIRE(text);
    memset(text, 'x', SIZE);
    json_t *item = json_pack("{s:s,s:{s:s},s:[s,s]}", "verb", "generate", "input", "task", "a",
                             "answers", text, text);
    play p;
    play_init(&p, item);
    CHECK_CODE(play_all(&p), LATHE_MODEL_ANSWER);
    CHECK_BYTES(p.error.answer, p.error.answer_size, text, SIZE);
    CHECK_INT(p.error.body_size, 64 * 1024);
    CHECK(!p.error.body_is_json);
    play_clear(&p);
    json_decref(item);
    lathe_free(text);
    lathe_instructions_release(instructions);
}

TEST(a_task_that_was_never_made_is_freed)
{
    lathe_task_free(NULL);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static lathe_code play_and_rewind(void *self)
{
    lathe_code code = play_all(self);
    play_rewind(self);
    return code;
}

static void check_memory(json_t *item)
{
    if (!json_is_true(json_object_get(item, "memory")))
        return;
    play p;
    play_init(&p, item);
    p.silent = true;
    const lathe_code expected = play_all(&p);
    play_rewind(&p);
    alloc_try_each(play_and_rewind, &p, expected);
    play_clear(&p);
}

TEST(memory)
{
    instructions_init();
    cases_each("tasks", check_memory);
    lathe_instructions_release(instructions);
}

TESTS(ENTRY(case_files), ENTRY(a_long_answer_is_kept_whole_and_its_body_in_part),
      ENTRY(a_task_that_was_never_made_is_freed), ENTRY(memory))
