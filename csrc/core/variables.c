/* Variables in one text. */
#include <string.h>

#include "template.h"

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
 * none: nothing up to there is a brace, save perhaps the second of the two. */
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

bool lathe_next_variable(lathe_text text, size_t from, lathe_variable *variable)
{
    while (from < text.size) {
        const char *brace = memchr(text.data + from, '{', text.size - from);
        if (!brace)
            return false;
        size_t start = (size_t)(brace - text.data), stop;
        if (text.size - start < 2)
            return false;
        if (text.data[start + 1] != '{')
            from = start + 2;
        else if (read_variable(text, start, variable, &stop))
            return true;
        else
            from = stop == start + 2 ? start + 1 : stop; /* "{{{" may begin one brace later */
    }
    return false;
}

lathe_code lathe_render_text(const lathe_names *names, lathe_text text, lathe_buf *buf,
                             lathe_text *rendered)
{
    lathe_variable variable;
    size_t done = 0;
    lathe_code code = LATHE_OK;
    buf->size = 0;
    for (size_t at = 0; !code && lathe_next_variable(text, at, &variable); at = variable.end) {
        const lathe_name *name = lathe_names_find(names, variable.name);
        if (!name || !name->value.data)
            continue;
        code = lathe_buf_append(buf, text.data + done, variable.start - done);
        if (!code)
            code = lathe_buf_append(buf, name->value.data, name->value.size);
        done = variable.end;
    }
    *rendered = text;
    if (code || !done)
        return code;
    code = lathe_buf_append(buf, text.data + done, text.size - done);
    *rendered = (lathe_text){buf->data, buf->size};
    return code;
}
