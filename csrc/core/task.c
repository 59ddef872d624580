#include "task_state.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "alloc.h"
#include "client.h"
#include "error.h"
#include "model_answer.h"
#include "response.h"
#include "spans.h"
#include "template.h"
#include "value_jansson.h"

/* ---- Making one ------------------------------------------------------------------------------ */

static json_t *names_in(const json_t *prompt)
{
    lathe_jansson_builder builder;
    lathe_error why;
    lathe_error_init(&why);
    lathe_jansson_builder_init(&builder);
    const lathe_source source = lathe_jansson_source();
    const lathe_sink sink = lathe_jansson_sink(&builder);
    json_t *names = lathe_template_variables(&source, prompt, &sink, &why)
                        ? NULL
                        : lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    lathe_error_clear(&why);
    return names;
}

/* The prompt of improve and templatize as a response is: {"messages", "system"}. */
static json_t *prompt_of(const json_t *input)
{
    json_t *system = json_object_get(input, "system");
    json_t *prompt = json_object(), *text = system ? json_incref(system) : json_string("");
    json_t *messages = json_deep_copy(json_object_get(input, "messages"));
    if (prompt && text && messages && !json_object_set(prompt, "messages", messages) &&
        !json_object_set(prompt, "system", text)) {
        json_decref(messages);
        json_decref(text);
        return prompt;
    }
    json_decref(messages);
    json_decref(text);
    json_decref(prompt);
    return NULL;
}

static json_t *input_variables(const lathe_task *task)
{
    if (task->verb == LATHE_GENERATE)
        return json_array();
    json_t *prompt = prompt_of(task->input);
    json_t *names = prompt ? names_in(prompt) : NULL;
    json_decref(prompt);
    return names;
}

static lathe_instruction_kind first_step(lathe_verb verb, lathe_effort effort)
{
    if (verb == LATHE_GENERATE)
        return LATHE_INSTRUCTION_GENERATE;
    if (verb == LATHE_TEMPLATIZE)
        return LATHE_INSTRUCTION_TEMPLATIZE;
    return effort == LATHE_EFFORT_THOROUGH ? LATHE_INSTRUCTION_EXAMPLES : LATHE_INSTRUCTION_IMPROVE;
}

static bool fill(lathe_task *task, const lathe_buf *body)
{
    if (lathe_jansson_try(body->data, body->size, &task->input))
        return false;
    task->answers = json_array();
    task->notes = json_array();
    task->usage = json_object();
    task->draft = json_string("");
    task->examples = json_string("");
    task->variables = task->input ? input_variables(task) : NULL;
    const json_t *target = json_object_get(task->input, "target_model");
    const char *model = target ? json_string_value(target) : task->model;
    task->takes_prefill = model && lathe_model_takes_prefill(
                                       model, target ? json_string_length(target) : strlen(model));
    return task->model && task->variables && task->answers && task->notes && task->usage &&
           task->draft && task->examples;
}

lathe_task *lathe_task_new(lathe_verb verb, const lathe_buf *body, const lathe_options *options,
                           lathe_instructions *instructions, bool schema)
{
    lathe_task *task = lathe_calloc(1, sizeof *task);
    if (!task)
        return NULL;
    task->verb = verb;
    task->model = lathe_copy_string(options->model);
    task->max_tokens = options->max_tokens;
    task->on_change = (lathe_on_change)options->on_variable_change;
    task->instructions = lathe_instructions_retain(instructions);
    task->step = first_step(verb, (lathe_effort)options->effort);
    task->schema = schema;
    lathe_buf_init(&task->fault, SIZE_MAX / 2);
    if (fill(task, body))
        return task;
    lathe_task_free(task);
    return NULL;
}

void lathe_task_free(lathe_task *task)
{
    if (!task)
        return;
    lathe_free(task->model);
    lathe_instructions_release(task->instructions);
    lathe_buf_clear(&task->fault);
    json_t *const trees[] = {task->input,    task->variables, task->unusable, task->draft,
                             task->examples, task->answers,   task->notes,    task->usage};
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        json_decref(trees[i]);
    lathe_free(task);
}

bool lathe_task_refused(lathe_task *task, const char *body, size_t size)
{
    static const char *const words[] = {"output_config", "json_schema", "Extra inputs",
                                        "extraneous key", "structured output"};
    bool found = false;
    for (size_t i = 0; body && i < sizeof words / sizeof *words && !found; i++)
        found = strstr(body, words[i]); /* a NUL stands behind it */
    if (!found || !size || !task->schema)
        return false;
    task->schema = false;
    task->schema_refused = true;
    return true;
}

