/* The pacing gate, by itself and against a simulated service: events in virtual time, seeded.
 *
 * The simulated service has a quota of requests and one of tokens per minute, each either a window
 * (so much until the next full minute of its own) or a bucket (refilled all the time up to a size).
 * A call's cost in tokens is lognormal and unknown to the client. It is charged, and what remains
 * is told, as of the call's arrival or, when `late`, as of the moment it is answered. What is told
 * of tokens is rounded to 1,000, dates and resets are cut to seconds. What goes beyond the quota is
 * answered by 429 with retry-after, costs nothing and is tried again as the retry policy says.
 *
 * The share of the quota that a run reaches: what was served from the first moment to the last
 * answer, of
 *   - windows: the whole quota of each minute that ended in the run, and of the last minute the
 *     elapsed part. The minute in which the run began counts as a whole too, unless so little of it
 *     was left that four times the quota's rate, or all the calls in flight, could not use it up;
 *   - buckets: all that was in the full bucket at first and all that was refilled. So what is left
 *     in the bucket at the end counts as missed.
 * Of requests and tokens the larger share counts, since the scarcer of them bounds the run; and
 * where neither does, because answers are slow, the share of the time in which all places were
 * busy.
 *
 * LATHE_GATE_SEEDS=100 runs so many seeds of each plan and prints the figures. */
#include "gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "retry.h"
#include "test.h"

static const double epoch = 1.7e9; /* the service's clock less ours */

static void print_time(char *out, size_t size, double seconds, bool fine)
{
    time_t whole = (time_t)seconds;
    struct tm parts;
    char text[32], more[8] = "";
    gmtime_r(&whole, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (fine)
        snprintf(more, sizeof more, ".%03d", (int)((seconds - floor(seconds)) * 1000));
    snprintf(out, size, "%s%sZ", text, more);
}

/* ---- The gate by itself ---------------------------------------------------------------------- */

/* An answer to a call as a service gives it whose clock is at `now` + epoch. */
typedef struct saying {
    const char *kind;
    int64_t limit, remaining;
    double reset; /* from now; NAN: not told */
} saying;

static void answer_with(lathe_gate *gate, double now, const lathe_ticket *ticket,
                        const saying *what, int status, double hint)
{
    lathe_limits limits = {0};
    if (what) {
        lathe_limit *limit = &limits.items[limits.count++];
        snprintf(limit->kind, sizeof limit->kind, "%s", what->kind);
        limit->limit = what->limit;
        limit->remaining = what->remaining;
        if (!isnan(what->reset))
            print_time(limit->reset, sizeof limit->reset, epoch + now + what->reset, false);
    }
    lathe_news news = {&limits, floor(epoch + now), status, hint};
    lathe_gate_answered(gate, now, 0.5, ticket, &news);
}

/* One call that is answered at once. */
static void call_told(lathe_gate *gate, double now, const saying *what)
{
    lathe_ticket ticket = {gate->sent, now};
    if (lathe_gate_ask(gate, now, 0.5, &ticket) > 0) {
        gate->in_flight++; /* one that was sent all the same */
        ticket = (lathe_ticket){++gate->sent, now};
    }
    answer_with(gate, now, &ticket, what, 200, -1);
}

/* How many calls of at most `most` go at this moment. */
static int burst(lathe_gate *gate, double now, int most)
{
    lathe_ticket ticket;
    int went = 0;
    while (went < most && lathe_gate_ask(gate, now, 0.5, &ticket) <= 0)
        went++;
    return went;
}

/* How many calls go until then, none of them answered, by one who looks as often as an engine. */
static int flow(lathe_gate *gate, double from, double to, int most)
{
    int went = 0;
    for (double now = from; now < to && went < most;) {
        lathe_ticket ticket;
        double wait = lathe_gate_ask(gate, now, 0.5, &ticket);
        went += wait <= 0;
        now += wait > 0 ? fmin(wait, 0.25) : 0;
    }
    return went;
}

TEST(times)
{
    static const struct {
        const char *text;
        double seconds;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:34:56Z", 951827696},
        {"2026-11-22T00:00:00Z", 1795305600},
        {"2026-11-22t00:00:00z", 1795305600},
        {"2026-11-22 00:00:00.25Z", 1795305600.25},
        {"2026-11-22T05:30:00+05:30", 1795305600},
        {"2026-11-21T16:00:00-08:00", 1795305600},
        {"2100-03-01T00:00:00Z", 4107542400},
        {"", NAN},
        {"0", NAN},
        {"2026-11-22", NAN},
        {"2026-11-22T00:00:00", NAN},
        {"2026-11-22T00:00Z", NAN},
        {"2026-11-22T00:00:00.Z", NAN},
        {"2026-11-22T00:00:00Zx", NAN},
        {"2026-11-22T00:00:00+1", NAN},
        {"2026-11-22T00:00:00+01:0x", NAN},
        {"2026-00-22T00:00:00Z", NAN},
        {"2026-13-22T00:00:00Z", NAN},
        {"2026-11-32T00:00:00Z", NAN},
        {"2026-11-22T24:00:00Z", NAN},
        {"2026-11-22T00:60:00Z", NAN},
        {"-026-11-22T00:00:00Z", NAN},
        {"Sun, 22 Nov 2026 00:00:00 GMT", NAN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seconds = lathe_gate_time(cases[i].text);
        test_context("%s", cases[i].text);
        CHECK(isnan(cases[i].seconds) ? isnan(seconds) : seconds == cases[i].seconds);
    }
}

TEST(all_passes_while_nothing_is_known)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    CHECK_INT(burst(&gate, 5, 10000), 10000);
    CHECK_INT(gate.in_flight, 10000);
    call_told(&gate, 6, NULL);
    CHECK(!gate.active);
    CHECK_INT(burst(&gate, 6, 10000), 10000);
    lathe_gate_lost(&gate, &(lathe_ticket){1, 5}, true);
    CHECK_INT(gate.in_flight, 19999);
}

TEST(a_lone_caller_with_plenty_is_never_held_back)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    for (int i = 0; i < 2000; i++) {
        double now = 100 + i * 0.02;
        test_context("call %d", i);
        CHECK_INT(burst(&gate, now, 1), 1);
        lathe_ticket ticket = {gate.sent, now};
        answer_with(&gate, now + 0.019, &ticket,
                    &(saying){"requests", 4000, 3999 - i, 60 - i * 0.02}, 200, -1);
    }
}

