/* The options of a client as strings, and overwriting the key in foreign bytes. The environment and
 * the file system are simulated: nothing but the file that is named may be opened. */
#define _XOPEN_SOURCE 700 /* S_IFDIR */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"
#include "support_alloc.h"

enum { SHORTEST = 8 };

char *__real_getenv(const char *name);
int __real_stat(const char *path, struct stat *status);
int __real_access(const char *path, int mode);
FILE *__real_fopen(const char *path, const char *mode);
char *__wrap_getenv(const char *name);
int __wrap_stat(const char *path, struct stat *status);
int __wrap_access(const char *path, int mode);
FILE *__wrap_fopen(const char *path, const char *mode);

/* ---- The simulated surroundings ---- */

enum { KEY, TOKEN, URL, PROXY, CA, CONTENT, BODY, STRINGS };

/* Which of an input's strings are options and not in the environment, and what else is so. */
enum { ALLOW_HTTP = 1 << 5, DIRECTORY = 1 << 6, SYSTEM_CA = 1 << 7 };

static struct {
    bool on;
    unsigned flags;
    char *strings[STRINGS];
    size_t body_size;
} world;

char *__wrap_getenv(const char *name)
{
    static const char *const names[] = {[KEY] = "ANTHROPIC_API_KEY",
                                        [TOKEN] = "ANTHROPIC_AUTH_TOKEN",
                                        [URL] = "ANTHROPIC_BASE_URL",
                                        [PROXY] = "https_proxy",
                                        [CA] = "SSL_CERT_FILE"};
    if (!world.on)
        return __real_getenv(name);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return world.flags & (1U << i) ? NULL : world.strings[i];
    return NULL;
}

static bool is_named(const char *path)
{
    return !strcmp(path, world.strings[CA]);
}

/* Where a system keeps its certificates, or the file that is named. */
static bool is_there(const char *path)
{
    bool system = !strncmp(path, "/etc/", 5) || !strncmp(path, "/usr/local/share/certs/", 23);
    MUST(is_named(path) || system);
    return is_named(path) || world.flags & SYSTEM_CA;
}

int __wrap_stat(const char *path, struct stat *status)
{
    if (!world.on)
        return __real_stat(path, status);
    memset(status, 0, sizeof *status);
    status->st_mode = world.flags & DIRECTORY ? S_IFDIR : S_IFREG;
    return is_there(path) ? 0 : -1;
}

int __wrap_access(const char *path, int mode)
{
    if (!world.on)
        return __real_access(path, mode);
    return is_there(path) ? 0 : -1;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (!world.on)
        return __real_fopen(path, mode);
    MUST(is_named(path) && !strcmp(mode, "r"));
    char *content = world.strings[CONTENT];
    return *content ? fmemopen(content, strlen(content), mode) : NULL;
}

static const char *option(unsigned which)
{
    const char *string = world.strings[which];
    return world.flags & (1U << which) && *string ? string : NULL;
}

/* ---- What must hold ---- */

static bool is_visible(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c >= 127)
            return false;
    return *text;
}

static void check_url(const lathe_settings *settings)
{
    const char *url = settings->base_url;
    const char *scheme = settings->https ? "https://" : "http://";
    MUST(!strncmp(url, scheme, strlen(scheme)));
    const char *host = url + strlen(scheme);
    MUST(*host && *host != '/' && url[strlen(url) - 1] != '/');
    MUST(!strpbrk(url, "?#\r\n \t"));
    MUST(!memchr(host, '@', strcspn(host, "/")));
    /* An IPv6 zone is no part of the host. */
    MUST(*settings->host &&
         (strchr(host, '%') || !strncmp(host, settings->host, strlen(settings->host))));
    bool loopback = !strncmp(settings->host, "127.", 4) || !strcmp(settings->host, "[::1]") ||
                    strlen(settings->host) == strlen("localhost");
    MUST(settings->https || world.flags & ALLOW_HTTP || loopback);
    MUST(!settings->vendor || settings->https || world.flags & ALLOW_HTTP);
}

static void check_made(const lathe_settings *settings)
{
    MUST(is_visible(settings->key) && strstr(settings->secret, settings->key));
    MUST(!strcmp(settings->key, settings->secret) || !strncmp(settings->secret, "Bearer ", 7));
    MUST(!settings->https || settings->ca_file);
    MUST(!settings->proxy || *settings->proxy);
    check_url(settings);
}

/* Neither key nor proxy stands in an error, unless its word is part of what an error says. */
static void check_secrecy(const lathe_error *error, lathe_code code)
{
    static const unsigned secrets[] = {KEY, TOKEN, PROXY};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        const char *secret = world.strings[secrets[i]];
        bool odd = strpbrk(secret, "0123456789@%") && !strstr(world.strings[CA], secret);
        MUST(strlen(secret) < 12 || !odd || !strstr(error->message, secret));
    }
    MUST(code == LATHE_CONFIGURATION || code == LATHE_NO_CA);
}

/* No text of a JSON value holds the key. */
static bool hides(const json_t *value, const char *key)
{
    const char *name;
    json_t *member;
    lathe_text text = {json_string_value(value), json_string_length(value)};
    if (json_is_string(value) && fuzz_has(text, key, strlen(key)))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!hides(json_array_get(value, i), key))
            return false;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (strstr(name, key) || !hides(member, key))
            return false;
    }
    return true;
}

static void check_redaction(const lathe_settings *settings)
{
    const char *key = settings->key;
    lathe_text before = {world.strings[BODY], world.body_size};
    char *after = fuzz_copy(before);
    lathe_settings_redact(settings, after, before.size);
    for (size_t i = 0; i < before.size; i++)
        MUST(after[i] == before.data[i] || after[i] == '*');
    if (strlen(key) >= SHORTEST && !strchr(key, '*')) {
        MUST(!fuzz_has((lathe_text){after, before.size}, key, strlen(key)));
        json_t *value = json_loadb(after, before.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        MUST(!value || hides(value, key));
        json_decref(value);
    }
    free(after);
}

static void check(unsigned order)
{
    lathe_client_options options;
    lathe_settings settings = {0};
    lathe_error error;
    lathe_error_init(&error);
    lathe_client_options_init(&options);
    options.api_key = option(KEY);
    options.auth_token = option(TOKEN);
    options.base_url = option(URL);
    options.proxy = option(PROXY);
    options.ca_file = option(CA);
    options.allow_http = world.flags & ALLOW_HTTP;
    fuzz_arm(order);
    world.on = true;
    lathe_code code = lathe_settings_init(&settings, &options, &error);
    world.on = false;
    bool failed = fuzz_disarm();
    fuzz_check_error(&error, code);
    MUST(!failed || code == LATHE_MEMORY);
    if (!code)
        check_made(&settings);
    else if (!failed)
        check_secrecy(&error, code);
    if (settings.key)
        check_redaction(&settings);
    lathe_settings_clear(&settings);
    lathe_error_clear(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input);
    size_t before = alloc_blocks();
    world.flags = fuzz_byte(&input);
    for (int i = 0; i < STRINGS; i++) {
        lathe_text piece = i == BODY ? fuzz_rest(&input) : fuzz_piece(&input);
        world.strings[i] = fuzz_string(piece);
        world.body_size = piece.size;
    }
    check(order);
    for (int i = 0; i < STRINGS; i++)
        free(world.strings[i]);
    MUST(alloc_blocks() == before);
    return 0;
}