bool lathe_task_knows_no_schema(const lathe_task *task)
{
    return task->schema_refused && task->answered;
}

/* ---- What comes of an answer ----------------------------------------------------------------- */

static bool add_note(lathe_task *task, const char *code, const char *message)
{
    json_t *note = json_pack("{s:s,s:s}", "code", code, "message", message);
    return note && !json_array_append_new(task->notes, note);
}

/* A sum that has no JSON form is the newer one of them. */
static json_t *add_numbers(const json_t *known, const json_t *more)
{
    const json_int_t a = json_integer_value(known), b = json_integer_value(more);
    const bool integers = json_is_integer(known) && json_is_integer(more);
    const double sum = json_number_value(known) + json_number_value(more);
    if (integers && (b < 0 ? a >= INT64_MIN - b : a <= INT64_MAX - b))
        return json_integer(a + b);
    return json_real(isfinite(sum) ? sum : json_number_value(more));
}

/* Numbers are added up, member by member; of all else the newest is kept. */
static bool add_usage(json_t *sum, const json_t *more)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)more, key, value)
    {
        json_t *known = json_object_get(sum, key);
        if (json_is_object(known) && json_is_object(value)) {
            if (!add_usage(known, value))
                return false;
            continue;
        }
        if (known && json_is_null(value))
            continue;
        json_t *added = json_is_number(known) && json_is_number(value) ? add_numbers(known, value)
                                                                       : json_deep_copy(value);
        if (!added || json_object_set_new(sum, key, added))
            return false;
    }
    return true;
}

/* What an answer lacks: its kind for programs, and a sentence for the model and for people. */
typedef struct defect {
    const char *type;
    lathe_buf text;
} defect;

static lathe_code found(defect *d, const char *type, const char *text)
{
    d->type = type;
    return lathe_buf_string(&d->text, text);
}

static lathe_code lacks(defect *d, const char *name)
{
    d->type = "unparsable";
    return lathe_buf_printf(
        &d->text, "the section <%s> ... </%s> must be there once, with text in it", name, name);
}

/* *text is NULL when the section is not there. */
static lathe_code take_text(const lathe_model_answer *answer, const char *name, json_t **text)
{
    lathe_text section;
    bool there = lathe_model_answer_section(answer, name, &section);
    *text = there ? json_stringn(section.data, section.size) : NULL;
    return there && !*text ? LATHE_MEMORY : LATHE_OK;
}

/* [{"role", "content": [{"type": "text", "text"}]}, ...]. */
static json_t *result_of(json_t *prompt, json_t *prefill)
{
    if (!json_string_length(prefill))
        return json_pack("{s:[{s:s,s:[{s:s,s:O}]}],s:s}", "messages", "role", "user", "content",
                         "type", "text", "text", prompt, "system", "");
    return json_pack("{s:[{s:s,s:[{s:s,s:O}]},{s:s,s:[{s:s,s:O}]}],s:s}", "messages", "role",
                     "user", "content", "type", "text", "text", prompt, "role", "assistant",
                     "content", "type", "text", "text", prefill, "system", "");
}

/* Those of `names` that `others` lacks. */
static json_t *missing_in(const json_t *names, const json_t *others)
{
    json_t *known = lathe_name_table(others), *missing = known ? json_array() : NULL;
    for (size_t i = 0; missing && i < json_array_size(names); i++) {
        json_t *name = json_array_get(names, i);
        if (json_object_get(known, json_string_value(name)) || !json_array_append(missing, name))
            continue;
        json_decref(missing);
        missing = NULL;
    }
    json_decref(known);
    return missing;
}

static lathe_code list_names(lathe_buf *out, const char *before, const json_t *names)
{
    lathe_code code = json_array_size(names) ? lathe_buf_string(out, before) : LATHE_OK;
    for (size_t i = 0; i < json_array_size(names) && !code; i++)
        code = lathe_buf_printf(out, "%s{{%s}}", i ? ", " : "",
                                json_string_value(json_array_get(names, i)));
    return code;
}

/* What an answer has given. */
typedef struct outcome {
    defect defect;
    json_t *result;     /* of the last step, or of one that broke the variables */
    json_t *lost, *won; /* those variables */
    bool advance;       /* the step is done, another follows */
} outcome;

