#include "shape.h"

#include <stdio.h>
#include <string.h>

#include "error.h"

typedef enum event { SCALAR, STRING, LIST, OBJECT } event;

#define BIT(slot) (1U << (slot))

/* Where the value that comes next stands, for the message. */
static void describe_place(const lathe_shape *shape, char *place, size_t size)
{
    static const char *const names[] = {
        [LATHE_SLOT_MESSAGES] = "messages", [LATHE_SLOT_ROLE] = "role",
        [LATHE_SLOT_CONTENT] = "content",   [LATHE_SLOT_TYPE] = "type",
        [LATHE_SLOT_TEXT] = "text",         [LATHE_SLOT_SYSTEM] = "system",
        [LATHE_SLOT_USAGE] = "usage",       [LATHE_SLOT_VALUES] = "variable_values",
    };
    size_t used = 0;
    place[0] = '\0';
    for (unsigned i = 0; i <= shape->depth && used < size; i++) {
        lathe_slot slot = i < shape->depth ? shape->levels[i].slot : shape->next;
        const char *dot = used ? "." : "";
        int more = 0;
        if (slot == LATHE_SLOT_MESSAGE || slot == LATHE_SLOT_BLOCK)
            more = snprintf(place + used, size - used, "%s%zu", dot, shape->levels[i - 1].index);
        else if (slot == LATHE_SLOT_VALUE)
            more = snprintf(place + used, size - used, "%s(a value)", dot);
        else if (slot != LATHE_SLOT_TOP && slot != LATHE_SLOT_ANY)
            more = snprintf(place + used, size - used, "%s%s", dot, names[slot]);
        used += (size_t)more;
    }
}

static lathe_code wrong(lathe_shape *shape, const char *what)
{
    char place[120];
    describe_place(shape, place, sizeof place);
    return lathe_fail(shape->error, LATHE_RESPONSE_VALIDATION,
                      "the answer does not have the documented shape: %s %s",
                      place[0] ? place : "the body", what);
}

/* What a slot must hold instead of what begins; NULL when it may. */
static const char *objection(lathe_slot slot, event begins)
{
    switch (slot) {
    case LATHE_SLOT_TOP:
    case LATHE_SLOT_MESSAGE:
    case LATHE_SLOT_BLOCK:
    case LATHE_SLOT_VALUES:
        return begins == OBJECT ? NULL : "must be an object";
    case LATHE_SLOT_MESSAGES:
        return begins == LIST ? NULL : "must be a list";
    case LATHE_SLOT_ROLE:
    case LATHE_SLOT_TYPE:
    case LATHE_SLOT_SYSTEM:
    case LATHE_SLOT_VALUE:
        return begins == STRING ? NULL : "must be a string";
    case LATHE_SLOT_CONTENT:
        return begins == STRING || begins == LIST ? NULL : "must be a string or a list";
    case LATHE_SLOT_USAGE:
        return begins == OBJECT || begins == LIST ? NULL : "must be an object or a list";
    case LATHE_SLOT_ANY:
    case LATHE_SLOT_TEXT: /* judged at the block's end, when its type is known */
        return NULL;
    }
    return NULL;
}

static lathe_level *top_level(lathe_shape *shape)
{
    return shape->depth ? &shape->levels[shape->depth - 1] : NULL;
}

static lathe_slot item_slot(const lathe_level *level)
{
    if (level && level->slot == LATHE_SLOT_MESSAGES)
        return LATHE_SLOT_MESSAGE;
    return level && level->slot == LATHE_SLOT_CONTENT ? LATHE_SLOT_BLOCK : LATHE_SLOT_ANY;
}

/* Judges the value that begins. */
static lathe_code check(lathe_shape *shape, event begins)
{
    if (shape->unchecked)
        return LATHE_OK;
    const char *what = objection(shape->next, begins);
    if (what)
        return wrong(shape, what);
    if (shape->next == LATHE_SLOT_TEXT)
        top_level(shape)->text_wrong = begins != STRING;
    return LATHE_OK;
}

/* After a whole value: the next one of a list stands in the next slot. */
static void advance(lathe_shape *shape)
{
    lathe_level *level = top_level(shape);
    if (shape->unchecked || !level)
        return;
    level->index++;
    shape->next = item_slot(level);
}

static bool is_looked_into(lathe_slot slot)
{
    return slot != LATHE_SLOT_ANY && slot != LATHE_SLOT_USAGE && slot != LATHE_SLOT_TEXT;
}

static void enter(lathe_shape *shape)
{
    if (shape->unchecked || !is_looked_into(shape->next)) {
        shape->unchecked++;
        return;
    }
    shape->levels[shape->depth++] = (lathe_level){.slot = shape->next};
    shape->next = item_slot(top_level(shape));
}

static lathe_code require(lathe_shape *shape, const lathe_level *level, lathe_slot slot)
{
    if (level->seen & BIT(slot))
        return LATHE_OK;
    if (level->slot == LATHE_SLOT_TOP && shape->named_error)
        return lathe_fail(shape->error, LATHE_RESPONSE_VALIDATION,
                          "the answer has status 200 but its body is an error of the service");
    shape->next = slot;
    return wrong(shape, "is missing");
}

static lathe_code check_block(lathe_shape *shape, const lathe_level *block)
{
    lathe_code code = require(shape, block, LATHE_SLOT_TYPE);
    if (!code && block->text_type)
        code = require(shape, block, LATHE_SLOT_TEXT);
    if (code || !block->text_type || !block->text_wrong)
        return code;
    shape->next = LATHE_SLOT_TEXT;
    return wrong(shape, "must be a string");
}

