/* jansson as a host: values are json_t *. */
#include <jansson.h>
#include <math.h>
#include <stdint.h>

#include "alloc.h"
#include "buf.h"
#include "promptlathe.h"
#include "value.h"
#include "value_jansson.h"

/* json_decref recurses, so that depth needs a limit; this is what jansson itself reads. */
enum { DEPTH = 2048 };

/* ---- The source ---- */

/* A key is no json_t in jansson. It is handed out as the address of its iterator with the lowest
 * bit set, which no json_t has, so that it costs no memory and lives as long as its object. */
static const void *key_of_iterator(void *iterator)
{
    return (const char *)iterator + 1;
}

static bool is_key(const void *value)
{
    return (uintptr_t)value & 1;
}

static void *iterator_of_key(const void *key)
{
    return (void *)((uintptr_t)key - 1);
}

static lathe_kind source_kind(void *self, const void *value)
{
    (void)self;
    static const lathe_kind kinds[] = {
        [JSON_OBJECT] = LATHE_KIND_OBJECT, [JSON_ARRAY] = LATHE_KIND_LIST,
        [JSON_STRING] = LATHE_KIND_STRING, [JSON_INTEGER] = LATHE_KIND_INTEGER,
        [JSON_REAL] = LATHE_KIND_REAL,     [JSON_TRUE] = LATHE_KIND_BOOLEAN,
        [JSON_FALSE] = LATHE_KIND_BOOLEAN, [JSON_NULL] = LATHE_KIND_NULL,
    };
    return is_key(value) ? LATHE_KIND_STRING : kinds[json_typeof((const json_t *)value)];
}

/* jansson's unchecked constructors let any bytes in. */
static lathe_code source_text(void *self, const void *string, lathe_text *text)
{
    (void)self;
    if (is_key(string)) {
        void *iterator = iterator_of_key(string);
        *text = (lathe_text){json_object_iter_key(iterator), json_object_iter_key_len(iterator)};
    } else {
        *text = (lathe_text){json_string_value(string), json_string_length(string)};
    }
    return lathe_utf8_valid(text->data, text->size) ? LATHE_OK : LATHE_NOT_UNICODE;
}

static size_t source_length(void *self, const void *list)
{
    (void)self;
    return json_array_size(list);
}

static lathe_code source_item(void *self, const void *list, size_t index, const void **item)
{
    (void)self;
    *item = json_array_get(list, index);
    return LATHE_OK;
}

static lathe_code source_member(void *self, const void *object, lathe_cursor *cursor,
                                const void **key, const void **value)
{
    (void)self;
    json_t *members = (json_t *)(uintptr_t)object;
    void *iterator = cursor->position++
                         ? json_object_iter_next(members, (void *)(uintptr_t)cursor->state)
                         : json_object_iter(members);
    cursor->state = iterator;
    *key = iterator ? key_of_iterator(iterator) : NULL;
    *value = iterator ? json_object_iter_value(iterator) : NULL;
    return LATHE_OK;
}

static const lathe_source_table source_table = {
    .kind = source_kind,
    .text = source_text,
    .length = source_length,
    .item = source_item,
    .member = source_member,
};

lathe_source lathe_jansson_source(void)
{
    return (lathe_source){&source_table, NULL};
}

/* ---- The sink ---- */

/* What is open. A list or object is put into its parent when it begins, so that the root owns all
 * there is. */
typedef struct levels {
    json_t **open;
    size_t depth, capacity;
    lathe_buf key; /* of the member whose value comes next */
} levels;

void lathe_jansson_builder_init(lathe_jansson_builder *builder)
{
    *builder = (lathe_jansson_builder){0};
}

void lathe_jansson_builder_clear(lathe_jansson_builder *builder)
{
    levels *stack = builder->stack;
    if (stack) {
        lathe_free(stack->open);
        lathe_buf_clear(&stack->key);
        lathe_free(stack);
    }
    json_decref(builder->root);
    lathe_jansson_builder_init(builder);
}

json_t *lathe_jansson_builder_take(lathe_jansson_builder *builder)
{
    const levels *stack = builder->stack;
    if (stack && stack->depth)
        return NULL;
    json_t *root = builder->root;
    builder->root = NULL;
    return root;
}

