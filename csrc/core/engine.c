#include "engine.h"

#include <errno.h>
#include <math.h>

#include "alloc.h"
#include "attempt.h"
#include "client.h"
#include "clock.h"
#include "error.h"
#include "forking.h"
#include "poller.h"

enum { BATCH = 64 };

struct lathe_engine {
    lathe_lock lock;
    unsigned generation;

    /* under the lock */
    int references;
    bool led, sweep;
    bool emptied; /* its calls are cancelled, and nobody reaps any more */
    bool asleep;  /* the leader waits, or is about to: an order must wake it */
    lathe_call *first_order, *last_order;
    lathe_call *first_reaped, *last_reaped;
    lathe_call *waiting; /* those that somebody sleeps for */
    double away;         /* seconds that do not count for deadlines */

    /* the leader's */
    lathe_flight flight;
    double left; /* when the driver went away; NAN while it is here */
};

void lathe_engine_lock(lathe_engine *engine)
{
    pthread_mutex_lock(&engine->lock.mutex);
}

void lathe_engine_unlock(lathe_engine *engine)
{
    pthread_mutex_unlock(&engine->lock.mutex);
}

bool lathe_engine_is_ours(const lathe_engine *engine)
{
    return engine->generation == lathe_generation();
}

/* ---- Making and freeing ---------------------------------------------------------------------- */

/* At once, whether the child ever uses the client or not: the service must see the parent's
 * closing.
 */
static void abandon_in_child(lathe_lock *lock)
{
    lathe_engine *engine = (lathe_engine *)((char *)lock - offsetof(lathe_engine, lock));
    lathe_multi_abandon(&engine->flight.multi);
}

static bool engine_init(lathe_engine *engine, lathe_share *share)
{
    if (!lathe_flight_init(&engine->flight, engine, &engine->lock, share))
        return false;
    lathe_lock_init(&engine->lock, LATHE_LOCK_ENGINE, abandon_in_child);
    engine->generation = lathe_generation();
    engine->references = 1;
    engine->left = NAN;
    return true;
}

/* A fork finds an engine's descriptors with the lock that stands for them, or neither. */
lathe_engine *lathe_engine_new(lathe_share *share)
{
    lathe_engine *engine = lathe_calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    lathe_work_begin();
    bool made = engine_init(engine, share);
    lathe_work_end();
    if (made)
        return engine;
    lathe_free(engine);
    return NULL;
}

lathe_engine *lathe_engine_retain(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    engine->references++;
    lathe_engine_unlock(engine);
    return engine;
}

static void engine_free(lathe_engine *engine)
{
    lathe_work_begin();
    lathe_flight_clear(&engine->flight);
    lathe_lock_destroy(&engine->lock);
    lathe_work_end();
    lathe_free(engine);
}

void lathe_engine_release(lathe_engine *engine)
{
    if (!engine)
        return;
    lathe_engine_lock(engine);
    bool last = --engine->references == 0;
    lathe_engine_unlock(engine);
    /* An inherited engine is left as it is: libcurl would speak on the parent's connections. */
    if (last && lathe_engine_is_ours(engine))
        engine_free(engine);
}

/* ---- Waiters and the lead -------------------------------------------------------------------- */

/* Whoever is told is signalled after the lock is given up, or would only run into it. */
static bool tell_locked(lathe_call *call)
{
    bool tells = call->waiting && !call->woken;
    call->woken = true;
    return tells;
}

/* When nobody leads, exactly one sleeper is told to. */
static void unlock_and_hand_on(lathe_engine *engine)
{
    lathe_call *next = engine->led ? NULL : engine->waiting;
    while (next && !tell_locked(next))
        next = next->next_waiting;
    if (next)
        next->references++;
    lathe_engine_unlock(engine);
    if (!next)
        return;
    pthread_cond_signal(&next->told);
    lathe_call_release(next);
}

static void add_order_locked(lathe_engine *engine, lathe_call *call)
{
    if (call->ordered)
        return;
    call->ordered = true;
    call->next_order = NULL;
    if (engine->last_order)
        engine->last_order->next_order = call;
    else
        engine->first_order = call;
    engine->last_order = call;
}

