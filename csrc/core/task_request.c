/* What a model is asked. */
#include <stdint.h>
#include <string.h>

#include "task_state.h"

/* "<name>\ntext\n</name>\n"; nothing for a text that is not there or empty. */
static lathe_code add_section(lathe_buf *out, const char *name, const json_t *text)
{
    if (!json_string_length(text))
        return LATHE_OK;
    lathe_code code = lathe_buf_printf(out, "<%s>\n", name);
    if (!code)
        code = lathe_buf_append(out, json_string_value(text), json_string_length(text));
    return code ? code : lathe_buf_printf(out, "\n</%s>\n", name);
}

static lathe_code add_message(lathe_buf *out, const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const char *name = !strcmp(role, "user") ? "user_message" : "prefill";
    const json_t *content = json_object_get(message, "content");
    lathe_code code = lathe_buf_printf(out, "<%s>\n", name);
    for (size_t i = 0; i < json_array_size(content) && !code; i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        code = lathe_buf_append(out, json_string_value(text), json_string_length(text));
    }
    return code ? code : lathe_buf_printf(out, "\n</%s>\n", name);
}

static lathe_code add_prompt(lathe_buf *out, const json_t *input)
{
    const json_t *messages = json_object_get(input, "messages");
    lathe_code code = add_section(out, "system_prompt", json_object_get(input, "system"));
    for (size_t i = 0; i < json_array_size(messages) && !code; i++)
        code = add_message(out, json_array_get(messages, i));
    return code;
}

