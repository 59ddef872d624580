/* One CURLM behind a poller: its sockets, its timer, its easy handles. By the engine's driver
 * alone, but for waking and abandoning. */
#ifndef LATHE_MULTI_H
#define LATHE_MULTI_H

#include "forking.h"
#include "poller.h"
#include "transport.h"

enum { LATHE_EASY_KEPT = 64 };

typedef struct lathe_multi {
    lathe_lock *lock; /* the engine's: guards the list of sockets, which a fork's child reads */
    lathe_poller *poller;
    CURLM *handle; /* from the first attempt on */
    double due;    /* when libcurl wants to be called, on lathe_clock */
    lathe_server server;
    size_t running;         /* attempts under way */
    long bound;             /* on connections, 0 for none */
    long kept;              /* connections at most, busy and idle */
    bool broken;            /* libcurl lacked memory for its tables: it is not called any more */
    unsigned char *sockets; /* by descriptor: what is open */
    uint16_t *ports;        /* by descriptor: the local end of its last connection */
    size_t socket_count;
    CURL *easy[LATHE_EASY_KEPT];
    size_t easy_count;
} lathe_multi;

/* False without memory or descriptors. */
bool lathe_multi_init(lathe_multi *multi, lathe_lock *lock);
void lathe_multi_clear(lathe_multi *multi);
/* In a fork's child, by its handler: closes the inherited descriptors by number. What libcurl holds
 * is left alone. */
void lathe_multi_abandon(lathe_multi *multi);

/* Whether another attempt had better wait until it is known whether connections can be shared. */
bool lathe_multi_holds(const lathe_multi *multi);
/* Begins an attempt; LATHE_MEMORY when it cannot: the exchange has no handle then. */
lathe_code lathe_multi_begin(lathe_multi *multi, lathe_exchange *exchange,
                             const lathe_outgoing *outgoing);
/* Takes an attempt under way out, unjudged. Accepts an exchange without one. */
void lathe_multi_drop(lathe_multi *multi, lathe_exchange *exchange);
/* The next attempt that libcurl says has ended, or NULL. It is out of the CURLM: judge it, then
 * give its handle back. */
lathe_exchange *lathe_multi_ended(lathe_multi *multi, CURLcode *result);
void lathe_multi_give(lathe_multi *multi, CURL *easy);

/* Whether the connection at a local port, unless it is new, that is `opened`, has ended or has
 * input though nothing was asked on it. */
bool lathe_multi_is_stale(lathe_multi *multi, int opened, int port, bool tls);
/* Whether it has few of the descriptors that the process may have: at most a quarter. Under the
 * lock. */
bool lathe_multi_is_light(const lathe_multi *multi);

/* Calls libcurl for what it waits for. */
void lathe_multi_tick(lathe_multi *multi);
void lathe_multi_feed(lathe_multi *multi, const lathe_ready *ready);
/* When it is broken and nothing is under way: the next attempt gets a new CURLM. */
void lathe_multi_mend(lathe_multi *multi);

#endif
