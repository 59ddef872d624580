/* The calls of an engine under way: held back, in an attempt, between two, ended. By the engine's
 * driver alone; what others have to hear of it goes through the engine (lathe_engine_ended and its
 * kin). */
#ifndef LATHE_FLIGHT_H
#define LATHE_FLIGHT_H

#include "gate.h"
#include "heap.h"
#include "multi.h"

typedef struct lathe_flight {
    struct lathe_engine *engine;
    lathe_share *share;
    lathe_multi multi;
    lathe_heap heap;                           /* when to look at a call though nothing arrives */
    struct lathe_call *calls, *last;           /* all of them, the oldest first */
    struct lathe_call *first_held, *last_held; /* wait for their turn */
    size_t held;
    double look; /* when the first of them may have it */
    lathe_window window;
    double stepped; /* when the last step ended */
    double away;    /* seconds that do not count for deadlines, as the leader knows */
    double until;   /* when the step's time is over */
    bool progress;  /* something ended: do not wait in this step */
} lathe_flight;

/* False without memory or descriptors. */
bool lathe_flight_init(lathe_flight *flight, struct lathe_engine *engine, lathe_lock *lock,
                       lathe_share *share);
/* No call may be in it. */
void lathe_flight_clear(lathe_flight *flight);

/* Takes a new call in. */
void lathe_flight_begin(lathe_flight *flight, struct lathe_call *call);
/* Ends a call, new or in flight. */
void lathe_flight_fail(lathe_flight *flight, struct lathe_call *call, lathe_code code);
/* Ends all calls with `code`, or with LATHE_OK only those of closed clients. */
void lathe_flight_sweep(lathe_flight *flight, lathe_code code);

/* Whether the time of the step, which ends `flight->until`, is over. */
bool lathe_flight_over(const lathe_flight *flight);
/* The two halves of a step: before the wait, and after it with what it found; `more`: there may be
 * more of it. */
void lathe_flight_prepare(lathe_flight *flight);
void lathe_flight_work(lathe_flight *flight, const lathe_ready *ready, int count, bool more);
/* Whether an attempt has no connection yet. */
bool lathe_flight_connecting(const lathe_flight *flight);
/* Seconds until a step is due though nothing arrives. */
double lathe_flight_next(const lathe_flight *flight);

#endif
