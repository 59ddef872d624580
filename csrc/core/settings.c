#include "settings.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "buf.h"
#include "error.h"
#include "headers.h"
#include "request.h"

/* A shorter key is no key but a stand-in, and its letters are in ordinary words. */
enum { SHORTEST_REDACTED = 8 };

static const char vendor_url[] = "https://api.anthropic.com";
static const char vendor_host[] = "api.anthropic.com";

/* An empty variable is an unset one. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static lathe_code keep(char **slot, const char *value, lathe_error *error)
{
    *slot = lathe_copy_string(value);
    return *slot || !value ? LATHE_OK : lathe_fail(error, LATHE_MEMORY, NULL);
}

/* ---- The key --------------------------------------------------------------------------------- */

static lathe_code set_secret(lathe_settings *settings, const char *value, const char *option,
                             bool bearer, lathe_error *error)
{
    static const char scheme[] = "Bearer ";
    if (lathe_secret_check(value, option, error))
        return error->code;
    size_t prefix = bearer ? sizeof scheme - 1 : 0, size = strlen(value);
    settings->secret = lathe_malloc(prefix + size + 1); /* never regrown: it would leave a copy */
    if (!settings->secret)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    memcpy(settings->secret, scheme, prefix);
    memcpy(settings->secret + prefix, value, size + 1);
    settings->key = settings->secret + prefix;
    return keep(&settings->secret_name, bearer ? "authorization" : "x-api-key", error);
}

static lathe_code find_secret(lathe_settings *settings, const lathe_client_options *options,
                              lathe_error *error)
{
    if (options->api_key && options->auth_token)
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "api_key and auth_token are both given: give one of them");
    if (options->api_key)
        return set_secret(settings, options->api_key, "api_key", false, error);
    if (options->auth_token)
        return set_secret(settings, options->auth_token, "auth_token", true, error);
    const char *value = environment("ANTHROPIC_API_KEY");
    if (value)
        return set_secret(settings, value, "ANTHROPIC_API_KEY", false, error);
    value = environment("ANTHROPIC_AUTH_TOKEN");
    if (value)
        return set_secret(settings, value, "ANTHROPIC_AUTH_TOKEN", true, error);
    return LATHE_OK;
}

lathe_code lathe_settings_check_key(const lathe_settings *settings, bool model, lathe_error *error)
{
    if (settings->secret || (model && settings->loopback))
        return LATHE_OK;
    return lathe_fail(error, LATHE_CONFIGURATION,
                      "no key: give api_key (or auth_token), or set ANTHROPIC_API_KEY (or "
                      "ANTHROPIC_AUTH_TOKEN) in the environment");
}

/* ---- The address ----------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    unsigned char address[4];
    if (lathe_same_word(host, "localhost") || !strcmp(host, "[::1]"))
        return true;
    return inet_pton(AF_INET, host, address) == 1 && address[0] == 127;
}

/* Why a base URL is refused before it is parsed, or NULL. */
static const char *plain_objection(const char *url)
{
    if (strchr(url, '?'))
        return "it must not have a query";
    if (strchr(url, '#'))
        return "it must not have a fragment";
    const char *authority = strstr(url, "://");
    if (!authority)
        return "it must begin with https:// (or http://)";
    authority += 3;
    size_t size = strcspn(authority, "/");
    if (memchr(authority, '@', size))
        return "it must not have a user or a password: give the key as api_key";
    return size ? NULL : "it has no host";
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *value = NULL;
    return curl_url_get(url, part, &value, 0) ? NULL : value;
}

