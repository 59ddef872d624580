/* Templates from spans: whatever a model names, the template renders back to exactly the prompt,
 * the names have their form and are nobody else's, and each proposal is replaced or noted. */
#include "spans.h"

#include <string.h>

#include "support.h"
#include "support_alloc.h"

enum { MOST_PIECES = 600 };

static lathe_text text_of(const json_t *string)
{
    return (lathe_text){json_string_value(string), json_string_length(string)};
}

/* The next piece, as far as it is text. */
static json_t *next_string(fuzz_input *input)
{
    lathe_text piece = fuzz_piece(input);
    return fuzz_json_string((lathe_text){piece.data, fuzz_text_prefix(piece)});
}

static json_t *next_content(fuzz_input *input)
{
    json_t *content = json_array();
    for (unsigned count = 1 + fuzz_byte(input) % 3; count; count--)
        json_array_append_new(content,
                              json_pack("{s:s,s:o}", "type", "text", "text", next_string(input)));
    return content;
}

/* A system prompt and one message, perhaps with a prefill. */
static json_t *next_prompt(fuzz_input *input)
{
    bool prefill = fuzz_byte(input) & 1;
    json_t *messages = json_array(), *system = next_string(input);
    json_array_append_new(messages,
                          json_pack("{s:s,s:o}", "role", "user", "content", next_content(input)));
    if (prefill)
        json_array_append_new(
            messages, json_pack("{s:s,s:o}", "role", "assistant", "content", next_content(input)));
    return json_pack("{s:o,s:o}", "messages", messages, "system", system);
}

static json_t *next_spans(fuzz_input *input)
{
    json_t *spans = json_array();
    for (int i = 0; i < MOST_PIECES && input->size; i++) {
        json_t *name = next_string(input);
        json_array_append_new(spans,
                              json_pack("{s:o,s:o}", "name", name, "text", next_string(input)));
    }
    return spans;
}

static json_t *variables_of(const json_t *prompt)
{
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    MUST(!lathe_template_variables(&source, prompt, &sink, &error));
    json_t *names = lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    return names;
}

/* ---- What must hold -------------------------------------------------------------------------- */

static void check_exact(const json_t *prompt, const json_t *made)
{
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    MUST(!lathe_round_trip_check(&source, json_object_get(prompt, "messages"),
                                 json_object_get(prompt, "system"), made, &sink, &error));
    json_t *differences = lathe_jansson_builder_take(&builder);
    MUST(json_is_array(differences) && !json_array_size(differences));
    json_decref(differences);
    lathe_jansson_builder_clear(&builder);
}

static bool is_among(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        if (!strcmp(json_string_value(json_array_get(names, i)), name))
            return true;
    return false;
}

/* Names are of our form, new, and used; values are not empty. */
static void check_values(json_t *values, const json_t *before, const json_t *after)
{
    const char *name;
    json_t *value;
    MUST(json_is_object(values) && json_object_size(values) <= LATHE_SPANS_MOST);
    json_object_foreach(values, name, value)
    {
        MUST(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(name));
        MUST(*name && (*name < '0' || *name > '9'));
        MUST(json_string_length(value) > 0);
        MUST(!is_among(before, name) && is_among(after, name));
    }
    MUST(json_array_size(after) == json_array_size(before) + json_object_size(values));
}

static bool is_told(const json_t *span, json_t *values, const json_t *notes)
{
    const char *name;
    json_t *value;
    lathe_text text = text_of(json_object_get(span, "text"));
    json_object_foreach(values, name, value)
    {
        if (fuzz_same(text_of(value), text))
            return true;
    }
    for (size_t i = 0; i < json_array_size(notes); i++)
        if (fuzz_same(text_of(json_object_get(json_array_get(notes, i), "text")), text))
            return true;
    return false;
}

static void check_made(const json_t *prompt, const json_t *spans, const json_t *made,
                       const json_t *notes, const json_t *variables)
{
    json_t *values = json_object_get(made, "variable_values"), *after = variables_of(made);
    check_exact(prompt, made);
    check_values(values, variables, after);
    for (size_t i = 0; i < json_array_size(spans); i++)
        MUST(is_told(json_array_get(spans, i), values, notes));
    json_decref(after);
}

/* The same twice, the second time perhaps without memory. */
static void replace(const json_t *prompt, const json_t *spans, const json_t *variables,
                    unsigned order)
{
    json_t *made = json_deep_copy(prompt), *notes = json_array();
    fuzz_arm(order);
    lathe_code code = lathe_spans_replace(made, spans, variables, notes);
    MUST(code == (fuzz_disarm() ? LATHE_MEMORY : LATHE_OK));
    if (!code)
        check_made(prompt, spans, made, notes, variables);
    json_decref(notes);
    json_decref(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input);
    size_t before = alloc_blocks();
    json_t *prompt = next_prompt(&input), *spans = next_spans(&input);
    json_t *variables = variables_of(prompt);
    MUST(lathe_spans_valid(spans));
    replace(prompt, spans, variables, 0);
    if (order)
        replace(prompt, spans, variables, order);
    json_decref(variables);
    json_decref(spans);
    json_decref(prompt);
    MUST(alloc_blocks() == before);
    return 0;
}