/* Guards the variables of an improved prompt. */
static lathe_code guard(const lathe_task *task, outcome *o)
{
    json_t *names = names_in(o->result);
    o->lost = names ? missing_in(task->variables, names) : NULL;
    o->won = names ? missing_in(names, task->variables) : NULL;
    json_decref(names);
    if (!o->lost || !o->won)
        return LATHE_MEMORY;
    if (!json_array_size(o->lost) && !json_array_size(o->won))
        return LATHE_OK;
    o->defect.type = "variables";
    lathe_buf *text = &o->defect.text;
    lathe_code code = lathe_buf_string(text, "the variables must stay as they are:");
    if (!code)
        code = list_names(text, " missing are ", o->lost);
    const char *lead = json_array_size(o->lost) ? "; new are " : " new are ";
    return code ? code : list_names(text, lead, o->won);
}

/* The text with the names of its variables in capital letters; *changed when they were not. */
static json_t *with_capitals(json_t *text, bool *changed)
{
    char *copy = lathe_copy(json_string_value(text), json_string_length(text));
    if (!copy)
        return NULL;
    const lathe_text whole = {copy, json_string_length(text)};
    lathe_variable variable;
    for (size_t from = 0; lathe_next_variable(whole, from, &variable); from = variable.end)
        for (size_t i = variable.start; i < variable.end; i++)
            if (copy[i] >= 'a' && copy[i] <= 'z') {
                copy[i] = (char)(copy[i] - 'a' + 'A');
                *changed = true;
            }
    json_t *made = json_stringn(copy, whole.size);
    lathe_free(copy);
    return made;
}

/* What stands for what varies in a generated prompt is written {{LIKE_THIS}}. */
static lathe_code capitalize(lathe_task *task, json_t **text)
{
    bool changed = false;
    json_t *made = with_capitals(*text, &changed);
    if (!made ||
        (changed && !add_note(task, "renamed", "its variables were put in capital letters"))) {
        json_decref(made);
        return LATHE_MEMORY;
    }
    json_decref(*text);
    *text = made;
    return LATHE_OK;
}

static lathe_code take_prompt(lathe_task *task, const lathe_model_answer *answer, outcome *o)
{
    json_t *prompt, *prefill;
    lathe_code code = take_text(answer, LATHE_SECTION_PROMPT, &prompt);
    if (take_text(answer, LATHE_SECTION_PREFILL, &prefill) || code) {
        code = LATHE_MEMORY;
        goto out;
    }
    if (!json_string_length(prompt)) {
        code = lacks(&o->defect, LATHE_SECTION_PROMPT);
        goto out;
    }
    if (json_string_length(prefill) && !task->takes_prefill) {
        json_decref(prefill);
        prefill = NULL;
        if (!add_note(task, "prefill_dropped", "the model that the prompt is for takes no prefill"))
            code = LATHE_MEMORY;
    }
    if (!code && task->verb == LATHE_GENERATE)
        code = capitalize(task, &prompt);
    if (!code && task->verb == LATHE_GENERATE && prefill)
        code = capitalize(task, &prefill);
    if (!code && !(o->result = result_of(prompt, prefill)))
        code = LATHE_MEMORY;
    if (!code && task->verb == LATHE_IMPROVE)
        code = guard(task, o);
out:
    json_decref(prompt);
    json_decref(prefill);
    return code;
}

static lathe_code take_draft(lathe_task *task, const lathe_model_answer *answer, outcome *o)
{
    json_t *draft;
    if (take_text(answer, LATHE_SECTION_PROMPT, &draft))
        return LATHE_MEMORY;
    if (!json_string_length(draft)) {
        json_decref(draft);
        return lacks(&o->defect, LATHE_SECTION_PROMPT);
    }
    json_decref(task->draft);
    task->draft = draft;
    o->advance = true;
    return LATHE_OK;
}

static lathe_code take_examples(lathe_task *task, const lathe_model_answer *answer, outcome *o)
{
    json_t *examples;
    if (take_text(answer, LATHE_SECTION_EXAMPLES, &examples))
        return LATHE_MEMORY;
    if (!examples)
        return lacks(&o->defect, LATHE_SECTION_EXAMPLES);
    json_decref(task->examples);
    task->examples = examples;
    o->advance = true;
    return LATHE_OK;
}

