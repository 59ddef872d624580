#include <math.h>
#include <stdint.h>
#include <string.h>

#include "alloc.h"
#include "client.h"
#include "clock.h"
#include "error.h"
#include "outgoing.h"
#include "request.h"
#include "response.h"
#include "task.h"

/* ---- Making a call --------------------------------------------------------------------------- */

static void call_free(lathe_call *call)
{
    lathe_buf_clear(&call->body);
    lathe_lines_clear(&call->own_lines);
    lathe_response_free(call->response);
    lathe_task_free(call->task);
    if (call->events != call->few)
        lathe_free(call->events);
    lathe_error_clear(&call->error);
    pthread_cond_destroy(&call->told);
    lathe_engine_release(call->engine);
    lathe_client_release(call->client);
    lathe_free(call);
}

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void set_options(lathe_call *call, const lathe_options *given)
{
    lathe_options defaults;
    lathe_client_call_options(call->client, &defaults);
    call->timeout = isnan(given->timeout) ? defaults.timeout : given->timeout;
    call->connect_timeout =
        isnan(given->connect_timeout) ? defaults.connect_timeout : given->connect_timeout;
    call->max_retries = given->max_retries < 0 ? defaults.max_retries : given->max_retries;
}

/* Those of the client serve most calls. */
static lathe_code set_lines(lathe_call *call, const lathe_options *given)
{
    call->lines = lathe_client_lines(call->client);
    if (!given->beta_count && !given->header_count)
        return LATHE_OK;
    lathe_options defaults;
    lathe_client_call_options(call->client, &defaults);
    call->lines = &call->own_lines;
    return lathe_outgoing_lines(lathe_client_settings(call->client), &defaults, given,
                                &call->own_lines);
}

/* Has a model do the work: what is written so far are its arguments. */
static lathe_code set_task(lathe_call *call, const lathe_options *given, lathe_error *error)
{
    lathe_options options;
    lathe_instructions *own = NULL, *instructions = lathe_client_instructions(call->client);
    lathe_client_call_options(call->client, &options);
    if (given->instructions && lathe_instructions_load(given->instructions, &own, error))
        return error->code;
    if (given->max_tokens >= 0)
        options.max_tokens = given->max_tokens;
    if (given->effort >= 0)
        options.effort = given->effort;
    if (given->on_variable_change >= 0)
        options.on_variable_change = given->on_variable_change;
    call->task = lathe_task_new(call->verb, &call->body, &options, own ? own : instructions,
                                lathe_client_asks_schema(call->client));
    lathe_instructions_release(own);
    call->target = &lathe_client_settings(call->client)->messages;
    lathe_code code = call->task ? lathe_task_write(call->task, &call->body) : LATHE_MEMORY;
    return code ? lathe_fail(error, code, NULL) : LATHE_OK;
}

static lathe_code fill_call(lathe_call *call, const lathe_request *request,
                            const lathe_options *given, lathe_error *error)
{
    if (lathe_request_write(request, &call->body, error))
        return error->code;
    set_options(call, given);
    call->target = &lathe_client_settings(call->client)->targets[request->verb];
    if (lathe_client_instructions(call->client) && set_task(call, given, error))
        return error->code;
    lathe_code code = set_lines(call, given);
    return code ? lathe_fail(error, code, NULL) : LATHE_OK;
}

lathe_code lathe_call_new(lathe_client *client, const lathe_request *request,
                          const lathe_options *options, lathe_call **call, lathe_error *error)
{
    lathe_options none;
    lathe_options_init(&none);
    const lathe_options *given = options ? options : &none;
    *call = NULL;
    if (lathe_client_closed(client))
        return lathe_fail(error, LATHE_CLIENT_CLOSED, NULL);
    if (given->model)
        return lathe_fail(error, LATHE_CONFIGURATION, "model is an option of clients and copies");
    if (lathe_options_check(given, "extra_headers", error))
        return error->code;
    lathe_call *made = lathe_malloc(sizeof *made);
    if (!made)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    memset(made, 0, offsetof(lathe_call, error));
    made->started = lathe_clock();
    atomic_init(&made->references, 1);
    init_condition(&made->told);
    made->events = made->few;
    made->event_room = LATHE_EVENTS_FEW;
    made->verb = request->verb;
    made->client = lathe_client_retain(client);
    lathe_buf_init(&made->body, SIZE_MAX);
    lathe_error_init(&made->error);
    if (fill_call(made, request, given, error))
        call_free(made);
    else
        *call = made;
    return error->code;
}

/* ---- Using it -------------------------------------------------------------------------------- */

void lathe_call_release(lathe_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) == 1)
        call_free(call);
}

/* Whether the call has no engine to wait for. One that a fork's child inherited has no connection
 * and never will have one: it ends at once. */
static bool is_orphan(lathe_call *call)
{
    if (call->engine && !lathe_engine_is_ours(call->engine))
        lathe_fail(&call->error, LATHE_CLIENT_CLOSED, "the call was begun before a fork");
    return !call->engine || !lathe_engine_is_ours(call->engine);
}

void lathe_call_start(lathe_call *call)
{
    call->engine = lathe_client_engine(call->client, &call->error);
    if (call->engine)
        lathe_engine_submit(call->engine, call);
}

/* ---- One request after another --------------------------------------------------------------- */

/* A refusal that another request may cure: one without what the server does not know. */
static bool take_refusal(lathe_call *call)
{
    const lathe_error *error = &call->error;
    if ((error->code != LATHE_BAD_REQUEST && error->code != LATHE_UNPROCESSABLE) ||
        !lathe_task_refused(call->task, error->body, error->body_size))
        return false;
    lathe_error_clear(&call->error);
    return true;
}