/* ---- What happens to calls, told by the leader ----------------------------------------------- */

/* For a driver that reaps; once for what it has not seen yet. */
static void list_locked(lathe_engine *engine, lathe_call *call)
{
    if (!call->reaped || call->told_of || call->cancelled || engine->emptied)
        return;
    call->told_of = true;
    call->references++;
    call->next_reaped = NULL;
    if (engine->last_reaped)
        engine->last_reaped->next_reaped = call;
    else
        engine->first_reaped = call;
    engine->last_reaped = call;
}

void lathe_engine_ended(lathe_engine *engine, lathe_call *call)
{
    lathe_engine_lock(engine);
    call->ended = true;
    bool tells = tell_locked(call);
    list_locked(engine, call);
    lathe_engine_unlock(engine);
    if (tells)
        pthread_cond_signal(&call->told);
    lathe_call_release(call);
}

void lathe_engine_announce(lathe_engine *engine, lathe_call *call)
{
    lathe_engine_lock(engine);
    call->news = true;
    bool tells = tell_locked(call);
    list_locked(engine, call);
    lathe_engine_unlock(engine);
    if (tells)
        pthread_cond_signal(&call->told);
}

void lathe_engine_record(lathe_engine *engine, lathe_call *call, const lathe_verdict *verdict)
{
    lathe_engine_lock(engine);
    lathe_attempt_record(call, verdict);
    lathe_engine_unlock(engine);
}

/* ---- One step -------------------------------------------------------------------------------- */

static void take_order(lathe_engine *engine, lathe_call *call, lathe_code cancelled)
{
    if (call->state == LATHE_CALL_ENDED)
        return;
    if (cancelled)
        lathe_flight_fail(&engine->flight, call, cancelled);
    else if (lathe_client_closed(call->client))
        lathe_flight_fail(&engine->flight, call, LATHE_CLIENT_CLOSED);
    else if (call->state == LATHE_CALL_NEW)
        lathe_flight_begin(&engine->flight, call);
}

static lathe_call *next_order_locked(lathe_engine *engine)
{
    lathe_call *call = engine->first_order;
    if (!call)
        return NULL;
    engine->first_order = call->next_order;
    if (!engine->first_order)
        engine->last_order = NULL;
    call->ordered = false;
    return call;
}

static void take_sweep(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    bool sweep = engine->sweep, emptied = engine->emptied;
    engine->sweep = false;
    lathe_engine_unlock(engine);
    if (sweep)
        lathe_flight_sweep(&engine->flight, emptied ? LATHE_CANCELLED : LATHE_OK);
}

/* All of them, or until the step's time is over. */
static void take_orders(lathe_engine *engine)
{
    lathe_call *call;
    lathe_work_begin();
    do {
        lathe_engine_lock(engine);
        call = next_order_locked(engine);
        bool cancelled = call && (call->cancelled || engine->emptied);
        lathe_engine_unlock(engine);
        if (call) {
            take_order(engine, call, cancelled ? LATHE_CANCELLED : LATHE_OK);
            lathe_call_release(call); /* the order's */
        }
    } while (call && !lathe_flight_over(&engine->flight));
    take_sweep(engine);
    lathe_work_end();
}

/* Waits for descriptors; -1 when a signal came. Not at all when there are orders, which whoever
 * gave them has then no need to wake anybody for. */
static int doze(lathe_engine *engine, lathe_ready *ready, double seconds)
{
    lathe_engine_lock(engine);
    bool orders = engine->first_order || engine->sweep;
    engine->asleep = !orders;
    lathe_engine_unlock(engine);
    int milliseconds = orders ? 0 : lathe_milliseconds(seconds);
    int count = lathe_poller_wait(engine->flight.multi.poller, ready, BATCH, milliseconds);
    lathe_engine_lock(engine);
    engine->asleep = false;
    lathe_engine_unlock(engine);
    return count;
}

static void wake_leader_locked(lathe_engine *engine)
{
    if (!engine->asleep)
        return;
    engine->asleep = false;
    lathe_poller_wake(engine->flight.multi.poller);
}

