/* Decoding of gzip, whole or not at all: libcurl's own decoder takes a truncated body for a
 * complete one. */
#ifndef LATHE_GUNZIP_H
#define LATHE_GUNZIP_H

#include "buf.h"

typedef struct lathe_gunzip lathe_gunzip;

lathe_gunzip *lathe_gunzip_new(void);
void lathe_gunzip_free(lathe_gunzip *gunzip);

/* Decodes into `out`. LATHE_TOO_LARGE at its ceiling, LATHE_MEMORY, and LATHE_CONNECTION when the
 * bytes are no gzip. */
lathe_code lathe_gunzip_feed(lathe_gunzip *gunzip, const void *data, size_t size, lathe_buf *out);
/* Whether the last member was complete, its checksum included. */
bool lathe_gunzip_complete(const lathe_gunzip *gunzip);

#endif
