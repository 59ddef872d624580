#include "client.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "error.h"
#include "forking.h"
#include "outgoing.h"
#include "ratelimits.h"
#include "value.h"

enum { MODEL_LENGTH = 256 };

/* Whose an engine is. */
typedef enum lathe_role {
    ROLE_SHARED, /* of the synchronous calls */
    ROLE_LOOP,
    ROLE_SPARE, /* left by a loop, with its connections, for the next */
} lathe_role;

typedef struct lathe_place {
    lathe_engine *engine; /* a reference */
    lathe_role role;
    unsigned swept; /* the closing that has seen it */
} lathe_place;

/* What a client and its copies share. */
typedef struct lathe_hub {
    atomic_int references;
    lathe_settings settings; /* read only */
    lathe_lock lock;
    /* under the lock */
    lathe_limits limits;
    lathe_gate gate;
    lathe_share *share;
    unsigned generation; /* of share and engines */
    lathe_place *places;
    size_t place_count, place_capacity;
    unsigned closings;
} lathe_hub;

struct lathe_client {
    atomic_int references;
    atomic_bool closed;
    lathe_hub *hub;
    lathe_client *parent;             /* whose closing ends this one too; NULL for an original */
    lathe_options options;            /* every member set; its arrays are the client's */
    lathe_lines lines;                /* of a call without options of its own */
    lathe_instructions *instructions; /* with a model */
    atomic_bool no_schema;            /* the server knows no structured output */
};

/* ---- Options --------------------------------------------------------------------------------- */

void lathe_options_init(lathe_options *options)
{
    *options = (lathe_options){.timeout = NAN,
                               .connect_timeout = NAN,
                               .max_retries = -1,
                               .max_tokens = -1,
                               .effort = -1,
                               .on_variable_change = -1};
}

void lathe_client_options_init(lathe_client_options *options)
{
    *options = (lathe_client_options){.max_response_bytes = 64U << 20,
                                      .call = {.timeout = 600,
                                               .connect_timeout = 5,
                                               .max_retries = 2,
                                               .max_tokens = 8192,
                                               .effort = LATHE_EFFORT_FAST,
                                               .on_variable_change = LATHE_CHANGE_RAISE}};
}

static lathe_code check_model_options(const lathe_options *options, lathe_error *error)
{
    const char *model = options->model ? options->model : "";
    size_t size = strlen(model);
    if (!lathe_utf8_valid(model, size) || lathe_utf8_length(model, size) > MODEL_LENGTH)
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "model must be at most %d characters of UTF-8", MODEL_LENGTH);
    if (options->max_tokens != -1 &&
        (options->max_tokens < 1 || options->max_tokens > LATHE_MAX_TOKENS_MOST))
        return lathe_fail(error, LATHE_CONFIGURATION, "max_tokens must be from 1 to %d",
                          LATHE_MAX_TOKENS_MOST);
    if (options->effort < -1 || options->effort > LATHE_EFFORT_THOROUGH)
        return lathe_fail(error, LATHE_CONFIGURATION, "effort must be fast or thorough");
    if (options->on_variable_change < -1 || options->on_variable_change > LATHE_CHANGE_WARN)
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "on_variable_change must be raise, keep_original or warn");
    return LATHE_OK;
}

lathe_code lathe_options_check(const lathe_options *options, const char *where, lathe_error *error)
{
    if (check_model_options(options, error))
        return error->code;
    if (options->timeout <= 0)
        return lathe_fail(error, LATHE_CONFIGURATION, "timeout must be above 0 seconds");
    if (options->connect_timeout <= 0)
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "the connect timeout must be above 0 seconds");
    if (options->max_retries < -1)
        return lathe_fail(error, LATHE_CONFIGURATION, "max_retries must be 0 or more");
    for (size_t i = 0; i < options->beta_count; i++)
        if (lathe_beta_check(options->betas[i], "betas", error))
            return error->code;
    for (size_t i = 0; i < options->header_count; i++)
        if (lathe_header_check(&options->headers[i], where, error))
            return error->code;
    return LATHE_OK;
}

