/* What a server, a proxy or nobody at all may answer, over plain HTTP: each in words, with its
 * phase, and the client works on. TLS has a test of its own. */
#include "transport.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

#define OK_HEAD      "HTTP/1.1 200 OK\r\n"
#define LENGTH(size) "Content-Length: " size "\r\n\r\n"

static lathe_error error;

/* ---- One answer ------------------------------------------------------------------------------ */

static lathe_client_options client_options(const char *url)
{
    lathe_client_options options;
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = url;
    options.allow_http = true;
    options.proxy = "";
    options.call.max_retries = 0;
    options.call.timeout = 60;
    return options;
}

static lathe_client *client_with(const lathe_client_options *options)
{
    lathe_client *client = NULL;
    if (lathe_client_new(options, &client, &error))
        FAIL("no client: %s", error.message);
    return client;
}

/* How a call of a client with these options ends. */
static lathe_code outcome(const lathe_client_options *options)
{
    int attempts;
    lathe_error_clear(&error);
    lathe_client *client = client_with(options);
    lathe_code code = client ? call_whole(client, NULL, &error, &attempts) : LATHE_CONFIGURATION;
    lathe_client_free(client);
    return code;
}

static void check_words(lathe_code code, lathe_code expected, const char *words)
{
    CHECK_CODE(code, expected);
    if (words && !strstr(error.message, words))
        FAIL("\"%s\" is not in \"%s\"", words, error.message);
}

/* The answer, and then a good one on the same client. */
static void check_answer(const server_step *step, size_t most, lathe_code expected,
                         const char *words)
{
    const server_step steps[] = {*step, {server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client_options options = client_options(server_url(s));
    lathe_options again; /* its connection may be one that is just being closed */
    int attempts;
    lathe_options_init(&again);
    again.max_retries = 2;
    options.max_response_bytes = most;
    lathe_client *client = client_with(&options);
    REQUIRE(client != NULL);
    check_words(call_whole(client, NULL, &error, &attempts), expected, words);
    CHECK_CODE(call_whole(client, &again, &error, &attempts), LATHE_OK);
    lathe_error_clear(&error);
    lathe_client_free(client);
    server_free(s);
}

typedef struct answer {
    const char *text;
    lathe_code code;
    const char *words;
} answer;

static void check_answers(const answer *answers, size_t count)
{
    lathe_error_init(&error);
    for (size_t i = 0; i < count; i++) {
        const server_step step = {answers[i].text, 0, SERVER_CLOSE};
        test_context("answer %zu", i);
        check_answer(&step, 64U << 20, answers[i].code, answers[i].words);
    }
}

/* ---- Framing --------------------------------------------------------------------------------- */

TEST(framing)
{
    static const answer answers[] = {
        {OK_HEAD "Content-Length: 2\r\n" LENGTH("2") "{}", LATHE_CONNECTION, "two Content-Length"},
        {OK_HEAD "Content-Length : 2\r\n" LENGTH("2") "{}", LATHE_CONNECTION, "a blank before"},
        {OK_HEAD "Transfer-Encoding\t: chunked\r\n" LENGTH("2") "{}", LATHE_CONNECTION,
         "a blank before"},
        {OK_HEAD "Content-Lengths : 3\r\n" LENGTH("2") "{}", LATHE_OK, NULL},
        {OK_HEAD LENGTH("99999999999999999999") "{}", LATHE_CONNECTION, "no usable number"},
        {OK_HEAD LENGTH("2x") "{}", LATHE_CONNECTION, "Content-Length"},
        {OK_HEAD "Content-Length:\t2 \r\n\r\n{}", LATHE_OK, NULL},
        {"HTTP/1.1 204 No\r\nHTTP/1.1 200: OK\r\n" LENGTH("2") "{}", LATHE_CONNECTION,
         "a status line within"},
        {OK_HEAD "Transfer-Encoding: gzip\r\n\r\n{}", LATHE_CONNECTION, "Transfer-Encoding"},
        {OK_HEAD "Transfer-Encoding: a-name-of-some-length\r\n\r\n{}", LATHE_CONNECTION, NULL},
        {OK_HEAD "Transfer-Encoding: chunked\r\n" LENGTH("2") "2\r\n{}\r\n0\r\n\r\n",
         LATHE_CONNECTION, "both Content-Length and Transfer-Encoding"},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n", LATHE_OK,
         NULL},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", LATHE_CONNECTION, NULL},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n9\r\n{}", LATHE_CONNECTION, NULL},
        {OK_HEAD "\r\n{}", LATHE_CONNECTION, "connection's close alone"},
        {OK_HEAD LENGTH("9") "{}", LATHE_CONNECTION, NULL},
        {OK_HEAD "Content-Le", LATHE_CONNECTION, "closed within the headers"},
        {"nonsense", LATHE_CONNECTION, "read failed"},
        {"HTTP/1.1\r\n\r\n", LATHE_CONNECTION, NULL},
        {"HTTP/1.1 20\r\n" LENGTH("0"), LATHE_CONNECTION, NULL},
    };
    check_answers(answers, sizeof answers / sizeof *answers);
}

