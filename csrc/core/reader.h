/* Reading JSON: what lathe_json_read is made of. */
#ifndef LATHE_READER_H
#define LATHE_READER_H

#include "promptlathe.h"

/* lathe_json_read, which undoes the escapes of a string in `space` when its `room` bytes are
 * enough.
 */
lathe_code lathe_json_read_in(const char *data, size_t size, char *space, size_t room,
                              const lathe_sink *sink, lathe_error *error);

#endif