/* An answer that echoes the key must not carry it into an exception. */
static void redact_error(const lathe_call *call, lathe_error *error)
{
    const lathe_settings *settings = lathe_client_settings(call->client);
    if (error->body)
        lathe_settings_redact(settings, error->body, error->body_size);
    if (error->answer)
        lathe_settings_redact(settings, error->answer, error->answer_size);
}

/* Whether there is another request to be sent; else the result stands in the call. */
static bool take_answer(lathe_call *call)
{
    bool more = false;
    if (call->error.code)
        return take_refusal(call);
    lathe_task_take(call->task, call->response, &more, &call->error);
    if (lathe_task_knows_no_schema(call->task))
        lathe_client_learn_no_schema(call->client);
    if (call->error.code)
        redact_error(call, &call->error);
    if (more || call->error.code) {
        lathe_response_free(call->response);
        call->response = NULL;
    }
    return more && !call->error.code;
}

/* Attempts and seconds are those of all requests. */
static void settle(lathe_call *call)
{
    call->settled = true;
    if (call->error.code)
        call->error.attempts = call->earlier + call->attempts;
    if (call->response) {
        call->response->attempts = call->earlier + call->attempts;
        call->response->elapsed = lathe_clock() - call->started;
    }
}

bool lathe_call_goes_on(lathe_call *call)
{
    if (!call->task || call->settled)
        return false;
    bool more = take_answer(call);
    if (more && lathe_task_write(call->task, &call->body)) {
        lathe_fail(&call->error, LATHE_MEMORY, NULL);
        more = false;
    }
    if (!more) {
        settle(call);
        return false;
    }
    const int attempts = call->attempts;
    if (lathe_engine_resubmit(call->engine, call)) {
        call->earlier += attempts;
        return true;
    }
    lathe_fail(&call->error, LATHE_CANCELLED, NULL);
    settle(call);
    return false;
}

lathe_wait lathe_call_wait(lathe_call *call, double seconds, bool signals)
{
    /* What is beyond a lifetime has no place in a timespec. */
    const double until = seconds < 1e9 ? lathe_clock() + seconds : INFINITY;
    lathe_wait state = LATHE_WAIT_DONE;
    while (!is_orphan(call)) {
        state = lathe_engine_wait(call->engine, call, until, signals);
        if (state != LATHE_WAIT_DONE || !lathe_call_goes_on(call))
            return state;
    }
    return LATHE_WAIT_DONE;
}

bool lathe_call_event(lathe_call *call, lathe_event *event)
{
    if (!call->engine)
        return false;
    lathe_engine_lock(call->engine);
    bool there = call->event_count > 0;
    if (there) {
        *event = call->events[call->event_first];
        call->event_first = (call->event_first + 1) % call->event_room;
        call->event_count--;
    }
    lathe_engine_unlock(call->engine);
    return there;
}

void *lathe_call_tag(const lathe_call *call)
{
    return call->tag;
}

const char *lathe_call_body(const lathe_call *call, size_t *size)
{
    if (!lathe_client_settings(call->client)->log_bodies)
        return NULL;
    *size = call->body.size;
    return call->body.data;
}

void lathe_call_redact(const lathe_call *call, char *data, size_t size)
{
    lathe_settings_redact(lathe_client_settings(call->client), data, size);
}

const char *lathe_call_url(const lathe_call *call)
{
    return call->target->url;
}

void lathe_call_cancel(lathe_call *call)
{
    if (!is_orphan(call))
        lathe_engine_cancel(call->engine, call);
}

/* What the service says, unless it repeats what is the caller's. */
static void describe(lathe_call *call)
{
    lathe_text sent = {call->body.data, call->body.size};
    lathe_buf own;
    lathe_buf_init(&own, SIZE_MAX / 2);
    if (call->task && !lathe_task_own_words(call->task, &own))
        sent = (lathe_text){own.data, own.size};
    lathe_response_describe(&call->error, &sent);
    lathe_buf_clear(&own);
    const char *base = lathe_client_base_url(call->client);
    const size_t size = strlen(base);
    if (call->error.code == LATHE_NOT_FOUND && size > 3 && !strcmp(base + size - 3, "/v1"))
        lathe_error_append(&call->error, " (base_url ends in /v1, and /v1/... is added to it)");
}

/* Completes the message of an error: here, not by the leader, whom others wait for. */
static void put_in_words(lathe_call *call)
{
    lathe_error *error = &call->error;
    if (!error->message[0])
        describe(call);
    if (error->code >= LATHE_CONNECTION && error->attempts > 1)
        lathe_error_append(error, " (after %d attempts)", error->attempts);
}

lathe_code lathe_call_result(lathe_call *call, lathe_response **response, lathe_error *error)
{
    *response = NULL;
    if (call->error.code) {
        put_in_words(call);
        lathe_error_clear(error);
        *error = call->error;
        lathe_error_init(&call->error);
        return error->code;
    }
    *response = call->response;
    call->response = NULL;
    return LATHE_OK;
}

void lathe_call_free(lathe_call *call)
{
    if (!call)
        return;
    lathe_call_cancel(call);
    lathe_call_release(call);
}

lathe_code lathe_call_run(lathe_client *client, const lathe_request *request,
                          const lathe_options *options, lathe_response **response,
                          lathe_error *error)
{
    lathe_call *call;
    *response = NULL;
    lathe_call_new(client, request, options, &call, error);
    if (!call)
        return error->code;
    lathe_call_start(call);
    while (lathe_call_wait(call, INFINITY, false) != LATHE_WAIT_DONE)
        continue;
    lathe_call_result(call, response, error);
    lathe_call_free(call);
    return error->code;
}
