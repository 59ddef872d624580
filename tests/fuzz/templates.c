/* Templates: a second implementation, made from the contract's section 4 alone, finds and renders
 * the variables, and tells whether a round trip is exact. */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "support.h"
#include "support_alloc.h"
#include "support_host.h"

/* ---- The second implementation ---- */

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Bytes of the variable that begins at a place; 0: none does. */
static size_t variable(lathe_text text, size_t at, lathe_text *name)
{
    const char *data = text.data;
    size_t i = at + 2, start;
    if (text.size < 5 || at > text.size - 5 || data[at] != '{' || data[at + 1] != '{')
        return 0;
    while (i < text.size && is_blank(data[i]))
        i++;
    start = i;
    if (i < text.size && is_letter(data[i]))
        while (i < text.size && (is_letter(data[i]) || (data[i] >= '0' && data[i] <= '9')))
            i++;
    *name = (lathe_text){data + start, i - start};
    while (i < text.size && is_blank(data[i]))
        i++;
    if (!name->size || i + 1 >= text.size || data[i] != '}' || data[i + 1] != '}')
        return 0;
    return i + 2 - at;
}

static json_t *value_of(const json_t *values, lathe_text name)
{
    return json_object_getn(values, name.data, name.size);
}

static void add_name(json_t *names, lathe_text name)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *old = json_array_get(names, i);
        if (fuzz_same(name, (lathe_text){json_string_value(old), json_string_length(old)}))
            return;
    }
    json_array_append_new(names, fuzz_json_string(name));
}

static lathe_text text_of(const json_t *string)
{
    return (lathe_text){json_string_value(string), json_string_length(string)};
}

/* Adds the names of a template, and returns it rendered. */
static json_t *render_text(lathe_text text, const json_t *values, json_t *names)
{
    lathe_buf out;
    lathe_buf_init(&out, SIZE_MAX / 2);
    for (size_t at = 0; at < text.size;) {
        lathe_text name, value = {text.data + at, 1};
        size_t size = variable(text, at, &name);
        if (size) {
            const json_t *found = value_of(values, name);
            add_name(names, name);
            value = found ? text_of(found) : (lathe_text){text.data + at, size};
        }
        MUST(!lathe_buf_append(&out, value.data, value.size));
        at += size ? size : 1;
    }
    json_t *rendered = fuzz_json_string((lathe_text){out.data, out.size});
    lathe_buf_clear(&out);
    return rendered;
}

/* Renders a member of an object, or an item of a list, in its place. */
static void render_member(json_t *object, const char *key, const json_t *values, json_t *names)
{
    json_t *text = json_object_get(object, key);
    if (json_is_string(text))
        json_object_set_new(object, key, render_text(text_of(text), values, names));
}

static bool is_text_block(const json_t *block)
{
    lathe_text type = text_of(json_object_get(block, "type"));
    return type.data && fuzz_same(type, (lathe_text){"text", 4});
}

static void render_messages(json_t *messages, const json_t *values, json_t *names)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        render_member(message, "content", values, names);
        const json_t *content = json_object_get(message, "content");
        for (size_t j = 0; json_is_array(content) && j < json_array_size(content); j++)
            if (is_text_block(json_array_get(content, j)))
                render_member(json_array_get(content, j), "text", values, names);
    }
}

/* A prompt of a shape that the library has accepted. */
static json_t *render_prompt(const json_t *prompt, const json_t *values, json_t *names)
{
    if (json_is_string(prompt))
        return render_text(text_of(prompt), values, names);
    json_t *copy = json_deep_copy(prompt);
    render_member(copy, "system", values, names);
    render_messages(json_is_array(copy) ? copy : json_object_get(copy, "messages"), values, names);
    return copy;
}

/* Messages as [[role, [text, ...]], ...]; what is no text block is null. */
static json_t *normal(json_t *messages)
{
    json_t *list = json_array();
    if (json_is_string(messages))
        json_array_append_new(list, json_pack("[s, [O]]", "user", messages));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        json_t *content = json_object_get(message, "content"), *texts = json_array();
        if (json_is_string(content))
            json_array_append(texts, content);
        for (size_t j = 0; j < json_array_size(content); j++) {
            json_t *block = json_array_get(content, j);
            bool text = is_text_block(block);
            json_array_append_new(texts,
                                  text ? json_incref(json_object_get(block, "text")) : json_null());
        }
        json_array_append_new(list, json_pack("[O, o]", json_object_get(message, "role"), texts));
    }
    return list;
}

/* ---- The library ---- */

typedef struct result {
    lathe_code code;
    lathe_error error;
    json_t *built;
} result;

typedef struct arguments {
    lathe_source source;
    const json_t *first, *second, *third;
    bool partial;
} arguments;

typedef lathe_code (*operation)(const arguments *, const lathe_sink *, lathe_error *);

static lathe_code find(const arguments *args, const lathe_sink *sink, lathe_error *error)
{
    return lathe_template_variables(&args->source, args->first, sink, error);
}

static lathe_code render(const arguments *args, const lathe_sink *sink, lathe_error *error)
{
    return lathe_template_render(&args->source, args->first, args->second, args->partial, sink,
                                 error);
}

static lathe_code round_trip(const arguments *args, const lathe_sink *sink, lathe_error *error)
{
    return lathe_round_trip_check(&args->source, args->first, args->third, args->second, sink,
                                  error);
}

static result run(operation what, const arguments *args)
{
    result out;
    lathe_jansson_builder builder;
    lathe_error_init(&out.error);
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    out.code = what(args, &sink, &out.error);
    bool failed = alloc_failed();
    fuzz_disarm();
    MUST(!failed || out.code == LATHE_MEMORY);
    out.built = out.code ? NULL : lathe_jansson_builder_take(&builder);
    fuzz_check_error(&out.error, out.code);
    MUST(out.code != LATHE_INVALID_REQUEST || out.error.faults.total > 0);
    lathe_jansson_builder_clear(&builder);
    return out;
}

