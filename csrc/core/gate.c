#include "gate.h"

#include <math.h>
#include <string.h>

static const double longest = 120;   /* seconds that a reset or a hint may be away */
static const double same = 1.5;      /* resets that differ by less are one: they are rounded */
static const double patience = 5;    /* seconds after which one call goes, whatever is known, */
static const double patient = 8;     /* or so many times the seconds in which there is one more, */
static const double impatient = 30;  /* but no more seconds than that; up to twice these */
static const double eager = 10;      /* how much faster than the law a bucket is emptied */
static const double ramp = 8;        /* seconds of opening at most, and for each of a hint */
static const double recovery = 30;   /* seconds from no pace to the whole */
static const double memory = 200;    /* calls over which the cost of one is learned, */
static const double forgetting = 60; /* or seconds */
static const double slowness = 3;    /* seconds by which an answer may be older than its receipt */
enum { BEHIND = 8, BURSTS = 64, SILENT = 64 };

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

/* ---- Times ----------------------------------------------------------------------------------- */

/* Exactly `digits` digits, then `after` unless that is NUL; -1 when it is something else. */
static int number(const char **text, int digits, char after)
{
    int value = 0;
    for (; digits; digits--, ++*text) {
        if (**text < '0' || **text > '9')
            return -1;
        value = value * 10 + (**text - '0');
    }
    if (after && *(*text)++ != after)
        return -1;
    return value;
}

