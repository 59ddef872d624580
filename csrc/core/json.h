/* Writing JSON: a sink that writes into a buffer. */
#ifndef LATHE_JSON_H
#define LATHE_JSON_H

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

#endif