static void end(result *out)
{
    json_decref(out->built);
    lathe_error_clear(&out->error);
}

/* ---- Comparing ---- */

static void compare_missing(const result *out, const json_t *names, const json_t *values)
{
    size_t missing = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);
        if (value_of(values, text_of(name)))
            continue;
        MUST(missing < out->error.name_count);
        MUST(!strcmp(out->error.names[missing++], json_string_value(name)));
    }
    MUST(missing && missing == out->error.name_count);
}

/* Whether a value that a variable needs cannot be used. */
static bool spoilt(const json_t *names, const json_t *values)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *value = value_of(values, text_of(json_array_get(names, i)));
        if (value && (!json_is_string(value) || !fuzz_is_text(text_of(value))))
            return true;
    }
    return false;
}

static void compare_rendered(const arguments *args, const json_t *names)
{
    bool bad = !json_is_object(args->second) || spoilt(names, args->second);
    result got = run(render, args);
    if (got.code == LATHE_MISSING_VARIABLE)
        compare_missing(&got, names, args->second);
    MUST(got.code != LATHE_MISSING_VARIABLE || (!args->partial && !bad));
    MUST(!bad || got.code == LATHE_INVALID_REQUEST);
    if (!got.code) {
        json_t *again = json_array();
        json_t *rendered = render_prompt(args->first, args->second, again);
        MUST(json_equal(got.built, rendered) && json_equal(again, names));
        json_decref(rendered);
        json_decref(again);
    }
    end(&got);
}

static void check_prompt(const arguments *args, unsigned order)
{
    json_t *nothing = json_object();
    fuzz_arm(order);
    result found = run(find, args);
    if (!found.code) {
        json_t *names = json_array();
        json_decref(render_prompt(args->first, nothing, names));
        MUST(json_equal(found.built, names));
        compare_rendered(args, names);
        fuzz_arm(order);
        result again = run(render, args);
        end(&again);
        json_decref(names);
    }
    end(&found);
    json_decref(nothing);
}

static size_t differences(const arguments *args)
{
    result got = run(round_trip, args);
    MUST(got.code == LATHE_OK);
    size_t count = json_array_size(got.built);
    end(&got);
    return count;
}

/* A template and values that belong together, also as a round trip. */
static void check_template(fuzz_input *input, bool partial, unsigned order)
{
    json_t *names = json_array(), *values = json_object();
    json_t *text = fuzz_json_string(fuzz_piece(input));
    bool valid = fuzz_is_text(text_of(text));
    json_decref(render_text(text_of(text), NULL, names));
    for (size_t i = 0; i < json_array_size(names) && input->size; i++)
        json_object_set_new_nocheck(values, json_string_value(json_array_get(names, i)),
                                    fuzz_json_string(fuzz_piece(input)));
    bool odd = *text_of(text).data == '#' || !valid; /* support_host.h has other plans for these */
    const arguments args = {odd ? lathe_jansson_source() : host_source(), text, values, NULL,
                            partial};
    if (valid && !spoilt(names, values)) {
        json_t *sent = render_text(text_of(text), values, names);
        json_t *response =
            json_pack("{s:[{s:s, s:O}], s:s, s:{}, s:O}", "messages", "role", "user", "content",
                      text, "system", "", "usage", "variable_values", values);
        json_t *other = json_string("other than that, {{never}} seen");
        const arguments trip = {lathe_jansson_source(), sent, response, NULL, false};
        const arguments changed = {lathe_jansson_source(), other, response, NULL, false};
        MUST(differences(&trip) == 0);
        MUST(differences(&changed) == !json_equal(sent, other));
        json_decref(other);
        json_decref(response);
        json_decref(sent);
    }
    check_prompt(&args, order);
    json_decref(text);
    json_decref(values);
    json_decref(names);
}

static bool is_exact(const arguments *args)
{
    json_t *names = json_array();
    json_t *values = json_object_get(args->second, "variable_values");
    json_t *rendered = render_prompt(args->second, values, names);
    json_t *got = normal(json_object_get(rendered, "messages"));
    json_t *expected = normal((json_t *)(uintptr_t)args->first);
    lathe_text system = text_of(json_object_get(rendered, "system"));
    bool exact = json_equal(got, expected) && fuzz_same(text_of(args->third), system);
    json_decref(expected);
    json_decref(got);
    json_decref(rendered);
    json_decref(names);
    return exact;
}

static void check_trip(const arguments *args, unsigned order)
{
    result got = run(round_trip, args);
    MUST(!got.code || got.code == LATHE_INVALID_REQUEST);
    MUST(got.code || is_exact(args) == (json_array_size(got.built) == 0));
    end(&got);
    fuzz_arm(order);
    got = run(round_trip, args);
    end(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), mode = fuzz_byte(&input);
    size_t before = alloc_blocks();
    if (!(mode & 1)) {
        check_template(&input, mode & 4, order);
    } else {
        json_t *first = fuzz_value(&input), *second = fuzz_value(&input);
        json_t *third = mode & 2 ? fuzz_value(&input) : NULL;
        if (json_is_null(third)) {
            json_decref(third);
            third = NULL;
        }
        const arguments args = {lathe_jansson_source(), first, second, third, mode & 4};
        if (mode & 2)
            check_trip(&args, order);
        else
            check_prompt(&args, order);
        json_decref(first);
        json_decref(second);
        json_decref(third);
    }
    MUST(alloc_blocks() == before);
    return 0;
}
