#include "walk.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "value.h"

lathe_code lathe_path_write(const lathe_path *path, lathe_buf *buf)
{
    lathe_code code = LATHE_OK;
    if (path->parent) {
        code = lathe_path_write(path->parent, buf);
        if (!code)
            code = lathe_buf_append(buf, ".", 1);
    }
    if (code)
        return code;
    return path->name ? lathe_buf_append(buf, path->name, path->name_size)
                      : lathe_buf_printf(buf, "%zu", path->index);
}

lathe_code lathe_path_fault(const lathe_path *path, lathe_faults *faults, const char *code,
                            const char *format, ...)
{
    if (faults->count == LATHE_FAULTS_KEPT) {
        faults->total++;
        return LATHE_OK;
    }
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_code status = lathe_path_write(path, &buf);
    if (!status)
        status = lathe_faults_add(faults, buf.data, buf.size, code, -1, "%s", message);
    lathe_buf_clear(&buf);
    return status;
}

static const char *kind_words(lathe_kind kind)
{
    static const char *const words[] = {
        "null",      "a boolean",
        "a number",  "a number",
        "a string",  "a list",
        "an object", "a value of no JSON type (bytes, an object of another class)",
    };
    return words[kind];
}

lathe_code lathe_path_wrong_type(const lathe_path *path, lathe_faults *faults, const char *expected,
                                 lathe_kind kind)
{
    return lathe_path_fault(path, faults, "wrong_type", "must be %s, not %s", expected,
                            kind_words(kind));
}

lathe_code lathe_path_not_unicode(const lathe_path *path, lathe_faults *faults)
{
    return lathe_path_fault(
        path, faults, "not_unicode",
        "holds a lone surrogate, which has no UTF-8 form: remove or replace it");
}

lathe_code lathe_path_bad_key(const lathe_path *path, lathe_faults *faults, bool is_string)
{
    if (!is_string)
        return lathe_path_fault(path, faults, "wrong_type",
                                "has a key that is no string: every key must be a string");
    return lathe_path_fault(path, faults, "not_unicode",
                            "has a key with a lone surrogate, which has no UTF-8 form: rename it");
}

lathe_code lathe_end_rule(lathe_error *error, lathe_code status, lathe_code code)
{
    if (!status)
        return lathe_fail_faults(error, code);
    lathe_faults_clear(&error->faults);
    return lathe_fail(error, status, NULL);
}

bool lathe_text_is(lathe_text text, const char *string)
{
    /* Names are short and mostly differ in their first byte. */
    if (!text.data)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (!string[i] || string[i] != text.data[i])
            return false;
    return !string[text.size];
}

lathe_code lathe_read_bytes(const lathe_source *source, const void *string, lathe_text *text)
{
    *text = (lathe_text){0};
    lathe_code code = lathe_text_of(source, string, text);
    if (code)
        *text = (lathe_text){0};
    else if (!text->data)
        text->data = "";
    return code;
}

lathe_code lathe_read_string(const lathe_source *source, const void *value, const lathe_path *path,
                             lathe_text *text, lathe_faults *faults)
{
    *text = (lathe_text){0};
    lathe_kind kind = lathe_kind_of(source, value);
    if (kind != LATHE_KIND_STRING)
        return lathe_path_wrong_type(path, faults, "a string", kind);
    lathe_code code = lathe_read_bytes(source, value, text);
    return code == LATHE_NOT_UNICODE ? lathe_path_not_unicode(path, faults) : code;
}

lathe_code lathe_item(const lathe_source *source, const void *list, size_t index, size_t length,
                      const void **item)
{
    *item = NULL;
    return index < length ? source->table->item(source->self, list, index, item) : LATHE_OK;
}

lathe_code lathe_next_member(const lathe_source *source, const void *object, lathe_cursor *cursor,
                             lathe_member *member)
{
    *member = (lathe_member){0};
    lathe_code code =
        source->table->member(source->self, object, cursor, &member->key, &member->value);
    if (code || !member->key)
        return code;
    member->is_string = lathe_kind_of(source, member->key) == LATHE_KIND_STRING;
    if (!member->is_string)
        return LATHE_OK;
    code = lathe_read_bytes(source, member->key, &member->name);
    return code == LATHE_NOT_UNICODE ? LATHE_OK : code;
}

/* Takes `member` for the first of the names that it has, once. */
static bool take_member(const lathe_member *member, const char *const *names, size_t count,
                        const void **values)
{
    for (size_t i = 0; i < count; i++)
        if (!values[i] && lathe_text_is(member->name, names[i])) {
            values[i] = member->value;
            return true;
        }
    return false;
}

static lathe_code walk_members(const lathe_source *source, const void *object,
                               const char *const *names, size_t count, const void **values,
                               bool *others)
{
    lathe_cursor cursor = {0};
    lathe_member member;
    for (;;) {
        lathe_code code = lathe_next_member(source, object, &cursor, &member);
        if (code || !member.key)
            return code;
        if (!take_member(&member, names, count, values))
            *others = true;
    }
}

lathe_code lathe_find_members(const lathe_source *source, const void *object,
                              const char *const *names, size_t count, const void **values,
                              bool *others)
{
    bool unasked;
    others = others ? others : &unasked;
    *others = false;
    for (size_t i = 0; i < count; i++)
        values[i] = NULL;
    if (source->table->find)
        return source->table->find(source->self, object, names, count, values, others);
    return walk_members(source, object, names, count, values, others);
}
