#include "client.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "forking.h"
#include "ratelimits.h"

/* What a client and its copies share. */
typedef struct lathe_hub {
    atomic_int references;
    lathe_settings settings; /* read only */
    lathe_lock lock;
    /* under the lock */
    lathe_limits limits;
    lathe_share *share;
    lathe_engine *engine;
} lathe_hub;

struct lathe_client {
    atomic_int references;
    atomic_bool closed;
    lathe_hub *hub;
    lathe_client *parent;  /* whose closing ends this one too; NULL for an original */
    lathe_options options; /* every member set; its arrays are the client's */
};

/* ---- Options --------------------------------------------------------------------------------- */

void lathe_options_init(lathe_options *options)
{
    *options = (lathe_options){.timeout = NAN, .connect_timeout = NAN, .max_retries = -1};
}

void lathe_client_options_init(lathe_client_options *options)
{
    *options =
        (lathe_client_options){.max_response_bytes = 64U << 20,
                               .call = {.timeout = 600, .connect_timeout = 5, .max_retries = 2}};
}

lathe_code lathe_options_check(const lathe_options *options, const char *where, lathe_error *error)
{
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

/* `over` where it is given, else `under`. */
static lathe_code options_merge(lathe_options *to, const lathe_options *under,
                                const lathe_options *over)
{
    *to = (lathe_options){.timeout = isnan(over->timeout) ? under->timeout : over->timeout,
                          .connect_timeout = isnan(over->connect_timeout) ? under->connect_timeout
                                                                          : over->connect_timeout,
                          .max_retries =
                              over->max_retries < 0 ? under->max_retries : over->max_retries};
    lathe_code code = copy_betas(to, over->betas ? over : under);
    return code ? code : copy_headers(to, under, over);
}

/* ---- The hub --------------------------------------------------------------------------------- */

static void hub_release(lathe_hub *hub)
{
    if (!hub || atomic_fetch_sub(&hub->references, 1) > 1)
        return;
    lathe_engine_release(hub->engine);
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
    lathe_lock_init(&made->lock, LATHE_LOCK_HUB);
    if (!lathe_settings_init(&made->settings, options, error))
        return made;
    hub_release(made);
    return NULL;
}

/* An engine and a share of this process; NULL when there is none yet. */
static lathe_engine *current_engine_locked(lathe_hub *hub)
{
    if (hub->engine && !lathe_engine_is_ours(hub->engine)) {
        lathe_engine_abandon(hub->engine);
        hub->engine = NULL;
        hub->share = NULL; /* its locks may have been held by threads that are not here */
    }
    return hub->engine ? lathe_engine_retain(hub->engine) : NULL;
}

lathe_engine *lathe_client_engine(lathe_client *client)
{
    lathe_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock.mutex);
    lathe_engine *engine = current_engine_locked(hub);
    pthread_mutex_unlock(&hub->lock.mutex);
    if (engine)
        return engine;
    /* Made without the lock; whoever comes second drops what it made. */
    lathe_share *share = lathe_share_new();
    lathe_engine *made = share ? lathe_engine_new(share) : NULL;
    pthread_mutex_lock(&hub->lock.mutex);
    engine = current_engine_locked(hub);
    if (!engine && made && !lathe_client_closed(client)) {
        hub->share = share;
        hub->engine = made;
        engine = lathe_engine_retain(made);
        share = NULL;
        made = NULL;
    }
    pthread_mutex_unlock(&hub->lock.mutex);
    lathe_engine_release(made);
    lathe_share_free(share);
    return engine;
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
    return client;
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
    if (!error->code && options_merge(&made->options, &none, &options->call))
        lathe_fail(error, LATHE_MEMORY, NULL);
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
    if (options_merge(&made->options, &client->options, options)) {
        lathe_client_release(made);
        return lathe_fail(error, LATHE_MEMORY, NULL);
    }
    *copy = made;
    return LATHE_OK;
}

bool lathe_client_closed(lathe_client *client)
{
    for (; client; client = client->parent)
        if (atomic_load(&client->closed))
            return true;
    return false;
}

/* An original takes the engine away from all of its copies. */
static lathe_engine *take_engine(lathe_client *client)
{
    lathe_hub *hub = client->hub;
    pthread_mutex_lock(&hub->lock.mutex);
    lathe_engine *engine = current_engine_locked(hub);
    if (engine && !client->parent) {
        hub->engine = NULL;
        lathe_engine_release(engine); /* the hub's; ours is left */
    }
    pthread_mutex_unlock(&hub->lock.mutex);
    return engine;
}

void lathe_client_close(lathe_client *client)
{
    if (atomic_exchange(&client->closed, true))
        return;
    lathe_engine *engine = take_engine(client);
    if (!engine)
        return;
    lathe_engine_sweep(engine);
    lathe_engine_release(engine);
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

const lathe_settings *lathe_client_settings(const lathe_client *client)
{
    return &client->hub->settings;
}

void lathe_client_call_options(const lathe_client *client, lathe_options *options)
{
    *options = client->options;
}

void lathe_client_take_limits(lathe_client *client, const lathe_headers *headers)
{
    pthread_mutex_lock(&client->hub->lock.mutex);
    lathe_limits_take(&client->hub->limits, headers);
    pthread_mutex_unlock(&client->hub->lock.mutex);
}

lathe_code lathe_client_rate_limits(lathe_client *client, const lathe_sink *sink)
{
    pthread_mutex_lock(&client->hub->lock.mutex);
    const lathe_limits limits = client->hub->limits;
    pthread_mutex_unlock(&client->hub->lock.mutex);
    return lathe_limits_feed(&limits, sink); /* the host is not called under the lock */
}