/* What an object must have had when it ends. */
static lathe_code check_end(lathe_shape *shape)
{
    const lathe_level *level = top_level(shape);
    lathe_code code = LATHE_OK;
    if (level->slot == LATHE_SLOT_BLOCK)
        return check_block(shape, level);
    if (level->slot == LATHE_SLOT_MESSAGE) {
        code = require(shape, level, LATHE_SLOT_ROLE);
        return code ? code : require(shape, level, LATHE_SLOT_CONTENT);
    }
    if (level->slot != LATHE_SLOT_TOP)
        return LATHE_OK;
    code = require(shape, level, LATHE_SLOT_MESSAGES);
    if (!code)
        code = require(shape, level, LATHE_SLOT_SYSTEM);
    if (!code)
        code = require(shape, level, LATHE_SLOT_USAGE);
    return code || !shape->templatize ? code : require(shape, level, LATHE_SLOT_VALUES);
}

static lathe_code leave(lathe_shape *shape)
{
    if (shape->unchecked) {
        shape->unchecked--;
    } else {
        lathe_code code = check_end(shape);
        if (code)
            return code;
        shape->depth--;
    }
    advance(shape);
    return LATHE_OK;
}

/* The slot of an object's member. */
static lathe_slot member_slot(const lathe_shape *shape, const lathe_level *level, const char *data,
                              size_t size)
{
    static const struct {
        lathe_slot object, slot;
        const char *name;
        size_t size;
    } members[] = {
#define ROW(object, slot, name) {LATHE_SLOT_##object, LATHE_SLOT_##slot, name, sizeof(name) - 1}
        ROW(TOP, MESSAGES, "messages"), ROW(TOP, SYSTEM, "system"),
        ROW(TOP, USAGE, "usage"),       ROW(TOP, VALUES, "variable_values"),
        ROW(MESSAGE, ROLE, "role"),     ROW(MESSAGE, CONTENT, "content"),
        ROW(BLOCK, TYPE, "type"),       ROW(BLOCK, TEXT, "text"),
#undef ROW
    };
    if (level->slot == LATHE_SLOT_VALUES)
        return LATHE_SLOT_VALUE;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (members[i].object == level->slot && members[i].size == size &&
            !memcmp(members[i].name, data, size))
            return members[i].slot == LATHE_SLOT_VALUES && !shape->templatize ? LATHE_SLOT_ANY
                                                                              : members[i].slot;
    return LATHE_SLOT_ANY;
}

/* ---- The events ------------------------------------------------------------------------------ */

#define SCALAR_EVENT(name, ...)                                                                    \
    lathe_shape *shape = self;                                                                     \
    lathe_code code = check(shape, SCALAR);                                                        \
    if (!code)                                                                                     \
        code = shape->inner.table->name(shape->inner.self __VA_ARGS__);                            \
    advance(shape);                                                                                \
    return code

static lathe_code shape_null(void *self)
{
    SCALAR_EVENT(null, );
}

static lathe_code shape_boolean(void *self, bool value)
{
    SCALAR_EVENT(boolean, , value);
}

static lathe_code shape_integer(void *self, int64_t value)
{
    SCALAR_EVENT(integer, , value);
}

static lathe_code shape_real(void *self, double value)
{
    SCALAR_EVENT(real, , value);
}

static lathe_code shape_string(void *self, const char *data, size_t size)
{
    lathe_shape *shape = self;
    lathe_code code = check(shape, STRING);
    if (code)
        return code;
    if (!shape->unchecked && shape->next == LATHE_SLOT_TYPE)
        top_level(shape)->text_type = size == 4 && !memcmp(data, "text", 4);
    advance(shape);
    return shape->inner.table->string(shape->inner.self, data, size);
}

static lathe_code shape_begin_list(void *self)
{
    lathe_shape *shape = self;
    lathe_code code = check(shape, LIST);
    if (code)
        return code;
    enter(shape);
    return shape->inner.table->begin_list(shape->inner.self);
}

static lathe_code shape_begin_object(void *self)
{
    lathe_shape *shape = self;
    lathe_code code = check(shape, OBJECT);
    if (code)
        return code;
    enter(shape);
    return shape->inner.table->begin_object(shape->inner.self);
}

static lathe_code shape_key(void *self, const char *data, size_t size)
{
    lathe_shape *shape = self;
    lathe_level *level = top_level(shape);
    if (!shape->unchecked && level) {
        shape->next = member_slot(shape, level, data, size);
        level->seen |= BIT(shape->next);
        if (level->slot == LATHE_SLOT_TOP && size == 5 && !memcmp(data, "error", 5))
            shape->named_error = true;
    }
    return shape->inner.table->key(shape->inner.self, data, size);
}

static lathe_code shape_end(void *self)
{
    lathe_shape *shape = self;
    lathe_code code = leave(shape);
    return code ? code : shape->inner.table->end(shape->inner.self);
}

static const lathe_sink_table table = {
    .null = shape_null,
    .boolean = shape_boolean,
    .integer = shape_integer,
    .real = shape_real,
    .string = shape_string,
    .begin_list = shape_begin_list,
    .begin_object = shape_begin_object,
    .key = shape_key,
    .end = shape_end,
};

lathe_sink lathe_shape_sink(lathe_shape *shape, bool templatize, const lathe_sink *inner,
                            lathe_error *error)
{
    *shape = (lathe_shape){
        .inner = *inner, .error = error, .templatize = templatize, .next = LATHE_SLOT_TOP};
    return (lathe_sink){&table, shape};
}

lathe_code lathe_shape_finish(lathe_shape *shape)
{
    return shape->depth || shape->unchecked ? wrong(shape, "ended too early") : LATHE_OK;
}
