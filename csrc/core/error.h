/* How the core fills a lathe_error. */
#ifndef LATHE_ERROR_H
#define LATHE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#include "promptlathe.h"

/* Sets code and message unless the error is already set; `format` NULL: the code's own text. The
 * message is cut at a character's border when it does not fit. Returns the code that now stands. */
lathe_code lathe_fail(lathe_error *error, lathe_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what neither the system nor libcurl tells apart: LATHE_MEMORY. */
lathe_code lathe_fail_lacking(lathe_error *error);

/* Adds to the message. */
void lathe_error_append(lathe_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds a fault; `path` is `path_size` bytes, `code` static. Beyond LATHE_FAULTS_KEPT it is only
 * counted. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_faults_add(lathe_faults *faults, const char *path, size_t path_size,
                            const char *code, int64_t offset, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void lathe_faults_clear(lathe_faults *faults);

/* Makes the message of an INVALID_REQUEST or INVALID_PROMPT from error->faults: how many there are
 * and the first few, each with its path, never with text of the input (a member's name that is no
 * plain short word is not shown). Returns LATHE_OK when there are none, else `code`. */
lathe_code lathe_fail_faults(lathe_error *error, lathe_code code);

#endif
