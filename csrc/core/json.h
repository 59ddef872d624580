/* Writing JSON: a sink that writes into a buffer. */
#ifndef LATHE_JSON_H
#define LATHE_JSON_H

#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "promptlathe.h"

/* How deep input may be nested; jansson's own recursion would not survive much more. */
enum { LATHE_INPUT_DEPTH = 200 };

typedef struct lathe_json_writer {
    lathe_buf *out;
    unsigned depth;
    bool comma;                          /* the next value or key needs one before it */
    char closers[LATHE_INPUT_DEPTH + 8]; /* what closes each open level */
} lathe_json_writer;

/* Numbers that have no JSON form (NaN, infinities) and levels beyond the cap are LATHE_TOO_LARGE.
 */
void lathe_json_writer_init(lathe_json_writer *writer, lathe_buf *out);
lathe_sink lathe_json_sink(lathe_json_writer *writer);

/* A quoted string; `data` is valid UTF-8. */
lathe_code lathe_json_string(lathe_buf *out, const char *data, size_t size);

/* Whether none of 8 bytes is a quote, a backslash or below 0x20. */
static inline bool lathe_json_plain(const char *at)
{
    const uint64_t each = 0x0101010101010101U, high = each << 7;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t quote = word ^ (each * '"'), backslash = word ^ (each * '\\');
    uint64_t below = (word - each * 0x20) & ~word;
    return !((below | ((quote - each) & ~quote) | ((backslash - each) & ~backslash)) & high);
}

#endif