TEST(a_short_burst_goes_at_once_and_a_long_one_is_spread)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", 4000, 4000, 60});
    int at_once = burst(&gate, 101, 5000);
    CHECK(at_once >= 30 && at_once < 100);
    /* 66 a second, none of them answered */
    int second = flow(&gate, 101, 111, 5000);
    CHECK(second > 550 && second < 800);
}

TEST(calls_in_flight_are_taken_off)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    CHECK_INT(burst(&gate, 100, 60), 60);
    lathe_ticket first = {1, 100};
    answer_with(&gate, 101, &first, &(saying){"requests", 100, 99, 30}, 200, -1);
    CHECK_INT(gate.in_flight, 59);
    int more = flow(&gate, 101, 131, 1000);
    CHECK(more >= 36 && more <= 41); /* 99 less 59, and one out of impatience */
}

TEST(a_window_is_full_again_after_its_reset)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", 100, 100, 60});
    call_told(&gate, 130, &(saying){"requests", 100, 0, 30});
    CHECK_INT(flow(&gate, 130.25, 135, 100), 0);
    CHECK(flow(&gate, 130.25, 160, 100) <= 3); /* the impatient ones */
    int renewed = flow(&gate, 162, 222, 200);
    CHECK(renewed > 80 && renewed <= 101);
}

/* Whoever comes when nothing is left knows no more than the limit of what comes next. */
TEST(one_who_came_when_nothing_was_left)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", 600, 0, 3});
    CHECK_INT(flow(&gate, 100.25, 103, 100), 0);
    CHECK(flow(&gate, 104, 105, 1000) > 10);
}

/* What was never sent has used nothing up. */
TEST(calls_that_were_lost_on_the_way)
{
    for (int sent = 0; sent < 2; sent++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context(sent ? "sent" : "not sent");
        call_told(&gate, 100, &(saying){"requests", 100, 100, 60});
        for (int i = 0; i < 99; i++) {
            lathe_ticket ticket = {++gate.sent, 101};
            gate.in_flight++;
            lathe_gate_lost(&gate, &ticket, sent);
        }
        CHECK_INT(gate.in_flight, 0);
        int went = flow(&gate, 102, 120, 1000);
        CHECK(sent ? went < 4 : went > 20 && went < 40);
    }
}

