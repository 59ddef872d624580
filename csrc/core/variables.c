/* Variables in one text. */
#include <string.h>

#include "template.h"
#include "words.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool begins_name(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool continues_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9');
}

static size_t skip_blanks(lathe_text text, size_t at)
{
    while (at < text.size && is_blank(text.data[at]))
        at++;
    return at;
}

/* Reads a variable behind the "{{" at `start`. *stop is where a further one may begin when there is
 * none: behind the two braces nothing up to there is one. */
static bool read_variable(lathe_text text, size_t start, lathe_variable *variable, size_t *stop)
{
    size_t name = skip_blanks(text, start + 2), at = name;
    if (at < text.size && begins_name(text.data[at]))
        while (at < text.size && continues_name(text.data[at]))
            at++;
    size_t end = at > name ? skip_blanks(text, at) : at;
    *stop = end;
    if (at == name || text.size - end < 2 || memcmp(text.data + end, "}}", 2) != 0)
        return false;
    *variable = (lathe_variable){start, end + 2, {text.data + name, at - name}};
    return true;
}

/* Bytes that are looked at together, and how often before memchr, faster but a call, has its turn
 * again. */
enum { STRIDE = 4 * LATHE_WORD, STRIDES = 8 };

/* Whether two braces in a row may begin in the next STRIDE bytes; one more byte is read. */
static bool may_hold_pair(const char *at)
{
    uint64_t found = 0;
    for (size_t i = 0; i < STRIDE; i += LATHE_WORD)
        found |= lathe_zero_bytes((lathe_word(at + i) ^ LATHE_EACH_BYTE('{')) |
                                  (lathe_word(at + i + 1) ^ LATHE_EACH_BYTE('{')));
    return found;
}

/* Where the next "{{" begins, the last one of a row of braces; text.size when there is none. */
static size_t next_pair(lathe_text text, size_t from)
{
    while (from < text.size) {
        const char *brace = memchr(text.data + from, '{', text.size - from);
        if (!brace)
            break;
        size_t row = (size_t)(brace - text.data), end = row + 1;
        while (end < text.size && text.data[end] == '{')
            end++;
        if (end - row > 1)
            return end - 2;
        /* A brace seldom comes alone: there is JSON, or code. */
        from = end;
        for (int i = 0; i < STRIDES && text.size - from > STRIDE; i++, from += STRIDE)
            if (may_hold_pair(text.data + from))
                break;
    }
    return text.size;
}

bool lathe_next_variable(lathe_text text, size_t from, lathe_variable *variable)
{
    for (size_t start; (start = next_pair(text, from)) < text.size;)
        if (read_variable(text, start, variable, &from))
            return true;
    return false;
}

lathe_code lathe_render_text(const lathe_names *names, lathe_text text, lathe_buf *buf,
                             lathe_text *rendered)
{
    lathe_variable variable;
    size_t done = 0;
    lathe_code code = LATHE_OK;
    buf->size = 0;
    *rendered = text;
    if (!names->count)
        return LATHE_OK;
    for (size_t at = 0; !code && lathe_next_variable(text, at, &variable); at = variable.end) {
        const lathe_name *name = lathe_names_find(names, variable.name);
        if (!name || !name->value.data)
            continue;
        code = done ? LATHE_OK : lathe_buf_reserve(buf, text.size);
        if (!code)
            code = lathe_buf_append(buf, text.data + done, variable.start - done);
        if (!code)
            code = lathe_buf_append(buf, name->value.data, name->value.size);
        done = variable.end;
    }
    if (code || !done)
        return code;
    code = lathe_buf_append(buf, text.data + done, text.size - done);
    *rendered = (lathe_text){buf->data, buf->size};
    return code;
}