static void options_clear(lathe_options *options)
{
    for (size_t i = 0; options->betas && i < options->beta_count; i++)
        lathe_free((void *)(uintptr_t)options->betas[i]);
    for (size_t i = 0; options->headers && i < options->header_count; i++) {
        lathe_free((void *)(uintptr_t)options->headers[i].name);
        lathe_free((void *)(uintptr_t)options->headers[i].value);
    }
    lathe_free((void *)(uintptr_t)options->betas);
    lathe_free((void *)(uintptr_t)options->headers);
    lathe_free((void *)(uintptr_t)options->model);
    lathe_free((void *)(uintptr_t)options->instructions);
}

static lathe_code copy_betas(lathe_options *to, const lathe_options *from)
{
    char **betas = lathe_calloc(from->beta_count + 1, sizeof *betas);
    to->betas = (const char *const *)betas;
    to->beta_count = from->beta_count;
    if (!betas)
        return LATHE_MEMORY;
    for (size_t i = 0; i < from->beta_count; i++)
        if (!(betas[i] = lathe_copy_string(from->betas[i])))
            return LATHE_MEMORY;
    return LATHE_OK;
}

/* Those of `over` come behind: the last of a name counts. */
static lathe_code copy_headers(lathe_options *to, const lathe_options *under,
                               const lathe_options *over)
{
    size_t count = under->header_count + over->header_count;
    lathe_header *headers = lathe_calloc(count + 1, sizeof *headers);
    to->headers = headers;
    to->header_count = count;
    if (!headers)
        return LATHE_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const lathe_header *from =
            i < under->header_count ? &under->headers[i] : &over->headers[i - under->header_count];
        headers[i].name = lathe_copy_string(from->name);
        headers[i].value = lathe_copy_string(from->value);
        if (!headers[i].name || !headers[i].value)
            return LATHE_MEMORY;
    }
    return LATHE_OK;
}

static int either(int over, int under)
{
    return over < 0 ? under : over;
}

static lathe_code copy_model(lathe_options *to, const lathe_options *under,
                             const lathe_options *over)
{
    const char *model = over->model ? over->model : under->model;
    const char *folder = over->instructions ? over->instructions : under->instructions;
    to->model = lathe_copy_string(model ? model : "");
    to->instructions = lathe_copy_string(folder ? folder : "");
    return to->model && to->instructions ? LATHE_OK : LATHE_MEMORY;
}

/* `over` where it is given, else `under`. */
static lathe_code options_merge(lathe_options *to, const lathe_options *under,
                                const lathe_options *over)
{
    *to = (lathe_options){.timeout = isnan(over->timeout) ? under->timeout : over->timeout,
                          .connect_timeout = isnan(over->connect_timeout) ? under->connect_timeout
                                                                          : over->connect_timeout,
                          .max_retries = either(over->max_retries, under->max_retries),
                          .max_tokens = either(over->max_tokens, under->max_tokens),
                          .effort = either(over->effort, under->effort),
                          .on_variable_change =
                              either(over->on_variable_change, under->on_variable_change)};
    lathe_code code = copy_betas(to, over->betas ? over : under);
    if (!code)
        code = copy_model(to, under, over);
    return code ? code : copy_headers(to, under, over);
}

/* ---- The hub --------------------------------------------------------------------------------- */

static void hub_release(lathe_hub *hub)
{
    if (!hub || atomic_fetch_sub(&hub->references, 1) > 1)
        return;
    for (size_t i = 0; i < hub->place_count; i++)
        lathe_engine_release(hub->places[i].engine);
    lathe_free(hub->places);
    /* The locks of an inherited one may be held by threads that are not here. */
    if (hub->generation == lathe_generation())
        lathe_share_free(hub->share);
    lathe_settings_clear(&hub->settings);
    lathe_lock_destroy(&hub->lock);
    lathe_free(hub);
}