TEST(statuses)
{
    static const answer answers[] = {
        {"HTTP/1.1 204 None\r\n\r\n", LATHE_RESPONSE_VALIDATION, "status is 204"},
        {"HTTP/1.1 201 Made\r\n" LENGTH("2") "{}", LATHE_RESPONSE_VALIDATION, "status is 201"},
        {"HTTP/1.1 302 Away\r\nlocation: /b\r\n" LENGTH("0"), LATHE_STATUS, NULL},
        {"HTTP/1.1 500 No\r\n\r\nended by the close", LATHE_INTERNAL_SERVER, NULL},
        {"HTTP/1.0 500 No\r\n" LENGTH("0"), LATHE_INTERNAL_SERVER, NULL},
        {"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" OK_HEAD LENGTH("2") "{}", LATHE_OK, NULL},
    };
    check_answers(answers, sizeof answers / sizeof *answers);
}

/* ---- Encodings ------------------------------------------------------------------------------- */

TEST(encodings)
{
    static const answer answers[] = {
        {OK_HEAD "Content-Encoding: identity\r\n" LENGTH("2") "{}", LATHE_OK, NULL},
        {OK_HEAD "Content-Encoding:\r\n" LENGTH("2") "{}", LATHE_OK, NULL},
        {OK_HEAD "Content-Encoding: br\r\n" LENGTH("2") "{}", LATHE_RESPONSE_VALIDATION,
         "content-encoding was not asked for"},
        {OK_HEAD "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n" LENGTH("2") "{}",
         LATHE_RESPONSE_VALIDATION, "content-encoding was not asked for"},
        {"HTTP/1.1 500 No\r\nContent-Encoding: br\r\n" LENGTH("2") "{}", LATHE_INTERNAL_SERVER,
         NULL},
        {"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n" LENGTH("0"), LATHE_INTERNAL_SERVER, NULL},
        {OK_HEAD "Content-Encoding: gzip\r\n" LENGTH("0"), LATHE_CONNECTION, "is cut off"},
        {OK_HEAD "Content-Encoding: x-gzip\r\n" LENGTH("8") "no  gzip", LATHE_CONNECTION,
         "no valid gzip"},
    };
    check_answers(answers, sizeof answers / sizeof *answers);
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* `count` times `line` between `begin` and `end`; the caller's to free. */
static char *long_text(const char *begin, const char *line, size_t count, const char *end)
{
    size_t size = strlen(line), at = strlen(begin);
    char *text = malloc(at + count * size + strlen(end) + 1);
    if (!text)
        abort();
    memcpy(text, begin, at);
    for (size_t i = 0; i < count; i++, at += size)
        memcpy(text + at, line, size);
    memcpy(text + at, end, strlen(end) + 1);
    return text;
}

static void check_long(char *text, size_t most, lathe_code expected, const char *words)
{
    const server_step step = {text, 0, SERVER_CLOSE};
    lathe_error_init(&error);
    test_context("%s", words ? words : "good");
    check_answer(&step, most, expected, words);
    test_context(NULL);
    free(text);
}

TEST(sizes)
{
    char line[1024];
    memset(line, 'x', sizeof line);
    memcpy(line + sizeof line - 3, "\r\n", 3);
    line[1] = ':';
    static const char headers[] = "256 KiB or 1,000 lines";
    check_long(long_text(OK_HEAD, "a: b\r\n", 999, LENGTH("2") "{}"), 999,
               LATHE_RESPONSE_VALIDATION, headers);
    check_long(long_text(OK_HEAD, line, 260, LENGTH("2") "{}"), 999, LATHE_RESPONSE_VALIDATION,
               headers);
    check_long(long_text(OK_HEAD "a: ", "b", 200 * 1024, "\r\n" LENGTH("2") "{}"), 999,
               LATHE_RESPONSE_VALIDATION, headers);
    check_long(long_text("", "HTTP/1.1 103 Hints\r\n\r\n", 101, OK_HEAD LENGTH("2") "{}"), 999,
               LATHE_RESPONSE_VALIDATION, "100 interim");
    check_long(long_text("", "HTTP/1.1 103 Hints\r\n\r\n", 100, OK_HEAD LENGTH("2") "{}"), 999,
               LATHE_OK, NULL);
    check_long(long_text(OK_HEAD LENGTH("1000"), "x", 1000, ""), 999, LATHE_RESPONSE_VALIDATION,
               "larger than 999 bytes");
}

/* ---- Long answers ---------------------------------------------------------------------------- */

#define LINE "a \"quoted\" line\n"

/* An answer whose text is that many lines; *size: of its body. */
static char *long_answer(size_t lines, bool chunked, size_t *size)
{
    static const char begin[] = "{\"system\":\"\",\"usage\":{},\"messages\":[{\"role\":\"user\","
                                "\"content\":\"";
    static const char line[] = "a \\\"quoted\\\" line\\n", end[] = "\"}]}";
    *size = strlen(begin) + lines * strlen(line) + strlen(end);
    char *text = malloc(*size + 200);
    if (!text)
        abort();
    char *at = text + snprintf(text, 200,
                               chunked ? OK_HEAD "Transfer-Encoding: chunked\r\n\r\n%zx\r\n"
                                       : OK_HEAD "Content-Length: %zu\r\n\r\n",
                               *size);
    at = (char *)memcpy(at, begin, strlen(begin)) + strlen(begin);
    for (; lines; lines--)
        at = (char *)memcpy(at, line, strlen(line)) + strlen(line);
    snprintf(at, 50, "%s%s", end, chunked ? "\r\n0\r\n\r\n" : "");
    return text;
}

static void check_lines(const lathe_response *response, size_t lines)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    CHECK_CODE(lathe_response_read(response, &sink, &error), LATHE_OK);
    json_t *built = lathe_jansson_builder_take(&builder);
    const json_t *messages = json_object_get(built, "messages");
    const json_t *content = json_object_get(json_array_get(messages, 0), "content");
    const char *text = json_string_value(content);
    size_t wrong = text ? 0 : 1;
    CHECK_INT(json_string_length(content), lines * strlen(LINE));
    for (size_t i = 0; text && i < lines; i++)
        wrong += memcmp(text + i * strlen(LINE), LINE, strlen(LINE)) != 0;
    CHECK_INT(wrong, 0);
    json_decref(built);
    lathe_jansson_builder_clear(&builder);
}

