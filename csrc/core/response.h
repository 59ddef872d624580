/* Answers: the documented shape of a success, and what an error body says. */
#ifndef LATHE_RESPONSE_H
#define LATHE_RESPONSE_H

#include "promptlathe.h"

enum { LATHE_BODY_KEPT = 64 * 1024 };

/* What the service said about an error. */
typedef struct lathe_refusal {
    bool spend_limit; /* a 429 that waiting does not cure */
    bool vendor_host; /* in: the answer came from the vendor's own host and path */
} lathe_refusal;

/* Fills `error` from an answer that is no success: its class from the status and the body's error
 * type, what the service said, body, request id, location; not its message, which many an attempt
 * does not need. Takes nothing of the arguments away. */
lathe_code lathe_response_refuse(lathe_error *error, int status, const lathe_headers *headers,
                                 const char *body, size_t size, lathe_refusal *refusal);

/* Writes the message of such an error. It does not quote the request's body `sent`. */
void lathe_response_describe(lathe_error *error, const lathe_text *sent);

/* Puts what a user needs to see of an answer that cannot be used into `error`, which keeps its code
 * and message. */
lathe_code lathe_response_attach(lathe_error *error, int status, const lathe_headers *headers,
                                 const char *body, size_t size);

#endif