/* Takes what is needed from the parsed URL. */
static lathe_code keep_url(lathe_settings *settings, CURLU *url, const char *option,
                           lathe_error *error)
{
    char *whole = url_part(url, CURLUPART_URL), *host = url_part(url, CURLUPART_HOST);
    char *scheme = url_part(url, CURLUPART_SCHEME), *path = url_part(url, CURLUPART_PATH);
    lathe_code code = LATHE_OK;
    if (!whole || !host || !scheme || !path) {
        code = lathe_fail(error, LATHE_MEMORY, NULL);
        goto out;
    }
    for (size_t size = strlen(whole); size && whole[size - 1] == '/';)
        whole[--size] = '\0';
    settings->https = !strcmp(scheme, "https");
    settings->vendor = lathe_same_word(host, vendor_host) && !path[strspn(path, "/")];
    settings->loopback = is_loopback(host);
    if (!settings->https && strcmp(scheme, "http"))
        code = lathe_fail(error, LATHE_CONFIGURATION, "%s: it must be https:// or http://", option);
    if (!code)
        code = keep(&settings->base_url, whole, error);
    if (!code)
        code = keep(&settings->host, host, error);
out:
    curl_free(whole);
    curl_free(host);
    curl_free(scheme);
    curl_free(path);
    return code;
}

static lathe_code find_url(lathe_settings *settings, const lathe_client_options *options,
                           lathe_error *error)
{
    const char *option = "base_url", *text = options->base_url;
    if (!text && (text = environment("ANTHROPIC_BASE_URL")))
        option = "ANTHROPIC_BASE_URL";
    if (!text)
        text = vendor_url;
    const char *objection = plain_objection(text);
    if (objection)
        return lathe_fail(error, LATHE_CONFIGURATION, "%s: %s", option, objection);
    CURLU *url = curl_url();
    if (!url)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    CURLUcode status = curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER);
    if (status == CURLUE_OUT_OF_MEMORY)
        lathe_fail(error, LATHE_MEMORY, NULL);
    else if (status)
        lathe_fail(error, LATHE_CONFIGURATION, "%s is no usable URL: %s", option,
                   curl_url_strerror(status));
    else
        keep_url(settings, url, option, error);
    curl_url_cleanup(url);
    if (!error->code && !settings->https && !settings->loopback && !options->allow_http)
        lathe_fail(error, LATHE_CONFIGURATION,
                   "%s: http sends key and prompts in the clear, so it is only for this machine "
                   "itself: use https, or allow_http=True if the network is yours",
                   option);
    return error->code;
}

/* ---- The certificates ------------------------------------------------------------------------ */

static bool is_readable(const char *path, bool directory)
{
    struct stat status;
    return !stat(path, &status) && !!S_ISDIR(status.st_mode) == directory && !access(path, R_OK);
}

/* Whether a certificate begins in the file, in the one format that TLS libraries read here. */
static bool holds_certificate(const char *path)
{
    static const char begin[] = "-----BEGIN ";
    char line[256];
    bool found = false;
    FILE *file = fopen(path, "r");
    while (file && !found && fgets(line, sizeof line, file))
        found = !strncmp(line, begin, sizeof begin - 1) && strstr(line, "CERTIFICATE-----");
    if (file)
        fclose(file);
    return found;
}

static lathe_code set_ca(char **slot, const char *path, const char *option, bool directory,
                         lathe_error *error)
{
    if (!is_readable(path, directory))
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "%s: %.300s is no readable %s of certificates", option, path,
                          directory ? "directory" : "file");
    if (!directory && !holds_certificate(path))
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "%s: %.300s holds no certificate in PEM format (-----BEGIN CERTIFICATE)",
                          option, path);
    return keep(slot, path, error);
}

/* Where systems keep their CA certificates, after what libcurl was built with. */
static const char *system_ca(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/share/certs/ca-root-nss.crt",
    };
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    if (info->cainfo && is_readable(info->cainfo, false))
        return info->cainfo;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (is_readable(places[i], false))
            return places[i];
    return NULL;
}

static lathe_code find_ca(lathe_settings *settings, const lathe_client_options *options,
                          lathe_error *error)
{
    const char *path;
    if (options->ca_file)
        return set_ca(&settings->ca_file, options->ca_file, "ca_file", false, error);
    if ((path = environment("SSL_CERT_FILE")))
        return set_ca(&settings->ca_file, path, "SSL_CERT_FILE", false, error);
    if ((path = environment("SSL_CERT_DIR")))
        return set_ca(&settings->ca_dir, path, "SSL_CERT_DIR", true, error);
    if ((path = system_ca()))
        return keep(&settings->ca_file, path, error);
    if (options->ca_fallback)
        return set_ca(&settings->ca_file, options->ca_fallback, "ca_fallback", false, error);
    return lathe_fail(error, LATHE_NO_CA,
                      "no CA certificates: tried ca_file (not given), SSL_CERT_FILE and "
                      "SSL_CERT_DIR (not set), and the system's usual places (nothing there)");
}