/* Numbers that make no sense, or cannot be waited for, hold nobody back. */
TEST(odd_numbers)
{
    static const saying odd[] = {
        {"requests", 100, 0, NAN},   {"requests", 100, 0, -10},    {"requests", 100, 0, 121},
        {"requests", 100, 0, 86400}, {"requests", 100, 0, -86400}, {"requests", 0, 0, 30},
        {"requests", 100, -1, 30},   {"requests", -1, -1, 30},     {"tokens", 1000, 0, NAN},
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("odd %zu", i);
        for (int n = 0; n < 20; n++)
            call_told(&gate, 100 + n, &odd[i]);
        CHECK_INT(burst(&gate, 121, 100), 100);
        call_told(&gate, 122, &(saying){odd[i].kind, 100, 0, 30});
        CHECK_INT(burst(&gate, 122.5, 100), 0);
        call_told(&gate, 123, &odd[i]);
        CHECK_INT(burst(&gate, 123.5, 100), 100);
    }
}

TEST(remaining_above_the_limit_and_no_limit)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", 100, INT64_MAX / 16, 50});
    CHECK(flow(&gate, 101, 111, 1000) < 30);
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", -1, 100, 50});
    int went = flow(&gate, 101, 111, 1000);
    CHECK(went > 10 && went < 30);
}

/* Whatever is told, one call goes from time to time. */
TEST(nobody_waits_for_long)
{
    static const char *const kinds[] = {"requests", "tokens", "output-tokens"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("%s", kinds[i]);
        double longest = 0, last = 100;
        for (double now = 100; now < 1000; now += 0.25) {
            lathe_ticket ticket;
            if (lathe_gate_ask(&gate, now, 0.999, &ticket) > 0)
                continue;
            longest = fmax(longest, now - last);
            last = now;
            answer_with(&gate, now, &ticket, &(saying){kinds[i], 3, 0, 119}, 200, -1);
        }
        CHECK(longest <= 60 && last > 930);
    }
}

TEST(more_kinds_than_are_kept)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    for (int i = 0; i < 20; i++) {
        char kind[32];
        snprintf(kind, sizeof kind, "kind-%d", i);
        call_told(&gate, 100 + i, &(saying){kind, 100, 50, 30});
    }
    CHECK_INT(gate.count, LATHE_LIMIT_KINDS);
    CHECK(flow(&gate, 121, 151, 10) > 0);
}

/* The service's clock is set: what is known of resets is forgotten, and learned anew. */
TEST(clocks_that_jump)
{
    static const double jumps[] = {86400, -86400, 3600, -3600, 10, -10};
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("by %.0f s", jumps[i]);
        call_told(&gate, 100, &(saying){"requests", 100, 0, 60});
        CHECK_INT(burst(&gate, 100.5, 1), 0);
        for (int n = 0; n < 12; n++) {
            lathe_limits limits = {.count = 1};
            lathe_limit *limit = &limits.items[0];
            snprintf(limit->kind, sizeof limit->kind, "requests");
            limit->limit = 100;
            limit->remaining = 0;
            double now = 101 + n, there = floor(epoch + now + jumps[i]);
            print_time(limit->reset, sizeof limit->reset, there + 30, false);
            gate.in_flight++;
            lathe_ticket ticket = {++gate.sent, now};
            lathe_gate_answered(&gate, now, 0.5, &ticket, &(lathe_news){&limits, there, 200, -1});
        }
        CHECK(fabs(gate.offset - epoch - jumps[i]) < 1.5);
        CHECK_INT(burst(&gate, 113, 1), 0);
        CHECK(flow(&gate, 113, 150, 100) > 0);
    }
}

/* A service that stops telling a limit does not bind us to what it told. */
TEST(a_limit_that_is_told_no_more)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    call_told(&gate, 100, &(saying){"requests", 3, 0, 60});
    CHECK_INT(burst(&gate, 101, 1), 0);
    for (int n = 0; n < 100; n++)
        call_told(&gate, 102, NULL);
    CHECK_INT(burst(&gate, 103, 1000), 1000);
}

/* A larger limit is believed at once. */
TEST(a_limit_that_changes)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    for (int n = 0; n < 20; n++)
        call_told(&gate, 100 + n * 2, &(saying){"requests", 60, 60 - n, n}); /* a bucket */
    CHECK(gate.quotas[0].refill > 0.9 && gate.quotas[0].refill < 1.1);
    call_told(&gate, 142, &(saying){"requests", 6000, 5900, 1});
    CHECK(flow(&gate, 142, 143, 10000) > 500);
}

