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
#include "flight.h"
#include "gate.h"
#include "headers.h"
#include "promptlathe.h"
#include "transport.h"

typedef struct lathe_engine lathe_engine;

struct lathe_verdict;

enum { LATHE_EVENTS_FEW = 2, LATHE_EVENTS_KEPT = 16 };

typedef enum lathe_state {
    LATHE_CALL_NEW,
    LATHE_CALL_HELD,    /* waits for its turn */
    LATHE_CALL_RUNNING, /* an attempt is in the CURLM */
    LATHE_CALL_BACKOFF, /* until the next attempt */
    LATHE_CALL_ENDED,
} lathe_state;

struct lathe_call {
    /* fixed before the call is submitted */
    lathe_client *client;
    lathe_engine *engine; /* NULL before it is started, or when it could not be */
    lathe_verb verb;
    const lathe_target *target; /* the client's */
    lathe_buf body;
    lathe_lines own_lines;
    const lathe_lines *lines; /* these, or the client's */
    double timeout, connect_timeout;
    int max_retries;
    atomic_int references;
    pthread_cond_t told; /* on the monotonic clock */
    bool reaped;         /* for lathe_engine_reap, not for a waiter */
    void *tag;

    /* of who waits for it or reaps it, between two requests */
    struct lathe_task *task; /* a model does the work; or NULL */
    bool settled;            /* and it is done */
    int earlier;             /* attempts of the requests before this one */

    /* under the engine's lock */
    bool submitted, ordered, cancelled, ended, news;
    bool told_of; /* in the list of what is to be reaped */
    struct lathe_call *next_order, *next_reaped;
    bool waiting, woken; /* somebody sleeps for this call; and has been told to look */
    struct lathe_call *next_waiting, *previous_waiting;
    lathe_event *events; /* a ring: `few`, or more once they are needed */
    size_t event_first, event_count, event_room;

    /* the leader's */
    lathe_state state;
    struct lathe_call *next, *previous, *next_held, *previous_held;
    lathe_timer timer;
    double started, deadline, wake, connect_due, attempt_started;
    double away;   /* the engine's, when `deadline` was right */
    bool ticketed; /* the gate counts the attempt under way */
    lathe_ticket ticket;
    int attempts;
    lathe_exchange exchange;

    /* written by the leader before `ended` */
    lathe_response *response;
    lathe_error error;

    lathe_event few[LATHE_EVENTS_FEW]; /* under the lock; not zeroed */
};

/* NULL without memory or descriptors. `share` outlives it. */
lathe_engine *lathe_engine_new(lathe_share *share);
lathe_engine *lathe_engine_retain(lathe_engine *engine);
/* The last holder frees; nobody may drive it then, and no call be in it. */
void lathe_engine_release(lathe_engine *engine);
/* Whether it was made in this process, not inherited by a fork. */
bool lathe_engine_is_ours(const lathe_engine *engine);

/* Queues a call. */
void lathe_engine_submit(lathe_engine *engine, lathe_call *call);
/* Queues one that has ended again, with another request. False when the engine's loop is no more.
 */
bool lathe_engine_resubmit(lathe_engine *engine, lathe_call *call);
/* Ends a call with LATHE_CANCELLED, here or by the leader. */
void lathe_engine_cancel(lathe_engine *engine, lathe_call *call);
/* Ends the calls of closed clients, here or by the leader. */
void lathe_engine_sweep(lathe_engine *engine);

/* Waits for `call` as leader or follower, as lathe_call_wait says, until a point on lathe_clock. */
lathe_wait lathe_engine_wait(lathe_engine *engine, lathe_call *call, double until, bool signals);

/* For a loop of its own: see lathe_loop_step and its kin in the public header. False also when
 * somebody else leads, who ends a call or a client. */
bool lathe_engine_step(lathe_engine *engine, double seconds, double budget);
lathe_call *lathe_engine_reap(lathe_engine *engine, lathe_wait *what);
int lathe_engine_descriptor(const lathe_engine *engine);
double lathe_engine_next(lathe_engine *engine);
void lathe_engine_leave(lathe_engine *engine);
/* Cancels all calls, whose results nobody takes any more. True when the engine is worth keeping for
 * another loop: nothing goes on in it, and its connections are not most of what the process may
 * open. */
bool lathe_engine_empty(lathe_engine *engine);

/* By flight.c: a call's result stands in it; its waiter may log a retry; what happened, for logs.
 */
void lathe_engine_ended(lathe_engine *engine, lathe_call *call);
void lathe_engine_announce(lathe_engine *engine, lathe_call *call);
void lathe_engine_record(lathe_engine *engine, lathe_call *call,
                         const struct lathe_verdict *verdict);

void lathe_engine_lock(lathe_engine *engine);
void lathe_engine_unlock(lathe_engine *engine);

/* call.c: gives a reference up. */
void lathe_call_release(lathe_call *call);
/* The same: whether one that has ended goes on with another request, which is submitted. */
bool lathe_call_goes_on(lathe_call *call);

#endif
