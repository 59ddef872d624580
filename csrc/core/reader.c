/* Reads JSON text straight into a sink, in one pass and without recursion. jansson would build a
 * tree first, and loses bytes of a string without a word when it gets no memory for them. */
#include <ctype.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "error.h"
#include "json_scan.h"
#include "promptlathe.h"
#include "reader.h"
#include "value.h"

enum { DEPTH = 2048 };

typedef struct json_reader {
    const char *start, *at, *end;
    const lathe_sink *sink;
    lathe_error *error;
    char *space; /* for a string with escapes; may be too small */
    size_t room;
    lathe_buf text; /* then that string; a number */
    size_t depth;
    char *closers; /* what closes each open level, DEPTH at the most */
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

static bool take_word(json_reader *reader, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
        return false;
    reader->at += size;
    return true;
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

/* The first byte from `at` on that is special. With `copy` all before it comes to `out`, and
 * perhaps more, but never more than there is up to `end`. *wide: some of it is no ASCII. */
static inline const char *scan(const char *at, const char *end, bool copy, char *out, bool *wide)
{
    uint64_t seen = 0;
#ifdef LATHE_VECTORS
    enum { BLOCK = sizeof(__m128i) };
    for (; end - at >= BLOCK; at += BLOCK) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned high = (unsigned)_mm_movemask_epi8(block), found = lathe_json_specials(block);
        if (copy) {
            _mm_storeu_si128((__m128i *)(void *)out, block);
            out += BLOCK;
        }
        if (found) {
            *wide = seen || (high & (found - 1) & ~found);
            return at + __builtin_ctz(found);
        }
        seen |= high;
    }
#else
    for (; end - at >= 8 && lathe_json_plain(at); at += 8) {
        seen |= lathe_word(at) & LATHE_EACH_BYTE(0x80);
        if (copy) {
            memcpy(out, at, 8);
            out += 8;
        }
    }
#endif
    for (; at < end && !lathe_json_special(*at); at++) {
        seen |= (unsigned char)*at & 0x80;
        if (copy)
            *out++ = *at;
    }
    *wide = seen != 0;
    return at;
}

/* Whether a string may go on, or end, at the byte that ended a run. */
static bool ends_well(const char *at, const char *end)
{
    return at < end && (unsigned char)*at >= 0x20;
}

/* Judges what stands before reader->at, and what ends it. */
static lathe_code check_run(json_reader *reader, const char *start, bool wide)
{
    size_t size = (size_t)(reader->at - start);
    size_t valid = wide ? lathe_utf8_prefix(start, size) : size;
    if (valid < size)
        return refuse_at(reader, start + valid, "has bytes that are no UTF-8");
    return ends_well(reader->at, reader->end) ? LATHE_OK : refuse_syntax(reader);
}

/* The number of four digits, or above 0xFFFF. */
static unsigned read_unit(const char *at)
{
    static const unsigned char values[256] = {
        ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21,
        ['6'] = 22, ['7'] = 23, ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27,
        ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31, ['A'] = 26, ['B'] = 27,
        ['C'] = 28, ['D'] = 29, ['E'] = 30, ['F'] = 31};
    unsigned a = values[(unsigned char)at[0]], b = values[(unsigned char)at[1]];
    unsigned c = values[(unsigned char)at[2]], d = values[(unsigned char)at[3]];
    unsigned unit = (a & 15) << 12 | (b & 15) << 8 | (c & 15) << 4 | (d & 15);
    return a & b & c & d & 16 ? unit : UINT_MAX;
}

/* As UTF-8; returns the end. */
static char *put_point(char *out, unsigned point)
{
    if (point < 0x80) {
        *out++ = (char)point;
        return out;
    }
    if (point < 0x800) {
        *out++ = (char)(0xC0 | point >> 6);
    } else if (point < 0x10000) {
        *out++ = (char)(0xE0 | point >> 12);
        *out++ = (char)(0x80 | (point >> 6 & 0x3F));
    } else {
        *out++ = (char)(0xF0 | point >> 18);
        *out++ = (char)(0x80 | (point >> 12 & 0x3F));
        *out++ = (char)(0x80 | (point >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (point & 0x3F));
    return out;
}

/* Behind the code unit at `at`, perhaps the first of two; NULL when it is none. */
static const char *take_point(const char *at, const char *end, char **out)
{
    if (end - at < 4)
        return NULL;
    unsigned point = read_unit(at);
    at += 4;
    if (point >= 0xD800 && point <= 0xDFFF) {
        bool two = point < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u';
        unsigned low = two ? read_unit(at + 2) : 0;
        if (low < 0xDC00 || low > 0xDFFF)
            return NULL;
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    }
    if (point > 0x10FFFF)
        return NULL;
    *out = put_point(*out, point);
    return at;
}

/* Behind the escape whose backslash is at `at`; NULL when it is none. */
static const char *take_escape(const char *at, const char *end, char **out)
{
    static const char letters[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                      ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    if (end - at < 2)
        return NULL;
    char byte = letters[(unsigned char)at[1]];
    if (!byte)
        return at[1] == 'u' ? take_point(at + 2, end, out) : NULL;
    *(*out)++ = byte;
    return at + 2;
}

static bool skip_unit(json_reader *reader)
{
    int count = 0;
    for (; count < 4 && reader->at < reader->end && isxdigit((unsigned char)*reader->at); count++)
        reader->at++;
    return count == 4;
}

/* Says what is wrong with an escape. */
static lathe_code refuse_escape(json_reader *reader, const char *place)
{
    reader->at = place + 1;
    if (!take_word(reader, "u") || !skip_unit(reader))
        return refuse_syntax(reader);
    if (read_unit(place + 2) < 0xDC00 && take_word(reader, "\\u") && !skip_unit(reader))
        return refuse_syntax(reader);
    return refuse_at(reader, place, "has a lone surrogate");
}

static lathe_code find_space(json_reader *reader, size_t size, char **space)
{
    lathe_code code = LATHE_OK;
    reader->text.size = 0;
    if (size > reader->room)
        code = lathe_buf_reserve(&reader->text, size);
    *space = size > reader->room ? reader->text.data : reader->space;
    return fed(reader, code);
}

/* At the first backslash of a string that began at `start`: all of it, somewhere else. No escape is
 * shorter than what it stands for, so that it has room where the rest of the input would have. */
static lathe_code unescape(json_reader *reader, const char *start, lathe_text *text)
{
    char *begin;
    lathe_code code = find_space(reader, (size_t)(reader->end - start), &begin);
    const char *at = reader->at, *end = reader->end;
    if (code)
        return code;
    memcpy(begin, start, (size_t)(at - start));
    char *out = begin + (at - start);
    while (!code && *at == '\\') {
        const char *place = at;
        at = take_escape(place, end, &out);
        if (!at)
            return refuse_escape(reader, place);
        if (at < end && *at == '\\')
            continue;
        bool wide;
        place = at;
        at = scan(place, end, true, out, &wide);
        out += at - place;
        reader->at = at;
        if (wide || !ends_well(at, end))
            code = check_run(reader, place, wide);
    }
    *text = (lathe_text){begin, (size_t)(out - begin)};
    return code;
}

/* A string: a part of the input, or a text that lives until the next one when it has escapes. */
static lathe_code read_string(json_reader *reader, lathe_text *text)
{
    bool wide;
    const char *start = ++reader->at;
    reader->at = scan(start, reader->end, false, NULL, &wide);
    lathe_code code = check_run(reader, start, wide);
    *text = (lathe_text){start, (size_t)(reader->at - start)};
    if (!code && *reader->at == '\\')
        code = unescape(reader, start, text);
    reader->at += !code;
    return code;
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
    bool escaped = key.data != place + 1; /* or it holds no NUL */
    if (escaped && memchr(key.data, '\0', key.size))
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
    if (reader->depth == DEPTH)
        return refuse(reader, "is nested deeper than 2,048 levels");
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
    return lathe_json_read_in(data, size, NULL, 0, sink, error);
}

lathe_code lathe_json_read_in(const char *data, size_t size, char *space, size_t room,
                              const lathe_sink *sink, lathe_error *error)
{
    if (!size)
        data = "";
    char closers[DEPTH];
    json_reader reader = {.start = data,
                          .at = data,
                          .end = data + size,
                          .sink = sink,
                          .error = error,
                          .space = space,
                          .room = room,
                          .closers = closers};
    if (!size)
        return refuse(&reader, "is empty");
    if (take_word(&reader, "\xEF\xBB\xBF"))
        return refuse_at(&reader, data, "begins with a byte order mark");
    lathe_buf_init(&reader.text, SIZE_MAX / 2);
    lathe_code code = read_text(&reader);
    lathe_buf_clear(&reader.text);
    return code;
}
