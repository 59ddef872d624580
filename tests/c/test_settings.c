#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "support_alloc.h"
#include "test.h"

static const char *const variables[] = {"ANTHROPIC_API_KEY",
                                        "ANTHROPIC_AUTH_TOKEN",
                                        "ANTHROPIC_BASE_URL",
                                        "SSL_CERT_FILE",
                                        "SSL_CERT_DIR",
                                        "https_proxy",
                                        "HTTPS_PROXY",
                                        "http_proxy",
                                        "HTTP_PROXY",
                                        "all_proxy",
                                        "ALL_PROXY",
                                        "no_proxy",
                                        "NO_PROXY"};

static lathe_settings settings;
static lathe_client_options options;
static lathe_error error;

/* Nothing in the environment, and a key. */
static void fresh(void)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    lathe_client_options_init(&options);
    options.api_key = "sk-test-key";
    settings = (lathe_settings){0};
    lathe_error_init(&error);
}

static lathe_code make(void)
{
    lathe_settings_clear(&settings);
    lathe_error_clear(&error);
    return lathe_settings_init(&settings, &options, &error);
}

static void done(void)
{
    lathe_settings_clear(&settings);
    lathe_error_clear(&error);
    fresh();
}

static void check_refused(const char *needle)
{
    CHECK_CODE(make(), LATHE_CONFIGURATION);
    if (!strstr(error.message, needle))
        FAIL("\"%s\" is not in \"%s\"", needle, error.message);
}

TEST(keys)
{
    fresh();
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.secret_name, "x-api-key");
    CHECK_STRING(settings.secret, "sk-test-key");
    options.auth_token = "token";
    check_refused("api_key and auth_token");
    options.api_key = NULL;
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.secret_name, "authorization");
    CHECK_STRING(settings.secret, "Bearer token");
    CHECK_STRING(settings.key, "token");
    options.auth_token = "";
    check_refused("auth_token is empty");
    options.auth_token = NULL;
    setenv("ANTHROPIC_API_KEY", "", 1);
    check_refused("ANTHROPIC_API_KEY");
    setenv("ANTHROPIC_AUTH_TOKEN", "from-token", 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.key, "from-token");
    setenv("ANTHROPIC_API_KEY", "from-key", 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.secret, "from-key");
    setenv("ANTHROPIC_API_KEY", "from-key\n", 1);
    check_refused("ANTHROPIC_API_KEY is malformed");
    CHECK(!strstr(error.message, "from-key"));
    done();
}

static void check_url(const char *url, const char *kept)
{
    options.base_url = url;
    test_context("%s", url);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.base_url ? settings.base_url : error.message, kept);
    test_context(NULL);
}

static void check_bad_url(const char *url, const char *needle)
{
    options.base_url = url;
    test_context("%s", url);
    check_refused(needle);
    test_context(NULL);
}

TEST(urls)
{
    fresh();
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.base_url, "https://api.anthropic.com");
    CHECK(settings.vendor && settings.https);
    check_url("https://api.anthropic.com/proxy", "https://api.anthropic.com/proxy");
    CHECK(!settings.vendor);
    check_url("HTTPS://Gateway.example:8443/a/b///", "https://Gateway.example:8443/a/b");
    check_url("http://127.0.0.1:8080/", "http://127.0.0.1:8080");
    check_url("http://localhost", "http://localhost");
    check_url("http://[::1]:99", "http://[::1]:99");
    check_url("http://127.9.9.9", "http://127.9.9.9");
    check_bad_url("http://example.com", "allow_http");
    check_bad_url("http://127.0.0.1.example.com", "allow_http");
    check_bad_url("http://localhost.example.com", "allow_http");
    check_bad_url("http://128.0.0.1", "allow_http");
    check_bad_url("https://user:pass@example.com", "user or a password");
    check_bad_url("https://@example.com", "user or a password");
    check_bad_url("https://example.com/?q=1", "query");
    check_bad_url("https://example.com?", "query");
    check_bad_url("https://example.com/#f", "fragment");
    check_bad_url("example.com", "https://");
    check_bad_url("ftp://example.com", "https://");
    check_bad_url("file:///etc/passwd", "no host");
    check_bad_url("https://", "no host");
    check_bad_url("https://exa mple.com", "base_url");
    check_bad_url("https://example.com\r\nx: y", "base_url");
    check_bad_url("https://example.com:99999", "base_url");
    check_bad_url("https://example%7F.com", "base URL");
    check_bad_url("", "https://");
    options.allow_http = true;
    check_url("http://example.com", "http://example.com");
    options.base_url = NULL;
    setenv("ANTHROPIC_BASE_URL", "https://from.example/v", 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.base_url, "https://from.example/v");
    setenv("ANTHROPIC_BASE_URL", "nonsense", 1);
    check_refused("ANTHROPIC_BASE_URL");
    setenv("ANTHROPIC_BASE_URL", "", 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK(settings.vendor);
    done();
}

