#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json_scan.h"

void lathe_json_writer_init(lathe_json_writer *writer, lathe_buf *out)
{
    *writer = (lathe_json_writer){.out = out};
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* A block takes that much room: all of its bytes escaped, and what is written in excess. */
enum { BLOCK = 64, TWO_BLOCKS = 2 * BLOCK, ESCAPE = 6, BLOCK_ROOM = BLOCK * ESCAPE + BLOCK };

/* Bit i tells whether byte i of a block must be escaped: a quote, a backslash or below 0x20. */
#ifdef LATHE_VECTORS
static uint64_t find_in_16(const char *bytes)
{
    return lathe_json_specials(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

static uint64_t find_specials(const char *block)
{
    return find_in_16(block) | find_in_16(block + 16) << 16 | find_in_16(block + 32) << 32 |
           find_in_16(block + 48) << 48;
}
#else
static uint64_t find_specials(const char *block)
{
    uint64_t bits = 0;
    for (int i = 0; i < BLOCK; i += 8) {
        bool plain = lathe_json_plain(block + i);
        for (int k = i; k < i + 8 && !plain; k++)
            bits |= (uint64_t)lathe_json_special(block[k]) << k;
    }
    return bits;
}
#endif

static unsigned first_of(uint64_t bits)
{
#ifdef __GNUC__
    return (unsigned)__builtin_ctzll(bits);
#else
    unsigned first = 0;
    while (!(bits >> first & 1))
        first++;
    return first;
#endif
}

static char *write_escape(char *to, unsigned char byte)
{
    static const char shorts[0x60][3] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t"};
    static const char digits[] = "0123456789abcdef";
    memcpy(to, shorts[byte], 2);
    if (shorts[byte][0])
        return to + 2;
    memcpy(to, "\\u00", 4);
    to[4] = digits[byte >> 4];
    to[5] = digits[byte & 15];
    return to + ESCAPE;
}

/* Writes a block: whole, then what follows each special byte once more, behind its escape. Copies
 * of a fixed size are the fastest, so they go on into the next block, which must be there too. */
static char *write_block(char *to, const char *block)
{
    const char *end = block + BLOCK;
    memcpy(to, block, BLOCK);
    for (uint64_t bits = find_specials(block); bits;) {
        const unsigned at = first_of(bits);
        to = write_escape(to + at, (unsigned char)block[at]);
        block += at + 1;
        bits = bits >> at >> 1;
        memcpy(to, block, BLOCK);
    }
    return to + (end - block);
}

/* Writes blocks as long as there is ample room; returns what is left. */
static const char *write_blocks(lathe_buf *out, const char *data, const char *end)
{
    char *to = out->data + out->size;
    const char *full = out->data + out->capacity;
    for (; end - data >= TWO_BLOCKS && full - to >= BLOCK_ROOM; data += BLOCK)
        to = write_block(to, data);
    *to = '\0';
    out->size = (size_t)(to - out->data);
    return data;
}

/* A block's worth at the most, with no more room than it needs. */
static lathe_code write_part(lathe_buf *out, const char *data, size_t size)
{
    char from[TWO_BLOCKS], to[BLOCK_ROOM];
    memset(from, ' ', sizeof from);
    memcpy(from, data, size);
    const char *end = write_block(to, from) - (BLOCK - size);
    return lathe_buf_append(out, to, (size_t)(end - to));
}

lathe_code lathe_json_string(lathe_buf *out, const char *data, size_t size)
{
    const char *end = data + size;
    lathe_code code = lathe_buf_append(out, "\"", 1);
    while (data < end && !code) {
        size_t left = (size_t)(end - data), part = left < BLOCK ? left : BLOCK;
        code = LATHE_TOO_LARGE;
        if (left >= TWO_BLOCKS) /* escapes make a usual text longer by 2 to 4 % */
            code = lathe_buf_reserve(out, left + left / 16 + BLOCK_ROOM);
        if (!code) {
            data = write_blocks(out, data, end);
        } else if (code == LATHE_TOO_LARGE) {
            code = write_part(out, data, part);
            data += part;
        }
    }
    return code ? code : lathe_buf_append(out, "\"", 1);
}

/* ---- The sink -------------------------------------------------------------------------------- */

/* Writes JSON that is always the same. */
#define FIXED(writer, text) lathe_buf_append((writer)->out, text, sizeof(text) - 1)

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

static lathe_code write_begin_message(void *self, bool assistant, const void *given)
{
    lathe_json_writer *writer = self;
    (void)given;
    if (sizeof writer->closers - writer->depth < 2)
        return LATHE_TOO_LARGE;
    lathe_code code = write_comma(writer);
    if (!code && assistant)
        code = FIXED(writer, "{\"role\":\"assistant\",\"content\":[");
    else if (!code)
        code = FIXED(writer, "{\"role\":\"user\",\"content\":[");
    writer->closers[writer->depth++] = '}';
    writer->closers[writer->depth++] = ']';
    writer->comma = false;
    return code;
}

static lathe_code write_text_block(void *self, const char *data, size_t size, const void *given)
{
    lathe_json_writer *writer = self;
    (void)given;
    lathe_code code = write_comma(writer);
    if (!code)
        code = FIXED(writer, "{\"type\":\"text\",\"text\":");
    if (!code)
        code = lathe_json_string(writer->out, data, size);
    return code ? code : FIXED(writer, "}");
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
    .begin_message = write_begin_message,
    .text_block = write_text_block,
};

lathe_sink lathe_json_sink(lathe_json_writer *writer)
{
    return (lathe_sink){&table, writer};
}
