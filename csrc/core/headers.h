/* Headers, as they are sent and as they are received. */
#ifndef LATHE_HEADERS_H
#define LATHE_HEADERS_H

#include "buf.h"
#include "promptlathe.h"

/* The lines of a request ("name: value", or "name;" for an empty value, as libcurl wants them), in
 * one block that is wiped before it is freed, since one of them holds the key. */
typedef struct lathe_lines {
    char **items;
    size_t count;
    char *block;
    size_t block_size;
    struct curl_slist *list; /* of the same lines, as the transport sends them; or NULL */
    bool tells_attempt; /* one of them is x-promptlathe-attempt, which is else the transport's */
} lathe_lines;

/* Writes the lines of `ours`, each replaced by a header of the same name in `theirs`, then by one
 * in `last`; then those that replace nothing. */
lathe_code lathe_lines_init(lathe_lines *lines, const lathe_header *const lists[],
                            const size_t counts[], size_t list_count);
void lathe_lines_clear(lathe_lines *lines);

/* A header given by a user: a name that may be set, a value that can be sent. `option` names where
 * it came from. Its value is never shown. */
lathe_code lathe_header_check(const lathe_header *header, const char *option, lathe_error *error);
/* A name from anthropic-beta: visible ASCII, no comma. */
lathe_code lathe_beta_check(const char *beta, const char *option, lathe_error *error);
/* A key or token: visible ASCII, at least one character. It is never shown. */
lathe_code lathe_secret_check(const char *secret, const char *option, lathe_error *error);

/* Makes headers of a response's raw lines (each ended by CRLF or LF): names in lower case, repeats
 * joined by ", ", folded lines unfolded, lines without a colon left out. */
lathe_code lathe_headers_parse(lathe_headers *headers, const char *raw, size_t size);
lathe_code lathe_headers_copy(lathe_headers *to, const lathe_headers *from);
void lathe_headers_clear(lathe_headers *headers);
/* The value, or NULL; `name` in lower case. */
const char *lathe_headers_get(const lathe_headers *headers, const char *name);

/* ASCII only, whatever the locale. */
bool lathe_same_word(const char *a, const char *b);

#endif