TEST(certificates)
{
    char file[] = "/tmp/lathe-ca-XXXXXX", directory[] = "/tmp/lathe-dir-XXXXXX";
    int fd = mkstemp(file);
    fresh();
    REQUIRE(fd >= 0 && mkdtemp(directory));
    options.ca_file = file;
    check_refused("holds no certificate");
    CHECK(write(fd, "-----BEGIN CERTIFICATE-----\n", 28) == 28);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.ca_file, file);
    options.ca_file = directory;
    check_refused("ca_file");
    options.ca_file = "/nonexistent/ca.pem";
    check_refused("/nonexistent/ca.pem");
    options.ca_file = NULL;
    setenv("SSL_CERT_FILE", file, 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.ca_file, file);
    setenv("SSL_CERT_FILE", "/nonexistent/ca.pem", 1);
    check_refused("SSL_CERT_FILE");
    setenv("SSL_CERT_FILE", "", 1);
    setenv("SSL_CERT_DIR", directory, 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.ca_dir, directory);
    CHECK(!settings.ca_file);
    close(fd);
    unlink(file);
    rmdir(directory);
    done();
}

static void check_proxy(const char *expected)
{
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.proxy ? settings.proxy : "(none)", expected);
}

TEST(proxies)
{
    fresh();
    check_proxy("(none)");
    setenv("ALL_PROXY", "http://all:1", 1);
    check_proxy("http://all:1");
    setenv("HTTPS_PROXY", "http://upper:2", 1);
    check_proxy("http://upper:2");
    setenv("https_proxy", "lower:3", 1);
    check_proxy("lower:3");
    setenv("NO_PROXY", "example.com", 1);
    CHECK_CODE(make(), LATHE_OK);
    CHECK_STRING(settings.no_proxy, "example.com");
    options.proxy = "socks5h://user:hunter2@mine:4";
    check_proxy("socks5h://user:hunter2@mine:4");
    CHECK(!settings.no_proxy);
    options.proxy = "";
    check_proxy("(none)");
    options.proxy = NULL;
    options.allow_http = true;
    options.base_url = "http://example.com";
    setenv("HTTP_PROXY", "http://never:5", 1); /* a CGI server takes it from a request */
    check_proxy("http://all:1");
    setenv("http_proxy", "http://plain:6", 1);
    check_proxy("http://plain:6");
    options.base_url = "http://127.0.0.1:80";
    check_proxy("(none)");
    options.proxy = "http://mine:4";
    check_proxy("(none)");
    options.proxy = "gopher://hunter2";
    check_refused("proxy");
    CHECK(!strstr(error.message, "hunter2"));
    done();
}

TEST(a_proxy_over_tls_needs_certificates)
{
    fresh();
    options.base_url = "http://gateway.example";
    options.allow_http = true;
    setenv("SSL_CERT_FILE", "/nowhere.pem", 1);
    options.proxy = "http://proxy.example:1";
    CHECK_CODE(make(), LATHE_OK);
    options.proxy = "HTTPS://proxy.example:1";
    check_refused("SSL_CERT_FILE");
    done();
}

TEST(redaction)
{
    char body[] = "key sk-test-key and sk-test-keysk-test-key sk-test-ke";
    char slashes[] = "a\\\\bcdefgh \"a\\\\\\\\bcdefgh\"";
    char empty[] = "";
    fresh();
    CHECK_CODE(make(), LATHE_OK);
    lathe_settings_redact(&settings, body, sizeof body - 1);
    CHECK_STRING(body, "key *********** and ********************** sk-test-ke");
    options.api_key = "a\\\\bcdefgh";
    CHECK_CODE(make(), LATHE_OK);
    lathe_settings_redact(&settings, slashes, sizeof slashes - 1);
    CHECK_STRING(slashes, "********** \"************\"");
    lathe_settings_redact(&settings, empty, 0);
    lathe_settings_redact(&settings, NULL, 0);
    done();
}

TEST(other_options)
{
    fresh();
    options.host_agent = "python/3.11.2";
    CHECK_CODE(make(), LATHE_OK);
    CHECK(strstr(settings.user_agent, "promptlathe/" LATHE_VERSION " python/3.11.2 libcurl/") ==
          settings.user_agent);
    CHECK(strstr(lathe_version(), " libcurl/"));
    options.max_response_bytes = 0;
    check_refused("max_response_bytes");
    done();
}

static lathe_code attempt(void *self)
{
    (void)self;
    lathe_code code = make();
    lathe_settings_clear(&settings);
    lathe_error_clear(&error);
    return code;
}

TEST(memory)
{
    fresh();
    options.proxy = "http://proxy.example:3128";
    options.host_agent = "test/1";
    alloc_try_each(attempt, NULL, LATHE_OK);
    done();
}

TESTS(ENTRY(keys), ENTRY(urls), ENTRY(certificates), ENTRY(proxies),
      ENTRY(a_proxy_over_tls_needs_certificates), ENTRY(redaction), ENTRY(other_options),
      ENTRY(memory))
