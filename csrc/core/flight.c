#include "flight.h"

#include <string.h>

#include "attempt.h"
#include "client.h"
#include "clock.h"
#include "error.h"

/* A driver that was away longer than this has made connecting calls late, not the network. */
static const double lateness = 0.05;

/* A gate that the answers of another engine may open meanwhile is looked at this often. */
static const double look_again = 0.25;

bool lathe_flight_init(lathe_flight *flight, lathe_engine *engine, lathe_lock *lock,
                       lathe_share *share)
{
    flight->engine = engine;
    flight->share = share;
    flight->look = flight->until = INFINITY;
    flight->stepped = lathe_clock();
    lathe_window_init(&flight->window);
    return lathe_multi_init(&flight->multi, lock);
}

void lathe_flight_clear(lathe_flight *flight)
{
    lathe_multi_clear(&flight->multi);
    lathe_heap_clear(&flight->heap);
}

bool lathe_flight_over(const lathe_flight *flight)
{
    return flight->until < INFINITY && lathe_clock() >= flight->until;
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static void link_call(lathe_flight *flight, lathe_call *call)
{
    call->next = NULL;
    call->previous = flight->last;
    if (flight->last)
        flight->last->next = call;
    else
        flight->calls = call;
    flight->last = call;
}

static void unlink_call(lathe_flight *flight, lathe_call *call)
{
    if (call->previous)
        call->previous->next = call->next;
    else if (flight->calls == call)
        flight->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    else if (flight->last == call)
        flight->last = call->previous;
    call->next = call->previous = NULL;
}

static void hold(lathe_flight *flight, lathe_call *call)
{
    call->state = LATHE_CALL_HELD;
    call->next_held = NULL;
    call->previous_held = flight->last_held;
    if (flight->last_held)
        flight->last_held->next_held = call;
    else
        flight->first_held = call;
    flight->last_held = call;
    flight->held++;
}

static void unhold(lathe_flight *flight, lathe_call *call)
{
    if (call->previous_held)
        call->previous_held->next_held = call->next_held;
    else
        flight->first_held = call->next_held;
    if (call->next_held)
        call->next_held->previous_held = call->previous_held;
    else
        flight->last_held = call->previous_held;
    call->next_held = call->previous_held = NULL;
    flight->held--;
}

/* ---- Ends ------------------------------------------------------------------------------------ */

/* The gate hears of an attempt that got no answer. */
static void lose_attempt(lathe_call *call, bool sent)
{
    if (call->ticketed)
        lathe_client_lose(call->client, &call->ticket, sent);
    call->ticketed = false;
}

/* Ends an attempt under way without an answer. */
static void drop_attempt(lathe_flight *flight, lathe_call *call)
{
    lose_attempt(call, call->exchange.connected);
    lathe_multi_drop(&flight->multi, &call->exchange);
}

/* The result stands in the call. */
static void end_call(lathe_flight *flight, lathe_call *call)
{
    drop_attempt(flight, call);
    if (call->state == LATHE_CALL_HELD)
        unhold(flight, call);
    lathe_heap_remove(&flight->heap, &call->timer);
    unlink_call(flight, call);
    call->state = LATHE_CALL_ENDED;
    flight->progress = true;
    flight->look = 0; /* its place may be another's, and the driver asleep */
    lathe_engine_ended(flight->engine, call);
}

/* What failed stands in the call. */
static void end_failed(lathe_flight *flight, lathe_call *call)
{
    call->error.attempts = call->attempts;
    end_call(flight, call);
}

void lathe_flight_fail(lathe_flight *flight, lathe_call *call, lathe_code code)
{
    lathe_error_clear(&call->error);
    lathe_fail(&call->error, code, NULL);
    end_failed(flight, call);
}

/* To close a connection libcurl looks through all to its host, from the oldest on: in any other
 * order than this, the time for thousands grows by the square. */
void lathe_flight_sweep(lathe_flight *flight, lathe_code code)
{
    for (lathe_call *call = flight->calls, *next; call; call = next) {
        next = call->next;
        if (code || lathe_client_closed(call->client))
            lathe_flight_fail(flight, call, code ? code : LATHE_CLIENT_CLOSED);
    }
}

/* ---- Attempts -------------------------------------------------------------------------------- */

/* Moved on by the time that the driver was away. A call that was submitted after this lead's
 * beginning may know of more than its leader. */
static double deadline_of(const lathe_flight *flight, lathe_call *call)
{
    if (flight->away > call->away) {
        call->deadline += flight->away - call->away;
        call->away = flight->away;
    }
    return call->deadline;
}

/* When the call needs to be looked at without libcurl saying so. */
static double next_due(const lathe_flight *flight, lathe_call *call)
{
    double due = deadline_of(flight, call);
    if (call->state == LATHE_CALL_BACKOFF && call->wake < due)
        due = call->wake;
    if (call->state == LATHE_CALL_RUNNING && !call->exchange.connected && call->connect_due < due)
        due = call->connect_due;
    return due;
}

/* `stop` is what ended it before, when it begins anew. */
static void begin_attempt(lathe_flight *flight, lathe_call *call, double now, lathe_stop stop)
{
    call->state = LATHE_CALL_RUNNING;
    call->attempt_started = now;
    call->connect_due = call->attempt_started + call->connect_timeout;
    const lathe_outgoing outgoing = {.settings = lathe_client_settings(call->client),
                                     .share = flight->share,
                                     .target = call->target,
                                     .body = call->body.data,
                                     .body_size = call->body.size,
                                     .lines = call->lines,
                                     .attempt = call->attempts,
                                     .started = now,
                                     .connect_timeout = call->connect_timeout,
                                     .fresh = stop == LATHE_STOP_STALE,
                                     .new_handle = stop != LATHE_STOP_NONE};
    if (!lathe_multi_begin(&flight->multi, &call->exchange, &outgoing)) {
        lathe_heap_set(&flight->heap, &call->timer, next_due(flight, call)); /* it is in already */
        return;
    }
    lathe_error_clear(&call->error);
    lathe_fail_lacking(&call->error);
    end_failed(flight, call);
}

static void start_attempt(lathe_flight *flight, lathe_call *call, double now)
{
    call->attempts++;
    begin_attempt(flight, call, now, LATHE_STOP_NONE);
}

/* Nothing of it was sent: it is the same attempt still. */
static void restart_attempt(lathe_flight *flight, lathe_call *call)
{
    CURL *easy = call->exchange.easy;
    const lathe_stop stop = call->exchange.stop;
    lathe_exchange_drop(&call->exchange);
    lathe_multi_give(&flight->multi, easy, false);
    begin_attempt(flight, call, lathe_clock(), stop);
}

/* Whether a call may have its attempt now; else sets when to look again. */
static bool may_start(lathe_flight *flight, lathe_call *call, double now)
{
    flight->look = INFINITY;
    if (lathe_multi_holds(&flight->multi) ||
        !lathe_window_open(&flight->window, flight->multi.running))
        return false; /* until something ends */
    double random = lathe_attempt_random(call, now);
    double wait = lathe_client_ask(call->client, now, random, &call->ticket);
    call->ticketed = wait <= 0;
    if (!call->ticketed)
        flight->look = now + fmin(wait, look_again);
    return call->ticketed;
}

/* Without memory for its tables libcurl tells neither whose attempt it was for nor what it watches,
 * and 7.88 divides by zero when it goes on: every attempt ends, and it begins anew. */
static void mend(lathe_flight *flight)
{
    if (!flight->multi.broken)
        return;
    for (lathe_call *call = flight->calls, *next; call; call = next) {
        next = call->next;
        if (call->state == LATHE_CALL_RUNNING)
            lathe_flight_fail(flight, call, LATHE_MEMORY);
    }
    lathe_multi_mend(&flight->multi);
}

/* After an attempt that did not bring the result: again later, or the end. */
static void follow_up(lathe_flight *flight, lathe_call *call, lathe_verdict *verdict)
{
    if (!verdict->retry) {
        call->error = verdict->error;
        end_call(flight, call);
        return;
    }
    lathe_error_clear(&verdict->error);
    call->state = LATHE_CALL_BACKOFF;
    call->wake = lathe_clock() + verdict->delay;
    lathe_heap_set(&flight->heap, &call->timer, next_due(flight, call)); /* it is in already */
    flight->progress = true;
    lathe_engine_announce(flight->engine, call);
}

/* Refusals mean that too much is in flight. */
static void adapt(lathe_flight *flight, const lathe_call *call, int status)
{
    size_t running = flight->multi.running;
    if (status == 429 || status == 529)
        lathe_window_refused(&flight->window, lathe_clock(), call->attempt_started, running + 1);
    else if (status == 200)
        lathe_window_served(&flight->window, running + 1 + flight->held);
}

static void finish_attempt(lathe_flight *flight, lathe_call *call, CURLcode result)
{
    const lathe_stop stop = call->exchange.stop;
    if (stop == LATHE_STOP_STALE || stop == LATHE_STOP_HANDLE) {
        restart_attempt(flight, call);
        return;
    }
    CURL *easy = call->exchange.easy;
    bool sent = call->exchange.connected;
    lathe_verdict verdict;
    deadline_of(flight, call);
    lathe_attempt_judge(call, result, &verdict);
    adapt(flight, call, verdict.status);
    lose_attempt(call, sent); /* unless it was answered */
    lathe_multi_give(&flight->multi, easy, verdict.status > 0);
    lathe_engine_record(flight->engine, call, &verdict);
    if (verdict.error.code)
        follow_up(flight, call, &verdict);
    else
        end_call(flight, call);
}

/* Not connected in time: an attempt that failed, like others. */
static void expire_attempt(lathe_flight *flight, lathe_call *call)
{
    lathe_verdict verdict;
    lathe_attempt_expire(call, &verdict);
    drop_attempt(flight, call);
    lathe_engine_record(flight->engine, call, &verdict);
    follow_up(flight, call, &verdict);
}

static void collect(lathe_flight *flight)
{
    lathe_exchange *exchange;
    CURLcode result;
    while ((exchange = lathe_multi_ended(&flight->multi, &result)))
        finish_attempt(flight, (lathe_call *)((char *)exchange - offsetof(lathe_call, exchange)),
                       result);
    mend(flight);
}

/* Lets those who wait have their turn, in order. */
static void admit(lathe_flight *flight)
{
    for (lathe_call *call; (call = flight->first_held);) {
        const double now = lathe_clock();
        if (!may_start(flight, call, now))
            break;
        unhold(flight, call);
        start_attempt(flight, call, now);
        lathe_multi_tick(&flight->multi);
        collect(flight); /* it may have its answer already, and no descriptor would tell */
        if (!lathe_flight_over(flight))
            continue;
        flight->look = 0;
        break;
    }
}

/* An attempt is wanted: at once when nobody waits for its turn. */
static void queue_attempt(lathe_flight *flight, lathe_call *call)
{
    bool alone = !flight->first_held;
    hold(flight, call);
    if (alone)
        admit(flight);
}

static void expire_call(lathe_flight *flight, lathe_call *call)
{
    lathe_attempt_overdue(call);
    end_call(flight, call);
}

/* One whose time is over, as it may be between two requests, is not sent for nothing. */
void lathe_flight_begin(lathe_flight *flight, lathe_call *call)
{
    const double deadline = deadline_of(flight, call);
    link_call(flight, call);
    if (lathe_heap_set(&flight->heap, &call->timer, deadline))
        lathe_flight_fail(flight, call, LATHE_MEMORY);
    else if (deadline <= lathe_clock())
        expire_call(flight, call);
    else
        queue_attempt(flight, call);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* A driver who was away is no reason to give up a connection that is being made. One that comes
 * when the first timer is due was not away, however long that took. */
static void forgive_lateness(lathe_flight *flight)
{
    double now = lathe_clock();
    if (now - flight->stepped < lateness || lathe_flight_next(flight) > -lateness)
        return;
    for (lathe_call *call = flight->calls; call; call = call->next) {
        if (call->state != LATHE_CALL_RUNNING || call->exchange.connected)
            continue;
        /* An attempt begun since, for the sake of another call's order, has not been late before.
         */
        call->connect_due += now - fmax(flight->stepped, call->attempt_started);
        lathe_exchange_extend(&call->exchange, call->connect_due - call->attempt_started);
    }
}

void lathe_flight_prepare(lathe_flight *flight)
{
    forgive_lateness(flight);
    lathe_multi_tick(&flight->multi);
    collect(flight);
    admit(flight); /* an order may have ended a call since */
}

static void run_timer(lathe_flight *flight, lathe_timer *timer, double now)
{
    lathe_call *call = (lathe_call *)((char *)timer - offsetof(lathe_call, timer));
    double due = next_due(flight, call); /* it may have connected, or been given time, meanwhile */
    if (due > now) {
        lathe_heap_set(&flight->heap, timer, due);
    } else if (call->deadline <= now) {
        expire_call(flight, call);
    } else if (call->state == LATHE_CALL_BACKOFF) {
        lathe_heap_set(&flight->heap, timer, call->deadline);
        queue_attempt(flight, call);
    } else {
        expire_attempt(flight, call);
    }
}

static void run_timers(lathe_flight *flight, double patience)
{
    lathe_timer *timer = lathe_heap_first(&flight->heap);
    const double now = timer ? lathe_clock() : 0;
    for (; timer && timer->due + patience <= now; timer = lathe_heap_first(&flight->heap)) {
        run_timer(flight, timer, now);
        if (lathe_flight_over(flight))
            break;
    }
}

/* Timers come last: what has arrived counts, however late the step. What a descriptor still has to
 * say when the time is over is told again by the next wait, for which timers wait a little too. */
void lathe_flight_work(lathe_flight *flight, const lathe_ready *ready, int count, bool more)
{
    int fed = 0;
    for (; fed < count && (!fed || !lathe_flight_over(flight)); fed++)
        lathe_multi_feed(&flight->multi, &ready[fed]);
    collect(flight);
    lathe_multi_tick(&flight->multi);
    collect(flight);
    run_timers(flight, more || fed < count ? lateness : 0);
    admit(flight);
    flight->stepped = lathe_clock();
}

bool lathe_flight_connecting(const lathe_flight *flight)
{
    for (const lathe_call *call = flight->calls; call; call = call->next)
        if (call->state == LATHE_CALL_RUNNING && !call->exchange.connected)
            return true;
    return false;
}

double lathe_flight_next(const lathe_flight *flight)
{
    const lathe_timer *timer = lathe_heap_first(&flight->heap);
    double due = fmin(flight->multi.due, flight->first_held ? flight->look : INFINITY);
    return (timer ? fmin(due, timer->due) : due) - lathe_clock();
}