TEST(no_date_no_pacing)
{
    lathe_gate gate;
    lathe_gate_init(&gate);
    lathe_limits limits = {.count = 1};
    lathe_limit *limit = &limits.items[0];
    *limit = (lathe_limit){.kind = "requests", .limit = 100};
    print_time(limit->reset, sizeof limit->reset, epoch + 130, false);
    lathe_ticket ticket;
    CHECK_INT(lathe_gate_ask(&gate, 100, 0, &ticket), 0);
    lathe_gate_answered(&gate, 100, 0, &ticket, &(lathe_news){&limits, NAN, 200, -1});
    CHECK_INT(burst(&gate, 101, 100), 100);
}

TEST(a_refusal_closes_the_gate_and_it_opens_gradually)
{
    static const int statuses[] = {429, 529};
    for (size_t i = 0; i < 2; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("status %d", statuses[i]);
        for (int n = 0; n < 1000; n++) /* 20 a second */
            CHECK_INT(burst(&gate, 100 + n / 20.0, 1), 1);
        lathe_ticket ticket = {gate.sent, 150};
        answer_with(&gate, 150, &ticket, NULL, statuses[i], 10);
        lathe_ticket none;
        CHECK(lathe_gate_ask(&gate, 150, 0.5, &none) >= 10);
        CHECK(lathe_gate_ask(&gate, 150, 0.5, &none) <= 12);
        CHECK_INT(flow(&gate, 150, 160, 100), 0);
        int early = flow(&gate, 161, 162, 1000), later = flow(&gate, 162, 165, 1000);
        CHECK(early >= 3 && early <= 10);
        CHECK(later > 4 * early && later < 70);
        CHECK_INT(flow(&gate, 171, 172, 1000), 1000);
    }
}

TEST(refusals_that_close_nothing)
{
    static const double hints[] = {-1, 0, 120.5, 86400, INFINITY, NAN};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("hint %f", hints[i]);
        lathe_ticket ticket;
        lathe_gate_ask(&gate, 100, 0, &ticket);
        answer_with(&gate, 100, &ticket, NULL, 429, hints[i]);
        CHECK_INT(burst(&gate, 100, 1000), 1000);
    }
}

/* One call at a time, each refused with a hint: the next may go as soon as that is over. */
TEST(hints_alone_hold_a_lone_caller)
{
    static const double hints[] = {0.001, 0.3, 5};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        lathe_gate gate;
        lathe_gate_init(&gate);
        test_context("hint %g", hints[i]);
        double now = 100;
        for (int n = 0; n < 100; n++) {
            lathe_ticket ticket;
            CHECK_INT(lathe_gate_ask(&gate, now, 0.999, &ticket), 0);
            answer_with(&gate, now, &ticket, NULL, 529, hints[i]);
            CHECK(lathe_gate_ask(&gate, now, 0.999, &ticket) > 0);
            now += hints[i] * 1.25;
        }
        lathe_ticket late = {gate.sent, now}, next;
        answer_with(&gate, now, &late, NULL, 429,
                    100); /* a hint does not make an earlier shorter */
        answer_with(&gate, now, &late, NULL, 429, 0.001);
        CHECK(lathe_gate_ask(&gate, now + 1, 0.999, &next) > 98);
        CHECK(gate.ramp > 1);
    }
}

TEST(the_window_halves_once_and_grows_back)
{
    lathe_window window;
    lathe_window_init(&window);
    CHECK(lathe_window_open(&window, 100000));
    lathe_window_refused(&window, 10, 9, 64);
    for (int i = 0; i < 20; i++)
        lathe_window_refused(&window, 10.1, 9.5, 63); /* they went before the cut */
    CHECK(lathe_window_open(&window, 31));
    CHECK(!lathe_window_open(&window, 32));
    int served = 0;
    while (!lathe_window_open(&window, 63) && served < 10000) {
        lathe_window_served(&window, 64);
        served++;
    }
    CHECK(served > 150 && served < 250); /* 4 windowfuls of 32 to 64 */
    while (!lathe_window_open(&window, 100000) && served < 10000) {
        lathe_window_served(&window, 64);
        served++;
    }
    CHECK(served < 300);
    for (int i = 0; i < 20; i++)
        lathe_window_refused(&window, 20 + i, 20 + i, 8);
    CHECK(lathe_window_open(&window, 0));
    CHECK(!lathe_window_open(&window, 1));
}

/* ---- The simulated service ------------------------------------------------------------------- */

typedef struct dice {
    uint64_t state;
} dice;

