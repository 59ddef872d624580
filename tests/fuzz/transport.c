/* What a server may send, through libcurl and the transport, over a socket of the machine itself:
 * no network is used. */
#include "transport.h"
#include "multi.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"
#include "support_alloc.h"

#define KEY "sk-fuzz-0123456789"

enum { MOST_SENT = 64 * 1024 };

static CURLM *multi;
static int listener; /* of the system's own choice of a name, in no file system */
static lathe_share *the_share;
static lathe_settings settings;

static void set_up(void)
{
    lathe_client_options options;
    lathe_error error;
    if (multi)
        return;
    lathe_error_init(&error);
    lathe_client_options_init(&options);
    options.api_key = KEY;
    options.base_url = "http://127.0.0.1:1";
    MUST(lathe_settings_init(&settings, &options, &error) == LATHE_OK);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    the_share = lathe_share_new();
    multi = curl_multi_init();
    MUST(multi && the_share);
    const struct sockaddr any = {.sa_family = AF_UNIX};
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(!bind(listener, &any, sizeof any.sa_family) && !listen(listener, 8));
}

/* libcurl connects to the listener, whatever address it thinks of. */
static curl_socket_t open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)self, (void)purpose;
    socklen_t size = sizeof address->addr;
    address->family = AF_UNIX;
    MUST(!getsockname(listener, &address->addr, &size));
    address->addrlen = size;
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int leave_socket(void *self, curl_socket_t fd, curlsocktype purpose)
{
    (void)self, (void)fd, (void)purpose;
    return CURL_SOCKOPT_OK;
}

/* The other end of the connection, which has sent the bytes and sends no more. */
static int answer(lathe_text bytes)
{
    int end = accept(listener, NULL, NULL);
    MUST(end >= 0 && write(end, bytes.data, bytes.size) == (ssize_t)bytes.size);
    MUST(!shutdown(end, SHUT_WR));
    return end;
}

static CURLcode perform(CURL *easy, lathe_text bytes)
{
    int running, left;
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, leave_socket);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_multi_add_handle(multi, easy);
    MUST(!curl_multi_perform(multi, &running));
    int end = answer(bytes);
    while (running) {
        MUST(!curl_multi_poll(multi, NULL, 0, 1000, NULL));
        MUST(!curl_multi_perform(multi, &running));
    }
    CURLMsg *message = curl_multi_info_read(multi, &left);
    MUST(message != NULL);
    CURLcode result = message->data.result;
    curl_multi_remove_handle(multi, easy);
    close(end);
    return result;
}

static bool is_told(const lathe_headers *headers, const char *name)
{
    return lathe_headers_get(headers, name) != NULL;
}

static void check_answer(const lathe_answer *answer, lathe_text bytes)
{
    lathe_text body = {answer->body, answer->body_size};
    bool packed = is_told(&answer->headers, "content-encoding");
    MUST(answer->body_size <= settings.max_response_bytes && answer->body);
    MUST(answer->status >= 200);
    MUST(answer->status == 200 || !fuzz_has(body, KEY, strlen(KEY)));
    for (size_t i = 0; i < answer->headers.count; i++)
        MUST(!strstr(answer->headers.items[i].value, KEY));
    if (answer->status >= 300 || answer->status == 204)
        return;
    bool sized = is_told(&answer->headers, "content-length");
    bool chunked = is_told(&answer->headers, "transfer-encoding");
    MUST(sized != chunked);
    if (!sized || packed)
        return;
    MUST(strtoull(lathe_headers_get(&answer->headers, "content-length"), NULL, 10) == body.size);
    MUST(!body.size || answer->status != 200 || fuzz_has(bytes, body.data, body.size));
}

static void check_failure(lathe_code code, const lathe_error *error)
{
    MUST(code == LATHE_CONNECTION || code == LATHE_RESPONSE_VALIDATION);
    MUST(code != LATHE_CONNECTION || error->phase >= LATHE_PHASE_SEND);
    MUST(!strstr(error->message, KEY) && !strstr(error->curl_message, KEY));
}

static void exchange(lathe_text bytes, unsigned order)
{
    static const lathe_lines no_lines = {.items = NULL};
    lathe_server server = {0};
    const lathe_outgoing outgoing = {.settings = &settings,
                                     .share = the_share,
                                     .target = &settings.targets[LATHE_GENERATE],
                                     .body = "{}",
                                     .body_size = 2,
                                     .lines = &no_lines,
                                     .attempt = 1,
                                     .connect_timeout = 5};
    lathe_exchange attempt;
    lathe_answer answer = {0};
    lathe_error error;
    bool final = false;
    /* libcurl before 8.1.2 keeps a pointer from one transfer of a handle to the next. */
    CURL *easy = curl_easy_init();
    MUST(easy != NULL);
    lathe_error_init(&error);
    fuzz_arm(order);
    lathe_multi none = {0}; /* it knows no socket */
    lathe_code code = lathe_exchange_begin(&attempt, easy, &outgoing, &server);
    if (!code) /* not before: lathe_exchange_end needs an exchange that has begun */
        code = lathe_exchange_prepare(easy, &settings, the_share);
    attempt.multi = &none;
    CURLcode result = code ? CURLE_OUT_OF_MEMORY : perform(easy, bytes);
    code = lathe_exchange_end(&attempt, result, &answer, &final, &error);
    bool failed = fuzz_disarm();
    curl_easy_cleanup(easy);
    fuzz_check_error(&error, code);
    MUST(!failed || code == LATHE_MEMORY);
    if (!code)
        check_answer(&answer, bytes);
    else if (!failed)
        check_failure(code, &error);
    lathe_answer_clear(&answer);
    lathe_error_clear(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    set_up();
    unsigned limit = fuzz_byte(&input);
    size_t before = alloc_blocks();
    settings.max_response_bytes = limit & 1 ? limit : 1 << 20;
    if (input.size < MOST_SENT) /* what a socket takes without waiting */
        exchange(fuzz_rest(&input), limit & 2 ? limit >> 2 : 0);
    MUST(alloc_blocks() == before);
    return 0;
}
