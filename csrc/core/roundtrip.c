/* Whether an answer of templatize, rendered with its own values, is the request again. */
#include <stdint.h>
#include <string.h>

#include "error.h"
#include "messages.h"
#include "template.h"
#include "value.h"

typedef struct round_trip {
    const lathe_source *source;
    lathe_names values; /* of the answer's variables */
    const lathe_sink *sink;
    lathe_buf rendered, path;
} round_trip;

/* A message in its normal form: a string as content is one block. */
typedef struct normal_message {
    lathe_text role;
    const void *content; /* NULL: there is none */
} normal_message;

/* One side of a difference: a number, or a text that is null without data. */
typedef struct side_value {
    bool number;
    size_t count;
    lathe_text text;
} side_value;

static side_value text_side(lathe_text text)
{
    return (side_value){.text = text};
}

static side_value count_side(size_t count)
{
    return (side_value){.number = true, .count = count};
}

static lathe_code feed_side(const lathe_sink *sink, const char *key, side_value side)
{
    lathe_code code = lathe_sink_key(sink, key);
    if (code)
        return code;
    if (side.number)
        return sink->table->integer(sink->self, (int64_t)side.count);
    return side.text.data ? sink->table->string(sink->self, side.text.data, side.text.size)
                          : sink->table->null(sink->self);
}

static lathe_code report(round_trip *trip, const lathe_path *path, const char *difference,
                         side_value expected, side_value got)
{
    const lathe_sink *sink = trip->sink;
    trip->path.size = 0;
    lathe_code code = lathe_path_write(path, &trip->path);
    if (!code)
        code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_member(sink, "path", trip->path.data, trip->path.size);
    if (!code)
        code = lathe_sink_key(sink, "code");
    if (!code)
        code = sink->table->string(sink->self, difference, strlen(difference));
    if (!code)
        code = feed_side(sink, "expected", expected);
    if (!code)
        code = feed_side(sink, "got", got);
    return code ? code : sink->table->end(sink->self);
}