/* From [0, 1). */
static double roll(dice *from)
{
    from->state ^= from->state << 13;
    from->state ^= from->state >> 7;
    from->state ^= from->state << 17;
    return (double)(from->state >> 11) / 9007199254740992.0;
}

/* Spread evenly over the orders of magnitude. */
static double between(dice *from, double low, double high)
{
    return low * pow(high / low, roll(from));
}

static double lognormal(dice *from, double mean, double sigma)
{
    double normal = sqrt(-2 * log(1 - roll(from))) * cos(6.283185307179586 * roll(from));
    return mean * exp(sigma * normal - sigma * sigma / 2);
}

enum { REQUESTS, TOKENS, KINDS };

typedef struct sim_plan {
    double size;         /* of the buckets, in minutes of refill; 0: windows */
    bool late;           /* charged and told when answered */
    bool fine;           /* resets have a fraction */
    double quota[KINDS]; /* a minute */
    double minute;
    double quick, slow; /* seconds of work on a call, spread evenly over the orders of magnitude */
    int clients, places;
} sim_plan;

static const double cost_mean = 2000, cost_sigma = 0.8, hop_low = 0.005, hop_high = 0.03;
enum { CALLS = 2000 };

typedef struct sim_service {
    const sim_plan *plan;
    double left[KINDS], used[KINDS], available[KINDS];
    double at, phase; /* windows begin at phase */
    size_t served, refused;
} sim_service;

static double window_end(const sim_service *service, double now)
{
    double minute = service->plan->minute;
    return (floor((now - service->phase) / minute) + 1) * minute + service->phase;
}

static double capacity(const sim_plan *plan, int kind)
{
    return plan->quota[kind] * (plan->size > 0 ? plan->size : 1);
}

static void service_init(sim_service *service, const sim_plan *plan, dice *from)
{
    double phase = roll(from) * plan->minute;
    *service = (sim_service){.plan = plan, .phase = roll(from) < 0.5 ? floor(phase) : phase};
    for (int i = 0; i < KINDS; i++)
        service->available[i] = service->left[i] = capacity(plan, i);
}

static void service_advance(sim_service *service, double now)
{
    const sim_plan *plan = service->plan;
    bool turned = window_end(service, service->at) <= now;
    for (int i = 0; i < KINDS; i++) {
        double refill = plan->quota[i] * (now - service->at) / plan->minute;
        if (plan->size > 0) {
            service->left[i] = fmin(service->left[i] + refill, capacity(plan, i));
            service->available[i] += refill;
        } else if (turned) {
            service->left[i] = plan->quota[i];
            service->available[i] += plan->quota[i];
        }
    }
    service->at = now;
}

/* What of a window's quota could not have been used, since the run ended before the window did, or
 * began when little of it was left. */
static double out_of_reach(const sim_service *service, int kind, double now, double busiest)
{
    const sim_plan *plan = service->plan;
    double rate = plan->quota[kind] / plan->minute;
    double usable = fmin(4 * rate, busiest * (kind == TOKENS ? cost_mean : 1));
    double first = plan->quota[kind] - window_end(service, 0) * usable;
    return (window_end(service, now) - now) * rate + fmax(first, 0);
}

static double service_share(const sim_service *service, double now)
{
    const sim_plan *plan = service->plan;
    double mean = (plan->slow - plan->quick) / log(plan->slow / plan->quick);
    mean += 2 * (hop_high - hop_low) / log(hop_high / hop_low);
    double busiest = plan->clients * plan->places / mean; /* calls per second */
    double share = (double)service->served / (busiest * now);
    for (int i = 0; i < KINDS; i++) {
        double missing = plan->size > 0 ? 0 : out_of_reach(service, i, now, busiest);
        share = fmax(share, service->used[i] / (service->available[i] - missing));
    }
    return share;
}

/* Seconds after which the service would accept the call, 0 when it does. */
static double service_wait(const sim_service *service, double now, double cost)
{
    const sim_plan *plan = service->plan;
    double wait = 0;
    for (int i = 0; i < KINDS; i++) {
        double need = i == REQUESTS || plan->late ? 1 : fmin(cost, capacity(plan, i));
        double refill = (need - service->left[i]) * plan->minute / plan->quota[i];
        if (service->left[i] < need)
            wait = fmax(wait, plan->size > 0 ? refill : window_end(service, now) - now);
    }
    return wait;
}

static void service_charge(sim_service *service, int kind, double cost)
{
    service->left[kind] -= cost;
    service->used[kind] += cost;
}

