/* Reads JSON text straight into a sink, in one pass and without recursion. jansson would build a
 * tree first, and loses bytes of a string without a word when it gets no memory for them. */
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "error.h"
#include "json.h"
#include "promptlathe.h"
#include "value.h"

enum { DEPTH = 2048 };

typedef struct json_reader {
    const char *start, *at, *end;
    const lathe_sink *sink;
    lathe_error *error;
    lathe_buf text; /* a string with escapes, a number */
    size_t depth;
    char closers[DEPTH]; /* what closes each open level */
} json_reader;

/* ---- Faults ---- */

static lathe_code refuse_at(json_reader *reader, const char *place, const char *complaint)
{
    size_t line = 1;
    for (const char *at = reader->start; at < place; at++)
        line += *at == '\n';
    return lathe_fail(reader->error, LATHE_RESPONSE_VALIDATION,
                      "the answer is no valid JSON: it %s (line %zu, byte %zu)", complaint, line,
                      (size_t)(place - reader->start));
}

static lathe_code refuse(json_reader *reader, const char *complaint)
{
    return refuse_at(reader, reader->at, complaint);
}

static lathe_code refuse_syntax(json_reader *reader)
{
    return refuse(reader, reader->at == reader->end ? "ends too early" : "has a syntax error");
}

/* An event that the sink refused. */
static lathe_code fed(const json_reader *reader, lathe_code code)
{
    return code ? lathe_fail(reader->error, code, NULL) : LATHE_OK;
}

static bool at_byte(const json_reader *reader, char byte)
{
    return reader->at < reader->end && *reader->at == byte;
}

static bool at_digit(const json_reader *reader)
{
    return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

static void skip_space(json_reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t' ||
                                        *reader->at == '\n' || *reader->at == '\r'))
        reader->at++;
}

/* ---- Strings ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind "\u". */
static lathe_code read_unit(json_reader *reader, unsigned *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = reader->at < reader->end ? hex_value(*reader->at) : -1;
        if (digit < 0)
            return refuse_syntax(reader);
        *unit = *unit * 16 + (unsigned)digit;
        reader->at++;
    }
    return LATHE_OK;
}

static lathe_code append_point(json_reader *reader, unsigned point)
{
    char bytes[4];
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size; i-- > 1; point >>= 6)
        bytes[i] = (char)(0x80 | (point & 0x3F));
    bytes[0] = (char)(leads[size] | point);
    return fed(reader, lathe_buf_append(&reader->text, bytes, size));
}

/* Behind "\u": a code point, which may take a second escape. */
static lathe_code read_point(json_reader *reader)
{
    const char *place = reader->at - 2;
    unsigned high, low = 0;
    lathe_code code = read_unit(reader, &high);
    if (code || high < 0xD800 || high > 0xDFFF)
        return code ? code : append_point(reader, high);
    if (high < 0xDC00 && reader->end - reader->at >= 2 && !memcmp(reader->at, "\\u", 2)) {
        reader->at += 2;
        code = read_unit(reader, &low);
    }
    if (code)
        return code;
    if (low < 0xDC00 || low > 0xDFFF)
        return refuse_at(reader, place, "has a lone surrogate");
    return append_point(reader, 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
}

static lathe_code read_escape(json_reader *reader)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    const char *letter = NULL;
    reader->at++;
    if (reader->at < reader->end)
        letter = memchr(letters, *reader->at, sizeof letters - 1);
    if (!letter && !at_byte(reader, 'u'))
        return refuse_syntax(reader);
    reader->at++;
    return letter ? fed(reader, lathe_buf_append(&reader->text, bytes + (letter - letters), 1))
                  : read_point(reader);
}

