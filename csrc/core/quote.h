/* Whether the service's words repeat what it was sent. */
#ifndef LATHE_QUOTE_H
#define LATHE_QUOTE_H

#include "promptlathe.h"

/* The message beyond this is shown to nobody and not looked at. */
enum { LATHE_WORDS_SHOWN = 400 };

/* Whether `message` repeats 12 bytes in a row of a text of the request body `sent`, or the whole of
 * a shorter one. Roles, types and the names of members do not count, nor texts below 4 bytes, which
 * any sentence may hold. Yes as well when there is no memory to look. */
bool lathe_quotes(const char *message, const lathe_text *sent);

#endif