static void check_long_answer(lathe_client *client, size_t lines)
{
    lathe_request request;
    lathe_response *response = NULL;
    request_init(&request);
    CHECK_CODE(lathe_call_run(client, &request, NULL, &response, &error), LATHE_OK);
    if (response) { /* twice: the body is as it came */
        check_lines(response, lines);
        check_lines(response, lines);
    }
    lathe_response_free(response);
    request_clear(&request);
    lathe_error_clear(&error);
}

/* Bodies that are given room when they begin and that are not, in small pieces and in large ones.
 */
TEST(long_answers)
{
    static const size_t lines[] = {500, 2000, 9000, 20000, 20000, 1, 500};
    enum { COUNT = sizeof lines / sizeof *lines };
    server_step steps[COUNT] = {{0}};
    char *texts[COUNT];
    size_t size, most = 0;
    for (size_t i = 0; i < COUNT; i++) {
        texts[i] = long_answer(lines[i], i == 2 || i == 4, &size);
        steps[i] = (server_step){texts[i], 0, SERVER_KEEP};
        most = size > most ? size : most;
    }
    server *s = server_new(steps, COUNT);
    lathe_client_options options = client_options(server_url(s));
    options.max_response_bytes = most + most / 2; /* less than is asked for at once */
    lathe_client *client = client_with(&options);
    REQUIRE(client != NULL);
    for (size_t i = 0; i < COUNT; i++)
        check_long_answer(client, lines[i]);
    lathe_client_free(client);
    server_free(s);
    for (size_t i = 0; i < COUNT; i++)
        free(texts[i]);
}

/* ---- Before an answer ------------------------------------------------------------------------ */

/* Listens and never accepts: the kernel connects, and takes what its buffers hold. */
typedef struct deaf {
    int listener;
    char url[64], https[64];
} deaf;

static bool deaf_init(deaf *d)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    d->listener = socket(AF_INET, SOCK_STREAM, 0);
    bool listens = d->listener >= 0 && !bind(d->listener, (struct sockaddr *)&address, size) &&
                   !listen(d->listener, 4) &&
                   !getsockname(d->listener, (struct sockaddr *)&address, &size);
    snprintf(d->url, sizeof d->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    snprintf(d->https, sizeof d->https, "https://127.0.0.1:%d", ntohs(address.sin_port));
    return listens;
}

