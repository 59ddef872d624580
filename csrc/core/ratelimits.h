/* The rate limits that answers tell of. */
#ifndef LATHE_RATELIMITS_H
#define LATHE_RATELIMITS_H

#include "promptlathe.h"

enum { LATHE_LIMIT_KINDS = 8 };

typedef struct lathe_limit {
    char kind[32];            /* "requests", "input-tokens": the header's own word */
    int64_t limit, remaining; /* -1: not told */
    char reset[40];           /* as the service wrote it; "" when not told */
} lathe_limit;

typedef struct lathe_limits {
    lathe_limit items[LATHE_LIMIT_KINDS];
    size_t count;
} lathe_limits;

/* Replaces what is known by what the answer's headers tell; leaves it when they tell nothing. */
void lathe_limits_take(lathe_limits *limits, const lathe_headers *headers);
lathe_code lathe_limits_feed(const lathe_limits *limits, const lathe_sink *sink);

#endif