/* The bytes up to a quote, a backslash or what may not stand in a string. */
static lathe_code read_run(json_reader *reader, lathe_text *run)
{
    const char *start = reader->at, *at = start;
    while (reader->end - at >= 8 && lathe_json_plain(at))
        at += 8;
    while (at < reader->end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    *run = (lathe_text){start, (size_t)(at - start)};
    size_t valid = lathe_utf8_prefix(start, run->size);
    if (valid < run->size)
        return refuse_at(reader, start + valid, "has bytes that are no UTF-8");
    reader->at = at;
    return at < reader->end && (unsigned char)*at >= 0x20 ? LATHE_OK : refuse_syntax(reader);
}

/* A string: a part of the input, or reader->text when it has escapes. */
static lathe_code read_string(json_reader *reader, lathe_text *text)
{
    reader->at++;
    lathe_code code = read_run(reader, text);
    bool plain = !code && *reader->at == '"';
    reader->text.size = 0;
    while (!code && !plain) {
        code = fed(reader, lathe_buf_append(&reader->text, text->data, text->size));
        if (code || *reader->at == '"')
            break;
        code = read_escape(reader);
        if (!code)
            code = read_run(reader, text);
    }
    if (code)
        return code;
    reader->at++;
    if (!plain)
        *text = (lathe_text){reader->text.data, reader->text.size};
    return LATHE_OK;
}

/* ---- Numbers ---- */

static lathe_code skip_digits(json_reader *reader)
{
    if (!at_digit(reader))
        return refuse_syntax(reader);
    while (at_digit(reader))
        reader->at++;
    return LATHE_OK;
}

/* Walks over a number; *real tells whether it has a fraction or an exponent. */
static lathe_code skip_number(json_reader *reader, bool *real)
{
    lathe_code code = LATHE_OK;
    *real = false;
    if (at_byte(reader, '-'))
        reader->at++;
    if (at_byte(reader, '0'))
        reader->at++;
    else
        code = skip_digits(reader);
    if (!code && at_byte(reader, '.')) {
        *real = true;
        reader->at++;
        code = skip_digits(reader);
    }
    if (!code && (at_byte(reader, 'e') || at_byte(reader, 'E'))) {
        *real = true;
        reader->at++;
        if (at_byte(reader, '+') || at_byte(reader, '-'))
            reader->at++;
        code = skip_digits(reader);
    }
    return code;
}

static lathe_code feed_integer(json_reader *reader, const char *start)
{
    bool negative = *start == '-';
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;
    for (const char *at = start + negative; at < reader->at; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (limit - digit) / 10)
            return refuse_at(reader, start, "has an integer beyond 64 bits");
        value = value * 10 + digit;
    }
    int64_t number = !negative ? (int64_t)value : value > INT64_MAX ? INT64_MIN : -(int64_t)value;
    return fed(reader, reader->sink->table->integer(reader->sink->self, number));
}

/* strtod follows the locale's decimal point, whatever that is. */
static lathe_code feed_real(json_reader *reader, const char *start)
{
    const char *point = memchr(start, '.', (size_t)(reader->at - start));
    const char *rest = point ? point + 1 : start;
    lathe_code code = LATHE_OK;
    reader->text.size = 0;
    if (point)
        code = lathe_buf_append(&reader->text, start, (size_t)(point - start));
    if (!code && point)
        code = lathe_buf_string(&reader->text, localeconv()->decimal_point);
    if (!code)
        code = lathe_buf_append(&reader->text, rest, (size_t)(reader->at - rest));
    if (code)
        return fed(reader, code);
    double number = strtod(reader->text.data, NULL);
    if (!isfinite(number))
        return refuse_at(reader, start, "has a number that is out of range");
    return fed(reader, reader->sink->table->real(reader->sink->self, number));
}

static lathe_code read_number(json_reader *reader)
{
    const char *start = reader->at;
    bool real;
    lathe_code code = skip_number(reader, &real);
    if (code)
        return code;
    return real ? feed_real(reader, start) : feed_integer(reader, start);
}

/* ---- Values ---- */

static bool take_word(json_reader *reader, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
        return false;
    reader->at += size;
    return true;
}

