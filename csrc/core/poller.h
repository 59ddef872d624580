/* Waiting for many descriptors at once, behind one descriptor where the system has epoll. */
#ifndef LATHE_POLLER_H
#define LATHE_POLLER_H

#include "promptlathe.h"

enum { LATHE_READABLE = 1, LATHE_WRITABLE = 2, LATHE_BROKEN = 4 };

typedef struct lathe_ready {
    int fd;
    unsigned what; /* of the above */
} lathe_ready;

typedef struct lathe_poller lathe_poller;

/* NULL without memory or descriptors (errno). */
lathe_poller *lathe_poller_new(void);
void lathe_poller_free(lathe_poller *poller);
/* In a fork's child, by its handler: closes the inherited descriptors without a call on the shared
 * epoll set. The poller itself is left. */
void lathe_poller_abandon(lathe_poller *poller);

/* By the driver only: */
/* What to wait for at `fd`. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_poller_watch(lathe_poller *poller, int fd, unsigned what);
/* Nothing is waited for at `fd` for now; it will be watched again, or forgotten before it is
 * closed.
 */
void lathe_poller_keep(lathe_poller *poller, int fd);
/* `fd` will be closed, or was. */
void lathe_poller_forget(lathe_poller *poller, int fd);
/* `fd` is the number of a new descriptor, whatever is known of an old one. */
void lathe_poller_renew(lathe_poller *poller, int fd);
/* Waits; how many are ready, at most `most`; -1 when a signal came. A wake is not counted. */
int lathe_poller_wait(lathe_poller *poller, lathe_ready *ready, int most, int milliseconds);
/* Ends the wait under way, or the next one. From any thread. */
void lathe_poller_wake(lathe_poller *poller);
/* Readable when there is something to do; -1 where the system has no such descriptor. */
int lathe_poller_descriptor(const lathe_poller *poller);

/* Whether the other side has closed a connection, whatever there is to read before its end. */
bool lathe_poller_is_over(int fd);

#endif
