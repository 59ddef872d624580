/* The body of a request. Its headers are client.c's and headers.c's. */
#ifndef LATHE_REQUEST_H
#define LATHE_REQUEST_H

#include "buf.h"
#include "promptlathe.h"

/* Checks the arguments and writes the body, in one walk. LATHE_INVALID_REQUEST with every fault. */
lathe_code lathe_request_write(const lathe_request *request, lathe_buf *body, lathe_error *error);

/* "/v1/experimental/generate_prompt" and so on. */
const char *lathe_verb_path(lathe_verb verb);

#endif
