#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc.h"
#include "attempt.h"
#include "client.h"
#include "clock.h"
#include "error.h"
#include "forking.h"
#include "poller.h"

enum { BATCH = 64, EASY_KEPT = 32, SOCKETS_EACH = 8 };

/* A driver that was away longer than this has made connecting calls late, not the network. */
static const double lateness = 0.05;

struct lathe_engine {
    lathe_lock lock;
    unsigned generation;
    lathe_share *share;
    lathe_poller *poller;

    /* under the lock */
    int references;
    bool led, sweep;
    bool asleep; /* the leader waits, or is about to: an order must wake it */
    lathe_call *first_order, *last_order;
    lathe_call *first_ended, *last_ended;
    lathe_call *waiting; /* those that somebody sleeps for */
    int *sockets;
    size_t socket_count, socket_capacity;

    /* the leader's */
    CURLM *multi;
    double curl_due, stepped;
    lathe_heap heap;
    lathe_call *calls;
    bool progress; /* something ended: do not wait in this step */
    CURL *easy[EASY_KEPT];
    size_t easy_count;
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

static bool curl_ready;

static void start_curl(void)
{
    curl_ready = !curl_global_init(CURL_GLOBAL_DEFAULT);
}

lathe_engine *lathe_engine_new(lathe_share *share)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    lathe_engine *engine = curl_ready ? lathe_calloc(1, sizeof *engine) : NULL;
    if (!engine)
        return NULL;
    engine->poller = lathe_poller_new();
    if (!engine->poller) {
        lathe_free(engine);
        return NULL;
    }
    lathe_lock_init(&engine->lock, LATHE_LOCK_ENGINE);
    engine->generation = lathe_generation();
    engine->references = 1;
    engine->share = share;
    engine->curl_due = INFINITY;
    engine->stepped = lathe_clock();
    return engine;
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
    for (size_t i = 0; i < engine->easy_count; i++)
        curl_easy_cleanup(engine->easy[i]);
    if (engine->multi)
        curl_multi_cleanup(engine->multi);
    lathe_poller_free(engine->poller);
    lathe_heap_clear(&engine->heap);
    lathe_free(engine->sockets);
    lathe_lock_destroy(&engine->lock);
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

void lathe_engine_abandon(lathe_engine *engine)
{
    for (size_t i = 0; i < engine->socket_count; i++)
        close(engine->sockets[i]);
    engine->socket_count = 0;
    lathe_poller_abandon(engine->poller);
    engine->poller = NULL;
}

/* ---- Sockets --------------------------------------------------------------------------------- */

/* Room for the sockets of one more attempt. */
static bool reserve_sockets(lathe_engine *engine)
{
    bool done = true;
    lathe_engine_lock(engine);
    if (engine->socket_capacity - engine->socket_count < SOCKETS_EACH) {
        size_t capacity = engine->socket_capacity * 2 + SOCKETS_EACH;
        int *sockets = lathe_realloc(engine->sockets, capacity * sizeof *sockets);
        done = sockets != NULL;
        if (done) {
            engine->sockets = sockets;
            engine->socket_capacity = capacity;
        }
    }
    lathe_engine_unlock(engine);
    return done;
}

static bool remember_socket(lathe_engine *engine, int fd)
{
    if (!reserve_sockets(engine))
        return false;
    lathe_engine_lock(engine);
    engine->sockets[engine->socket_count++] = fd;
    lathe_engine_unlock(engine);
    return true;
}

static curl_socket_t open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    lathe_call *call = self;
#ifdef SOCK_CLOEXEC
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (!remember_socket(call->engine, fd)) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    lathe_exchange_opened(&call->exchange, fd, &address->addr, address->addrlen);
    return fd;
}

static int close_socket(void *self, curl_socket_t fd)
{
    lathe_engine *engine = self;
    lathe_poller_watch(engine->poller, fd, 0);
    lathe_engine_lock(engine);
    for (size_t i = 0; i < engine->socket_count; i++)
        if (engine->sockets[i] == fd) {
            engine->sockets[i] = engine->sockets[--engine->socket_count];
            break;
        }
    lathe_engine_unlock(engine);
    return close(fd);
}

/* ---- libcurl's wishes ------------------------------------------------------------------------ */

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *self, void *socket)
{
    (void)easy, (void)socket;
    lathe_engine *engine = self;
    unsigned mask = what == CURL_POLL_REMOVE
                        ? 0U
                        : (what & CURL_POLL_IN ? (unsigned)LATHE_READABLE : 0U) |
                              (what & CURL_POLL_OUT ? (unsigned)LATHE_WRITABLE : 0U);
    return lathe_poller_watch(engine->poller, fd, mask) ? -1 : 0;
}