static lathe_code read_word(json_reader *reader)
{
    const lathe_sink *sink = reader->sink;
    if (take_word(reader, "true"))
        return fed(reader, sink->table->boolean(sink->self, true));
    if (take_word(reader, "false"))
        return fed(reader, sink->table->boolean(sink->self, false));
    if (take_word(reader, "null"))
        return fed(reader, sink->table->null(sink->self));
    return refuse_syntax(reader);
}

static lathe_code read_scalar(json_reader *reader)
{
    if (at_byte(reader, '-') || at_digit(reader))
        return read_number(reader);
    if (!at_byte(reader, '"'))
        return read_word(reader);
    lathe_text text;
    lathe_code code = read_string(reader, &text);
    if (code)
        return code;
    return fed(reader, reader->sink->table->string(reader->sink->self, text.data, text.size));
}

/* A key and its colon. */
static lathe_code read_key(json_reader *reader)
{
    lathe_text key;
    skip_space(reader);
    if (!at_byte(reader, '"'))
        return refuse_syntax(reader);
    const char *place = reader->at;
    lathe_code code = read_string(reader, &key);
    if (code)
        return code;
    if (key.size && memchr(key.data, '\0', key.size))
        return refuse_at(reader, place, "has a NUL character in a key");
    code = fed(reader, reader->sink->table->key(reader->sink->self, key.data, key.size));
    skip_space(reader);
    if (!code && !at_byte(reader, ':'))
        return refuse_syntax(reader);
    reader->at++;
    return code;
}

static lathe_code open_level(json_reader *reader, bool object)
{
    const lathe_sink *sink = reader->sink;
    if (reader->depth == DEPTH)
        return refuse(reader, "is nested deeper than 2,048 levels");
    reader->closers[reader->depth++] = object ? '}' : ']';
    reader->at++;
    return fed(reader, object ? sink->table->begin_object(sink->self)
                              : sink->table->begin_list(sink->self));
}

/* Reads a scalar, or opens a list or object. *open: the next thing is a value inside it. */
static lathe_code read_value(json_reader *reader, bool *open)
{
    skip_space(reader);
    bool object = at_byte(reader, '{');
    *open = false;
    if (!object && !at_byte(reader, '['))
        return read_scalar(reader);
    lathe_code code = open_level(reader, object);
    skip_space(reader);
    *open = !at_byte(reader, object ? '}' : ']');
    return !code && *open && object ? read_key(reader) : code;
}

/* What follows a value: the ends of what it is the last of, then perhaps a comma. *more: the next
 * thing is another value. */
static lathe_code read_rest(json_reader *reader, bool *more)
{
    lathe_code code = LATHE_OK;
    *more = false;
    for (; reader->depth && !code; reader->depth--) {
        skip_space(reader);
        char closer = reader->closers[reader->depth - 1];
        if (at_byte(reader, ',')) {
            *more = true;
            reader->at++;
            return closer == '}' ? read_key(reader) : LATHE_OK;
        }
        if (!at_byte(reader, closer))
            return refuse_syntax(reader);
        reader->at++;
        code = fed(reader, reader->sink->table->end(reader->sink->self));
    }
    return code;
}

static lathe_code read_text(json_reader *reader)
{
    lathe_code code;
    bool more = true;
    while (more) {
        code = read_value(reader, &more);
        if (!code && !more)
            code = read_rest(reader, &more);
        if (code)
            return code;
    }
    skip_space(reader);
    return reader->at == reader->end ? LATHE_OK : refuse(reader, "goes on after its end");
}

lathe_code lathe_json_read(const char *data, size_t size, const lathe_sink *sink,
                           lathe_error *error)
{
    if (!size)
        data = "";
    json_reader reader = {
        .start = data, .at = data, .end = data + size, .sink = sink, .error = error};
    if (!size)
        return refuse(&reader, "is empty");
    if (take_word(&reader, "\xEF\xBB\xBF"))
        return refuse_at(&reader, data, "begins with a byte order mark");
    lathe_buf_init(&reader.text, SIZE_MAX / 2);
    lathe_code code = read_text(&reader);
    lathe_buf_clear(&reader.text);
    return code;
}
