/* What a family of clients shares and never changes: address, key, certificates, proxy. */
#ifndef LATHE_SETTINGS_H
#define LATHE_SETTINGS_H

#include "promptlathe.h"

enum { LATHE_VERBS = LATHE_TEMPLATIZE + 1 };

/* Where the calls of a verb go. */
typedef struct lathe_target {
    char *url;
    void *address; /* the same as libcurl's CURLU, taken apart once */
} lathe_target;

typedef struct lathe_settings {
    char *base_url;                    /* without a slash at the end */
    lathe_target targets[LATHE_VERBS]; /* the documented endpoints */
    lathe_target messages;             /* where a model is asked */
    char *host;                        /* of base_url, for errors */
    bool https;
    bool vendor;       /* base_url is the vendor's own service */
    bool loopback;     /* this machine */
    char *secret_name; /* the header that carries the key; NULL: none, for a model on loopback */
    char *secret;      /* its value; wiped when freed */
    const char *key;   /* the part of it that is the key itself */
    char *ca_file, *ca_dir; /* both NULL: no https */
    char *proxy;            /* NULL: none */
    char *no_proxy;         /* hosts that are reached without it, or NULL */
    char *user_agent;
    size_t max_response_bytes;
    bool log_bodies;
} lathe_settings;

/* Checks the options, looks into the environment where they are silent, and copies. Accepts a
 * zeroed struct; clear it also after a failure. */
lathe_code lathe_settings_init(lathe_settings *settings, const lathe_client_options *options,
                               lathe_error *error);
void lathe_settings_clear(lathe_settings *settings);
/* Whether calls can do without a key, or have one. LATHE_CONFIGURATION. */
lathe_code lathe_settings_check_key(const lathe_settings *settings, bool model, lathe_error *error);

/* Overwrites the key with asterisks wherever it stands in foreign bytes, as it is or as JSON may
 * escape it. */
void lathe_settings_redact(const lathe_settings *settings, char *data, size_t size);

#endif
