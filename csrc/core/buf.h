/* A growable run of bytes with a ceiling from the start. */
#ifndef LATHE_BUF_H
#define LATHE_BUF_H

#include <stddef.h>

#include "promptlathe.h"

typedef struct lathe_buf {
    char *data; /* NULL until the first byte; a NUL stands behind the last one */
    size_t size, capacity, ceiling;
} lathe_buf;

/* `ceiling` bytes at the most (the NUL not counted); SIZE_MAX / 2 where nothing else is sensible.
 */
void lathe_buf_init(lathe_buf *buf, size_t ceiling);
void lathe_buf_clear(lathe_buf *buf);

/* Each returns LATHE_OK, LATHE_MEMORY or LATHE_TOO_LARGE, and leaves the buffer as it was when it
 * fails. */
lathe_code lathe_buf_reserve(lathe_buf *buf, size_t more);
lathe_code lathe_buf_append(lathe_buf *buf, const void *data, size_t size);
lathe_code lathe_buf_string(lathe_buf *buf, const char *string);
lathe_code lathe_buf_printf(lathe_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The bytes, now the caller's (lathe_free), never NULL for an empty buffer unless without memory;
 * the buffer is empty afterwards. */
char *lathe_buf_steal(lathe_buf *buf, size_t *size);

#endif