static lathe_hub *hub_new(const lathe_client_options *options, lathe_error *error)
{
    lathe_hub *made = lathe_calloc(1, sizeof *made);
    if (!made) {
        lathe_fail(error, LATHE_MEMORY, NULL);
        return NULL;
    }
    atomic_init(&made->references, 1);
    lathe_lock_init(&made->lock, LATHE_LOCK_HUB, NULL);
    made->generation = lathe_generation();
    lathe_gate_init(&made->gate);
    if (!lathe_settings_init(&made->settings, options, error))
        return made;
    hub_release(made);
    return NULL;
}

/* ---- Engines --------------------------------------------------------------------------------- */

/* In a fork's child: gives up what was inherited. */
static void renew_locked(lathe_hub *hub)
{
    if (hub->generation == lathe_generation())
        return;
    hub->place_count = 0; /* they are left as they are: see lathe_engine_release */
    hub->share = NULL;
    lathe_gate_init(&hub->gate);
    hub->generation = lathe_generation();
}

static lathe_place *find_locked(lathe_hub *hub, lathe_role role)
{
    for (size_t i = 0; i < hub->place_count; i++)
        if (hub->places[i].role == role)
            return &hub->places[i];
    return NULL;
}

static bool reserve_locked(lathe_hub *hub)
{
    if (hub->place_count < hub->place_capacity)
        return true;
    size_t capacity = hub->place_capacity * 2 + 2;
    lathe_place *places = lathe_realloc(hub->places, capacity * sizeof *places);
    if (!places)
        return false;
    hub->places = places;
    hub->place_capacity = capacity;
    return true;
}

/* The engine of a place with the role `from`, which has the role `to` from now on, retained. */
static lathe_engine *find_engine_locked(lathe_client *client, lathe_role from, lathe_role to)
{
    renew_locked(client->hub);
    lathe_place *place = lathe_client_closed(client) ? NULL : find_locked(client->hub, from);
    if (!place)
        return NULL;
    place->role = to;
    return lathe_engine_retain(place->engine);
}

/* Makes what is missing without the lock; whoever comes second drops what it made. NULL without
 * memory. */
static lathe_share *get_share(lathe_hub *hub)
{
    pthread_mutex_lock(&hub->lock.mutex);
    lathe_share *share = hub->share, *made = NULL;
    pthread_mutex_unlock(&hub->lock.mutex);
    if (share)
        return share;
    made = lathe_share_new();
    pthread_mutex_lock(&hub->lock.mutex);
    if (!hub->share) {
        hub->share = made;
        made = NULL;
    }
    share = hub->share;
    pthread_mutex_unlock(&hub->lock.mutex);
    lathe_share_free(made);
    return share;
}

static lathe_engine *make_engine(lathe_client *client, lathe_role from, lathe_role to)
{
    lathe_hub *hub = client->hub;
    lathe_share *share = get_share(hub);
    lathe_engine *made = share ? lathe_engine_new(share) : NULL;
    pthread_mutex_lock(&hub->lock.mutex);
    lathe_engine *engine = find_engine_locked(client, from, to);
    if (!engine && made && !lathe_client_closed(client) && reserve_locked(hub)) {
        hub->places[hub->place_count++] =
            (lathe_place){.engine = made, .role = to, .swept = hub->closings};
        engine = lathe_engine_retain(made);
        made = NULL;
    }
    pthread_mutex_unlock(&hub->lock.mutex);
    lathe_engine_release(made);
    return engine;
}

static lathe_engine *take_engine(lathe_client *client, lathe_role from, lathe_role to,
                                 lathe_error *error)
{
    pthread_mutex_lock(&client->hub->lock.mutex);
    lathe_engine *engine = find_engine_locked(client, from, to);
    pthread_mutex_unlock(&client->hub->lock.mutex);
    if (!engine)
        engine = make_engine(client, from, to);
    if (!engine && lathe_client_closed(client))
        lathe_fail(error, LATHE_CLIENT_CLOSED, NULL);
    else if (!engine)
        lathe_fail_lacking(error);
    return engine;
}

lathe_engine *lathe_client_engine(lathe_client *client, lathe_error *error)
{
    return take_engine(client, ROLE_SHARED, ROLE_SHARED, error);
}