static lathe_code take_spans(lathe_task *task, const lathe_model_answer *answer, outcome *o)
{
    json_t *spans;
    lathe_code code = lathe_model_answer_json(answer, LATHE_SECTION_VARIABLES, &spans);
    if (code)
        return code;
    if (!lathe_spans_valid(spans))
        code = found(&o->defect, "unparsable",
                     "the section <result_variables> ... </result_variables> must be there once, "
                     "with a JSON list of objects in it that have a string name and a string text");
    else if (!(o->result = prompt_of(task->input)))
        code = LATHE_MEMORY;
    else
        code = lathe_spans_replace(o->result, spans, task->variables, task->notes);
    json_decref(spans);
    return code;
}

static lathe_code take_step(lathe_task *task, const lathe_model_answer *answer, outcome *o)
{
    if (answer->ending == LATHE_ENDING_REFUSAL)
        return found(&o->defect, "refusal", "the answer was refused; the text is material only");
    if (answer->ending == LATHE_ENDING_CUT_OFF) {
        o->defect.type = "cut_off";
        return lathe_buf_printf(&o->defect.text,
                                "it was cut off before its end, at %d tokens at most: be briefer",
                                task->max_tokens);
    }
    switch (task->step) {
    case LATHE_INSTRUCTION_TEMPLATIZE:
        return take_spans(task, answer, o);
    case LATHE_INSTRUCTION_EXAMPLES:
        return take_examples(task, answer, o);
    case LATHE_INSTRUCTION_DRAFT:
    case LATHE_INSTRUCTION_REASONING:
        return take_draft(task, answer, o);
    default:
        return take_prompt(task, answer, o);
    }
}

/* ---- What follows ---------------------------------------------------------------------------- */

static void begin_step(lathe_task *task)
{
    task->again = false;
    task->fault.size = 0;
    json_decref(task->unusable);
    task->unusable = NULL;
}

/* The same step once more, with the fault named. What was refused, cut off or is blank is not shown
 * (servers refuse a turn without words), and what was noted of this answer is of no use. */
static lathe_code ask_again(lathe_task *task, const lathe_model_answer *answer, const defect *d)
{
    bool show = answer->spoken.size && answer->ending == LATHE_ENDING_WHOLE;
    task->again = true;
    json_array_clear(task->notes);
    task->unusable = show ? json_stringn(answer->spoken.data, answer->spoken.size) : NULL;
    return show && !task->unusable ? LATHE_MEMORY
                                   : lathe_buf_append(&task->fault, d->text.data, d->text.size);
}

static bool steal(const json_t *value, char **slot)
{
    lathe_buf text;
    lathe_buf_init(&text, SIZE_MAX / 2);
    if (!lathe_json_dump(value, &text))
        *slot = lathe_buf_steal(&text, NULL);
    lathe_buf_clear(&text);
    return *slot;
}

static bool copy_names(const json_t *names, char ***list, size_t *count)
{
    size_t size = json_array_size(names);
    *list = lathe_calloc(size + 1, sizeof **list);
    for (; *list && *count < size; ++*count)
        if (!((*list)[*count] =
                  lathe_copy_string(json_string_value(json_array_get(names, *count)))))
            return false;
    return *list;
}

static void redact(const lathe_response *response, char *data, size_t size)
{
    if (response->client && data)
        lathe_settings_redact(lathe_client_settings(response->client), data, size);
}

/* Puts the answer's status, headers and body on an error, without the key that it may echo. */
static lathe_code attach(lathe_error *error, lathe_response *response)
{
    redact(response, response->body, response->body_size);
    redact(response, error->answer, error->answer_size);
    redact(response, error->usage, error->usage ? strlen(error->usage) : 0);
    return lathe_response_attach(error, response->status, &response->headers, response->body,
                                 response->body_size);
}

/* An error of a model's answer; its sentence quotes nothing of it. */
static lathe_code fail_answer(const lathe_task *task, lathe_response *response,
                              const lathe_model_answer *answer, const outcome *o,
                              lathe_error *error)
{
    bool variables = !strcmp(o->defect.type, "variables");
    error->answer = lathe_copy(answer->text.data ? answer->text.data : "", answer->text.size);
    error->answer_size = answer->text.size;
    error->type = lathe_copy_string(o->defect.type);
    if (!error->answer || !error->type || !steal(task->usage, &error->usage) ||
        (variables && (!copy_names(o->lost, &error->names, &error->name_count) ||
                       !copy_names(o->won, &error->won, &error->won_count))) ||
        attach(error, response))
        return lathe_fail(error, LATHE_MEMORY, NULL);
    lathe_code code = variables ? LATHE_VARIABLES_CHANGED : LATHE_MODEL_ANSWER;
    lathe_fail(error, code, "%s (it was asked twice): ", lathe_code_text(code));
    if (variables)
        lathe_error_append(error, "%zu missing, %zu new", error->name_count, error->won_count);
    else if (answer->ending == LATHE_ENDING_REFUSAL)
        lathe_error_append(error, "the model refused");
    else if (answer->ending == LATHE_ENDING_CUT_OFF)
        lathe_error_append(error, "it was cut off at max_tokens, %d", task->max_tokens);
    else
        lathe_error_append(error, "%s", o->defect.text.data);
    return code;
}

