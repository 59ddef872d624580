/* What the end of an attempt means for its call. By the leader, without a lock. */
#ifndef LATHE_ATTEMPT_H
#define LATHE_ATTEMPT_H

#include "engine.h"

typedef struct lathe_verdict {
    lathe_error error; /* code OK: the call has its response */
    bool retry;
    double delay;   /* seconds, when retry */
    double elapsed; /* of the attempt */
    int status;     /* of the answer, 0 for none */
    char request_id[128];
} lathe_verdict;

/* From [0, 1): enough to keep callers apart. */
double lathe_attempt_random(const lathe_call *call, double now);

/* Takes the answer of a transfer that ended, or says what went wrong and whether to try again. */
void lathe_attempt_judge(lathe_call *call, CURLcode result, lathe_verdict *verdict);
/* The same for an attempt that did not connect in time; its transfer is still in its CURLM. */
void lathe_attempt_expire(lathe_call *call, lathe_verdict *verdict);
/* Fills the error of a call whose time is over. */
void lathe_attempt_overdue(lathe_call *call);
/* Adds the events for logs; under the engine's lock. */
void lathe_attempt_record(lathe_call *call, const lathe_verdict *verdict);

#endif