static int set_timer(CURLM *multi, long milliseconds, void *self)
{
    (void)multi;
    lathe_engine *engine = self;
    engine->curl_due = milliseconds < 0 ? INFINITY : lathe_clock() + (double)milliseconds / 1000;
    return 0;
}

static bool make_multi(lathe_engine *engine)
{
    if (engine->multi)
        return true;
    CURLM *multi = curl_multi_init();
    if (!multi)
        return false;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine);
    engine->multi = multi;
    return true;
}

static CURL *take_easy(lathe_engine *engine)
{
    return engine->easy_count ? engine->easy[--engine->easy_count] : curl_easy_init();
}

static void give_easy(lathe_engine *engine, CURL *easy)
{
    if (engine->easy_count == EASY_KEPT) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    engine->easy[engine->easy_count++] = easy;
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

/* ---- Calls, by the leader -------------------------------------------------------------------- */

static void unlink_call(lathe_engine *engine, lathe_call *call)
{
    lathe_heap_remove(&engine->heap, &call->timer);
    if (call->previous)
        call->previous->next = call->next;
    else if (engine->calls == call)
        engine->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->next = call->previous = NULL;
}

/* Takes the attempt under way out of the CURLM. */
static void detach(lathe_engine *engine, lathe_call *call)
{
    CURL *easy = call->exchange.easy;
    if (!easy)
        return;
    curl_multi_remove_handle(engine->multi, easy);
    lathe_exchange_drop(&call->exchange);
    give_easy(engine, easy);
}

/* The result stands in the call. */
static void end_call(lathe_engine *engine, lathe_call *call)
{
    detach(engine, call);
    unlink_call(engine, call);
    call->state = LATHE_CALL_ENDED;
    engine->progress = true;
    lathe_engine_lock(engine);
    call->ended = true;
    bool tells = tell_locked(call);
    if (call->reaped && !call->cancelled) {
        call->next_ended = NULL;
        if (engine->last_ended)
            engine->last_ended->next_ended = call;
        else
            engine->first_ended = call;
        engine->last_ended = call;
        call->references++;
    }
    lathe_engine_unlock(engine);
    if (tells)
        pthread_cond_signal(&call->told);
    lathe_call_release(call);
}

static void fail_call(lathe_engine *engine, lathe_call *call, lathe_code code)
{
    lathe_error_clear(&call->error);
    call->error.attempts = call->attempts;
    lathe_fail(&call->error, code, NULL);
    end_call(engine, call);
}

/* When the call needs to be looked at without libcurl saying so. */
static double next_due(const lathe_call *call)
{
    double due = call->deadline;
    if (call->state == LATHE_CALL_BACKOFF && call->wake < due)
        due = call->wake;
    if (call->state == LATHE_CALL_RUNNING && !call->exchange.connected && call->connect_due < due)
        due = call->connect_due;
    return due;
}

static void start_attempt(lathe_engine *engine, lathe_call *call)
{
    CURL *easy = make_multi(engine) && reserve_sockets(engine) ? take_easy(engine) : NULL;
    if (!easy) {
        fail_call(engine, call, LATHE_MEMORY);
        return;
    }
    call->state = LATHE_CALL_RUNNING;
    call->attempt_started = lathe_clock();
    call->connect_due = call->attempt_started + call->connect_timeout;
    call->attempts++;
    const lathe_outgoing outgoing = {.settings = lathe_client_settings(call->client),
                                     .share = engine->share,
                                     .url = call->url,
                                     .body = call->body.data,
                                     .body_size = call->body.size,
                                     .lines = &call->lines,
                                     .attempt = call->attempts,
                                     .connect_timeout = call->connect_timeout};
    lathe_code code = lathe_exchange_begin(&call->exchange, easy, &outgoing);
    if (curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) ||
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call) ||
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) ||
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, engine))
        code = LATHE_MEMORY;
    if (!code)
        code = lathe_heap_set(&engine->heap, &call->timer, next_due(call));
    if (code || curl_multi_add_handle(engine->multi, easy))
        fail_call(engine, call, LATHE_MEMORY);
}

/* Tells a waiter who wants to log a retry while it still waits. */
static void announce(lathe_engine *engine, lathe_call *call)
{
    engine->progress = true;
    lathe_engine_lock(engine);
    call->news = true;
    bool tells = tell_locked(call);
    lathe_engine_unlock(engine);
    if (tells)
        pthread_cond_signal(&call->told);
}

/* After an attempt that did not bring the result: again later, or the end. */
static void follow_up(lathe_engine *engine, lathe_call *call, lathe_verdict *verdict)
{
    if (!verdict->retry) {
        call->error = verdict->error;
        end_call(engine, call);
        return;
    }
    lathe_error_clear(&verdict->error);
    call->state = LATHE_CALL_BACKOFF;
    call->wake = lathe_clock() + verdict->delay;
    lathe_heap_set(&engine->heap, &call->timer, next_due(call)); /* it is in already */
    announce(engine, call);
}