static bool same(lathe_text a, lathe_text b)
{
    if (!a.data || !b.data)
        return a.data == b.data;
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static lathe_code compare_count(round_trip *trip, const lathe_path *path, size_t expected,
                                size_t got)
{
    if (expected == got)
        return LATHE_OK;
    return report(trip, path, "count", count_side(expected), count_side(got));
}

/* `got` is a template, or null without data. */
static lathe_code compare_text(round_trip *trip, const lathe_path *path, lathe_text expected,
                               lathe_text got)
{
    lathe_code code =
        got.data ? lathe_render_text(&trip->values, got, &trip->rendered, &got) : LATHE_OK;
    if (code || same(expected, got))
        return code;
    return report(trip, path, "text", text_side(expected), text_side(got));
}

/* A string's bytes; {NULL, 0} when it is none, or was changed meanwhile. */
static lathe_code read_text(const round_trip *trip, const void *value, lathe_text *text)
{
    *text = (lathe_text){0};
    if (!value || lathe_kind_of(trip->source, value) != LATHE_KIND_STRING)
        return LATHE_OK;
    lathe_code code = lathe_read_bytes(trip->source, value, text);
    return code == LATHE_NOT_UNICODE ? LATHE_OK : code;
}

/* How many items a list has; a string stands for a list of one. */
static size_t count_of(const round_trip *trip, const void *value)
{
    lathe_kind kind = value ? lathe_kind_of(trip->source, value) : LATHE_KIND_NULL;
    if (kind == LATHE_KIND_LIST)
        return trip->source->table->length(trip->source->self, value);
    return kind == LATHE_KIND_STRING;
}

static lathe_code read_message(const round_trip *trip, const void *messages, size_t index,
                               normal_message *message)
{
    static const char *const names[] = {"role", "content"};
    const void *item, *values[2];
    if (lathe_kind_of(trip->source, messages) == LATHE_KIND_STRING) {
        message->role = (lathe_text){"user", 4};
        message->content = messages;
        return LATHE_OK;
    }
    *message = (normal_message){.content = NULL};
    lathe_code code = lathe_item(trip->source, messages, index, index + 1, &item);
    if (code || !item || lathe_kind_of(trip->source, item) != LATHE_KIND_OBJECT)
        return code;
    code = lathe_find_members(trip->source, item, names, 2, values, NULL);
    if (code)
        return code;
    message->content = values[1];
    return read_text(trip, values[0], &message->role);
}

/* The text of a block; {NULL, 0} when the block is no text block. */
static lathe_code read_block(const round_trip *trip, const void *content, size_t index,
                             lathe_text *text)
{
    static const char *const names[] = {"type", "text"};
    const void *item, *values[2];
    lathe_text type = {0};
    if (lathe_kind_of(trip->source, content) == LATHE_KIND_STRING)
        return read_text(trip, content, text);
    *text = (lathe_text){0};
    lathe_code code = lathe_item(trip->source, content, index, index + 1, &item);
    if (code || !item || lathe_kind_of(trip->source, item) != LATHE_KIND_OBJECT)
        return code;
    code = lathe_find_members(trip->source, item, names, 2, values, NULL);
    if (!code)
        code = read_text(trip, values[0], &type);
    return code || !lathe_text_is(type, "text") ? code : read_text(trip, values[1], text);
}

static lathe_code compare_content(round_trip *trip, const void *expected, const void *got,
                                  const lathe_path *path)
{
    size_t wanted = count_of(trip, expected), have = count_of(trip, got);
    lathe_code code = compare_count(trip, path, wanted, have);
    for (size_t i = 0; i < wanted && i < have && !code; i++) {
        lathe_text left = {0}, right = {0};
        lathe_path block = lathe_path_index(path, i), step = lathe_path_name(&block, "text");
        code = read_block(trip, expected, i, &left);
        if (!code)
            code = read_block(trip, got, i, &right);
        if (!code)
            code = compare_text(trip, &step, left, right);
    }
    return code;
}

static lathe_code compare_message(round_trip *trip, const normal_message *expected,
                                  const normal_message *got, const lathe_path *path)
{
    lathe_path role = lathe_path_name(path, "role"), content = lathe_path_name(path, "content");
    lathe_code code = LATHE_OK;
    if (!same(expected->role, got->role))
        code = report(trip, &role, "role", text_side(expected->role), text_side(got->role));
    return code ? code : compare_content(trip, expected->content, got->content, &content);
}

static lathe_code compare_messages(round_trip *trip, const void *expected, const void *got)
{
    lathe_path path = lathe_path_name(NULL, "messages");
    size_t wanted = count_of(trip, expected), have = count_of(trip, got);
    lathe_code code = compare_count(trip, &path, wanted, have);
    for (size_t i = 0; i < wanted && i < have && !code; i++) {
        normal_message left, right;
        lathe_path step = lathe_path_index(&path, i);
        code = read_message(trip, expected, i, &left);
        if (!code)
            code = read_message(trip, got, i, &right);
        if (!code)
            code = compare_message(trip, &left, &right, &step);
    }
    return code;
}

static lathe_code compare(round_trip *trip, const void *messages, lathe_text system,
                          const void *response)
{
    static const char *const names[] = {"messages", "system"};
    const void *values[2];
    lathe_text got = {0};
    lathe_path path = lathe_path_name(NULL, "system");
    if (!system.data)
        system.data = "";
    lathe_code code = lathe_find_members(trip->source, response, names, 2, values, NULL);
    if (!code)
        code = trip->sink->table->begin_list(trip->sink->self);
    if (!code)
        code = read_text(trip, values[1], &got);
    if (!code)
        code = compare_text(trip, &path, system, got);
    if (!code)
        code = compare_messages(trip, messages, values[0]);
    return code ? code : trip->sink->table->end(trip->sink->self);
}

static lathe_code take_value(round_trip *trip, const lathe_member *member, const lathe_path *path,
                             lathe_faults *faults)
{
    if (!member->name.data)
        return lathe_path_bad_key(path, faults, member->is_string);
    lathe_name *name;
    lathe_path step = lathe_path_text(path, member->name);
    lathe_code code = lathe_names_add(&trip->values, member->name, &name);
    return code ? code : lathe_name_set(name, trip->source, member->value, &step, faults);
}

static lathe_code take_values(round_trip *trip, const void *values, const lathe_path *path,
                              lathe_faults *faults)
{
    if (!values)
        return lathe_path_fault(path, faults, "missing", "is required: an object of strings");
    lathe_kind kind = lathe_kind_of(trip->source, values);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(path, faults, "an object of strings", kind);
    lathe_cursor cursor = {0};
    for (;;) {
        lathe_member member;
        lathe_code code = lathe_next_member(trip->source, values, &cursor, &member);
        if (code || !member.key)
            return code;
        code = take_value(trip, &member, path, faults);
        if (code)
            return code;
    }
}

static lathe_code check_response(round_trip *trip, const void *response, lathe_faults *faults)
{
    static const char *const names[] = {"variable_values"};
    const void *values;
    lathe_path path = lathe_path_name(NULL, "response");
    lathe_path values_path = lathe_path_name(&path, "variable_values");
    if (!response)
        return lathe_path_fault(&path, faults, "missing", "is required: an answer of templatize");
    lathe_kind kind = lathe_kind_of(trip->source, response);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(&path, faults, "an answer of templatize", kind);
    lathe_code code =
        lathe_walk_response(trip->source, response, &path, LATHE_ANSWER, NULL, faults);
    if (!code)
        code = lathe_find_members(trip->source, response, names, 1, &values, NULL);
    return code ? code : take_values(trip, values, &values_path, faults);
}

lathe_code lathe_round_trip_check(const lathe_source *source, const void *messages,
                                  const void *system, const void *response, const lathe_sink *sink,
                                  lathe_error *error)
{
    lathe_faults *faults = &error->faults;
    round_trip trip = {.source = source, .sink = sink};
    lathe_text system_text = {0};
    lathe_buf_init(&trip.rendered, SIZE_MAX / 2);
    lathe_buf_init(&trip.path, SIZE_MAX / 2);
    lathe_code code = lathe_messages_walk(source, messages, "messages", NULL, faults);
    if (!code && system)
        code = lathe_string_walk(source, system, "system", NULL, &system_text, faults);
    if (!code)
        code = check_response(&trip, response, faults);
    if (!code && !faults->total)
        code = compare(&trip, messages, system_text, response);
    lathe_buf_clear(&trip.rendered);
    lathe_buf_clear(&trip.path);
    lathe_names_clear(&trip.values);
    return lathe_end_rule(error, code, LATHE_INVALID_REQUEST);
}
