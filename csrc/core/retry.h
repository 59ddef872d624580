/* Whether, and when, to try again: a pure function. */
#ifndef LATHE_RETRY_H
#define LATHE_RETRY_H

#include <stdbool.h>

/* How an attempt ended, and what is left. */
typedef struct lathe_outcome {
    int attempts;             /* made so far, this one included */
    int max_retries;          /* attempts allowed after the first */
    int status;               /* of the answer; 0 when there was no complete one */
    bool final;               /* trying again would not help, whatever the status says */
    bool resend;              /* the connection was dead before anything was answered */
    const char *should_retry; /* x-should-retry, or NULL */
    double hint;              /* seconds the service asked for, as lathe_retry_hint says; or -1 */
    double remaining;         /* seconds until the deadline; INFINITY for none */
    double random;            /* from [0, 1) */
} lathe_outcome;

typedef struct lathe_decision {
    bool retry;
    double delay; /* seconds */
} lathe_decision;

lathe_decision lathe_retry_decide(const lathe_outcome *outcome);

/* Seconds from `retry-after-ms`, else from `retry-after`; either may be NULL. `date` is what a date
 * in retry-after comes to in seconds from now, or NAN. -1 when nothing finite above 0 is there. */
double lathe_retry_hint(const char *milliseconds, const char *seconds, double date);

#endif
