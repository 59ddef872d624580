#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void lathe_json_writer_init(lathe_json_writer *writer, lathe_buf *out)
{
    *writer = (lathe_json_writer){.out = out};
}

static lathe_code write_escape(lathe_buf *out, unsigned char byte)
{
    switch (byte) {
    case '"':
        return lathe_buf_append(out, "\\\"", 2);
    case '\\':
        return lathe_buf_append(out, "\\\\", 2);
    case '\n':
        return lathe_buf_append(out, "\\n", 2);
    case '\r':
        return lathe_buf_append(out, "\\r", 2);
    case '\t':
        return lathe_buf_append(out, "\\t", 2);
    default:
        return lathe_buf_printf(out, "\\u%04x", byte);
    }
}

lathe_code lathe_json_string(lathe_buf *out, const char *data, size_t size)
{
    lathe_code code = lathe_buf_append(out, "\"", 1);
    size_t start = 0;
    for (size_t i = 0; i < size && !code; i++) {
        while (size - i >= 8 && lathe_json_plain(data + i))
            i += 8;
        if (i == size)
            break;
        unsigned char byte = (unsigned char)data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        code = lathe_buf_append(out, data + start, i - start);
        if (!code)
            code = write_escape(out, byte);
        start = i + 1;
    }
    if (!code)
        code = lathe_buf_append(out, data + start, size - start);
    return code ? code : lathe_buf_append(out, "\"", 1);
}

static lathe_code write_comma(lathe_json_writer *writer)
{
    lathe_code code = writer->comma ? lathe_buf_append(writer->out, ",", 1) : LATHE_OK;
    writer->comma = true;
    return code;
}

static lathe_code write_word(lathe_json_writer *writer, const char *word)
{
    lathe_code code = write_comma(writer);
    return code ? code : lathe_buf_string(writer->out, word);
}

static lathe_code write_null(void *self)
{
    return write_word(self, "null");
}

static lathe_code write_boolean(void *self, bool value)
{
    return write_word(self, value ? "true" : "false");
}

static lathe_code write_integer(void *self, int64_t value)
{
    lathe_json_writer *writer = self;
    lathe_code code = write_comma(writer);
    return code ? code : lathe_buf_printf(writer->out, "%" PRId64, value);
}

static lathe_code write_real(void *self, double value)
{
    lathe_json_writer *writer = self;
    if (!isfinite(value))
        return LATHE_TOO_LARGE;
    char digits[32];
    snprintf(digits, sizeof digits, "%.17g", value);
    /* The locale in force may have a comma; and a real is to stay one when it is read again. */
    char *comma = strchr(digits, ',');
    if (comma)
        *comma = '.';
    lathe_code code = write_comma(writer);
    if (!code)
        code = lathe_buf_string(writer->out, digits);
    return code || strpbrk(digits, ".e") ? code : lathe_buf_string(writer->out, ".0");
}

static lathe_code write_string(void *self, const char *data, size_t size)
{
    lathe_json_writer *writer = self;
    lathe_code code = write_comma(writer);
    return code ? code : lathe_json_string(writer->out, data, size);
}

static lathe_code begin(lathe_json_writer *writer, const char *opener, char closer)
{
    if (writer->depth == sizeof writer->closers)
        return LATHE_TOO_LARGE;
    lathe_code code = write_comma(writer);
    if (!code)
        code = lathe_buf_append(writer->out, opener, 1);
    writer->closers[writer->depth++] = closer;
    writer->comma = false;
    return code;
}

static lathe_code write_begin_list(void *self)
{
    return begin(self, "[", ']');
}

static lathe_code write_begin_object(void *self)
{
    return begin(self, "{", '}');
}

static lathe_code write_key(void *self, const char *data, size_t size)
{
    lathe_json_writer *writer = self;
    lathe_code code = write_comma(writer);
    if (!code)
        code = lathe_json_string(writer->out, data, size);
    writer->comma = false;
    return code ? code : lathe_buf_append(writer->out, ":", 1);
}

static lathe_code write_end(void *self)
{
    lathe_json_writer *writer = self;
    writer->comma = true;
    return lathe_buf_append(writer->out, &writer->closers[--writer->depth], 1);
}

static const lathe_sink_table table = {
    .null = write_null,
    .boolean = write_boolean,
    .integer = write_integer,
    .real = write_real,
    .string = write_string,
    .begin_list = write_begin_list,
    .begin_object = write_begin_object,
    .key = write_key,
    .end = write_end,
};

lathe_sink lathe_json_sink(lathe_json_writer *writer)
{
    return (lathe_sink){&table, writer};
}