lathe_engine *lathe_client_take_engine(lathe_client *client, lathe_error *error)
{
    return take_engine(client, ROLE_SPARE, ROLE_LOOP, error);
}

/* One spare is kept. */
void lathe_client_give_engine(lathe_client *client, lathe_engine *engine, bool empty)
{
    lathe_hub *hub = client->hub;
    lathe_engine *dropped = NULL;
    pthread_mutex_lock(&hub->lock.mutex);
    bool keep = empty && !lathe_client_closed(client) && !find_locked(hub, ROLE_SPARE);
    for (size_t i = 0; i < hub->place_count; i++) {
        if (hub->places[i].engine != engine)
            continue;
        hub->places[i].role = ROLE_SPARE;
        if (!keep) {
            dropped = engine;
            hub->places[i] = hub->places[--hub->place_count];
        }
        break;
    }
    pthread_mutex_unlock(&hub->lock.mutex);
    lathe_engine_release(dropped); /* the hub's */
    lathe_engine_release(engine);
}

/* ---- The client ------------------------------------------------------------------------------ */

lathe_client *lathe_client_retain(lathe_client *client)
{
    atomic_fetch_add(&client->references, 1);
    return client;
}

void lathe_client_release(lathe_client *client)
{
    if (!client || atomic_fetch_sub(&client->references, 1) > 1)
        return;
    hub_release(client->hub);
    lathe_client_release(client->parent);
    options_clear(&client->options);
    lathe_lines_clear(&client->lines);
    lathe_instructions_release(client->instructions);
    lathe_free(client);
}

static lathe_client *client_alloc(lathe_error *error)
{
    lathe_client *client = lathe_calloc(1, sizeof *client);
    if (!client) {
        lathe_fail(error, LATHE_MEMORY, NULL);
        return NULL;
    }
    atomic_init(&client->references, 1);
    atomic_init(&client->closed, false);
    atomic_init(&client->no_schema, false);
    return client;
}

static lathe_code set_options(lathe_client *client, const lathe_options *under,
                              const lathe_options *over, lathe_error *error)
{
    const lathe_options none = {0};
    const lathe_options *options = &client->options;
    if (options_merge(&client->options, under, over) ||
        lathe_outgoing_lines(&client->hub->settings, options, &none, &client->lines))
        return lathe_fail(error, LATHE_MEMORY, NULL);
    if (lathe_settings_check_key(&client->hub->settings, *options->model, error) ||
        !*options->model)
        return error->code;
    return lathe_instructions_load(options->instructions, &client->instructions, error);
}

lathe_code lathe_client_new(const lathe_client_options *options, lathe_client **client,
                            lathe_error *error)
{
    const lathe_options none = {0};
    *client = NULL;
    lathe_code code = lathe_options_check(&options->call, "default_headers", error);
    lathe_client *made = code ? NULL : client_alloc(error);
    if (!made)
        return error->code;
    made->hub = hub_new(options, error);
    if (!error->code)
        set_options(made, &none, &options->call, error);
    if (error->code)
        lathe_client_release(made);
    else
        *client = made;
    return error->code;
}

lathe_code lathe_client_copy(lathe_client *client, const lathe_options *options,
                             lathe_client **copy, lathe_error *error)
{
    *copy = NULL;
    if (lathe_client_closed(client))
        return lathe_fail(error, LATHE_CLIENT_CLOSED, NULL);
    lathe_code code = lathe_options_check(options, "default_headers", error);
    lathe_client *made = code ? NULL : client_alloc(error);
    if (!made)
        return error->code;
    made->parent = lathe_client_retain(client);
    made->hub = client->hub;
    atomic_fetch_add(&made->hub->references, 1);
    if (set_options(made, &client->options, options, error))
        lathe_client_release(made);
    else
        *copy = made;
    return error->code;
}

bool lathe_client_closed(lathe_client *client)
{
    for (; client; client = client->parent)
        if (atomic_load(&client->closed))
            return true;
    return false;
}

/* The next engine that this closing has not seen, retained. An original lets go of those that no
 * loop holds. */