static void service_tell(const sim_service *service, double now, lathe_limits *told)
{
    static const char *const kinds[] = {"requests", "tokens"};
    const sim_plan *plan = service->plan;
    for (told->count = 0; told->count < KINDS; told->count++) {
        int i = (int)told->count;
        lathe_limit *limit = &told->items[i];
        double missing = capacity(plan, i) - service->left[i];
        double full = now + missing * plan->minute / plan->quota[i];
        double left = fmax(service->left[i], 0);
        snprintf(limit->kind, sizeof limit->kind, "%s", kinds[i]);
        limit->limit = (int64_t)plan->quota[i];
        limit->remaining = (int64_t)(i == TOKENS ? floor(left / 1000 + 0.5) * 1000 : left);
        print_time(limit->reset, sizeof limit->reset,
                   epoch + (plan->size > 0 ? full : window_end(service, now)), plan->fine);
    }
}

/* ---- Its clients ----------------------------------------------------------------------------- */

enum { MOST_CLIENTS = 4, MOST_PLACES = 64 };

typedef enum sim_state { IDLE, HELD, SENT, WORKED_ON, ANSWERED, BACKOFF } sim_state;

typedef struct sim_call {
    sim_state state;
    double due; /* when this state ends */
    double cost, wait, date;
    int attempts, status;
    lathe_ticket ticket;
    lathe_limits told;
} sim_call;

typedef struct sim_client {
    lathe_gate gate;
    lathe_window window;
    sim_call calls[MOST_PLACES];
    double look; /* when to look again */
    int left;    /* calls not begun */
} sim_client;

typedef struct sim_run {
    const sim_plan *plan;
    dice chance;
    sim_service service;
    sim_client clients[MOST_CLIENTS];
    double now, share;
    size_t failed;
} sim_run;

static size_t count(const sim_client *client, sim_state from, sim_state to)
{
    size_t found = 0;
    for (int i = 0; i < MOST_PLACES; i++)
        found += client->calls[i].state >= from && client->calls[i].state <= to;
    return found;
}

static void begin(sim_run *run, sim_client *client)
{
    for (int i = 0; i < run->plan->places && client->left; i++) {
        if (client->calls[i].state != IDLE)
            continue;
        double cost = lognormal(&run->chance, cost_mean, cost_sigma);
        client->calls[i] = (sim_call){.state = HELD, .due = INFINITY, .cost = cost};
        client->left--;
    }
}

/* What an engine does after each event and when its timer is due. */
static void look(sim_run *run, sim_client *client)
{
    client->look = INFINITY;
    begin(run, client);
    for (int i = 0; i < run->plan->places; i++) {
        sim_call *call = &client->calls[i];
        if (call->state != HELD)
            continue;
        if (!lathe_window_open(&client->window, count(client, SENT, ANSWERED)))
            return;
        double wait = lathe_gate_ask(&client->gate, run->now, roll(&run->chance), &call->ticket);
        if (wait > 0) {
            client->look = run->now + fmax(fmin(wait, 0.25), 0.001);
            return;
        }
        call->state = SENT;
        call->attempts++;
        call->due = run->now + between(&run->chance, hop_low, hop_high);
    }
}

static void arrive(sim_run *run, sim_call *call)
{
    sim_service *service = &run->service;
    double work = between(&run->chance, run->plan->quick, run->plan->slow);
    call->wait = service_wait(service, run->now, call->cost);
    call->status = call->wait > 0 ? 429 : 200;
    call->state = WORKED_ON;
    call->due = run->now + (call->wait > 0 ? 0.005 : work);
    if (call->wait > 0) {
        service->refused++;
    } else {
        service->served++;
        service_charge(service, REQUESTS, 1);
        if (!run->plan->late)
            service_charge(service, TOKENS, call->cost);
    }
    service_tell(service, run->now, &call->told);
}

static void end_work(sim_run *run, sim_call *call)
{
    sim_service *service = &run->service;
    if (run->plan->late && call->status == 200)
        service_charge(service, TOKENS, call->cost);
    if (run->plan->late)
        service_tell(service, run->now, &call->told);
    call->date = floor(run->now + epoch);
    call->state = ANSWERED;
    call->due = run->now + between(&run->chance, hop_low, hop_high);
    run->share = service_share(service, run->now);
}