/* Half of the budget is for what is new, so that what arrives does not wait behind it. */
static void set_budget(lathe_flight *flight, double budget)
{
    flight->until = isinf(budget) ? INFINITY : lathe_clock() + budget;
}

/* By the leader, without the lock. False when a signal ended the wait. */
static bool drive(lathe_engine *engine, double seconds, double budget)
{
    lathe_flight *flight = &engine->flight;
    lathe_ready ready[BATCH];
    flight->progress = false;
    set_budget(flight, budget / 2);
    lathe_work_begin();
    take_orders(engine);
    lathe_flight_prepare(flight);
    double wait = lathe_flight_next(flight);
    wait = flight->progress ? 0 : wait < seconds ? wait : seconds;
    lathe_work_end();
    flight->until = INFINITY;
    if (seconds < 0 && !lathe_flight_connecting(flight))
        return true;
    int count = doze(engine, ready, wait);
    lathe_work_begin();
    set_budget(flight, budget / 2);
    lathe_flight_work(flight, ready, count, count == BATCH);
    lathe_work_end();
    flight->until = INFINITY;
    return count >= 0;
}

/* The time that the driver was away does not count. */
static void come_back_locked(lathe_engine *engine)
{
    if (isnan(engine->left))
        return;
    engine->away += lathe_clock() - engine->left;
    engine->left = NAN;
}

/* What is submitted from now on may have been told of more time away than this leader knows. */
static void begin_lead_locked(lathe_engine *engine)
{
    engine->led = true;
    engine->flight.away = engine->away;
}

/* Takes the lead for the queue alone, until it is empty: whoever saw a leader left its order to it
 * and is gone. */
static void take_orders_locked(lathe_engine *engine)
{
    while (engine->first_order || engine->sweep) {
        begin_lead_locked(engine);
        lathe_engine_unlock(engine);
        take_orders(engine);
        lathe_engine_lock(engine);
        engine->led = false;
    }
}

/* Has the queue worked off: here, or by who leads. A loop hears of what is there to be reaped, and
 * of a place that a held call may have. */
static void settle(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    if (engine->led)
        wake_leader_locked(engine);
    else
        take_orders_locked(engine);
    if (engine->first_reaped || (!engine->led && lathe_flight_next(&engine->flight) <= 0))
        lathe_poller_wake(engine->flight.multi.poller);
    unlock_and_hand_on(engine);
}

/* ---- What everybody may call ----------------------------------------------------------------- */

void lathe_engine_submit(lathe_engine *engine, lathe_call *call)
{
    call->deadline = call->started + call->timeout;
    lathe_engine_lock(engine);
    come_back_locked(engine);
    call->away = engine->away;
    call->submitted = true;
    call->references += 2; /* the engine's and the order's */
    add_order_locked(engine, call);
    wake_leader_locked(engine);
    lathe_engine_unlock(engine);
}

/* Its deadline stands. One that was cancelled is ended by the leader, as ever: a loop does not reap
 * it any more. */
bool lathe_engine_resubmit(lathe_engine *engine, lathe_call *call)
{
    lathe_engine_lock(engine);
    bool alive = !engine->emptied;
    if (alive) {
        come_back_locked(engine);
        call->ended = false;
        call->state = LATHE_CALL_NEW;
        call->attempts = 0;
        call->references += 2; /* the engine's and the order's */
        add_order_locked(engine, call);
        wake_leader_locked(engine);
    }
    lathe_engine_unlock(engine);
    return alive;
}

void lathe_engine_cancel(lathe_engine *engine, lathe_call *call)
{
    lathe_engine_lock(engine);
    bool alive = call->submitted && !call->ended;
    call->cancelled = true; /* one that has ended is not reaped any more */
    if (alive) {
        if (!call->ordered)
            call->references++;
        add_order_locked(engine, call);
    }
    lathe_engine_unlock(engine);
    if (alive)
        settle(engine);
}

void lathe_engine_sweep(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    engine->sweep = true;
    lathe_engine_unlock(engine);
    settle(engine);
}

