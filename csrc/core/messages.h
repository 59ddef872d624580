/* The rules for input messages. */
#ifndef LATHE_MESSAGES_H
#define LATHE_MESSAGES_H

#include "promptlathe.h"

/* Checks `messages`, found at `path` ("messages"), and feeds the normal form to `sink` (may be
 * NULL) as long as no fault is known. Faults are added to `faults`; the code says only whether the
 * walk itself worked: LATHE_OK, LATHE_MEMORY, LATHE_HOST, or the sink's. */
lathe_code lathe_messages_walk(const lathe_source *source, const void *messages, const char *path,
                               const lathe_sink *sink, lathe_faults *faults);

/* A string found at `path`: feeds it to `sink` (may be NULL) or adds a fault (wrong_type,
 * not_unicode). *text is the string, or {NULL, 0}. */
lathe_code lathe_string_walk(const lathe_source *source, const void *value, const char *path,
                             const lathe_sink *sink, lathe_text *text, lathe_faults *faults);

#endif