static void back_off(sim_run *run, sim_call *call, double hint)
{
    lathe_outcome outcome = {.attempts = call->attempts,
                             .max_retries = 2,
                             .status = call->status,
                             .hint = hint,
                             .remaining = INFINITY,
                             .random = roll(&run->chance)};
    lathe_decision decision = lathe_retry_decide(&outcome);
    run->failed += !decision.retry;
    call->state = decision.retry ? BACKOFF : IDLE;
    call->due = run->now + decision.delay;
}

static void take_answer(sim_run *run, sim_client *client, sim_call *call)
{
    bool refused = call->status == 429;
    double hint = refused ? ceil(call->wait) : -1;
    lathe_news news = {&call->told, call->date, call->status, hint};
    if (refused)
        lathe_window_refused(&client->window, run->now, call->ticket.at,
                             count(client, SENT, ANSWERED));
    else
        lathe_window_served(&client->window, count(client, HELD, BACKOFF));
    lathe_gate_answered(&client->gate, run->now, roll(&run->chance), &call->ticket, &news);
    call->state = IDLE;
    if (refused)
        back_off(run, call, hint);
}

static void happen(sim_run *run, sim_client *client, sim_call *call)
{
    service_advance(&run->service, run->now);
    switch (call->state) {
    case SENT:
        arrive(run, call);
        break;
    case WORKED_ON:
        end_work(run, call);
        break;
    case ANSWERED:
        take_answer(run, client, call);
        break;
    default:
        call->state = HELD;
        call->due = INFINITY;
    }
}

/* Lets the next thing happen; false when nothing is left. */
static bool step(sim_run *run)
{
    sim_client *client = NULL;
    sim_call *call = NULL;
    double due = INFINITY;
    for (int c = 0; c < run->plan->clients; c++) {
        sim_client *each = &run->clients[c];
        if (each->look < due)
            due = each->look, client = each, call = NULL;
        for (int i = 0; i < run->plan->places; i++)
            if (each->calls[i].state != IDLE && each->calls[i].due < due)
                due = each->calls[i].due, client = each, call = &each->calls[i];
    }
    if (!client)
        return false;
    run->now = due;
    if (call)
        happen(run, client, call);
    look(run, client);
    return true;
}

static void simulate(sim_run *run, const sim_plan *plan, int seed)
{
    *run = (sim_run){.plan = plan, .chance = {(uint64_t)seed * 2654435761u + 88172645463325252u}};
    for (int i = 0; i < 10; i++)
        roll(&run->chance);
    service_init(&run->service, plan, &run->chance);
    for (int c = 0; c < plan->clients; c++) {
        sim_client *client = &run->clients[c];
        lathe_gate_init(&client->gate);
        lathe_window_init(&client->window);
        client->left = CALLS / plan->clients;
        client->look = roll(&run->chance) * 0.2;
    }
    while (step(run))
        ;
}

/* ---- What a run must reach ------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { MOST_SEEDS = 1000 };

static int seeds(void)
{
    const char *text = getenv("LATHE_GATE_SEEDS");
    int told = text ? atoi(text) : 3;
    return told < 1 ? 1 : told > MOST_SEEDS ? MOST_SEEDS : told;
}

static const char *plan_name(const sim_plan *plan)
{
    static char name[200];
    snprintf(name, sizeof name,
             "%d client%s, %s%.0f requests and %.0f tokens in %.0f s, told %s, %.2f to %.1f s",
             plan->clients, plan->clients > 1 ? "s" : "",
             plan->size >= 1  ? "bucket of "
             : plan->size > 0 ? "small bucket of "
                              : "window of ",
             plan->quota[REQUESTS], plan->quota[TOKENS], plan->minute,
             plan->late ? "late" : "early", plan->quick, plan->slow);
    return name;
}

/* Four clients that share a bucket much smaller than the quota of a minute cannot tell how much of
 * it the others use, so that one of them may end late. */
static double least_share(const sim_plan *plan)
{
    bool small = plan->size > 0 && plan->size < 1;
    return plan->clients == 1 ? 0.9 : small ? 0.75 : 0.8;
}

static void check_plan(const sim_plan *plan)
{
    static sim_run run;
    static double shares[MOST_SEEDS];
    bool alone = plan->clients == 1;
    size_t worst = 0, failed = 0;
    for (int seed = 0; seed < seeds(); seed++) {
        simulate(&run, plan, seed + 1);
        test_context("%s, seed %d", plan_name(plan), seed + 1);
        shares[seed] = run.share;
        CHECK(shares[seed] >= least_share(plan));
        CHECK(run.service.refused < CALLS * (alone ? 1 : 5) / 100);
        CHECK_INT(run.service.served + run.failed, CALLS);
        CHECK(run.failed <= 3);
        worst = run.service.refused > worst ? run.service.refused : worst;
        failed += run.failed;
    }
    test_context(NULL);
    qsort(shares, (size_t)seeds(), sizeof *shares, ascending);
    if (getenv("LATHE_GATE_SEEDS"))
        printf("%s: share at least %.3f, median %.3f; refused at most %.2f %%; failed %zu\n",
               plan_name(plan), shares[0], shares[seeds() / 2], (double)worst * 100 / CALLS,
               failed);
}