/* The request is larger than all buffers between the two. */
TEST(a_request_that_is_not_taken)
{
    enum { SIZE = 24 << 20 };
    deaf d;
    lathe_response *response;
    REQUIRE(deaf_init(&d));
    lathe_error_init(&error);
    lathe_client_options options = client_options(d.url);
    options.call.timeout = 2;
    lathe_client *client = client_with(&options);
    char *task = long_text("", "x", SIZE, "");
    lathe_request request = {
        .verb = LATHE_GENERATE, .source = lathe_jansson_source(), .task = json_stringn(task, SIZE)};
    check_words(lathe_call_run(client, &request, NULL, &response, &error), LATHE_TIMEOUT,
                "phase send");
    CHECK_STRING(error.address, "127.0.0.1");
    json_decref((json_t *)(uintptr_t)request.task);
    free(task);
    lathe_error_clear(&error);
    lathe_client_free(client);
    close(d.listener);
}

TEST(nobody_there)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *gone = server_new(steps, 1);
    lathe_client_options options = client_options(server_url(gone));
    lathe_error_init(&error);
    lathe_client *client = client_with(&options);
    int attempts;
    server_free(gone);
    check_words(call_whole(client, NULL, &error, &attempts), LATHE_CONNECTION, "connect failed");
    CHECK_INT(error.curl_code, CURLE_COULDNT_CONNECT);
    lathe_error_clear(&error);
    lathe_client_free(client);
}

/* A label longer than names may have: it is refused without asking anybody. */
TEST(a_name_that_nobody_has)
{
    char *url = long_text("http://", "a", 70, ".invalid");
    lathe_client_options options = client_options(url);
    lathe_error_init(&error);
    check_words(outcome(&options), LATHE_CONNECTION, "resolve failed");
    CHECK_STRING(error.address, "");
    options = client_options("http://gateway.example");
    options.proxy = url;
    check_words(outcome(&options), LATHE_CONNECTION, "resolve failed");
    lathe_error_clear(&error);
    free(url);
}

/* ---- Certificates ---------------------------------------------------------------------------- */

/* Some certificate, which nobody here has the key of: one is read faster than a system's all. */
static const char some_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBdjCCARugAwIBAgIUFUewz/HLeWccAYwhW9zwOAZ3XxwwCgYIKoZIzj0EAwIw\n"
    "DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIxNzA3MzlaGA8yMTI2MTAyOTE3MDcz\n"
    "OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNQh\n"
    "kAhgxHMO8S6pk8jDW8sGTOa4SGEM1bvqVSMCokCEben94t/hyqyID55SOx1Mqr6o\n"
    "C2qZQ30DJXgMr6VqEWajUzBRMB0GA1UdDgQWBBQ9JZT3isjrzqRDw3jLIZtl5jGf\n"
    "MzAfBgNVHSMEGDAWgBQ9JZT3isjrzqRDw3jLIZtl5jGfMzAPBgNVHRMBAf8EBTAD\n"
    "AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCbPiVzUv3Zl5zq3D1KGbMl9PBPPLNRK2WW\n"
    "zN/19eLH/QIhAKKKxH9MCNtc4ZUcH1+kKmtDpPeggjYpalfYdJxjLb9D\n"
    "-----END CERTIFICATE-----\n";

/* Into a new file; its name is the caller's buffer. */
static bool write_certificate(char *file)
{
    int fd = mkstemp(file);
    ssize_t size = sizeof some_certificate - 1;
    bool written = fd >= 0 && write(fd, some_certificate, (size_t)size) == size;
    return written && !close(fd);
}

/* ---- Proxies --------------------------------------------------------------------------------- */

TEST(a_proxy_for_plain_http)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    server *s = server_new(steps, 1);
    lathe_client_options options = client_options("http://gateway.example");
    options.proxy = server_url(s);
    lathe_error_init(&error);
    CHECK_CODE(outcome(&options), LATHE_OK);
    static const char begin[] = "POST http://gateway.example/v1/";
    CHECK(!strncmp(server_request(s, 0), begin, sizeof begin - 1));
    setenv("http_proxy", server_url(s), 1);
    setenv("no_proxy", "other.example", 1);
    options.proxy = NULL;
    CHECK_CODE(outcome(&options), LATHE_OK);
    unsetenv("http_proxy");
    unsetenv("no_proxy");
    CHECK_INT(server_requests(s), 2);
    server_free(s);
}