/* ---- The proxy ------------------------------------------------------------------------------- */

static const char *either_case(const char *lower, const char *upper)
{
    const char *value = environment(lower);
    return value ? value : environment(upper);
}

static const char *environment_proxy(bool https)
{
    const char *value =
        https ? either_case("https_proxy", "HTTPS_PROXY") : environment("http_proxy");
    return value ? value : either_case("all_proxy", "ALL_PROXY");
}

/* Its text is never shown: it may hold a password. */
static lathe_code check_proxy(const char *text, const char *option, lathe_error *error)
{
    static const char *const schemes[] = {"http",    "https",  "socks4",
                                          "socks4a", "socks5", "socks5h"};
    CURLU *url = curl_url();
    if (!url)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    CURLUcode status =
        curl_url_set(url, CURLUPART_URL, text, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME);
    char *scheme = status ? NULL : url_part(url, CURLUPART_SCHEME);
    bool known = false;
    for (size_t i = 0; scheme && i < sizeof schemes / sizeof *schemes; i++)
        known = known || !strcmp(scheme, schemes[i]);
    if (status == CURLUE_OUT_OF_MEMORY || (!status && !scheme))
        lathe_fail(error, LATHE_MEMORY, NULL);
    else if (!known)
        lathe_fail(error, LATHE_CONFIGURATION,
                   "%s is no usable proxy: it must be like http://host:port (or https, socks4, "
                   "socks4a, socks5, socks5h); its value is not shown",
                   option);
    curl_free(scheme);
    curl_url_cleanup(url);
    return error->code;
}

static lathe_code find_proxy(lathe_settings *settings, const lathe_client_options *options,
                             lathe_error *error)
{
    if (is_loopback(settings->host))
        return options->proxy && *options->proxy ? check_proxy(options->proxy, "proxy", error)
                                                 : LATHE_OK;
    const char *option = "proxy", *text = options->proxy;
    if (!text) {
        option = "the environment's proxy";
        text = environment_proxy(settings->https);
        const char *except = either_case("no_proxy", "NO_PROXY");
        if (text && except && keep(&settings->no_proxy, except, error))
            return error->code;
    }
    if (!text || !*text)
        return LATHE_OK;
    if (check_proxy(text, option, error))
        return error->code;
    return keep(&settings->proxy, text, error);
}

/* ---- All of it ------------------------------------------------------------------------------- */

static char version_text[80];

static void make_version(void)
{
    snprintf(version_text, sizeof version_text, "promptlathe/" LATHE_VERSION " libcurl/%s",
             curl_version_info(CURLVERSION_NOW)->version);
}

const char *lathe_version(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_version);
    return version_text;
}

static lathe_code make_agent(lathe_settings *settings, const char *host_agent, lathe_error *error)
{
    lathe_buf buf;
    lathe_buf_init(&buf, 512);
    const char *agent = lathe_version(), *space = strchr(agent, ' ');
    lathe_code code = lathe_buf_append(&buf, agent, (size_t)(space - agent));
    if (!code && host_agent)
        code = lathe_buf_printf(&buf, " %s", host_agent);
    if (!code)
        code = lathe_buf_string(&buf, space);
    if (!code && !(settings->user_agent = lathe_buf_steal(&buf, NULL)))
        code = LATHE_MEMORY;
    lathe_buf_clear(&buf);
    return code ? lathe_fail(error, code, NULL) : LATHE_OK;
}