static void follow(lathe_engine *engine, lathe_call *call, double until)
{
    const struct timespec limit = lathe_timespec(isinf(until) ? 0 : until);
    int status = 0;
    call->waiting = true;
    call->woken = false;
    call->previous_waiting = NULL;
    call->next_waiting = engine->waiting;
    if (engine->waiting)
        engine->waiting->previous_waiting = call;
    engine->waiting = call;
    while (!call->woken && status != ETIMEDOUT)
        status = isinf(until) ? pthread_cond_wait(&call->told, &engine->lock.mutex)
                              : pthread_cond_timedwait(&call->told, &engine->lock.mutex, &limit);
    call->waiting = false;
    if (call->previous_waiting)
        call->previous_waiting->next_waiting = call->next_waiting;
    else
        engine->waiting = call->next_waiting;
    if (call->next_waiting)
        call->next_waiting->previous_waiting = call->previous_waiting;
}

/* False when a signal came. */
static bool lead(lathe_engine *engine, double seconds, double budget)
{
    come_back_locked(engine);
    begin_lead_locked(engine);
    lathe_engine_unlock(engine);
    bool quiet = drive(engine, seconds, budget);
    lathe_engine_lock(engine);
    engine->led = false;
    return quiet;
}

lathe_wait lathe_engine_wait(lathe_engine *engine, lathe_call *call, double until, bool signals)
{
    lathe_wait result = LATHE_WAIT_AGAIN;
    lathe_engine_lock(engine);
    for (bool quiet = true;;) {
        if (call->ended || call->news) {
            result = call->ended ? LATHE_WAIT_DONE : LATHE_WAIT_EVENT;
            call->news = false;
            break;
        }
        double left = isinf(until) ? INFINITY : until - lathe_clock();
        if ((signals && !quiet) || left <= 0)
            break;
        quiet = true;
        if (engine->led)
            follow(engine, call, until);
        else
            quiet = lead(engine, left, INFINITY);
    }
    if (!engine->led && !engine->waiting)
        take_orders_locked(engine);
    unlock_and_hand_on(engine);
    return result;
}

bool lathe_engine_step(lathe_engine *engine, double seconds, double budget)
{
    lathe_engine_lock(engine);
    bool quiet = !engine->led && lead(engine, seconds, budget);
    unlock_and_hand_on(engine);
    return quiet;
}

static lathe_call *next_reaped_locked(lathe_engine *engine)
{
    lathe_call *call = engine->first_reaped;
    if (!call)
        return NULL;
    engine->first_reaped = call->next_reaped;
    if (!engine->first_reaped)
        engine->last_reaped = NULL;
    call->told_of = false;
    return call;
}

/* The list's reference is given up; the caller has the one that lathe_call_new gave. */
lathe_call *lathe_engine_reap(lathe_engine *engine, lathe_wait *what)
{
    for (;;) {
        lathe_engine_lock(engine);
        lathe_call *call = next_reaped_locked(engine);
        bool gone = call && call->cancelled;
        if (call) {
            *what = call->ended ? LATHE_WAIT_DONE : LATHE_WAIT_EVENT;
            call->news = false;
        }
        lathe_engine_unlock(engine);
        if (call)
            lathe_call_release(call);
        if (!gone)
            return call;
    }
}

double lathe_engine_next(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    /* Whoever leads meanwhile is soon done. */
    bool now = engine->led || engine->first_order || engine->sweep || engine->first_reaped;
    double next = now ? 0 : lathe_flight_next(&engine->flight);
    lathe_engine_unlock(engine);
    return next > 0 ? next : 0;
}

int lathe_engine_descriptor(const lathe_engine *engine)
{
    return lathe_poller_descriptor(engine->flight.multi.poller);
}

void lathe_engine_leave(lathe_engine *engine)
{
    if (isnan(engine->left))
        engine->left = lathe_clock();
}

bool lathe_engine_empty(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    engine->emptied = engine->sweep = true;
    lathe_engine_unlock(engine);
    settle(engine);
    lathe_wait what;
    while (lathe_engine_reap(engine, &what))
        continue;
    lathe_engine_lock(engine);
    bool empty = !engine->led && !engine->first_order && !engine->flight.calls &&
                 lathe_multi_is_light(&engine->flight.multi);
    engine->emptied = !empty;
    lathe_engine_unlock(engine);
    return empty;
}
