/* An engine: one CURLM, its queue and its timers, without a thread. Whoever waits for a call
 * drives.
 *
 * The lead is the right to drive: one thread has it at a time, and only that thread touches the
 * CURLM, the poller and the calls' own state. Everybody else leaves orders in the queue, under the
 * lock, and wakes the leader. The lead counts as a lock of the core: it is given up before the host
 * is called. */
#ifndef LATHE_ENGINE_H
#define LATHE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "buf.h"
#include "headers.h"
#include "heap.h"
#include "promptlathe.h"
#include "transport.h"

typedef struct lathe_engine lathe_engine;

enum { LATHE_EVENTS_KEPT = 16 };

typedef enum lathe_state {
    LATHE_CALL_NEW,
    LATHE_CALL_RUNNING, /* an attempt is in the CURLM */
    LATHE_CALL_BACKOFF, /* until the next attempt */
    LATHE_CALL_ENDED,
} lathe_state;

struct lathe_call {
    /* fixed before the call is submitted */
    lathe_client *client;
    lathe_engine *engine;
    lathe_verb verb;
    char *url;
    lathe_buf body;
    lathe_lines lines;
    double timeout, connect_timeout;
    int max_retries;
    atomic_int references;
    pthread_cond_t told; /* on the monotonic clock */
    bool reaped;         /* ends in the engine's list for lathe_engine_reap, not with a waiter */

    /* under the engine's lock */
    bool submitted, ordered, cancelled, ended, news;
    struct lathe_call *next_order, *next_ended;
    bool waiting, woken; /* somebody sleeps for this call; and has been told to look */
    struct lathe_call *next_waiting, *previous_waiting;
    lathe_event events[LATHE_EVENTS_KEPT];
    size_t event_first, event_count;

    /* the leader's */
    lathe_state state;
    struct lathe_call *next, *previous;
    lathe_timer timer;
    double started, deadline, wake, connect_due, attempt_started;
    int attempts;
    lathe_exchange exchange;

    /* written by the leader before `ended` */
    lathe_response *response;
    lathe_error error;
};

/* NULL without memory or descriptors. `share` outlives it. */
lathe_engine *lathe_engine_new(lathe_share *share);
lathe_engine *lathe_engine_retain(lathe_engine *engine);
/* The last holder frees; nobody may drive it then, and no call be in it. */
void lathe_engine_release(lathe_engine *engine);
/* Whether it was made in this process, not inherited by a fork. */
bool lathe_engine_is_ours(const lathe_engine *engine);
/* In a fork's child: closes the inherited descriptors by number. What libcurl holds is left alone.
 */
void lathe_engine_abandon(lathe_engine *engine);

/* Queues a call; its clock starts. */
void lathe_engine_submit(lathe_engine *engine, lathe_call *call);
/* Ends a call with LATHE_CANCELLED, here or by the leader. */
void lathe_engine_cancel(lathe_engine *engine, lathe_call *call);
/* Ends the calls of closed clients, here or by the leader. */
void lathe_engine_sweep(lathe_engine *engine);

/* Waits for `call` as leader or follower, as lathe_call_wait says. */
lathe_wait lathe_engine_wait(lathe_engine *engine, lathe_call *call, double seconds, bool signals);

/* For a loop of its own: drives once, waiting at most `seconds`; false when a signal ended the wait
 * or somebody else leads. */
bool lathe_engine_step(lathe_engine *engine, double seconds);
/* The next call that ended, or NULL: of calls submitted with `reaped`. Its reference goes over. */
lathe_call *lathe_engine_reap(lathe_engine *engine);
/* Readable when a step has something to do; -1 where the system has none. */
int lathe_engine_descriptor(const lathe_engine *engine);
/* Seconds until a step is due without the descriptor: 0 when the queue has orders; INFINITY. By the
 * driver only. */
double lathe_engine_next(lathe_engine *engine);

void lathe_engine_lock(lathe_engine *engine);
void lathe_engine_unlock(lathe_engine *engine);

/* call.c: gives a reference up. */
void lathe_call_release(lathe_call *call);

#endif
