/* Finding and rendering the variables of a prompt. */
#include "template.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "json.h"
#include "value.h"

/* What the value being copied is, as far as templates go. */
typedef enum slot { ELSEWHERE, PROMPT, MESSAGES, MESSAGE, CONTENT, BLOCK, TEXT } slot;

typedef struct copying {
    const lathe_source *source;
    const lathe_names *names;
    const lathe_sink *sink;
    lathe_faults *faults;
    lathe_buf rendered;
    unsigned depth;        /* lists and objects open */
    const lathe_path *top; /* the member of the prompt, or the message, being copied */
} copying;

static lathe_code copy(copying *copier, const void *value, slot place, const lathe_path *path);

/* After a fault the result is of no use, and a cycle would be walked without end. */
static bool stopped(const copying *copier)
{
    return copier->faults->total > 0;
}

/* A string in which nothing changes is passed as it is. */
static lathe_code copy_string(copying *copier, const void *string, slot place,
                              const lathe_path *path)
{
    const lathe_sink *sink = copier->sink;
    lathe_text text;
    lathe_code code = lathe_read_string(copier->source, string, path, &text, copier->faults);
    if (code || stopped(copier))
        return code;
    const char *given = text.data;
    if (place == PROMPT || place == CONTENT || place == TEXT)
        code = lathe_render_text(copier->names, text, &copier->rendered, &text);
    if (code)
        return code;
    if (text.data == given && lathe_same_host(copier->source, sink))
        return sink->table->pass(sink->self, string);
    return sink->table->string(sink->self, text.data, text.size);
}

/* A host's own scalars are passed as they are. A source cannot read numbers, so a sink of another
 * kind has no use for them. */
static lathe_code copy_scalar(const copying *copier, const void *value, lathe_kind kind)
{
    const lathe_sink *sink = copier->sink;
    if (lathe_same_host(copier->source, sink))
        return sink->table->pass(sink->self, value);
    return kind == LATHE_KIND_NULL ? sink->table->null(sink->self) : LATHE_TOO_LARGE;
}

static lathe_code copy_list(copying *copier, const void *list, slot place, const lathe_path *path)
{
    slot inner = place == PROMPT || place == MESSAGES ? MESSAGE
                 : place == CONTENT                   ? BLOCK
                                                      : ELSEWHERE;
    size_t length = copier->source->table->length(copier->source->self, list);
    lathe_code code = copier->sink->table->begin_list(copier->sink->self);
    for (size_t i = 0; !code; i++) {
        const void *item;
        code = lathe_item(copier->source, list, i, length, &item);
        if (code || !item)
            break;
        lathe_path step = lathe_path_index(path, i);
        code = copy(copier, item, inner, &step);
        if (stopped(copier))
            return code;
    }
    return code ? code : copier->sink->table->end(copier->sink->self);
}

/* Only a block of type text has a template. */
static lathe_code block_place(const copying *copier, const void *block, slot *place)
{
    static const char *const names[] = {"type"};
    const void *type;
    lathe_text text = {0};
    lathe_code code = lathe_find_members(copier->source, block, names, 1, &type, NULL);
    if (!code && type && lathe_kind_of(copier->source, type) == LATHE_KIND_STRING)
        code = lathe_read_bytes(copier->source, type, &text);
    if (code == LATHE_NOT_UNICODE)
        code = LATHE_OK;
    else if (!code && lathe_text_is(text, "text"))
        return LATHE_OK;
    *place = ELSEWHERE;
    return code;
}

static slot member_place(slot object, lathe_text name)
{
    if (object == PROMPT && lathe_text_is(name, "system"))
        return TEXT;
    if (object == PROMPT && lathe_text_is(name, "messages"))
        return MESSAGES;
    if (object == MESSAGE && lathe_text_is(name, "content"))
        return CONTENT;
    if (object == BLOCK && lathe_text_is(name, "text"))
        return TEXT;
    return ELSEWHERE;
}

static lathe_code copy_member(copying *copier, const lathe_member *member, slot place,
                              const lathe_path *path)
{
    if (!member->name.data) {
        lathe_path root = lathe_path_name(NULL, "prompt");
        return lathe_path_bad_key(path ? path : &root, copier->faults, member->is_string);
    }
    lathe_code code =
        copier->sink->table->key(copier->sink->self, member->name.data, member->name.size);
    lathe_path step = lathe_path_text(path, member->name);
    return code ? code : copy(copier, member->value, member_place(place, member->name), &step);
}

static lathe_code copy_object(copying *copier, const void *object, slot place,
                              const lathe_path *path)
{
    lathe_cursor cursor = {0};
    lathe_code code = place == BLOCK ? block_place(copier, object, &place) : LATHE_OK;
    if (!code)
        code = copier->sink->table->begin_object(copier->sink->self);
    while (!code) {
        lathe_member member;
        code = lathe_next_member(copier->source, object, &cursor, &member);
        if (code || !member.key)
            break;
        code = copy_member(copier, &member, place, path);
        if (stopped(copier))
            return code;
    }
    return code ? code : copier->sink->table->end(copier->sink->self);
}

/* A value that contains itself has no end, so the depth is what finds it. */
static lathe_code copy_nested(copying *copier, const void *value, lathe_kind kind, slot place,
                              const lathe_path *path)
{
    if (copier->depth == LATHE_INPUT_DEPTH)
        return lathe_path_fault(copier->top, copier->faults, "too_deep",
                                "is nested deeper than %d levels, or contains itself",
                                LATHE_INPUT_DEPTH);
    if (copier->depth == 1)
        copier->top = path;
    copier->depth++;
    lathe_code code = kind == LATHE_KIND_LIST ? copy_list(copier, value, place, path)
                                              : copy_object(copier, value, place, path);
    copier->depth--;
    return code;
}

