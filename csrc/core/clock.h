/* Time. */
#ifndef LATHE_CLOCK_H
#define LATHE_CLOCK_H

#include <math.h>
#include <time.h>

/* Seconds on a clock that nobody sets. */
static inline double lathe_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Whole milliseconds that are not less than the span, for poll and its kin: from 0 to a day. */
static inline int lathe_milliseconds(double seconds)
{
    const int day = 86400 * 1000;
    double milliseconds = ceil(seconds * 1000);
    return !(milliseconds > 0) ? 0 : milliseconds > day ? day : (int)milliseconds;
}

/* The point on the clock as pthread_cond_timedwait wants it. */
static inline struct timespec lathe_timespec(double seconds)
{
    return (struct timespec){.tv_sec = (time_t)seconds,
                             .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};
}

#endif
