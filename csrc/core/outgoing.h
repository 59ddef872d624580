/* The header lines of a call. */
#ifndef LATHE_OUTGOING_H
#define LATHE_OUTGOING_H

#include "headers.h"
#include "settings.h"

/* Ours, then the client's, then the call's own: the last of a name counts. LATHE_OK or
 * LATHE_MEMORY. */
lathe_code lathe_outgoing_lines(const lathe_settings *settings, const lathe_options *client,
                                const lathe_options *call, lathe_lines *lines);

#endif