/* Days since 1970 in the Gregorian calendar; a year begins with March here. */
static int days(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400, of_era = year % 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static double fraction(const char **text)
{
    double value = 0, place = 1;
    if (**text != '.')
        return 0;
    for (++*text; **text >= '0' && **text <= '9'; ++*text)
        value += (**text - '0') * (place /= 10);
    return place < 1 ? value : NAN;
}

/* Seconds east of Greenwich, up to the end of the text. */
static double zone(const char *text)
{
    if ((*text == 'Z' || *text == 'z') && !text[1])
        return 0;
    if (*text != '+' && *text != '-')
        return NAN;
    int sign = *text++ == '-' ? -1 : 1;
    int hours = number(&text, 2, ':');
    int minutes = hours < 0 ? -1 : number(&text, 2, '\0');
    return minutes < 0 || *text ? (double)NAN : sign * (hours * 3600.0 + minutes * 60);
}

double lathe_gate_time(const char *text)
{
    static const char after[] = {'-', '-', '\0', ':', ':', '\0'};
    static const int highest[] = {9999, 12, 31, 23, 59, 60};
    int part[6];
    for (int i = 0; i < 6; i++) {
        if (i == 3 && *text != 'T' && *text != 't' && *text != ' ')
            return NAN;
        text += i == 3;
        part[i] = number(&text, i ? 2 : 4, after[i]);
        if (part[i] < (i < 3) || part[i] > highest[i])
            return NAN;
    }
    double seconds = fraction(&text);
    seconds += days(part[0], part[1], part[2]) * 86400.0;
    return seconds + part[3] * 3600 + part[4] * 60 + part[5] - zone(text);
}

/* ---- A line ---------------------------------------------------------------------------------- */

static void line_add(lathe_line *line, double x, double y)
{
    const double keep = 0.999;
    line->weight = line->weight * keep + 1;
    double dx = x - line->x, dy = y - line->y;
    line->x += dx / line->weight;
    line->y += dy / line->weight;
    line->xx = line->xx * keep + dx * (x - line->x);
    line->xy = line->xy * keep + dx * (y - line->y);
    line->yy = line->yy * keep + dy * (y - line->y);
}

/* Whether its slope is clear enough to be used; it is then in *slope. Where times are rounded to
 * seconds, 1/12 of the variance of x is due to that. */
static bool line_slope(const lathe_line *line, bool rounded, double *slope)
{
    double xx = line->xx - (rounded ? line->weight / 12 : 0);
    bool wide = line->weight >= 8 && xx > line->weight / (rounded ? 2 : 20);
    if (!wide || line->xy * line->xy < line->xx * line->yy / 2)
        return false;
    *slope = line->xy / xx;
    return true;
}

/* ---- One kind of limit ----------------------------------------------------------------------- */

/* How many calls go while one of ours does, ours included: more than 1 when others share the
 * limit. */
static double share_of(const lathe_gate *gate)
{
    for (size_t i = 0; i < gate->count; i++)
        if (gate->quotas[i].requests && gate->quotas[i].calls > 0)
            return most(gate->quotas[i].used / gate->quotas[i].calls, 1);
    return 1;
}

/* What a call costs: what is used up while one of ours goes, by the calls that go meanwhile in all.
 * 0: not known yet. */
static double cost_of(const lathe_gate *gate, const lathe_quota *quota)
{
    if (quota->requests)
        return 1;
    return quota->calls > 0 ? most(quota->used / quota->calls / share_of(gate), 0) : 0;
}

/* What is left when all calls that went have been charged. */
static double left(const lathe_gate *gate, const lathe_quota *quota, double now)
{
    double cost = cost_of(gate, quota);
    double unknown =
        quota->early ? (double)gate->sent - (double)quota->number : (double)gate->in_flight;
    double there = quota->told;
    if (quota->refill > 0)
        there = least(there + quota->refill * most(now - quota->at, 0), most(quota->top, there));
    return there - cost * unknown - (quota->early ? 0 : least(2 * cost, quota->high / 16));
}

/* What may go. */
typedef struct allowance {
    double rate;     /* calls per second */
    double calls;    /* how many are left */
    double patience; /* seconds to wait at most */
} allowance;

/* A bucket is emptied faster than the law, unless it holds few calls or others do so, too. */
static double speed_of(const lathe_gate *gate, double calls_when_full)
{
    return most(least(eager, calls_when_full / 12) / sqrt(share_of(gate)), 1);
}

static void allow(const lathe_gate *gate, const lathe_quota *quota, double now, allowance *all)
{
    double cost = cost_of(gate, quota);
    if (quota->at == -INFINITY || (cost == 0 && quota->told > 0))
        return;
    cost = cost > 0 ? cost : 1;
    double there = left(gate, quota, now), calls = there / cost, rate = 0;
    double full = most(quota->refill > 0 ? quota->top : quota->high, cost);
    if (calls >= 1 && quota->refill > 0)
        rate = speed_of(gate, full / cost) * quota->refill * calls /
               most(full - there, quota->refill / 8);
    else if (calls >= 1)
        rate = calls / most(quota->reset + quota->slack - now, least(quota->span, 1));
    all->rate = least(all->rate, rate);
    all->calls = least(all->calls, calls);
    double wait = least(patient * quota->span * cost / full, impatient);
    all->patience = most(all->patience, wait);
}

/* Its reset has passed: it is taken to be as full as it ever was, or as its limit says when nothing
 * was ever left, until an answer tells. */
static void renew(const lathe_gate *gate, lathe_quota *quota, double now)
{
    if (quota->reset + quota->slack > now || quota->refill > 0)
        return;
    quota->guessed = true;
    quota->told = quota->high > 0 ? quota->high : most(quota->limit, 1);
    if (quota->early)
        quota->told -= cost_of(gate, quota) * (double)gate->in_flight;
    quota->number = gate->sent;
    quota->at = now;
    quota->reset += quota->span * (floor((now - quota->reset) / quota->span) + 1);
}

/* What was used since the last answer, by how many of our calls. */
static void learn_cost(lathe_quota *quota, double remaining, const lathe_ticket *ticket)
{
    double calls = (double)(ticket->number - quota->number), span = ticket->at - quota->at;
    double keep = 1 / (1 + calls / memory + span / forgetting);
    double expected = quota->base;
    if (quota->refill > 0)
        expected = least(expected + quota->refill * span, most(quota->top, expected));
    quota->used = quota->used * keep + expected - remaining;
    quota->calls = quota->calls * keep + calls;
}

/* A bucket that is refilled is missing the less the nearer its reset is; of a window there is the
 * less left. */
static void learn_refill(lathe_quota *quota, double until_reset)
{
    double slope;
    line_add(&quota->line, until_reset, quota->told);
    if (!line_slope(&quota->line, quota->slack > 0, &slope))
        return;
    quota->refill = most(-slope, 0);
    quota->top = quota->line.y + quota->refill * quota->line.x;
    if (quota->limit > 0)
        quota->top = least(quota->top, quota->limit);
}

static void take(lathe_quota *quota, double now, double remaining, double reset,
                 const lathe_ticket *ticket)
{
    bool known = quota->at != -INFINITY, other = fabs(reset - quota->reset) > same;
    if (known && ticket->number <= quota->number) {
        if (!other)
            quota->told = least(quota->told, remaining);
        return;
    }
    bool passed = other && quota->reset < now + same && quota->refill == 0;
    if (known && !passed && !quota->guessed)
        learn_cost(quota, remaining, ticket);
    quota->guessed = false;
    quota->high = most(quota->high, remaining);
    quota->span = most(quota->span, reset - ticket->at);
    quota->told = quota->base = remaining;
    quota->number = ticket->number;
    quota->at = ticket->at;
    quota->reset = reset;
    learn_refill(quota, reset - (now + ticket->at) / 2);
}

static lathe_quota *find(lathe_gate *gate, const char *kind)
{
    for (size_t i = 0; i < gate->count; i++)
        if (!strcmp(gate->quotas[i].kind, kind))
            return &gate->quotas[i];
    if (gate->count == LATHE_LIMIT_KINDS)
        return NULL;
    lathe_quota *quota = &gate->quotas[gate->count++];
    bool requests = !strcmp(kind, "requests");
    *quota = (lathe_quota){.requests = requests,
                           .early = requests || !strcmp(kind, "input-tokens"),
                           .at = -INFINITY,
                           .span = 1};
    memcpy(quota->kind, kind, sizeof quota->kind);
    return quota;
}

static void take_limit(lathe_gate *gate, double now, const lathe_limit *limit,
                       const lathe_ticket *ticket)
{
    double reset = lathe_gate_time(limit->reset) - gate->offset;
    bool usable = limit->limit && limit->remaining >= 0 && fabs(reset - now) <= longest &&
                  reset > ticket->at - slowness;
    lathe_quota *quota = usable || gate->active ? find(gate, limit->kind) : NULL;
    if (!quota)
        return;
    if (!usable) {
        quota->at = -INFINITY;
        return;
    }
    gate->active = true;
    quota->silent = 0;
    if (quota->limit != (double)limit->limit) {
        quota->limit = (double)limit->limit;
        quota->line = (lathe_line){0};
        quota->refill = 0;
    }
    quota->slack = strchr(limit->reset, '.') ? 0 : 1;
    if (quota->limit > 0)
        quota->high = least(quota->high, quota->limit);
    double remaining = (double)limit->remaining;
    take(quota, now, limit->limit > 0 ? least(remaining, quota->limit) : remaining, reset, ticket);
}

/* ---- The gate -------------------------------------------------------------------------------- */

void lathe_gate_init(lathe_gate *gate)
{
    *gate = (lathe_gate){.offset = NAN,
                         .at = -INFINITY,
                         .last = -INFINITY,
                         .closed = -INFINITY,
                         .cut = -INFINITY,
                         .pace = 1,
                         .ramp = 1};
}

static double go(lathe_gate *gate, double now, lathe_ticket *ticket)
{
    const double over = 5; /* seconds of the mean */
    gate->mean = (gate->mean + 1 / over) / (1 + most(now - gate->last, 0) / over);
    gate->last = now;
    gate->in_flight++;
    *ticket = (lathe_ticket){++gate->sent, now};
    return 0;
}

static allowance allowed(lathe_gate *gate, double now)
{
    allowance all = {INFINITY, INFINITY, patience};
    for (size_t i = 0; i < gate->count; i++) {
        renew(gate, &gate->quotas[i], now);
        allow(gate, &gate->quotas[i], now, &all);
    }
    all.rate *= least(gate->pace + (now - gate->cut) / recovery, 1);
    double opening = (now - gate->closed) / gate->ramp;
    if (opening < 1)
        all.rate = least(all.rate, gate->good * (0.25 + 2 * opening));
    return all;
}

/* So that a short burst goes at once, and an engine that looks seldom misses nothing. */
static void accrue(lathe_gate *gate, double now, const allowance *all)
{
    double span = most(now - most(gate->at, gate->closed), 0);
    double burst = all->calls == INFINITY ? 0 : all->calls / BURSTS;
    if (all->rate == INFINITY)
        gate->credit = INFINITY;
    else
        gate->credit += all->rate * least(span, longest);
    gate->credit = least(gate->credit, most(1, most(burst, all->rate / 4)));
    gate->at = now;
}

static double until_credit(const lathe_gate *gate, double now, const allowance *all)
{
    double open = gate->closed + gate->ramp - now;
    double wait = all->rate > 0 ? most((1 - gate->credit) / all->rate, 0.001) : (double)INFINITY;
    return open > 0 ? least(wait, open) : wait;
}

double lathe_gate_ask(lathe_gate *gate, double now, double random, lathe_ticket *ticket)
{
    if (!gate->active)
        return go(gate, now, ticket);
    if (now < gate->closed)
        return gate->closed - now;
    allowance all = allowed(gate, now);
    accrue(gate, now, &all);
    double due = gate->last + all.patience * (1 + random);
    if ((gate->credit < 1 || all.calls < 1) && now < due)
        return least(until_credit(gate, now, &all), due - now);
    gate->credit = most(gate->credit - 1, 0);
    return go(gate, now, ticket);
}

/* The largest of many dates less the time of receipt comes near to the offset from below. */
static void take_date(lathe_gate *gate, double now, double date)
{
    double seen = date - now, before = gate->offset;
    if (isnan(seen))
        return;
    gate->behind = seen < before - slowness ? gate->behind + 1 : 0;
    if (isnan(before) || seen > before || gate->behind >= BEHIND) {
        gate->offset = seen;
        gate->behind = 0;
    }
    if (fabs(gate->offset - before) > slowness)
        for (size_t i = 0; i < gate->count; i++)
            gate->quotas[i].at = -INFINITY;
}

static void refuse(lathe_gate *gate, double now, double random, const lathe_ticket *ticket,
                   double hint)
{
    if (!(hint > 0) || hint > longest)
        return;
    gate->active = true;
    if (ticket->at >= gate->cut) {
        gate->pace = most(least(gate->pace + (now - gate->cut) / recovery, 1) / 2, 1.0 / 16);
        gate->good = most(gate->mean, 1);
        gate->cut = now;
    }
    double until = now + hint + random * least(hint / 4, 2);
    if (until > gate->closed) {
        gate->closed = until;
        gate->ramp = least(ramp, ramp * hint);
    }
    gate->credit = 1; /* the first goes as soon as it was asked for */
}

static void leave(lathe_gate *gate)
{
    if (gate->in_flight)
        gate->in_flight--;
}

void lathe_gate_answered(lathe_gate *gate, double now, double random, const lathe_ticket *ticket,
                         const lathe_news *news)
{
    leave(gate);
    for (size_t i = 0; i < gate->count && news->status == 200; i++)
        if (++gate->quotas[i].silent > SILENT)
            gate->quotas[i].at = -INFINITY; /* it is not told any more */
    take_date(gate, now, news->date);
    for (size_t i = 0; i < news->told->count; i++)
        take_limit(gate, now, &news->told->items[i], ticket);
    if (news->status == 429 || news->status == 529)
        refuse(gate, now, random, ticket, news->hint);
}

/* What was never sent has used nothing up. */
void lathe_gate_lost(lathe_gate *gate, const lathe_ticket *ticket, bool sent)
{
    leave(gate);
    for (size_t i = 0; i < gate->count && !sent; i++) {
        lathe_quota *quota = &gate->quotas[i];
        if (!quota->early || ticket->number <= quota->number)
            continue;
        quota->told += cost_of(gate, quota);
        quota->base += cost_of(gate, quota);
    }
}

/* ---- An engine's window ---------------------------------------------------------------------- */

void lathe_window_init(lathe_window *window)
{
    *window = (lathe_window){INFINITY, -INFINITY};
}

bool lathe_window_open(const lathe_window *window, size_t in_flight)
{
    return !in_flight || (double)(in_flight + 1) <= window->size;
}

void lathe_window_refused(lathe_window *window, double now, double began, size_t in_flight)
{
    if (began < window->cut)
        return;
    window->size = most(least((double)in_flight, window->size) / 2, 1);
    window->cut = now;
}

void lathe_window_served(lathe_window *window, size_t asked)
{
    if (window->size == INFINITY)
        return;
    window->size += most((double)asked / 8, 1) / window->size;
    if (window->size > (double)asked)
        window->size = INFINITY;
}