/* Refuses, lets through to nobody, or says nothing. */
TEST(a_proxy_for_https)
{
    static const struct {
        server_step step;
        lathe_code code;
        lathe_phase phase;
    } cases[] = {
        {{"HTTP/1.1 403 No\r\n" LENGTH("0"), 0, SERVER_CLOSE},
         LATHE_CONNECTION,
         LATHE_PHASE_CONNECT},
        {{"HTTP/1.1 200 Go\r\n\r\nnothing like TLS", 0, SERVER_CLOSE},
         LATHE_CONNECTION,
         LATHE_PHASE_TLS},
        {{NULL, 0, SERVER_CLOSE}, LATHE_CONNECTION, LATHE_PHASE_CONNECT},
        {{NULL, 0, SERVER_HOLD}, LATHE_TIMEOUT, LATHE_PHASE_CONNECT},
        {{"HTTP/1.1 200 Go\r\n\r\n", 0, SERVER_HOLD}, LATHE_TIMEOUT, LATHE_PHASE_TLS},
    };
    char file[] = "/tmp/lathe-ca-XXXXXX";
    REQUIRE(write_certificate(file));
    lathe_error_init(&error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        server *s = server_new(&cases[i].step, 1);
        lathe_client_options options = client_options("https://gateway.example");
        options.ca_file = file;
        options.proxy = server_url(s);
        if (cases[i].code == LATHE_TIMEOUT)
            options.call.connect_timeout = 2;
        test_context("case %zu", i);
        CHECK_CODE(outcome(&options), cases[i].code);
        CHECK_STRING(lathe_phase_name(error.phase), lathe_phase_name(cases[i].phase));
        static const char begin[] = "CONNECT gateway.example:443 ";
        CHECK(!strncmp(server_request(s, 0), begin, sizeof begin - 1));
        CHECK(!strstr(server_request(s, 0), TEST_KEY));
        server_free(s);
    }
    unlink(file);
    lathe_error_clear(&error);
}

/* ---- Something else than TLS ----------------------------------------------------------------- */

TEST(no_tls_where_it_is_wanted)
{
    char file[] = "/tmp/lathe-ca-XXXXXX";
    deaf d;
    REQUIRE(deaf_init(&d) && write_certificate(file));
    lathe_client_options options = client_options(d.https);
    lathe_error_init(&error);
    options.ca_file = file;
    options.call.connect_timeout = 2;
    check_words(outcome(&options), LATHE_TIMEOUT, "phase tls");
    int peer, flags = fcntl(d.listener, F_GETFL);
    fcntl(d.listener, F_SETFL, flags | O_NONBLOCK); /* the first one is in the queue */
    while ((peer = accept(d.listener, NULL, NULL)) >= 0)
        close(peer);
    close(d.listener);
    check_words(outcome(&options), LATHE_CONNECTION, "connect failed");
    unlink(file);
    lathe_error_clear(&error);
}

/* Checked when the client was made, and gone since. */
TEST(certificates_that_are_gone)
{
    char file[] = "/tmp/lathe-ca-XXXXXX";
    int attempts;
    deaf d;
    REQUIRE(deaf_init(&d) && write_certificate(file));
    lathe_error_init(&error);
    lathe_client_options options = client_options(d.https);
    options.ca_file = file;
    options.call.max_retries = 2;
    lathe_client *client = client_with(&options);
    unlink(file);
    check_words(call_whole(client, NULL, &error, &attempts), LATHE_CONFIGURATION, file);
    CHECK_INT(attempts, 1);
    lathe_error_clear(&error);
    lathe_client_free(client);
    close(d.listener);
}

/* ---- Times of the service -------------------------------------------------------------------- */

TEST(dates)
{
    CHECK(lathe_http_time("Thu, 01 Jan 1970 00:01:40 GMT") == 100);
    CHECK(isnan(lathe_http_time("tomorrow")) && isnan(lathe_http_time(NULL)));
    CHECK(lathe_http_date("Thu, 01 Jan 1970 00:01:40 GMT", "Thu, 01 Jan 1970 00:01:00 GMT") == 40);
    CHECK(lathe_http_date("Thu, 01 Jan 1970 00:01:40 GMT", NULL) < -1e9);
    CHECK(isnan(lathe_http_date("soon", "Thu, 01 Jan 1970 00:01:00 GMT")));
}

TESTS(ENTRY(framing), ENTRY(statuses), ENTRY(encodings), ENTRY(sizes), ENTRY(long_answers),
      ENTRY(a_request_that_is_not_taken), ENTRY(nobody_there), ENTRY(a_name_that_nobody_has),
      ENTRY(a_proxy_for_plain_http), ENTRY(a_proxy_for_https), ENTRY(no_tls_where_it_is_wanted),
      ENTRY(certificates_that_are_gone), ENTRY(dates))
