/* What the rules share: the path of a fault, members by name, items by index. */
#ifndef LATHE_WALK_H
#define LATHE_WALK_H

#include <string.h>

#include "buf.h"
#include "promptlathe.h"

/* One step of a path. A chain of them lives on the stack and is written out only for a fault. */
typedef struct lathe_path {
    const struct lathe_path *parent; /* NULL at the top */
    const char *name;                /* NULL: the step is `index` */
    size_t name_size, index;
} lathe_path;

/* Here, so that a path costs a good value next to nothing. */
static inline lathe_path lathe_path_name(const lathe_path *parent, const char *name)
{
    return (lathe_path){.parent = parent, .name = name, .name_size = strlen(name)};
}

static inline lathe_path lathe_path_text(const lathe_path *parent, lathe_text name)
{
    return (lathe_path){.parent = parent, .name = name.data, .name_size = name.size};
}

static inline lathe_path lathe_path_index(const lathe_path *parent, size_t index)
{
    return (lathe_path){.parent = parent, .index = index};
}

/* Appends "messages.0.content". */
lathe_code lathe_path_write(const lathe_path *path, lathe_buf *buf);

/* Adds a fault at `path`. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_path_fault(const lathe_path *path, lathe_faults *faults, const char *code,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));
/* wrong_type; `expected` is "a string", "a list", ... */
lathe_code lathe_path_wrong_type(const lathe_path *path, lathe_faults *faults, const char *expected,
                                 lathe_kind kind);
/* not_unicode, for a string. */
lathe_code lathe_path_not_unicode(const lathe_path *path, lathe_faults *faults);
/* wrong_type or not_unicode, for a key of the object at `path`. */
lathe_code lathe_path_bad_key(const lathe_path *path, lathe_faults *faults, bool is_string);

/* Ends a rule: LATHE_OK, or the error made from `status` (the walk itself failed) or, with `code`,
 * from error->faults. */
lathe_code lathe_end_rule(lathe_error *error, lathe_code status, lathe_code code);

bool lathe_text_is(lathe_text text, const char *string);

/* A string's bytes. Data is NULL when it fails and only then, whatever the host gives for an empty
 * string. */
lathe_code lathe_read_bytes(const lathe_source *source, const void *string, lathe_text *text);

/* Reads a string, or adds its fault. *text is {NULL, 0} when there is a fault. */
lathe_code lathe_read_string(const lathe_source *source, const void *value, const lathe_path *path,
                             lathe_text *text, lathe_faults *faults);

/* *item is NULL at `length` and beyond, and when the list has meanwhile become shorter. */
lathe_code lathe_item(const lathe_source *source, const void *list, size_t index, size_t length,
                      const void **item);

/* The next member: *key is NULL at the end. `name` is the key's text, {NULL, 0} for a key that is
 * no string (*is_string false) or has no UTF-8 form. */
typedef struct lathe_member {
    const void *key, *value;
    bool is_string;
    lathe_text name;
} lathe_member;

lathe_code lathe_next_member(const lathe_source *source, const void *object, lathe_cursor *cursor,
                             lathe_member *member);

/* The values of the members called names[0] ... names[count - 1], NULL for one that is not there,
 * in a single walk. *others tells whether there are any other members (may be NULL). */
lathe_code lathe_find_members(const lathe_source *source, const void *object,
                              const char *const *names, size_t count, const void **values,
                              bool *others);

#endif