/* The variables have changed, and that is no error. */
static lathe_code tolerate(lathe_task *task, lathe_response *response, outcome *o)
{
    bool keep = task->on_change == LATHE_CHANGE_KEEP;
    const char *what = keep ? "the original was kept" : "the result has other variables";
    lathe_buf text;
    lathe_buf_init(&text, SIZE_MAX / 2);
    lathe_code code = lathe_buf_printf(&text, "%s: the model left out %zu and added %zu", what,
                                       json_array_size(o->lost), json_array_size(o->won));
    if (keep) /* what was noted is of no concern to the original */
        json_array_clear(task->notes);
    if (!code && !add_note(task, "variables_changed", o->defect.text.data))
        code = LATHE_MEMORY;
    if (!code && keep) {
        json_decref(o->result);
        o->result = prompt_of(task->input);
    }
    if (!code && !keep && !(response->warning = lathe_buf_steal(&text, NULL)))
        code = LATHE_MEMORY;
    lathe_buf_clear(&text);
    return code;
}

static lathe_code finish(const lathe_task *task, lathe_response *response, const outcome *o)
{
    const char *version = lathe_instructions_text(task->instructions, LATHE_INSTRUCTION_VERSION);
    char *body = NULL;
    if (!o->result || json_object_set(o->result, "usage", task->usage) ||
        !(response->instructions = lathe_copy_string(version)) || !steal(o->result, &body))
        return LATHE_MEMORY;
    lathe_free(response->body);
    response->body = body;
    response->body_size = strlen(body);
    response->body_room = 0;
    if (!steal(task->answers, &response->answers) || !steal(task->notes, &response->notes))
        return LATHE_MEMORY;
    redact(response, response->answers, strlen(response->answers));
    return LATHE_OK;
}

static const lathe_instruction_kind following[LATHE_INSTRUCTION_COUNT] = {
    [LATHE_INSTRUCTION_EXAMPLES] = LATHE_INSTRUCTION_DRAFT,
    [LATHE_INSTRUCTION_DRAFT] = LATHE_INSTRUCTION_REASONING,
    [LATHE_INSTRUCTION_REASONING] = LATHE_INSTRUCTION_REWORK,
};

static lathe_code judge(lathe_task *task, lathe_response *response,
                        const lathe_model_answer *answer, outcome *o, bool *more,
                        lathe_error *error)
{
    lathe_code code = take_step(task, answer, o);
    bool variables = o->defect.type && !strcmp(o->defect.type, "variables");
    if (!code && o->defect.type && !task->again) {
        *more = true;
        return ask_again(task, answer, &o->defect);
    }
    if (!code && o->advance) {
        *more = true;
        task->step = following[task->step];
        begin_step(task);
        return LATHE_OK;
    }
    if (!code && variables && task->on_change != LATHE_CHANGE_RAISE)
        code = tolerate(task, response, o);
    else if (!code && o->defect.type)
        return fail_answer(task, response, answer, o, error);
    return code ? code : finish(task, response, o);
}

lathe_code lathe_task_take(lathe_task *task, lathe_response *response, bool *more,
                           lathe_error *error)
{
    lathe_model_answer answer;
    outcome o = {.advance = false};
    lathe_buf_init(&o.defect.text, SIZE_MAX / 2);
    *more = false;
    if (lathe_model_answer_read(&answer, response->body, response->body_size, error)) {
        if (attach(error, response))
            error->code = LATHE_MEMORY;
    } else {
        task->answered = true;
        json_t *usage = json_object_get(answer.root, "usage");
        lathe_code code =
            !json_array_append(task->answers, answer.root) && add_usage(task->usage, usage)
                ? judge(task, response, &answer, &o, more, error)
                : LATHE_MEMORY;
        if (code)
            lathe_fail(error, code, NULL);
    }
    lathe_model_answer_clear(&answer);
    lathe_buf_clear(&o.defect.text);
    json_decref(o.result);
    json_decref(o.lost);
    json_decref(o.won);
    return error->code;
}