static lathe_code copy(copying *copier, const void *value, slot place, const lathe_path *path)
{
    lathe_kind kind = lathe_kind_of(copier->source, value);
    if (kind == LATHE_KIND_STRING)
        return copy_string(copier, value, place, path);
    if (kind == LATHE_KIND_LIST || kind == LATHE_KIND_OBJECT)
        return copy_nested(copier, value, kind, place, path);
    return copy_scalar(copier, value, kind);
}

/* The path of what a prompt holds: a response's members have none above them. */
static lathe_code copy_prompt(copying *copier, const void *prompt)
{
    lathe_path string = lathe_path_name(NULL, "prompt"), list = lathe_path_name(NULL, "messages");
    lathe_kind kind = lathe_kind_of(copier->source, prompt);
    lathe_buf_init(&copier->rendered, SIZE_MAX / 2);
    lathe_code code = copy(copier, prompt, PROMPT,
                           kind == LATHE_KIND_LIST     ? &list
                           : kind == LATHE_KIND_OBJECT ? NULL
                                                       : &string);
    lathe_buf_clear(&copier->rendered);
    return code;
}

/* Gives the names their values. Values of no variable are not looked at. */
static lathe_code take_values(const lathe_source *source, const void *values, lathe_names *names,
                              lathe_faults *faults)
{
    lathe_path root = lathe_path_name(NULL, "values");
    if (!values)
        return lathe_path_fault(&root, faults, "missing", "is required: an object of strings");
    lathe_kind kind = lathe_kind_of(source, values);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(&root, faults, "an object of strings", kind);
    lathe_cursor cursor = {0};
    for (;;) {
        lathe_member member;
        lathe_code code = lathe_next_member(source, values, &cursor, &member);
        if (code || !member.key)
            return code;
        lathe_name *name = member.name.data ? lathe_names_find(names, member.name) : NULL;
        lathe_path path = lathe_path_text(&root, member.name);
        if (name)
            code = lathe_name_set(name, source, member.value, &path, faults);
        if (code)
            return code;
    }
}

/* Copies the names that have no value into error->names, and counts them. */
static lathe_code keep_missing(const lathe_names *names, lathe_error *error)
{
    for (size_t i = 0; i < names->count; i++) {
        const lathe_name *name = &names->items[i];
        if (name->value.data)
            continue;
        if (!error->names)
            error->names = lathe_calloc(names->count, sizeof *error->names);
        char *copied = error->names ? lathe_copy(name->name.data, name->name.size) : NULL;
        if (!copied)
            return lathe_fail(error, LATHE_MEMORY, NULL);
        error->names[error->name_count++] = copied;
    }
    return LATHE_OK;
}

/* The message shows the first few names and no more than the beginning of each. */
static lathe_code fail_missing(const lathe_names *names, lathe_error *error)
{
    enum { SHOWN = 8, PART = 40 };
    lathe_code code = keep_missing(names, error);
    if (code || !error->name_count)
        return code;
    char list[SHOWN * (PART + 6)] = "";
    size_t used = 0, shown = error->name_count < SHOWN ? error->name_count : SHOWN;
    for (size_t i = 0; i < shown; i++) {
        bool cut = strlen(error->names[i]) > PART;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%.*s%s", i ? ", " : "", PART,
                                 error->names[i], cut ? "..." : "");
    }
    if (shown == error->name_count)
        return lathe_fail(error, LATHE_MISSING_VARIABLE, "no value for %s", list);
    return lathe_fail(error, LATHE_MISSING_VARIABLE, "no value for %s and %zu more variables", list,
                      error->name_count - shown);
}

lathe_code lathe_template_render(const lathe_source *source, const void *prompt, const void *values,
                                 bool partial, const lathe_sink *sink, lathe_error *error)
{
    lathe_names names = {0};
    lathe_faults *faults = &error->faults;
    copying copier = {.source = source, .names = &names, .sink = sink, .faults = faults};
    lathe_code code = lathe_walk_prompt(source, prompt, &names, faults);
    if (!code)
        code = take_values(source, values, &names, faults);
    if (!code && !faults->total && !partial)
        code = fail_missing(&names, error);
    if (!code && !faults->total)
        code = copy_prompt(&copier, prompt);
    lathe_names_clear(&names);
    return lathe_end_rule(error, code, LATHE_INVALID_REQUEST);
}

static lathe_code feed_names(const lathe_names *names, const lathe_sink *sink)
{
    lathe_code code = sink->table->begin_list(sink->self);
    for (size_t i = 0; i < names->count && !code; i++)
        code =
            sink->table->string(sink->self, names->items[i].name.data, names->items[i].name.size);
    return code ? code : sink->table->end(sink->self);
}

lathe_code lathe_template_variables(const lathe_source *source, const void *prompt,
                                    const lathe_sink *sink, lathe_error *error)
{
    lathe_names names = {0};
    lathe_code code = lathe_walk_prompt(source, prompt, &names, &error->faults);
    if (!code && !error->faults.total)
        code = feed_names(&names, sink);
    lathe_names_clear(&names);
    return lathe_end_rule(error, code, LATHE_INVALID_REQUEST);
}
