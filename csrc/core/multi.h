/* One CURLM behind a poller: its sockets, its timer, its easy handles. By the engine's driver
 * alone, but for waking and abandoning. */
#ifndef LATHE_MULTI_H
#define LATHE_MULTI_H

#include "forking.h"
#include "poller.h"
#include "transport.h"

enum { LATHE_EASY_KEPT = 64 };

/* What is known of a connection. */
typedef struct lathe_carrier {
    uint16_t port;         /* its local end */
    uint16_t users;        /* attempts under way on it */
    unsigned char version; /* of HTTP, 1 or 2, as its answers say; 0 before the first one */
    bool is_http2;         /* beyond doubt */
} lathe_carrier;

typedef struct lathe_multi {
    lathe_lock *lock; /* the engine's: guards the list of sockets, which a fork's child reads */
    lathe_poller *poller;
    CURLM *handle; /* from the first attempt on */
    double due;    /* when libcurl wants to be called, on lathe_clock */
    lathe_server server;
    size_t running;          /* attempts under way */
    long bound;              /* on connections, 0 for none */
    long kept;               /* connections at most, busy and idle */
    bool broken;             /* libcurl lacked memory for its tables: it is not called any more */
    unsigned char *sockets;  /* by descriptor: what is open */
    lathe_carrier *carriers; /* by descriptor */
    size_t socket_count;
    CURL *easy[LATHE_EASY_KEPT]; /* prepared, without an attempt */
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
/* Begins an attempt; LATHE_MEMORY when it cannot: the exchange has no handle then. All attempts of
 * a multi have the same settings and share. */
lathe_code lathe_multi_begin(lathe_multi *multi, lathe_exchange *exchange,
                             const lathe_outgoing *outgoing);
/* Takes an attempt under way out, unjudged. Accepts an exchange without one. */
void lathe_multi_drop(lathe_multi *multi, lathe_exchange *exchange);
/* The next attempt that libcurl says has ended, or NULL. It is out of the CURLM: judge it, then
 * give its handle back, with whether there was an answer. */
lathe_exchange *lathe_multi_ended(lathe_multi *multi, CURLcode *result);
void lathe_multi_give(lathe_multi *multi, CURL *easy, bool answered);

/* The descriptor of the connection at a local port, which may be the last one `opened`; -1 when it
 * is not known. */
int lathe_multi_find(lathe_multi *multi, int opened, int port);
/* Whether a connection to be used again has ended or has input though nothing was asked on it. */
bool lathe_multi_is_stale(int fd, bool tls);
/* The connection of a descriptor, while its local port is this one; else NULL. */
lathe_carrier *lathe_multi_carrier(lathe_multi *multi, int fd, int port);
/* Whether it has few of the descriptors that the process may have: at most a quarter. Under the
 * lock. */
bool lathe_multi_is_light(const lathe_multi *multi);

/* Calls libcurl for what it waits for. */
void lathe_multi_tick(lathe_multi *multi);
void lathe_multi_feed(lathe_multi *multi, const lathe_ready *ready);
/* When it is broken and nothing is under way: the next attempt gets a new CURLM. */
void lathe_multi_mend(lathe_multi *multi);

#endif
