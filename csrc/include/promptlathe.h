/* promptlathe: prompt tools over HTTP. The one public header; the contract of each function stands
 * here.
 *
 * Conventions
 *   - A function that can fail returns a lathe_code and fills the caller's lathe_error, which the
 *     caller has initialised and clears. The first failure stays; a later one does not replace it.
 *   - Text is UTF-8 given as bytes and a length; it may hold NUL. `const char *` alone ends at NUL.
 *   - Seconds are double, from a monotonic clock where they are a span.
 *   - *_new gives ownership, *_free and *_clear take it and accept NULL and half-made values.
 *   - Every function may be called from any thread unless its comment says otherwise. A value of
 *     the host, a source and a sink belong to the thread that passes them.
 */
#ifndef PROMPTLATHE_H
#define PROMPTLATHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATHE_VERSION "0.1.0"

struct json_t;

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Where the library's own memory comes from. Each member behaves as its namesake in <stdlib.h>. */
typedef struct lathe_allocator {
    void *(*malloc)(size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
} lathe_allocator;

/* Replaces the allocator; NULL restores the C library's. Call it while nothing of the library is
 * alive: blocks are freed by the allocator in force at that time. libcurl and jansson keep theirs.
 */
void lathe_set_allocator(const lathe_allocator *allocator);

/* ---- Errors ---------------------------------------------------------------------------------- */

/* One row per outcome: enumerator, the exception that a language binding raises for it, its text.
 */
#define LATHE_CODES(X)                                                                             \
    X(LATHE_OK, None, "success")                                                                   \
    X(LATHE_MEMORY, MemoryError, "out of memory")                                                  \
    X(LATHE_HOST, None, "the host's own error, already set by its callback")                       \
    X(LATHE_CANCELLED, ClientClosedError, "the call was cancelled")                                \
    X(LATHE_NOT_UNICODE, InvalidRequestError, "text without a UTF-8 form")                         \
    X(LATHE_TOO_LARGE, InvalidRequestError, "larger than its ceiling")                             \
    X(LATHE_CONFIGURATION, ConfigurationError, "an option that cannot be used")                    \
    X(LATHE_NO_CA, ConfigurationError, "no CA certificates were found")                            \
    X(LATHE_CLIENT_CLOSED, ClientClosedError, "the client is closed")                              \
    X(LATHE_INVALID_REQUEST, InvalidRequestError, "input that breaks the documented rules")        \
    X(LATHE_INVALID_PROMPT, InvalidPromptError, "a legacy prompt that breaks the rules")           \
    X(LATHE_MISSING_VARIABLE, MissingVariableError, "a variable without a value")                  \
    X(LATHE_CONNECTION, APIConnectionError, "no complete answer was received")                     \
    X(LATHE_TIMEOUT, APITimeoutError, "the time allowed ran out")                                  \
    X(LATHE_RESPONSE_VALIDATION, APIResponseValidationError, "an answer that cannot be used")      \
    X(LATHE_MODEL_ANSWER, ModelAnswerError, "the model's answer cannot be used")                   \
    X(LATHE_VARIABLES_CHANGED, VariablesChangedError, "the model changed the variables")           \
    X(LATHE_STATUS, APIStatusError, "the service refused the request")                             \
    X(LATHE_BAD_REQUEST, BadRequestError, "the service refused the request as invalid")            \
    X(LATHE_AUTHENTICATION, AuthenticationError, "the service did not accept the credentials")     \
    X(LATHE_PERMISSION_DENIED, PermissionDeniedError, "the credentials do not allow this")         \
    X(LATHE_NOT_FOUND, NotFoundError, "the service knows no such address or model")                \
    X(LATHE_ENDPOINT_RETIRED, EndpointRetiredError, "the vendor retired this endpoint")            \
    X(LATHE_CONFLICT, ConflictError, "the request conflicts with another")                         \
    X(LATHE_REQUEST_TOO_LARGE, RequestTooLargeError, "the request is too large for the service")   \
    X(LATHE_UNPROCESSABLE, UnprocessableEntityError, "the service could not process the request")  \
    X(LATHE_RATE_LIMIT, RateLimitError, "too many requests")                                       \
    X(LATHE_INTERNAL_SERVER, InternalServerError, "the service failed")                            \
    X(LATHE_OVERLOADED, OverloadedError, "the service is overloaded")

typedef enum lathe_code {
#define LATHE_ENUMERATOR(code, exception, text) code,
    LATHE_CODES(LATHE_ENUMERATOR)
#undef LATHE_ENUMERATOR
} lathe_code;

/* The enumerator's name, the name of its exception, and its text. Static strings; never NULL. */
const char *lathe_code_name(lathe_code code);
const char *lathe_code_exception(lathe_code code);
const char *lathe_code_text(lathe_code code);

/* One fault of the input. `path` is written as the service writes it ("messages.0.content.1.type"),
 * `path_size` bytes and a NUL behind; `code` is static; `offset` counts code points from 0 into a
 * legacy prompt, -1 where there is none. */
typedef struct lathe_fault {
    char *path;
    size_t path_size;
    const char *code;
    char *message;
    int64_t offset;
} lathe_fault;

enum { LATHE_FAULTS_KEPT = 1000 };

/* The first LATHE_FAULTS_KEPT faults, and how many there were in all. */
typedef struct lathe_faults {
    lathe_fault *items;
    size_t count, capacity, total;
} lathe_faults;

/* A response header; `name` in lower case, repeats joined by ", ". */
typedef struct lathe_header {
    const char *name;
    const char *value;
} lathe_header;

/* Headers in one block of memory. */
typedef struct lathe_headers {
    lathe_header *items;
    size_t count;
    char *block;
} lathe_headers;

typedef enum lathe_phase {
    LATHE_PHASE_NONE,
    LATHE_PHASE_QUEUE, /* waiting for its turn or for the next attempt */
    LATHE_PHASE_RESOLVE,
    LATHE_PHASE_CONNECT,
    LATHE_PHASE_TLS,
    LATHE_PHASE_SEND,
    LATHE_PHASE_WAIT,
    LATHE_PHASE_READ,
} lathe_phase;

/* "resolve", "connect", ... in lower case; "" for none. */
const char *lathe_phase_name(lathe_phase phase);

/* Seconds from the start of the last attempt to the end of each phase; below 0: not reached. */
typedef struct lathe_times {
    double resolve, connect, tls, send, wait, total;
} lathe_times;

/* What went wrong. Owned by the caller: lathe_error_init, then lathe_error_clear. It holds neither
 * the key nor anything of the request. Members that a code does not use are zero, NULL or -1. */
typedef struct lathe_error {
    lathe_code code;
    lathe_faults faults; /* INVALID_REQUEST, INVALID_PROMPT */
    char **names;        /* MISSING_VARIABLE: the variables, in first-seen order */
    size_t name_count;   /* VARIABLES_CHANGED: those that are lost */
    char **won;          /* VARIABLES_CHANGED: those that are new */
    size_t won_count;
    /* every error of a call that was sent or should have been */
    int attempts;
    double retry_after; /* seconds the service asked to wait; -1 when it did not say */
    /* CONNECTION, TIMEOUT */
    lathe_phase phase;
    int curl_code;
    lathe_times times;
    /* STATUS and its kin, RESPONSE_VALIDATION */
    int status;
    char *type; /* the service's own word for the error, or NULL */
    char *said; /* the service's own message, or NULL; unlike `message` it may quote the request */
    char *request_id;
    char *location; /* where a redirect points, or NULL */
    char *body;     /* the answer's body, at most 64 KiB of it */
    size_t body_size;
    bool body_is_json; /* body is whole and valid JSON */
    lathe_headers headers;
    /* MODEL_ANSWER, VARIABLES_CHANGED, with status, request_id, body and headers of the last
     * answer; `type` is "cut_off", "refusal", "unparsable" or "variables" */
    char *answer; /* what the model wrote, its text alone */
    size_t answer_size;
    char *usage; /* JSON, the sum over the model's answers */
    /* texts, "" when there is nothing to say */
    char message[640];      /* a sentence, UTF-8, that a user can act on; always there */
    char curl_message[256]; /* CONNECTION, TIMEOUT, like the next two */
    char host[256];
    char address[64]; /* that was connected to */
} lathe_error;

void lathe_error_init(lathe_error *error);
void lathe_error_clear(lathe_error *error);

/* ---- Values of the host ---------------------------------------------------------------------- */

/* The rules and the wire know values only through these two tables, so that they serve a C program
 * with jansson and a Python interpreter alike, and no tree is built in between. */

typedef enum lathe_kind {
    LATHE_KIND_NULL,
    LATHE_KIND_BOOLEAN,
    LATHE_KIND_INTEGER,
    LATHE_KIND_REAL,
    LATHE_KIND_STRING,
    LATHE_KIND_LIST,
    LATHE_KIND_OBJECT,
    LATHE_KIND_OTHER, /* of no JSON type */
} lathe_kind;

typedef struct lathe_text {
    const char *data;
    size_t size;
} lathe_text;

/* The place of a walk through an object's members; zeroed before the first step. */
typedef struct lathe_cursor {
    size_t position;
    const void *state; /* the host's own */
} lathe_cursor;

/* How a host's values are read. What a source hands out stays valid until the public call that was
 * given the source returns, whatever other threads do to the values meanwhile. */
typedef struct lathe_source_table {
    lathe_kind (*kind)(void *self, const void *value);
    /* The bytes of a string. LATHE_NOT_UNICODE when it has no UTF-8 form, LATHE_MEMORY, LATHE_HOST.
     */
    lathe_code (*text)(void *self, const void *string, lathe_text *text);
    size_t (*length)(void *self, const void *list);
    /* *item is NULL when the list has meanwhile become shorter. */
    lathe_code (*item)(void *self, const void *list, size_t index, const void **item);
    /* Members in order; *key is NULL at the end. A key is a value of the host: it may be no string.
     */
    lathe_code (*member)(void *self, const void *object, lathe_cursor *cursor, const void **key,
                         const void **value);
    /* Optional short cut, NULL for the walk by `member`: the values of the members that have these
     * names (ASCII), each the first of its name, and whether there are other members. `values` and
     * *others come as NULL and false. */
    lathe_code (*find)(void *self, const void *object, const char *const *names, size_t count,
                       const void **values, bool *others);
} lathe_source_table;

typedef struct lathe_source {
    const lathe_source_table *table;
    void *self;
} lathe_source;

/* How a host's values are built, by events in document order: each begin_* is closed by end, and in
 * an object each value follows its key. A sink that was not fed to the end is dropped half made.
 * Each returns LATHE_OK, LATHE_MEMORY or LATHE_HOST. */
typedef struct lathe_sink_table {
    lathe_code (*null)(void *self);
    lathe_code (*boolean)(void *self, bool value);
    lathe_code (*integer)(void *self, int64_t value);
    lathe_code (*real)(void *self, double value);
    lathe_code (*string)(void *self, const char *data, size_t size);
    lathe_code (*begin_list)(void *self);
    lathe_code (*begin_object)(void *self);
    lathe_code (*key)(void *self, const char *data, size_t size);
    lathe_code (*end)(void *self);
    /* Puts in a value that came from a source with the table `host`, as it is. Both are NULL where
     * there is no such host (a writer of JSON). */
    lathe_code (*pass)(void *self, const void *value);
    const lathe_source_table *host;
    /* Optional short cuts, NULL for the steps above. A message up to its first block, two levels
     * left open: {"role": "user" or "assistant", "content": [. `given` is the role as a value to
     * pass, or NULL. */
    lathe_code (*begin_message)(void *self, bool assistant, const void *given);
    /* A block, {"type": "text", "text": ...}. `given` is the text as a value to pass, or NULL. */
    lathe_code (*text_block)(void *self, const char *data, size_t size, const void *given);
} lathe_sink_table;

typedef struct lathe_sink {
    const lathe_sink_table *table;
    void *self;
} lathe_sink;

/* jansson as a host. Values of the source are json_t *. */
lathe_source lathe_jansson_source(void);

typedef struct lathe_jansson_builder {
    struct json_t *root; /* the finished value, owned by the builder until taken */
    void *stack;
} lathe_jansson_builder;

void lathe_jansson_builder_init(lathe_jansson_builder *builder);
/* Frees what was built, finished or not. */
void lathe_jansson_builder_clear(lathe_jansson_builder *builder);
/* The finished value, now the caller's (json_decref); NULL when it is not finished. */
struct json_t *lathe_jansson_builder_take(lathe_jansson_builder *builder);
lathe_sink lathe_jansson_sink(lathe_jansson_builder *builder);

/* Reads one JSON text (RFC 8259, UTF-8, no BOM, integers within 64 bits, at most 2,048 levels,
 * of which a scalar is one) into a sink. LATHE_RESPONSE_VALIDATION with a sentence that says what
 * is wrong and at which byte. */
lathe_code lathe_json_read(const char *data, size_t size, const lathe_sink *sink,
                           lathe_error *error);

/* ---- The rules ------------------------------------------------------------------------------- */

/* Checks the messages of improve and templatize and feeds their normal form (a list of messages
 * whose content is a list of text blocks) to `sink`, or checks only when sink is NULL. A string
 * stands for one user message. LATHE_INVALID_REQUEST with every fault in error->faults; what the
 * sink holds is then of no use. */
lathe_code lathe_messages_check(const lathe_source *source, const void *messages,
                                const lathe_sink *sink, lathe_error *error);

/* A legacy prompt after sanitizing, without a copy: "\n\n" when `normalized`, then `text`, a part
 * of the prompt as given. Neither flag set: the prompt is clean, and `text` all of it. */
typedef struct lathe_sanitized {
    bool normalized; /* normalized_leading_newlines */
    bool stripped;   /* stripped_trailing_whitespace */
    lathe_text text;
} lathe_sanitized;

/* A legacy prompt as given. */
typedef struct lathe_prompt {
    const char *data;
    size_t size;
    bool is_utf8; /* its host knows that it is valid UTF-8: it is not looked through for that */
} lathe_prompt;

/* Never fails; checks nothing. */
lathe_sanitized lathe_completion_sanitize(const char *prompt, size_t size);

/* Counts the tokens of the sanitized prompt. Sets *count; LATHE_HOST to stop. */
typedef lathe_code (*lathe_count_tokens)(void *self, const char *text, size_t size, int64_t *count);

/* Sanitizes and checks. `count` may be NULL. LATHE_INVALID_PROMPT with every fault in
 * error->faults, each with its offset (path is ""), LATHE_HOST when count failed. */
lathe_code lathe_completion_check(lathe_prompt prompt, lathe_count_tokens count, void *self,
                                  lathe_sanitized *sanitized, lathe_error *error);

/* Checks, then feeds {"system", "messages"} to the sink. Errors as above. */
lathe_code lathe_completion_convert(lathe_prompt prompt, lathe_count_tokens count, void *self,
                                    const lathe_sink *sink, lathe_error *error);

/* Feeds the list of the names of the variables in `prompt`, each once, in first-seen order. prompt
 * is a string, a list of messages, or a response object (its system first, then its messages).
 * LATHE_INVALID_REQUEST with the faults when it is none of them (path "prompt"). */
lathe_code lathe_template_variables(const lathe_source *source, const void *prompt,
                                    const lathe_sink *sink, lathe_error *error);

/* Feeds `prompt` (as above) with each variable replaced by its value in the object `values`; all
 * else is copied as it is, "variable_values" and "usage" included. A variable without a value stays
 * when `partial`, else LATHE_MISSING_VARIABLE names them all. A value that a variable needs and
 * that is no string: LATHE_INVALID_REQUEST, one fault per name, path "values.NAME". */
lathe_code lathe_template_render(const lathe_source *source, const void *prompt, const void *values,
                                 bool partial, const lathe_sink *sink, lathe_error *error);

/* Renders `response` with its own variable_values (partially) and compares it with the request that
 * it answers, both in normal form, block by block. Feeds a list of {"path", "code", "expected",
 * "got"}, empty when the round trip is exact; code is "text", "role" or "count". `system` is NULL
 * when the request had none. LATHE_INVALID_REQUEST when the request's messages break the rules, or
 * the response is no answer of templatize (paths then begin with "response."). */
lathe_code lathe_round_trip_check(const lathe_source *source, const void *messages,
                                  const void *system, const void *response, const lathe_sink *sink,
                                  lathe_error *error);

/* ---- Models ---------------------------------------------------------------------------------- */

/* Whether the model of this name is known to go on from a final assistant message, a prefill. True
 * for Claude Haiku, Sonnet and Opus from 3 to 4.5 alone, in whatever form vendor, clouds and
 * gateways write that: "claude-3-5-sonnet-20241022", "us.anthropic.claude-haiku-4-5-20251001-v1:0",
 * "claude-sonnet-4@20250514", "anthropic/claude-sonnet-4.5", "claude-4-opus". Claude answers 400
 * from 4.6 on (and with thinking, as names that say "thinking" have it), so names without a version
 * and families that came later are false too. So is any other model: whether a server goes on from
 * such a message, ignores or refuses it depends on its software, the chat template and switches,
 * which a name does not tell. `model` may be any bytes; NULL with a size of 0. Never fails.
 * Source: the vendor's pages "Using the Messages API" and "Extended thinking". */
bool lathe_model_takes_prefill(const char *model, size_t size);

/* ---- The client ------------------------------------------------------------------------------ */

typedef struct lathe_client lathe_client;
typedef struct lathe_call lathe_call;

/* How much work a model is asked to do. */
typedef enum lathe_effort {
    LATHE_EFFORT_FAST = 0,     /* one request */
    LATHE_EFFORT_THOROUGH = 1, /* improve: several, each with one step of the work */
} lathe_effort;

/* What is done with an improved prompt that lacks a variable of its original, or has a new one. */
typedef enum lathe_on_change {
    LATHE_CHANGE_RAISE = 0, /* LATHE_VARIABLES_CHANGED */
    LATHE_CHANGE_KEEP = 1,  /* the original is the result */
    LATHE_CHANGE_WARN = 2,  /* it is the result all the same, and lathe_response.warning says so */
} lathe_on_change;

enum { LATHE_MAX_TOKENS_MOST = 1000000000 };

/* No limit of time: INFINITY. An option of a call or of a copy that is not given: NAN, or -1, or a
 * NULL pointer. */
typedef struct lathe_options {
    double timeout; /* seconds for the whole call, with its queueing, retries and body; above 0 */
    double connect_timeout; /* seconds for name, connection and TLS of one attempt; above 0 */
    int max_retries;
    const char *const *betas; /* a call's are added to the client's; a copy's replace them */
    size_t beta_count;
    const lathe_header *headers; /* over the client's, name by name, which are over our own */
    size_t header_count;
    /* The model that does the work of the verbs, over POST /v1/messages; "" for none: the
     * documented endpoints are called. An option of clients and copies; a call's must be NULL. The
     * others below are of no use without it. */
    const char *model;
    int max_tokens;           /* of one answer of the model, 1 to LATHE_MAX_TOKENS_MOST */
    int effort;               /* a lathe_effort */
    int on_variable_change;   /* a lathe_on_change */
    const char *instructions; /* a folder with texts in place of our own; "" for none */
} lathe_options;

void lathe_options_init(lathe_options *options);

typedef struct lathe_client_options {
    /* NULL: from the environment, as contract and README say. An empty variable is an unset one. */
    const char *api_key;
    const char *auth_token;
    const char *base_url;
    const char *ca_file;
    const char *proxy;       /* "": none, whatever the environment says */
    const char *ca_fallback; /* a CA file to use when nothing else is found, or NULL */
    const char *host_agent;  /* a product for User-Agent, such as "python/3.11.2", or NULL */
    bool allow_http;
    bool log_bodies;           /* keep request bodies for events */
    size_t max_response_bytes; /* of the decoded body */
    lathe_options call; /* what calls begin with: 600 s, 5 s, 2 retries, 8192 tokens, fast, raise */
} lathe_client_options;

void lathe_client_options_init(lathe_client_options *options);

/* LATHE_CONFIGURATION with the name of the option in the message; LATHE_NO_CA when no CA
 * certificates were found (the message lists what was tried). Opens no connection. */
lathe_code lathe_client_new(const lathe_client_options *options, lathe_client **client,
                            lathe_error *error);

/* A client that shares connections, key and limits with `client` and begins its calls with other
 * options. Closing the copy leaves the original open; closing the original ends its copies. */
lathe_code lathe_client_copy(lathe_client *client, const lathe_options *options,
                             lathe_client **copy, lathe_error *error);

/* Refuses new calls and ends those in flight with LATHE_CLIENT_CLOSED, without waiting for those
 * who wait for them. May be called twice. */
void lathe_client_close(lathe_client *client);
bool lathe_client_closed(lathe_client *client);
/* Closes and gives the handle up. Calls keep what they need. */
void lathe_client_free(lathe_client *client);

/* Static for the client's life: "https://api.anthropic.com", without a slash at the end. */
const char *lathe_client_base_url(const lathe_client *client);
/* What calls of this client begin with; the pointers in *options stay the client's. */
void lathe_client_call_options(const lathe_client *client, lathe_options *options);

/* Feeds {kind: {"limit", "remaining", "reset"}} from the newest answer that told: numbers, and the
 * reset as the service wrote it. An empty object before that. */
lathe_code lathe_client_rate_limits(lathe_client *client, const lathe_sink *sink);

/* ---- Calls ----------------------------------------------------------------------------------- */

typedef enum lathe_verb { LATHE_GENERATE, LATHE_IMPROVE, LATHE_TEMPLATIZE } lathe_verb;

/* "generate", "improve", "templatize". */
const char *lathe_verb_name(lathe_verb verb);

/* The arguments of a verb as values of the source; NULL for one that is not given. A member that
 * the verb does not have must be NULL. */
typedef struct lathe_request {
    lathe_verb verb;
    lathe_source source;
    const void *task, *messages, *feedback, *system, *target_model;
} lathe_request;

/* A 200 answer whose body has not been read yet. Freed by lathe_response_free. */
typedef struct lathe_response {
    lathe_verb verb;
    int status;
    lathe_headers headers;
    char *request_id; /* or NULL */
    int attempts;
    double elapsed; /* seconds from the call's start to its end */
    char *body;
    size_t body_size;
    size_t
        body_room; /* of its block, behind the body and a NUL: what lathe_response_read works in */
    /* With a model; NULL without. Status, headers and request_id are then those of its last answer,
     * attempts and usage those of all. Each is JSON: a list of the bodies of its answers in order,
     * and a list of
     * {"code", "message", ...}: what was dropped or changed on the way. */
    char *answers, *notes;
    char *instructions;   /* the version of the texts that it was given */
    char *warning;        /* a sentence for the caller to see, or NULL */
    lathe_client *client; /* the library's own */
} lathe_response;

void lathe_response_free(lathe_response *response);

/* Reads the body into the sink and checks it against the documented shape, no more: what else it
 * holds is passed on. LATHE_RESPONSE_VALIDATION says what is wrong and where. One thread at a time
 * reads a response. */
lathe_code lathe_response_read(const lathe_response *response, const lathe_sink *sink,
                               lathe_error *error);

/* Checks the request, writes its body and headers. Nothing is sent; the call's deadline begins
 * here. `options` may be NULL. LATHE_INVALID_REQUEST, LATHE_CONFIGURATION, LATHE_CLIENT_CLOSED. */
lathe_code lathe_call_new(lathe_client *client, const lathe_request *request,
                          const lathe_options *options, lathe_call **call, lathe_error *error);

/* Puts the call in the queue of the client's shared engine. Once per call, and not for one that was
 * given to a loop. Never waits. */
void lathe_call_start(lathe_call *call);

typedef enum lathe_wait {
    LATHE_WAIT_DONE,  /* ended: take the result */
    LATHE_WAIT_EVENT, /* lathe_call_event has something new */
    LATHE_WAIT_AGAIN, /* the time given is over, or a signal arrived: wait again or cancel */
} lathe_wait;

/* After lathe_call_start: waits for the call's end and drives the engine meanwhile, for all who
 * wait. By one thread at a time, at most `seconds` (INFINITY: until done). With `signals` it also
 * returns at EINTR. */
lathe_wait lathe_call_wait(lathe_call *call, double seconds, bool signals);

/* What happened to a call so far, for logs. */
typedef enum lathe_event_kind { LATHE_EVENT_ATTEMPT, LATHE_EVENT_RETRY } lathe_event_kind;

typedef struct lathe_event {
    lathe_event_kind kind;
    int attempt;    /* from 1 */
    int status;     /* 0: no answer */
    double elapsed; /* seconds: of the attempt, or until the next one for RETRY */
    lathe_phase phase;
    int curl_code;
    char request_id[128];
} lathe_event;

/* Takes the next event; false when there is none. */
bool lathe_call_event(lathe_call *call, lathe_event *event);

/* The request's body, for logs; valid as long as the call. NULL unless log_bodies. */
const char *lathe_call_body(const lathe_call *call, size_t *size);
/* Overwrites the key with asterisks wherever it stands in a copy of a body that is to be logged. */
void lathe_call_redact(const lathe_call *call, char *data, size_t size);
/* "https://host/v1/experimental/generate_prompt", with a model "https://host/v1/messages"; valid as
 * long as the call. */
const char *lathe_call_url(const lathe_call *call);

/* Ends the call, unless it has not been started or has ended: the result is LATHE_CANCELLED. Never
 * waits for another thread's network work. A call of a loop is not reaped any more. */
void lathe_call_cancel(lathe_call *call);

/* After LATHE_WAIT_DONE, once: the response, or why there is none. With a model also
 * LATHE_MODEL_ANSWER: what it wrote cannot be used, also not after it was told why, and
 * LATHE_VARIABLES_CHANGED. */
lathe_code lathe_call_result(lathe_call *call, lathe_response **response, lathe_error *error);

/* Cancels when needed. */
void lathe_call_free(lathe_call *call);

/* All of it: new, start, wait, result. */
lathe_code lathe_call_run(lathe_client *client, const lathe_request *request,
                          const lathe_options *options, lathe_response **response,
                          lathe_error *error);

/* ---- Loops: many calls, one driver ----------------------------------------------------------- */

/* An engine that one driver has for itself: an event loop, or a thread with many calls in flight.
 * It has no thread of its own: its calls go on in lathe_loop_step alone. One thread at a time may
 * use it; cancelling its calls and closing its client is free to all. */
typedef struct lathe_loop lathe_loop;

/* LATHE_CLIENT_CLOSED; LATHE_MEMORY, also without descriptors. */
lathe_code lathe_loop_new(lathe_client *client, lathe_loop **loop, lathe_error *error);
/* Cancels the calls still in it. Its descriptor may be closed here: stop watching it before. */
void lathe_loop_free(lathe_loop *loop);
/* False in a fork's child for a loop of the parent's: it is of no use but to be freed. */
bool lathe_loop_is_ours(const lathe_loop *loop);

/* Puts a call of the loop's client, or of one that shares its connections, in the loop's queue.
 * Instead of lathe_call_start. `tag` is the caller's own. Never waits and sends nothing: a step
 * does. */
void lathe_loop_start(lathe_loop *loop, lathe_call *call, void *tag);
void *lathe_call_tag(const lathe_call *call);

/* Readable when a step has something to do; -1 where the system has no such descriptor (it has with
 * epoll): then only steps that wait are of use. */
int lathe_loop_descriptor(const lathe_loop *loop);
/* Seconds until a step is due without the descriptor: 0 when there is something to do already, or
 * INFINITY. Ask again after each start, step and cancel. */
double lathe_loop_next(lathe_loop *loop);
/* Waits at most `seconds` for something to do and does it, for about `budget` seconds at most
 * (INFINITY: all of it): what is left is done by the next step. False when a signal ended the wait.
 * With `seconds` below 0 it only sends what was started, and looks at what has arrived only when
 * something waits for its connection. */
bool lathe_loop_step(lathe_loop *loop, double seconds, double budget);
/* A call that has ended (LATHE_WAIT_DONE: take its result, then free it) or has events to be read
 * (LATHE_WAIT_EVENT); NULL when there is none. */
lathe_call *lathe_loop_reap(lathe_loop *loop, lathe_wait *what);
/* The driver will be away: the deadlines of its calls stand still until the next step. */
void lathe_loop_leave(lathe_loop *loop);

/* ---- Maps: a sequence of requests, some in flight -------------------------------------------- */

/* What a request of a sequence says it is: "generate", "improve" or "templatize"; `value` NULL when
 * it says nothing. LATHE_INVALID_REQUEST with one fault at "verb": missing, wrong_type, not_unicode
 * or bad_verb. */
lathe_code lathe_verb_read(const lathe_source *source, const void *value, lathe_verb *verb,
                           lathe_error *error);

/* Drives a loop of its own with up to `concurrency` calls in flight, and gives results out in order
 * or as they come. One thread at a time may use it. */
typedef struct lathe_map lathe_map;

enum { LATHE_MAP_MOST = 65536 };

/* `concurrency` is 1 to LATHE_MAP_MOST, else LATHE_CONFIGURATION; as lathe_loop_new. */
lathe_code lathe_map_new(lathe_client *client, size_t concurrency, bool ordered, lathe_map **map,
                         lathe_error *error);
/* Cancels what is in flight; calls that were not given out are freed. */
void lathe_map_free(lathe_map *map);
/* False in a fork's child for a map of the parent's: it is of no use but to be freed. */
bool lathe_map_is_ours(const lathe_map *map);

/* Whether another request may be read now: fewer than `concurrency` are in flight, and fewer than
 * twice as many are added and not given out. */
bool lathe_map_wants(const lathe_map *map);
/* Adds the call of the next request, made by lathe_call_new for the map's client and now the map's;
 * it is in flight at once. NULL: what is `kept` is the result already, a failure say. `kept` is the
 * caller's own and given out with the call. LATHE_OK, or LATHE_MEMORY and nothing was taken. */
lathe_code lathe_map_add(lathe_map *map, lathe_call *call, void *kept);
/* What was added and is not given out. */
size_t lathe_map_count(const lathe_map *map);

typedef struct lathe_map_item {
    size_t index;     /* of the request, from 0 */
    lathe_call *call; /* or NULL */
    void *kept;
} lathe_map_item;

/* Gives the next result out: in order of the requests, or as they end. Drives meanwhile, and waits
 * at most `seconds`. LATHE_WAIT_DONE: item->call has ended and is the caller's (take its result,
 * then free it), or there is only what was kept. LATHE_WAIT_EVENT: item->call, still the map's, has
 * events to be read. LATHE_WAIT_AGAIN: the time is over, a signal arrived (only with `signals`),
 * lathe_map_wants became true, or nothing is left to wait for. */
lathe_wait lathe_map_next(lathe_map *map, double seconds, bool signals, lathe_map_item *item);
/* The caller will be away: the deadlines of what is in flight stand still until the next
 * lathe_map_next that drives. */
void lathe_map_leave(lathe_map *map);

/* "promptlathe/0.1.0 libcurl/7.88.1 ..." as sent in User-Agent without the host's part; static. */
const char *lathe_version(void);

#ifdef __cplusplus
}
#endif

#endif
