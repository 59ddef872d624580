/* Pacing: when the next request may go.
 *
 * Both types are plain values without memory of their own, a lock or a clock; the caller has the
 * lock, `now` is a point of lathe_clock() and `random` from [0, 1).
 *
 * The law. Each kind of limit of which the service told remaining and reset allows
 *
 *     what is left / what a call costs / the time until the reset      calls per second,
 *
 * where calls that the told number cannot know of are taken off. The least of the kinds holds. In
 * a fixed window that uses up the rest evenly; several processes that share the window are faster
 * at first and slow down together. Where remaining falls as the time until the reset grows, the
 * limit is a bucket that is refilled, and a multiple of the same law (up to ten times) settles it
 * nearly empty, the emptier the more share it, but not so far that they hit its bottom. What a call
 * costs of the kinds other than requests is learned from how the told numbers fall; what others use
 * up counts as part of it. A limit without a reset, or whose reset is more than two minutes away,
 * holds nothing back. */
#ifndef LATHE_GATE_H
#define LATHE_GATE_H

#include "ratelimits.h"

/* A straight line through points of which the older count less. */
typedef struct lathe_line {
    double weight, x, y, xx, xy, yy;
} lathe_line;

/* What is known of one kind of limit. */
typedef struct lathe_quota {
    char kind[32];
    bool requests;      /* each call costs 1 */
    bool early;         /* a call is charged before it is answered */
    double limit;       /* -1: not told */
    double told;        /* remaining, as told by the answer to call `number`, which went at `at` */
    double at;          /* -INFINITY: nothing is known */
    uint64_t number;    /* calls after it are unknown to `told` */
    int silent;         /* answers in a row that did not tell */
    bool guessed;       /* not told: the reset has passed since */
    double high;        /* the most that was ever told */
    double reset;       /* on our clock */
    double slack;       /* seconds by which it may be later, since it was rounded */
    double span;        /* the longest time until a reset that was told */
    double base;        /* `told`, before a later answer to an earlier call lowered it */
    double calls, used; /* how much was used by how many calls, the older counting less */
    lathe_line line;    /* told remaining over seconds until the reset */
    double refill, top; /* of a bucket: units per second, and when it is full; of a window 0 */
} lathe_quota;

typedef struct lathe_gate {
    bool active; /* something is known that can hold calls back */
    uint64_t sent, in_flight;
    lathe_quota quotas[LATHE_LIMIT_KINDS];
    size_t count;
    double offset;     /* the server's clock less ours; NAN: unknown */
    int behind;        /* dates in a row that were much earlier than it says */
    double credit, at; /* calls that may go at once, as of then */
    double last;       /* when a call went */
    double good, mean; /* calls per second before the last refusal, and lately */
    double ramp;       /* seconds over which it opens after that */
    double closed;     /* nothing goes before */
    double cut, pace;  /* when a refusal last slowed us down, and the share of the law since */
} lathe_gate;

/* Of a call that went: kept with it until it has ended. */
typedef struct lathe_ticket {
    uint64_t number;
    double at;
} lathe_ticket;

/* What an answer says. */
typedef struct lathe_news {
    const lathe_limits *told; /* by this answer alone; may be empty */
    double date; /* its Date in seconds since 1970; NAN when there is none, or nothing told */
    int status;
    double hint; /* the seconds that it asks to wait, as lathe_retry_hint says; or -1 */
} lathe_news;

/* Also in a fork's child, which has no call in flight. */
void lathe_gate_init(lathe_gate *gate);
/* 0: the call goes, is counted, and has its ticket. Else the seconds after which to ask again, less
 * than a minute unless the service asked for more; asking at other times does no harm. A gate that
 * has seen neither a limit nor a refusal lets everything pass. */
double lathe_gate_ask(lathe_gate *gate, double now, double random, lathe_ticket *ticket);
/* Once for each call that went: it was answered, */
void lathe_gate_answered(lathe_gate *gate, double now, double random, const lathe_ticket *ticket,
                         const lathe_news *news);
/* or it ended without an answer; `sent`: the service may have seen it. */
void lathe_gate_lost(lathe_gate *gate, const lathe_ticket *ticket, bool sent);

/* How many calls one engine may have in flight: any number, until a refusal (429, 529) halves what
 * is there. Then, for each windowful of successes, an eighth of what is asked more, at least one,
 * until it is more than is asked. */
typedef struct lathe_window {
    double size; /* INFINITY at first */
    double cut;
} lathe_window;

void lathe_window_init(lathe_window *window);
bool lathe_window_open(const lathe_window *window, size_t in_flight);
/* A call that began at `began` was refused; `in_flight` counts it. Refusals of calls that began
 * before the last cut change nothing. */
void lathe_window_refused(lathe_window *window, double now, double began, size_t in_flight);
/* A call was answered well; `asked` counts those in flight and those that wait for their turn. */
void lathe_window_served(lathe_window *window, size_t asked);

/* Seconds since 1970 of an RFC 3339 time; NAN when it is none. */
double lathe_gate_time(const char *text);

#endif
