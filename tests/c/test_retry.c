#include "retry.h"

#include <math.h>

#include "test.h"

static lathe_outcome outcome(int status, int attempts)
{
    return (lathe_outcome){.attempts = attempts,
                           .max_retries = 2,
                           .status = status,
                           .hint = -1,
                           .remaining = INFINITY};
}

TEST(statuses)
{
    static const int retried[] = {0, 408, 409, 429, 500, 502, 503, 504, 520, 529, 599};
    static const int refused[] = {300, 301, 400, 401, 403, 404, 410, 413, 422, 501, 505};
    for (size_t i = 0; i < sizeof retried / sizeof *retried; i++) {
        lathe_outcome o = outcome(retried[i], 1);
        test_context("status %d", retried[i]);
        CHECK(lathe_retry_decide(&o).retry);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        lathe_outcome o = outcome(refused[i], 1);
        test_context("status %d", refused[i]);
        CHECK(!lathe_retry_decide(&o).retry);
    }
}

TEST(attempts_are_limited)
{
    lathe_outcome o = outcome(500, 2);
    CHECK(lathe_retry_decide(&o).retry);
    o.attempts = 3;
    CHECK(!lathe_retry_decide(&o).retry);
    o = outcome(0, 1);
    o.max_retries = 0;
    CHECK(!lathe_retry_decide(&o).retry);
}

TEST(should_retry_wins_over_the_status_only)
{
    lathe_outcome o = outcome(400, 1);
    o.should_retry = "true";
    CHECK(lathe_retry_decide(&o).retry);
    o.final = true;
    CHECK(!lathe_retry_decide(&o).retry);
    o = outcome(500, 1);
    o.should_retry = "false";
    CHECK(!lathe_retry_decide(&o).retry);
    o.should_retry = "perhaps";
    CHECK(lathe_retry_decide(&o).retry);
}

TEST(backoff_doubles_to_eight_seconds_less_a_quarter)
{
    static const double expected[] = {0.5, 1, 2, 4, 8, 8, 8};
    for (int n = 0; n < 7; n++) {
        lathe_outcome o = outcome(500, n + 1);
        o.max_retries = 100;
        test_context("retry %d", n);
        CHECK(lathe_retry_decide(&o).delay == expected[n]);
        o.random = 0.999999;
        double delay = lathe_retry_decide(&o).delay;
        CHECK(delay >= expected[n] * 0.75 && delay < expected[n] * 0.7501);
    }
}

TEST(hints)
{
    lathe_outcome o = outcome(429, 1);
    o.hint = 10;
    CHECK(lathe_retry_decide(&o).delay == 10);
    o.random = 0.999999;
    CHECK(lathe_retry_decide(&o).delay > 11.999 && lathe_retry_decide(&o).delay < 12);
    o.remaining = 11; /* the addition must not cross the deadline */
    CHECK(lathe_retry_decide(&o).retry && lathe_retry_decide(&o).delay == 10);
    o.remaining = 10;
    CHECK(!lathe_retry_decide(&o).retry);
    o.remaining = INFINITY;
    o.hint = 120;
    CHECK(lathe_retry_decide(&o).retry);
    o.hint = 120.5;
    CHECK(!lathe_retry_decide(&o).retry);
}

TEST(backoff_does_not_sleep_into_the_deadline)
{
    lathe_outcome o = outcome(500, 1);
    o.remaining = 0.3;
    CHECK(!lathe_retry_decide(&o).retry);
}

TEST(dead_connection_is_tried_again_at_once)
{
    lathe_outcome o = outcome(0, 1);
    o.resend = true;
    CHECK(lathe_retry_decide(&o).retry && lathe_retry_decide(&o).delay == 0);
    o.attempts = 3;
    CHECK(!lathe_retry_decide(&o).retry);
}

TEST(hint_forms)
{
    static const struct {
        const char *milliseconds, *seconds;
        double date, hint;
    } rows[] = {
        {NULL, NULL, NAN, -1},
        {"1500", NULL, NAN, 1.5},
        {"1500", "7", NAN, 1.5},
        {"0", "7", NAN, 7},
        {"-5", "7", NAN, 7},
        {"abc", "7", NAN, 7},
        {"", "7", NAN, 7},
        {NULL, "0.25", NAN, 0.25},
        {NULL, " 3 ", NAN, 3},
        {NULL, ".5", NAN, 0.5},
        {NULL, "5.", NAN, 5},
        {NULL, "0", NAN, -1},
        {NULL, "-1", NAN, -1},
        {NULL, "nan", NAN, -1},
        {NULL, "inf", NAN, -1},
        {NULL, "Fri, ...", 12.0, 12},
        {NULL, "Fri", -3.0, -1},
        {NULL, "1e3", NAN, -1},
        {NULL, "1 2", NAN, -1},
        {NULL, ".", NAN, -1},
        {"250.5", NULL, NAN, 0.2505},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_context("row %zu", i);
        double hint = lathe_retry_hint(rows[i].milliseconds, rows[i].seconds, rows[i].date);
        CHECK(fabs(hint - rows[i].hint) < 1e-9);
    }
}

TESTS(ENTRY(statuses), ENTRY(attempts_are_limited), ENTRY(should_retry_wins_over_the_status_only),
      ENTRY(backoff_doubles_to_eight_seconds_less_a_quarter), ENTRY(hints),
      ENTRY(backoff_does_not_sleep_into_the_deadline),
      ENTRY(dead_connection_is_tried_again_at_once), ENTRY(hint_forms))