static void record(lathe_engine *engine, lathe_call *call, const lathe_verdict *verdict)
{
    lathe_engine_lock(engine);
    lathe_attempt_record(call, verdict);
    lathe_engine_unlock(engine);
}

/* libcurl says that a transfer has ended. */
static void finish_attempt(lathe_engine *engine, lathe_call *call, CURLcode result)
{
    CURL *easy = call->exchange.easy;
    lathe_verdict verdict;
    curl_multi_remove_handle(engine->multi, easy);
    lathe_attempt_judge(call, result, &verdict);
    give_easy(engine, easy);
    record(engine, call, &verdict);
    if (verdict.error.code)
        follow_up(engine, call, &verdict);
    else
        end_call(engine, call);
}

/* Not connected in time: an attempt that failed, like others. */
static void expire_attempt(lathe_engine *engine, lathe_call *call)
{
    lathe_verdict verdict;
    lathe_attempt_expire(call, &verdict);
    detach(engine, call);
    record(engine, call, &verdict);
    follow_up(engine, call, &verdict);
}

static void expire_call(lathe_engine *engine, lathe_call *call)
{
    lathe_attempt_overdue(call);
    end_call(engine, call);
}

/* ---- One step -------------------------------------------------------------------------------- */

static void begin_call(lathe_engine *engine, lathe_call *call)
{
    call->next = engine->calls;
    if (call->next)
        call->next->previous = call;
    engine->calls = call;
    start_attempt(engine, call);
}

static void take_order(lathe_engine *engine, lathe_call *call, bool cancelled)
{
    if (call->state == LATHE_CALL_ENDED)
        return;
    if (cancelled)
        fail_call(engine, call, LATHE_CANCELLED);
    else if (lathe_client_closed(call->client))
        fail_call(engine, call, LATHE_CLIENT_CLOSED);
    else if (call->state == LATHE_CALL_NEW)
        begin_call(engine, call);
}

static void sweep(lathe_engine *engine)
{
    for (lathe_call *call = engine->calls, *next; call; call = next) {
        next = call->next;
        if (lathe_client_closed(call->client))
            fail_call(engine, call, LATHE_CLIENT_CLOSED);
    }
}

static void take_orders(lathe_engine *engine)
{
    bool sweeping = false;
    for (;;) {
        lathe_engine_lock(engine);
        lathe_call *call = engine->first_order;
        sweeping = sweeping || engine->sweep;
        engine->sweep = false;
        bool cancelled = false;
        if (call) {
            engine->first_order = call->next_order;
            if (!engine->first_order)
                engine->last_order = NULL;
            call->ordered = false;
            cancelled = call->cancelled;
        }
        lathe_engine_unlock(engine);
        if (!call)
            break;
        take_order(engine, call, cancelled);
        lathe_call_release(call); /* the order's */
    }
    if (sweeping)
        sweep(engine);
}

/* A driver who was away is no reason to give up a connection that is being made. */
static void forgive_lateness(lathe_engine *engine)
{
    double now = lathe_clock();
    if (now - engine->stepped < lateness)
        return;
    for (lathe_call *call = engine->calls; call; call = call->next) {
        if (call->state != LATHE_CALL_RUNNING || call->exchange.connected)
            continue;
        /* An attempt begun since, for the sake of another call's order, has not been late before.
         */
        call->connect_due += now - fmax(engine->stepped, call->attempt_started);
        lathe_exchange_extend(&call->exchange, call->connect_due - call->attempt_started);
    }
}

static void collect(lathe_engine *engine)
{
    CURLMsg *message;
    int left;
    while (engine->multi && (message = curl_multi_info_read(engine->multi, &left))) {
        lathe_exchange *exchange = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
        lathe_call *call = (lathe_call *)((char *)exchange - offsetof(lathe_call, exchange));
        finish_attempt(engine, call, result);
    }
}