static lathe_engine *next_to_sweep(lathe_client *client, unsigned closing)
{
    lathe_hub *hub = client->hub;
    lathe_engine *engine = NULL;
    pthread_mutex_lock(&hub->lock.mutex);
    renew_locked(hub);
    size_t i = 0;
    while (i < hub->place_count && hub->places[i].swept >= closing)
        i++;
    if (i < hub->place_count) {
        lathe_place *place = &hub->places[i];
        engine = place->engine;
        place->swept = closing;
        if (!client->parent && place->role != ROLE_LOOP)
            *place = hub->places[--hub->place_count];
        else
            lathe_engine_retain(engine);
    }
    pthread_mutex_unlock(&hub->lock.mutex);
    return engine;
}

static unsigned begin_closing(lathe_hub *hub)
{
    pthread_mutex_lock(&hub->lock.mutex);
    unsigned closing = ++hub->closings;
    pthread_mutex_unlock(&hub->lock.mutex);
    return closing;
}

void lathe_client_close(lathe_client *client)
{
    if (atomic_exchange(&client->closed, true))
        return;
    unsigned closing = begin_closing(client->hub);
    lathe_engine *engine;
    while ((engine = next_to_sweep(client, closing))) {
        lathe_engine_sweep(engine);
        lathe_engine_release(engine);
    }
}

void lathe_client_free(lathe_client *client)
{
    if (!client)
        return;
    lathe_client_close(client);
    lathe_client_release(client);
}

const char *lathe_client_base_url(const lathe_client *client)
{
    return client->hub->settings.base_url;
}

const lathe_lines *lathe_client_lines(const lathe_client *client)
{
    return &client->lines;
}

lathe_instructions *lathe_client_instructions(const lathe_client *client)
{
    return client->instructions;
}

bool lathe_client_asks_schema(lathe_client *client)
{
    return !atomic_load(&client->no_schema);
}

void lathe_client_learn_no_schema(lathe_client *client)
{
    atomic_store(&client->no_schema, true);
}

const lathe_settings *lathe_client_settings(const lathe_client *client)
{
    return &client->hub->settings;
}

void lathe_client_call_options(const lathe_client *client, lathe_options *options)
{
    *options = client->options;
}

double lathe_client_ask(lathe_client *client, double now, double random, lathe_ticket *ticket)
{
    lathe_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock.mutex);
    double wait = lathe_gate_ask(&hub->gate, now, random, ticket);
    pthread_mutex_unlock(&hub->lock.mutex);
    return wait;
}

void lathe_client_lose(lathe_client *client, const lathe_ticket *ticket, bool sent)
{
    lathe_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock.mutex);
    lathe_gate_lost(&hub->gate, ticket, sent);
    pthread_mutex_unlock(&hub->lock.mutex);
}

uint64_t lathe_client_in_flight(lathe_client *client)
{
    lathe_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock.mutex);
    uint64_t in_flight = hub->gate.in_flight;
    pthread_mutex_unlock(&hub->lock.mutex);
    return in_flight;
}

void lathe_client_tell(lathe_client *client, double now, double random, const lathe_ticket *ticket,
                       const lathe_headers *headers, int status, double hint)
{
    lathe_hub *hub = client->hub;
    lathe_limits told = {0};
    lathe_limits_take(&told, headers);
    double date = told.count ? lathe_http_time(lathe_headers_get(headers, "date")) : (double)NAN;
    const lathe_news news = {&told, date, status, hint};
    pthread_mutex_lock(&hub->lock.mutex);
    if (told.count)
        hub->limits = told;
    lathe_gate_answered(&hub->gate, now, random, ticket, &news);
    pthread_mutex_unlock(&hub->lock.mutex);
}

lathe_code lathe_client_rate_limits(lathe_client *client, const lathe_sink *sink)
{
    pthread_mutex_lock(&client->hub->lock.mutex);
    const lathe_limits limits = client->hub->limits;
    pthread_mutex_unlock(&client->hub->lock.mutex);
    return lathe_limits_feed(&limits, sink); /* the host is not called under the lock */
}