/* Both quotas in turn are the scarcer one; answers take 50 to 300 ms, 50 ms to 5 s, and 1 to 5 s.
 */
static void check_plans(int clients, double size, double slowest)
{
    static const double times[][2] = {{0.05, 0.3}, {0.05, 5}, {1, 5}};
    for (int i = 0; i < 12; i++) {
        bool of_tokens = i & 2;
        sim_plan plan = {.size = size,
                         .late = i & 1,
                         .quota = {of_tokens ? 4000 : 1000, of_tokens ? 2e6 : 1e8},
                         .minute = 60,
                         .quick = times[i / 4][0],
                         .slow = times[i / 4][1],
                         .clients = clients,
                         .places = 64 / clients};
        if (plan.quick < slowest)
            check_plan(&plan);
    }
}

TEST(one_client_and_windows)
{
    check_plans(1, 0, INFINITY);
}

TEST(one_client_and_buckets)
{
    check_plans(1, 1, INFINITY);
    check_plans(1, 0.25, INFINITY);
    check_plans(1, 0.1, INFINITY);
}

TEST(four_clients_and_windows)
{
    check_plans(4, 0, INFINITY);
}

/* When no answer takes less than a second, four clients in ignorance of each other have emptied the
 * smallest bucket, six seconds of refill, before the first of them is told anything. */
TEST(four_clients_and_buckets)
{
    check_plans(4, 1, INFINITY);
    check_plans(4, 0.25, INFINITY);
    check_plans(4, 0.1, 1);
}

/* The quota of half an hour, of a few seconds, and of other sizes. */
TEST(other_quotas)
{
    static const sim_plan plans[] = {
        {0, false, false, {50, 1e8}, 60, 0.5, 5, 1, 32},
        {1, false, false, {50, 1e8}, 60, 0.5, 5, 1, 32},
        {1, false, true, {50, 1e8}, 60, 0.5, 5, 4, 8},
        {1, true, true, {4000, 1e8}, 60, 0.05, 0.3, 4, 16},
        {0, false, true, {500, 1e8}, 10, 0.02, 0.1, 1, 64},
        {1, false, true, {500, 1e8}, 10, 0.02, 0.1, 1, 64},
        {0, false, true, {500, 1e8}, 10, 0.02, 0.1, 4, 16},
        {1, false, true, {500, 1e8}, 10, 0.02, 0.1, 4, 16},
        {0, true, true, {4000, 1e6}, 10, 0.02, 0.1, 1, 64},
        {1, true, true, {4000, 1e6}, 10, 0.02, 0.1, 4, 16},
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        check_plan(&plans[i]);
}

TESTS(ENTRY(times), ENTRY(all_passes_while_nothing_is_known),
      ENTRY(a_lone_caller_with_plenty_is_never_held_back),
      ENTRY(a_short_burst_goes_at_once_and_a_long_one_is_spread),
      ENTRY(calls_in_flight_are_taken_off), ENTRY(a_window_is_full_again_after_its_reset),
      ENTRY(odd_numbers), ENTRY(remaining_above_the_limit_and_no_limit),
      ENTRY(nobody_waits_for_long), ENTRY(more_kinds_than_are_kept), ENTRY(clocks_that_jump),
      ENTRY(a_limit_that_is_told_no_more), ENTRY(a_limit_that_changes), ENTRY(no_date_no_pacing),
      ENTRY(a_refusal_closes_the_gate_and_it_opens_gradually), ENTRY(refusals_that_close_nothing),
      ENTRY(hints_alone_hold_a_lone_caller), ENTRY(one_who_came_when_nothing_was_left),
      ENTRY(calls_that_were_lost_on_the_way), ENTRY(the_window_halves_once_and_grows_back),
      ENTRY(one_client_and_windows), ENTRY(one_client_and_buckets), ENTRY(four_clients_and_windows),
      ENTRY(four_clients_and_buckets), ENTRY(other_quotas))
