#include "retry.h"

#include <math.h>
#include <string.h>

static const double first_delay = 0.5, longest_delay = 8, longest_hint = 120;

static bool status_is_retried(int status)
{
    return status == 408 || status == 409 || status == 429 ||
           (status >= 500 && status != 501 && status != 505);
}

static bool is_worth_it(const lathe_outcome *outcome)
{
    if (outcome->final || outcome->attempts > outcome->max_retries)
        return false;
    if (!outcome->status)
        return true;
    if (outcome->should_retry && !strcmp(outcome->should_retry, "true"))
        return true;
    if (outcome->should_retry && !strcmp(outcome->should_retry, "false"))
        return false;
    return status_is_retried(outcome->status);
}

/* The hint and up to a fifth, so that callers do not come back in a herd. */
static double hinted_delay(const lathe_outcome *outcome)
{
    double delay = outcome->hint * (1 + outcome->random / 5);
    return delay < outcome->remaining ? delay : outcome->hint;
}

/* Doubling, less up to a quarter. */
static double backoff_delay(const lathe_outcome *outcome)
{
    double delay = first_delay;
    for (int i = 1; i < outcome->attempts && delay < longest_delay; i++)
        delay *= 2;
    return delay * (1 - outcome->random / 4);
}

lathe_decision lathe_retry_decide(const lathe_outcome *outcome)
{
    const lathe_decision no = {false, 0};
    if (!is_worth_it(outcome))
        return no;
    if (outcome->resend)
        return (lathe_decision){true, 0};
    bool hinted = outcome->hint > 0;
    if (hinted && outcome->hint > longest_hint)
        return no;
    double delay = hinted ? hinted_delay(outcome) : backoff_delay(outcome);
    /* Sleeping into the deadline would only trade this error for one that says less. */
    return delay >= outcome->remaining ? no : (lathe_decision){true, delay};
}

/* A plain decimal number, whatever the locale; NAN when it is none. */
static double number(const char *text)
{
    double value = 0, place = 1;
    bool digits = false;
    text += strspn(text, " \t");
    for (; *text >= '0' && *text <= '9'; text++, digits = true)
        value = value * 10 + (*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, digits = true)
            value += (*text - '0') * (place /= 10);
    text += strspn(text, " \t");
    return digits && !*text ? value : NAN;
}

double lathe_retry_hint(const char *milliseconds, const char *seconds, double date)
{
    double hint = milliseconds ? number(milliseconds) / 1000 : NAN;
    if (!(isfinite(hint) && hint > 0))
        hint = seconds ? number(seconds) : NAN;
    if (isnan(hint))
        hint = date;
    return isfinite(hint) && hint > 0 ? hint : -1;
}
