/* jansson as a host, for the core itself; the rest is in the public header. */
#ifndef LATHE_VALUE_JANSSON_H
#define LATHE_VALUE_JANSSON_H

#include "promptlathe.h"

/* What a JSON text holds, as lathe_json_read reads it (jansson's own reader may leave out what it
 * has no memory for): a new reference, or NULL with the error set. */
struct json_t *lathe_jansson_read(const char *data, size_t size, lathe_error *error);
/* The same without saying why: *root is NULL when the text is no JSON. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_jansson_try(const char *data, size_t size, struct json_t **root);

#endif