/* The prefill of the prompt alone. */
static lathe_code add_prefill(lathe_buf *out, const json_t *input)
{
    const json_t *messages = json_object_get(input, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    return role && !strcmp(role, "assistant") ? add_message(out, last) : LATHE_OK;
}

static lathe_code add_variables(lathe_buf *out, const json_t *names)
{
    size_t count = json_array_size(names);
    lathe_code code = count ? lathe_buf_string(out, "<variables>\n") : LATHE_OK;
    for (size_t i = 0; i < count && !code; i++)
        code = lathe_buf_printf(out, "{{%s}}\n", json_string_value(json_array_get(names, i)));
    return code || !count ? code : lathe_buf_string(out, "</variables>\n");
}

/* The sections of each step, as its instructions tell of them. */
static lathe_code write_sections(const lathe_task *task, lathe_buf *out)
{
    const lathe_instruction_kind step = task->step;
    const json_t *input = task->input;
    bool last = step == LATHE_INSTRUCTION_REWORK;
    bool whole = step != LATHE_INSTRUCTION_REASONING && !last;
    lathe_code code = add_section(out, "task", json_object_get(input, "task"));
    if (!code && whole)
        code = add_prompt(out, input);
    if (!code)
        code = add_section(out, "draft", task->draft);
    if (!code && (last || step == LATHE_INSTRUCTION_DRAFT))
        code = add_section(out, "examples", task->examples);
    if (!code && last)
        code = add_prefill(out, input);
    if (!code)
        code = add_section(out, "feedback", json_object_get(input, "feedback"));
    if (!code)
        code = add_variables(out, task->variables);
    if (!code && task->verb != LATHE_TEMPLATIZE)
        code = add_section(out, "target_model", json_object_get(input, "target_model"));
    if (!code && (last || step == LATHE_INSTRUCTION_IMPROVE || step == LATHE_INSTRUCTION_GENERATE))
        code = lathe_buf_printf(out, "<prefill_of_answer>%s</prefill_of_answer>\n",
                                task->takes_prefill ? "allowed" : "refused");
    return code;
}

static lathe_code write_fault(const lathe_task *task, lathe_buf *out)
{
    const char *words = lathe_instructions_text(task->instructions, LATHE_INSTRUCTION_AGAIN);
    lathe_code code = lathe_buf_string(out, words);
    return code ? code : lathe_buf_append(out, task->fault.data, task->fault.size);
}

static bool add_turn(json_t *messages, const char *role, json_t *text)
{
    json_t *turn = text ? json_pack("{s:s,s:o}", "role", role, "content", text) : NULL;
    return turn && !json_array_append_new(messages, turn);
}

static json_t *text_of(const lathe_buf *text)
{
    return json_stringn(text->data ? text->data : "", text->size);
}

/* An answer that the model is not shown again has its fault told with the question. */
static bool fill_messages(const lathe_task *task, json_t *messages)
{
    lathe_buf question, fault;
    lathe_buf_init(&question, SIZE_MAX / 2);
    lathe_buf_init(&fault, SIZE_MAX / 2);
    bool shown = task->unusable;
    bool done = !write_sections(task, &question) &&
                (!task->again || !write_fault(task, shown ? &fault : &question)) &&
                add_turn(messages, "user", text_of(&question)) &&
                (!shown || (add_turn(messages, "assistant", json_incref(task->unusable)) &&
                            add_turn(messages, "user", text_of(&fault))));
    lathe_buf_clear(&question);
    lathe_buf_clear(&fault);
    return done;
}

/* The sections that an answer of the step has, for a JSON schema. */
static json_t *schema_of(lathe_instruction_kind step)
{
    if (step == LATHE_INSTRUCTION_TEMPLATIZE)
        return json_pack("{s:s,s:b,s:[s],s:{s:{s:s,s:{s:s,s:b,s:[s,s],s:{s:{s:s},s:{s:s}}}}}}",
                         "type", "object", "additionalProperties", 0, "required",
                         LATHE_SECTION_VARIABLES, "properties", LATHE_SECTION_VARIABLES, "type",
                         "array", "items", "type", "object", "additionalProperties", 0, "required",
                         "name", "text", "properties", "name", "type", "string", "text", "type",
                         "string");
    if (step == LATHE_INSTRUCTION_GENERATE || step == LATHE_INSTRUCTION_IMPROVE ||
        step == LATHE_INSTRUCTION_REWORK)
        return json_pack("{s:s,s:b,s:[s,s],s:{s:{s:s},s:{s:s}}}", "type", "object",
                         "additionalProperties", 0, "required", LATHE_SECTION_PROMPT,
                         LATHE_SECTION_PREFILL, "properties", LATHE_SECTION_PROMPT, "type",
                         "string", LATHE_SECTION_PREFILL, "type", "string");
    const char *only =
        step == LATHE_INSTRUCTION_EXAMPLES ? LATHE_SECTION_EXAMPLES : LATHE_SECTION_PROMPT;
    return json_pack("{s:s,s:b,s:[s],s:{s:{s:s}}}", "type", "object", "additionalProperties", 0,
                     "required", only, "properties", only, "type", "string");
}

static bool add_schema(const lathe_task *task, json_t *request)
{
    if (!task->schema)
        return true;
    json_t *config = json_pack("{s:{s:s,s:o}}", "format", "type", "json_schema", "schema",
                               schema_of(task->step));
    return config && !json_object_set_new(request, "output_config", config);
}

typedef struct dump {
    lathe_buf *out;
    bool failed; /* jansson goes on when a member's name could not be written */
} dump;

static int append(const char *data, size_t size, void *self)
{
    dump *d = self;
    d->failed |= lathe_buf_append(d->out, data, size) != LATHE_OK;
    return d->failed ? -1 : 0;
}

lathe_code lathe_json_dump(const json_t *value, lathe_buf *out)
{
    dump d = {.out = out};
    int status = json_dump_callback(value, append, &d, JSON_COMPACT);
    return status || d.failed ? LATHE_MEMORY : LATHE_OK;
}

lathe_code lathe_task_write(const lathe_task *task, lathe_buf *body)
{
    const char *system = lathe_instructions_text(task->instructions, task->step);
    json_t *messages = json_array();
    json_t *request = json_pack("{s:s,s:i,s:s,s:O*}", "model", task->model, "max_tokens",
                                task->max_tokens, "system", system, "messages", messages);
    lathe_code code = LATHE_MEMORY;
    body->size = 0;
    if (messages && request && fill_messages(task, messages) && add_schema(task, request))
        code = lathe_json_dump(request, body);
    json_decref(request);
    json_decref(messages);
    return code;
}

lathe_code lathe_task_own_words(const lathe_task *task, lathe_buf *out)
{
    const char *system = lathe_instructions_text(task->instructions, task->step);
    const char *again = lathe_instructions_text(task->instructions, LATHE_INSTRUCTION_AGAIN);
    const bool custom = system != lathe_builtin_instructions[task->step].text;
    const bool other = again != lathe_builtin_instructions[LATHE_INSTRUCTION_AGAIN].text;
    json_t *words = json_pack("[O,O,O,O*,s*,s*]", task->input, task->draft, task->examples,
                              task->unusable, custom ? system : NULL, other ? again : NULL);
    lathe_code code = words ? lathe_json_dump(words, out) : LATHE_MEMORY;
    json_decref(words);
    return code;
}
