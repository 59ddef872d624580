#include "attempt.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "client.h"
#include "clock.h"
#include "error.h"
#include "response.h"
#include "retry.h"

static const char timeout_name[] = "timeout", connect_timeout_name[] = "connect timeout";

/* No state to share or to seed. */
double lathe_attempt_random(const lathe_call *call, double now)
{
    uint64_t bits = (uint64_t)(uintptr_t)call;
    uint64_t clock;
    memcpy(&clock, &now, sizeof clock);
    bits = (bits ^ clock) + 0x9E3779B97F4A7C15U;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
    return (double)((bits ^ (bits >> 31)) >> 11) / 9007199254740992.0;
}

static lathe_code succeed(lathe_call *call, lathe_answer *answer, double now)
{
    const char *id = lathe_headers_get(&answer->headers, "request-id");
    lathe_response *response = lathe_calloc(1, sizeof *response);
    if (!response)
        return LATHE_MEMORY;
    *response = (lathe_response){.verb = call->verb,
                                 .status = answer->status,
                                 .headers = answer->headers,
                                 .request_id = lathe_copy_string(id),
                                 .attempts = call->attempts,
                                 .elapsed = now - call->started,
                                 .body = answer->body,
                                 .body_size = answer->body_size,
                                 .body_room = answer->body_room,
                                 .client = lathe_client_retain(call->client)};
    *answer = (lathe_answer){0};
    if (id && !response->request_id) {
        lathe_response_free(response);
        return LATHE_MEMORY;
    }
    call->response = response;
    return LATHE_OK;
}

/* A complete answer that is no success. */
static void refuse(lathe_call *call, const lathe_answer *answer, lathe_verdict *verdict,
                   lathe_outcome *outcome)
{
    lathe_error *error = &verdict->error;
    lathe_refusal refusal = {.vendor_host =
                                 lathe_client_settings(call->client)->vendor && !call->task};
    outcome->status = answer->status;
    if (answer->status < 300) {
        outcome->final = true;
        lathe_fail(error, LATHE_RESPONSE_VALIDATION,
                   "an answer that cannot be used: its status is %d, not 200", answer->status);
        if (lathe_response_attach(error, answer->status, &answer->headers, answer->body,
                                  answer->body_size))
            error->code = LATHE_MEMORY;
        return;
    }
    lathe_response_refuse(error, answer->status, &answer->headers, answer->body, answer->body_size,
                          &refusal);
    outcome->final =
        refusal.spend_limit || error->code == LATHE_MEMORY || error->code == LATHE_ENDPOINT_RETIRED;
}

static double hint_of(const lathe_headers *headers)
{
    const char *seconds = lathe_headers_get(headers, "retry-after");
    double date =
        seconds ? lathe_http_date(seconds, lathe_headers_get(headers, "date")) : (double)NAN;
    return lathe_retry_hint(lathe_headers_get(headers, "retry-after-ms"), seconds, date);
}

static void begin(const lathe_call *call, double now, lathe_verdict *verdict,
                  lathe_outcome *outcome)
{
    *verdict = (lathe_verdict){.elapsed = now - call->attempt_started};
    lathe_error_init(&verdict->error);
    *outcome = (lathe_outcome){.attempts = call->attempts,
                               .max_retries = call->max_retries,
                               .hint = -1,
                               .remaining = call->deadline - now,
                               .random = lathe_attempt_random(call, now)};
}

/* As much of it as there is room for. */
static void note_request_id(lathe_verdict *verdict, const char *id)
{
    size_t size = id ? strlen(id) : 0;
    if (size >= sizeof verdict->request_id)
        size = sizeof verdict->request_id - 1;
    memcpy(verdict->request_id, id ? id : "", size);
    verdict->request_id[size] = '\0';
}

static void decide(const lathe_call *call, lathe_verdict *verdict, const lathe_outcome *outcome)
{
    lathe_decision decision = lathe_retry_decide(outcome);
    verdict->retry = decision.retry;
    verdict->delay = decision.delay;
    verdict->error.attempts = call->attempts;
    verdict->error.retry_after = outcome->hint;
}