static levels *stack_of(lathe_jansson_builder *builder)
{
    if (!builder->stack) {
        levels *stack = lathe_calloc(1, sizeof *stack);
        if (stack)
            lathe_buf_init(&stack->key, SIZE_MAX / 2);
        builder->stack = stack;
    }
    return builder->stack;
}

/* Puts a new value in its place; takes the reference in any case. */
static lathe_code attach_steal(lathe_jansson_builder *builder, json_t *value)
{
    if (!value)
        return LATHE_MEMORY;
    const levels *stack = builder->stack;
    json_t *parent = stack && stack->depth ? stack->open[stack->depth - 1] : NULL;
    if (!parent && builder->root) {
        json_decref(value); /* a second value at the top */
        return LATHE_TOO_LARGE;
    }
    int failed = 0;
    if (!parent)
        builder->root = value;
    else if (json_is_array(parent))
        failed = json_array_append_new(parent, value);
    else
        failed = json_object_setn_new_nocheck(parent, stack->key.data ? stack->key.data : "",
                                              stack->key.size, value);
    return failed ? LATHE_MEMORY : LATHE_OK;
}

static lathe_code reserve_level(levels *stack)
{
    if (stack->depth == DEPTH)
        return LATHE_TOO_LARGE;
    if (stack->depth < stack->capacity)
        return LATHE_OK;
    size_t capacity = stack->capacity ? stack->capacity * 2 : 16;
    json_t **open = lathe_realloc(stack->open, capacity * sizeof *open);
    if (!open)
        return LATHE_MEMORY;
    stack->open = open;
    stack->capacity = capacity;
    return LATHE_OK;
}

static lathe_code begin(lathe_jansson_builder *builder, bool object)
{
    levels *stack = stack_of(builder);
    lathe_code code = stack ? reserve_level(stack) : LATHE_MEMORY;
    if (code)
        return code;
    json_t *value = object ? json_object() : json_array();
    code = attach_steal(builder, value);
    if (!code)
        stack->open[stack->depth++] = value;
    return code;
}

static lathe_code sink_null(void *self)
{
    return attach_steal(self, json_null());
}

static lathe_code sink_boolean(void *self, bool value)
{
    return attach_steal(self, json_boolean(value));
}

static lathe_code sink_integer(void *self, int64_t value)
{
    return attach_steal(self, json_integer(value));
}

static lathe_code sink_real(void *self, double value)
{
    return isfinite(value) ? attach_steal(self, json_real(value)) : LATHE_TOO_LARGE;
}

static lathe_code sink_string(void *self, const char *data, size_t size)
{
    return attach_steal(self, json_stringn_nocheck(data ? data : "", size));
}

static lathe_code sink_begin_list(void *self)
{
    return begin(self, false);
}

static lathe_code sink_begin_object(void *self)
{
    return begin(self, true);
}

static lathe_code sink_key(void *self, const char *data, size_t size)
{
    lathe_jansson_builder *builder = self;
    levels *stack = builder->stack; /* a key stands in an object, so there is one */
    stack->key.size = 0;
    return lathe_buf_append(&stack->key, data, size);
}

static lathe_code sink_end(void *self)
{
    lathe_jansson_builder *builder = self;
    levels *stack = builder->stack;
    stack->depth--;
    return LATHE_OK;
}

static lathe_code sink_pass(void *self, const void *value)
{
    return attach_steal(self, json_copy((json_t *)(uintptr_t)value));
}

static const lathe_sink_table sink_table = {
    .null = sink_null,
    .boolean = sink_boolean,
    .integer = sink_integer,
    .real = sink_real,
    .string = sink_string,
    .begin_list = sink_begin_list,
    .begin_object = sink_begin_object,
    .key = sink_key,
    .end = sink_end,
    .pass = sink_pass,
    .host = &source_table,
};

lathe_sink lathe_jansson_sink(lathe_jansson_builder *builder)
{
    return (lathe_sink){&sink_table, builder};
}

json_t *lathe_jansson_read(const char *data, size_t size, lathe_error *error)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    json_t *root =
        lathe_json_read(data, size, &sink, error) ? NULL : lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    return root;
}

lathe_code lathe_jansson_try(const char *data, size_t size, json_t **root)
{
    lathe_error why;
    lathe_error_init(&why);
    *root = lathe_jansson_read(data, size, &why);
    lathe_code code = why.code == LATHE_MEMORY ? LATHE_MEMORY : LATHE_OK;
    lathe_error_clear(&why);
    return code;
}