static lathe_code make_target(const char *base, const char *path, lathe_target *target,
                              lathe_error *error)
{
    lathe_buf url;
    lathe_buf_init(&url, SIZE_MAX);
    lathe_code code = lathe_buf_printf(&url, "%s%s", base, path);
    if (!code && !(target->url = lathe_buf_steal(&url, NULL)))
        code = LATHE_MEMORY;
    lathe_buf_clear(&url);
    CURLU *address = target->address = code ? NULL : curl_url();
    CURLUcode status =
        address ? curl_url_set(address, CURLUPART_URL, target->url, 0) : CURLUE_OUT_OF_MEMORY;
    if (status == CURLUE_OUT_OF_MEMORY)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    if (status) /* a host's escapes are resolved by now: %7F is a character that no host has */
        return lathe_fail(error, LATHE_CONFIGURATION, "the base URL is no usable URL: %s",
                          curl_url_strerror(status));
    return LATHE_OK;
}

static lathe_code make_targets(lathe_settings *settings, lathe_error *error)
{
    for (int verb = 0; verb < LATHE_VERBS; verb++)
        if (make_target(settings->base_url, lathe_verb_path((lathe_verb)verb),
                        &settings->targets[verb], error))
            return error->code;
    return make_target(settings->base_url, "/v1/messages", &settings->messages, error);
}

static void clear_target(lathe_target *target)
{
    lathe_free(target->url);
    curl_url_cleanup(target->address);
}

lathe_code lathe_settings_init(lathe_settings *settings, const lathe_client_options *options,
                               lathe_error *error)
{
    settings->max_response_bytes = options->max_response_bytes;
    settings->log_bodies = options->log_bodies;
    if (!options->max_response_bytes)
        return lathe_fail(error, LATHE_CONFIGURATION, "max_response_bytes must be above 0");
    bool model = options->call.model && *options->call.model;
    if (find_secret(settings, options, error) || find_url(settings, options, error) ||
        lathe_settings_check_key(settings, model, error) || make_targets(settings, error) ||
        find_proxy(settings, options, error) || make_agent(settings, options->host_agent, error))
        return error->code;
    bool tls = settings->https ||
               (settings->proxy && !strncasecmp(settings->proxy, "https:", sizeof "https:" - 1));
    return tls || options->ca_file ? find_ca(settings, options, error) : LATHE_OK;
}

void lathe_settings_clear(lathe_settings *settings)
{
    if (settings->secret)
        lathe_wipe(settings->secret, strlen(settings->secret));
    if (settings->proxy)
        lathe_wipe(settings->proxy, strlen(settings->proxy));
    char *owned[] = {settings->base_url, settings->host,     settings->secret_name,
                     settings->secret,   settings->ca_file,  settings->ca_dir,
                     settings->proxy,    settings->no_proxy, settings->user_agent};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        lathe_free(owned[i]);
    for (int i = 0; i < LATHE_VERBS; i++)
        clear_target(&settings->targets[i]);
    clear_target(&settings->messages);
    *settings = (lathe_settings){0};
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* How many bytes at `at` stand for the character `c`, as JSON may write it; 0: they do not. */
static size_t spelling(const char *at, const char *end, char c)
{
    if (at == end)
        return 0;
    if (end - at >= 2 && at[0] == '\\' && at[1] == c && strchr("\\\"/", c))
        return 2;
    if (*at == c)
        return 1;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return 0;
    int code = 0;
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return 0;
        code = code * 16 + digit;
    }
    return code == c ? 6 : 0;
}

/* How many bytes at `at` spell the key; 0: they do not. */
static size_t key_spelled(const char *at, const char *end, const char *key)
{
    const char *start = at;
    size_t length = strlen(key);
    if ((size_t)(end - at) >= length && !memcmp(at, key, length))
        return length; /* two backslashes of a key are not one that JSON has escaped */
    for (; *key; key++) {
        size_t size = spelling(at, end, *key);
        if (!size)
            return 0;
        at += size;
    }
    return (size_t)(at - start);
}

void lathe_settings_redact(const lathe_settings *settings, char *data, size_t size)
{
    size_t length = settings->key ? strlen(settings->key) : 0;
    if (length < SHORTEST_REDACTED || size < length)
        return;
    for (char *at = data, *end = data + size; at < end;) {
        size_t spelled = key_spelled(at, end, settings->key);
        memset(at, '*', spelled);
        at += spelled ? spelled : 1;
    }
}