static void run_curl_timer(lathe_engine *engine)
{
    int running;
    if (!engine->multi || engine->curl_due > lathe_clock())
        return;
    engine->curl_due = INFINITY;
    curl_multi_socket_action(engine->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(engine);
}

static void run_timers(lathe_engine *engine)
{
    double now = lathe_clock();
    lathe_timer *timer;
    while ((timer = lathe_heap_first(&engine->heap)) && timer->due <= now) {
        lathe_call *call = (lathe_call *)((char *)timer - offsetof(lathe_call, timer));
        double due = next_due(call); /* it may have connected meanwhile */
        if (due > now)
            lathe_heap_set(&engine->heap, timer, due);
        else if (call->deadline <= now)
            expire_call(engine, call);
        else if (call->state == LATHE_CALL_BACKOFF)
            start_attempt(engine, call);
        else
            expire_attempt(engine, call);
    }
}

static double next_timer(const lathe_engine *engine)
{
    const lathe_timer *timer = lathe_heap_first(&engine->heap);
    double due = timer && timer->due < engine->curl_due ? timer->due : engine->curl_due;
    return due - lathe_clock();
}

static void feed_curl(lathe_engine *engine, const lathe_ready *ready)
{
    int running, mask = (ready->what & LATHE_READABLE ? CURL_CSELECT_IN : 0) |
                        (ready->what & LATHE_WRITABLE ? CURL_CSELECT_OUT : 0) |
                        (ready->what & LATHE_BROKEN ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(engine->multi, ready->fd, mask, &running);
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
    int count = lathe_poller_wait(engine->poller, ready, BATCH, milliseconds);
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
    lathe_poller_wake(engine->poller);
}

/* By the leader, without the lock. False when a signal ended the wait. */
static bool drive(lathe_engine *engine, double seconds)
{
    lathe_ready ready[BATCH];
    engine->progress = false;
    forgive_lateness(engine);
    take_orders(engine);
    run_curl_timer(engine);
    double wait = next_timer(engine);
    wait = engine->progress ? 0 : wait < seconds ? wait : seconds;
    int count = doze(engine, ready, wait);
    engine->stepped = lathe_clock();
    for (int i = 0; i < count; i++)
        feed_curl(engine, &ready[i]);
    collect(engine);
    run_curl_timer(engine);
    run_timers(engine); /* last: what has arrived counts, however late the step */
    engine->stepped = lathe_clock();
    return count >= 0;
}

/* Takes the lead for the queue alone, until it is empty: whoever saw a leader left its order to it
 * and is gone. */
static void take_orders_locked(lathe_engine *engine)
{
    while (engine->first_order || engine->sweep) {
        engine->led = true;
        lathe_engine_unlock(engine);
        take_orders(engine);
        lathe_engine_lock(engine);
        engine->led = false;
    }
}

/* Has the queue worked off: here, or by who leads. */
static void settle(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    if (engine->led)
        wake_leader_locked(engine);
    else
        take_orders_locked(engine);
    unlock_and_hand_on(engine);
}

/* ---- What everybody may call ----------------------------------------------------------------- */

void lathe_engine_submit(lathe_engine *engine, lathe_call *call)
{
    call->started = lathe_clock();
    call->deadline = call->started + call->timeout;
    lathe_engine_lock(engine);
    call->submitted = true;
    call->references += 2; /* the engine's and the order's */
    add_order_locked(engine, call);
    wake_leader_locked(engine);
    lathe_engine_unlock(engine);
}

void lathe_engine_cancel(lathe_engine *engine, lathe_call *call)
{
    lathe_engine_lock(engine);
    bool alive = call->submitted && !call->ended;
    if (alive) {
        call->cancelled = true;
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
static bool lead(lathe_engine *engine, double until)
{
    engine->led = true;
    lathe_engine_unlock(engine);
    bool quiet = drive(engine, until - lathe_clock());
    lathe_engine_lock(engine);
    engine->led = false;
    return quiet;
}

lathe_wait lathe_engine_wait(lathe_engine *engine, lathe_call *call, double seconds, bool signals)
{
    /* What is beyond a lifetime has no place in a timespec. */
    double until = seconds < 1e9 ? lathe_clock() + seconds : INFINITY;
    lathe_wait result = LATHE_WAIT_AGAIN;
    lathe_engine_lock(engine);
    for (bool quiet = true;;) {
        if (call->ended || call->news) {
            result = call->ended ? LATHE_WAIT_DONE : LATHE_WAIT_EVENT;
            call->news = false;
            break;
        }
        if ((signals && !quiet) || lathe_clock() >= until)
            break;
        quiet = true;
        if (engine->led)
            follow(engine, call, until);
        else
            quiet = lead(engine, until);
    }
    if (!engine->led && !engine->waiting)
        take_orders_locked(engine);
    unlock_and_hand_on(engine);
    return result;
}

bool lathe_engine_step(lathe_engine *engine, double seconds)
{
    lathe_engine_lock(engine);
    bool mine = !engine->led;
    bool quiet = mine && lead(engine, lathe_clock() + seconds);
    unlock_and_hand_on(engine);
    return quiet;
}

lathe_call *lathe_engine_reap(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    lathe_call *call = engine->first_ended;
    if (call) {
        engine->first_ended = call->next_ended;
        if (!engine->first_ended)
            engine->last_ended = NULL;
    }
    lathe_engine_unlock(engine);
    return call;
}

double lathe_engine_next(lathe_engine *engine)
{
    lathe_engine_lock(engine);
    bool orders = engine->first_order != NULL;
    lathe_engine_unlock(engine);
    return orders ? 0 : next_timer(engine);
}

int lathe_engine_descriptor(const lathe_engine *engine)
{
    return lathe_poller_descriptor(engine->poller);
}