void lathe_attempt_judge(lathe_call *call, CURLcode result, lathe_verdict *verdict)
{
    const double now = lathe_clock();
    lathe_answer answer = {0};
    lathe_outcome outcome;
    begin(call, now, verdict, &outcome);
    outcome.resend = call->exchange.stop == LATHE_STOP_RESEND;
    lathe_code code =
        lathe_exchange_end(&call->exchange, result, &answer, &outcome.final, &verdict->error);
    if (!code) {
        verdict->status = answer.status;
        note_request_id(verdict, lathe_headers_get(&answer.headers, "request-id"));
        outcome.hint = hint_of(&answer.headers);
        lathe_client_tell(call->client, now, outcome.random, &call->ticket, &answer.headers,
                          answer.status, outcome.hint);
        call->ticketed = false;
        outcome.should_retry = lathe_headers_get(&answer.headers, "x-should-retry");
        if (answer.status != 200)
            refuse(call, &answer, verdict, &outcome);
        else if (succeed(call, &answer, now))
            outcome.final = lathe_fail(&verdict->error, LATHE_MEMORY, NULL);
    }
    if (verdict->error.code)
        decide(call, verdict, &outcome);
    lathe_answer_clear(&answer);
}

void lathe_attempt_expire(lathe_call *call, lathe_verdict *verdict)
{
    lathe_outcome outcome;
    begin(call, lathe_clock(), verdict, &outcome);
    lathe_exchange_timeout(&call->exchange, call->connect_timeout, connect_timeout_name,
                           &verdict->error);
    decide(call, verdict, &outcome);
}

void lathe_attempt_overdue(lathe_call *call)
{
    lathe_error *error = &call->error;
    error->attempts = call->attempts;
    if (call->exchange.easy) {
        lathe_exchange_timeout(&call->exchange, call->timeout, timeout_name, error);
        return;
    }
    error->phase = LATHE_PHASE_QUEUE;
    error->times = (lathe_times){-1, -1, -1, -1, -1, -1};
    snprintf(error->host, sizeof error->host, "%s", lathe_client_settings(call->client)->host);
    lathe_fail(error, LATHE_TIMEOUT,
               "no complete answer from %.200s within the %s of %g s: the call %s (phase queue)",
               error->host, timeout_name, call->timeout,
               call->attempts ? "waited to be tried again"
                              : "waited for its turn and was not sent");
}

/* Most calls have one event or two, which have their place in them. */
static void make_room(lathe_call *call)
{
    lathe_event *more = lathe_malloc(LATHE_EVENTS_KEPT * sizeof *more);
    if (!more)
        return;
    for (size_t i = 0; i < call->event_count; i++)
        more[i] = call->events[(call->event_first + i) % call->event_room];
    call->events = more;
    call->event_first = 0;
    call->event_room = LATHE_EVENTS_KEPT;
}

/* Without room the oldest gives way. */
static void add_event(lathe_call *call, const lathe_event *event)
{
    if (call->event_count == call->event_room && call->event_room < LATHE_EVENTS_KEPT)
        make_room(call);
    call->events[(call->event_first + call->event_count) % call->event_room] = *event;
    if (call->event_count < call->event_room)
        call->event_count++;
    else
        call->event_first = (call->event_first + 1) % call->event_room;
}

void lathe_attempt_record(lathe_call *call, const lathe_verdict *verdict)
{
    lathe_event event = {.kind = LATHE_EVENT_ATTEMPT,
                         .attempt = call->attempts,
                         .status = verdict->status,
                         .elapsed = verdict->elapsed,
                         .phase = verdict->error.phase,
                         .curl_code = verdict->error.curl_code};
    memcpy(event.request_id, verdict->request_id, sizeof event.request_id);
    add_event(call, &event);
    if (!verdict->retry)
        return;
    event.kind = LATHE_EVENT_RETRY;
    event.elapsed = verdict->delay;
    add_event(call, &event);
}
