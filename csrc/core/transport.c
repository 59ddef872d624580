#include "transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "alloc.h"
#include "clock.h"
#include "error.h"
#include "multi.h"

/* Caps on what a server may send beside a body. */
enum { MOST_HEAD_BYTES = 256 * 1024, MOST_LINES = 1000, MOST_INTERIM = 100, MOST_DIGITS = 18 };

/* So much is set aside for the lines of a head. */
enum { USUAL_HEAD = 512 };

/* What libcurl reads at once. Large reads save time where answers are long, and cost memory in each
 * of many calls in flight. */
static const long short_read = 8192, long_read = 65536;

/* libcurl's own limit on connecting comes this much later than ours, which names the phase. */
static const double connect_grace = 1;

/* A longer body gets its room as it comes, for a number alone costs nobody a gigabyte; and a
 * shorter one, which comes in a piece or two. */
static const size_t least_expected = (size_t)16 << 10, most_expected = (size_t)8 << 20;

/* One up to this length has as much room as a host may set aside while it decodes a text that is
 * not ASCII, and a little more: CPython one, two and four bytes for each byte, one after the other.
 */
static const size_t usual_body = (size_t)512 << 10, usual_room = 8;

/* ---- What engines share ---------------------------------------------------------------------- */

struct lathe_share {
    CURLSH *handle;
    pthread_mutex_t locks[CURL_LOCK_DATA_LAST];
};

static void share_lock(CURL *easy, curl_lock_data data, curl_lock_access access, void *self)
{
    (void)easy, (void)access;
    pthread_mutex_lock(&((lathe_share *)self)->locks[data]);
}

static void share_unlock(CURL *easy, curl_lock_data data, void *self)
{
    (void)easy;
    pthread_mutex_unlock(&((lathe_share *)self)->locks[data]);
}

lathe_share *lathe_share_new(void)
{
    lathe_share *share = lathe_calloc(1, sizeof *share);
    if (!share)
        return NULL;
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++)
        pthread_mutex_init(&share->locks[i], NULL);
    share->handle = curl_share_init();
    if (share->handle && !curl_share_setopt(share->handle, CURLSHOPT_USERDATA, share) &&
        !curl_share_setopt(share->handle, CURLSHOPT_LOCKFUNC, share_lock) &&
        !curl_share_setopt(share->handle, CURLSHOPT_UNLOCKFUNC, share_unlock) &&
        !curl_share_setopt(share->handle, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION))
        return share;
    lathe_share_free(share);
    return NULL;
}

void lathe_share_free(lathe_share *share)
{
    if (!share)
        return;
    if (share->handle)
        curl_share_cleanup(share->handle);
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++)
        pthread_mutex_destroy(&share->locks[i]);
    lathe_free(share);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static size_t stop(lathe_exchange *exchange, lathe_stop why, const char *reason)
{
    exchange->stop = why;
    exchange->reason = reason;
    return 0;
}

static bool is_blank_line(const char *line, size_t size)
{
    return size <= 2 && (line[0] == '\r' || line[0] == '\n');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether `name` (in lower case) stands at the line's beginning, and more behind it. */
static bool begins_with(const char *line, size_t size, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if (i >= size || (name[i] == '-' ? line[i] : line[i] | 0x20) != name[i])
            return false;
    return size > length;
}

/* Whether the line is the header `name`; then *value is what follows the colon. */
static bool header_is(const char *line, size_t size, const char *name, lathe_text *value)
{
    size_t length = strlen(name);
    if (!begins_with(line, size, name) || line[length] != ':')
        return false;
    line += length + 1;
    size -= length + 1;
    while (size && is_blank(*line))
        line++, size--;
    while (size && strchr(" \t\r\n", line[size - 1]))
        size--;
    *value = (lathe_text){line, size};
    return true;
}

static bool text_is(const lathe_text *text, const char *word)
{
    char copy[16];
    if (text->size >= sizeof copy)
        return false;
    memcpy(copy, text->data, text->size);
    copy[text->size] = '\0';
    return lathe_same_word(copy, word);
}

static bool is_digits(const lathe_text *text)
{
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] < '0' || text->data[i] > '9')
            return false;
    return text->size > 0;
}

/* Only gzip was asked for, and that once. */
static void take_encoding(lathe_exchange *exchange, const lathe_text *value)
{
    if (!value->size || text_is(value, "identity"))
        return;
    bool gzip = text_is(value, "gzip") || text_is(value, "x-gzip");
    exchange->odd_encoding = exchange->odd_encoding || exchange->gzipped || !gzip;
    exchange->gzipped = !exchange->odd_encoding;
}

/* Whether the line is `name` with a blank before its colon: a header to some, to libcurl none. */
static bool is_ambiguous(const char *line, size_t size, const char *name)
{
    return begins_with(line, size, name) && is_blank(line[strlen(name)]);
}

/* Headers that say how the body is framed must not contradict each other: whoever believes the
 * other one reads the next answer as this one's. */
static size_t take_framing(lathe_exchange *exchange, const char *line, size_t size)
{
    lathe_text value;
    if (!strchr("cCtT", line[0])) /* most lines are none of those below */
        return size;
    if (is_ambiguous(line, size, "content-length") || is_ambiguous(line, size, "transfer-encoding"))
        return stop(exchange, LATHE_STOP_MALFORMED,
                    "its Content-Length or Transfer-Encoding has a blank before the colon");
    if (header_is(line, size, "content-length", &value)) {
        if (exchange->sized)
            return stop(exchange, LATHE_STOP_MALFORMED, "it has two Content-Length headers");
        /* libcurl reads until the connection's close when the number is too large for it. */
        if (!is_digits(&value) || value.size > MOST_DIGITS)
            return stop(exchange, LATHE_STOP_MALFORMED, "its Content-Length is no usable number");
        exchange->sized = true;
        exchange->announced = 0;
        for (size_t i = 0; i < value.size; i++)
            exchange->announced = exchange->announced * 10 + (size_t)(value.data[i] - '0');
    } else if (header_is(line, size, "transfer-encoding", &value)) {
        /* libcurl knows others, which do not tell where the body ends. */
        if (!text_is(&value, "chunked"))
            return stop(exchange, LATHE_STOP_MALFORMED, "its Transfer-Encoding is not chunked");
        exchange->chunked = true;
    } else if (header_is(line, size, "content-encoding", &value)) {
        take_encoding(exchange, &value);
    }
    if (exchange->sized && exchange->chunked)
        return stop(exchange, LATHE_STOP_MALFORMED,
                    "it has both Content-Length and Transfer-Encoding");
    return size;
}

static lathe_carrier *carrier_of(const lathe_exchange *exchange)
{
    return lathe_multi_carrier(exchange->multi, exchange->carrier, exchange->port);
}

/* Whether an answer of HTTP/1 may be that of another request, which was put on the connection
 * before anything told what it speaks; then it is known. */
static bool is_doubtful(const lathe_exchange *exchange)
{
    lathe_carrier *carrier = carrier_of(exchange);
    bool doubtful = exchange->old_http &&
                    (exchange->shared || (carrier && carrier->users > 1 && !carrier->version));
    if (carrier)
        carrier->version = exchange->old_http ? 1 : 2;
    return doubtful;
}

/* Whether the status line that is there was made from a header of HTTP/2: libcurl believes a line
 * of HTTP/1 that says so too. */
static bool has_status_header(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075400
    struct curl_header *status;
    return !curl_easy_header(easy, ":status", 0, CURLH_PSEUDO, -1, &status);
#else
    (void)easy;
    return false;
#endif
}

static void note_http2(const lathe_exchange *exchange)
{
    lathe_carrier *carrier = carrier_of(exchange);
    if (carrier && !exchange->old_http && has_status_header(exchange->easy))
        carrier->is_http2 = true;
}

static size_t begin_head(lathe_exchange *exchange, const char *line, size_t size)
{
    if (exchange->in_head) /* libcurl goes by the first, a proxy perhaps by the other */
        return stop(exchange, LATHE_STOP_MALFORMED, "it has a status line within its headers");
    exchange->in_head = true;
    lathe_buf_clear(&exchange->head);
    exchange->announced = 0;
    exchange->sized = exchange->chunked = exchange->gzipped = exchange->odd_encoding = false;
    /* Without TLS there is no HTTP/2, whatever the line says. */
    exchange->old_http = !exchange->settings->https || (size > 5 && line[5] == '1');
    note_http2(exchange);
    if (is_doubtful(exchange))
        return stop(exchange, LATHE_STOP_MALFORMED, "its connection carried another request too");
    const char *space = memchr(line, ' ', size);
    size_t at = space ? (size_t)(space - line) + 1 : size;
    exchange->status = 0;
    for (int i = 0; i < 3 && at < size && line[at] >= '0' && line[at] <= '9'; i++, at++)
        exchange->status = exchange->status * 10 + (line[at] - '0');
    return size;
}

/* At the blank line behind a head. */
static size_t end_head(lathe_exchange *exchange, size_t size)
{
    exchange->in_head = false;
    if (exchange->status < 200) {
        if (++exchange->interim > MOST_INTERIM)
            return stop(exchange, LATHE_STOP_INTERIM, NULL);
        return size;
    }
    exchange->headers_done = true;
    bool success = exchange->status < 300;
    /* Without a length nobody can tell a whole body from one that was cut off. */
    if (success && exchange->old_http && !exchange->sized && !exchange->chunked &&
        exchange->status != 204)
        return stop(exchange, LATHE_STOP_MALFORMED,
                    "its body is ended by the connection's close alone");
    if (exchange->odd_encoding && success)
        return stop(exchange, LATHE_STOP_ENCODING, NULL);
    exchange->skip_body = exchange->odd_encoding;
    if (exchange->gzipped && !(exchange->gunzip = lathe_gunzip_new()))
        return stop(exchange, LATHE_STOP_MEMORY, NULL);
    return size;
}

static size_t receive_header(char *line, size_t unit, size_t count, void *self)
{
    lathe_exchange *exchange = self;
    size_t size = unit * count;
    exchange->server->heard++;
    exchange->head_bytes += size;
    if (exchange->head_bytes > MOST_HEAD_BYTES || ++exchange->lines > MOST_LINES)
        return stop(exchange, LATHE_STOP_HEADERS, NULL);
    if (exchange->headers_done)
        return size; /* a trailer */
    if (size > 5 && !memcmp(line, "HTTP/", 5))
        return begin_head(exchange, line, size);
    if (is_blank_line(line, size))
        return end_head(exchange, size);
    if ((!exchange->head.data && lathe_buf_reserve(&exchange->head, USUAL_HEAD)) ||
        lathe_buf_append(&exchange->head, line, size))
        return stop(exchange, LATHE_STOP_MEMORY, NULL);
    return take_framing(exchange, line, size);
}

/* Room for a body as long as announced, and for the reader to undo its escapes behind it, in one
 * block, which does not grow. It is as large as all that the host will set aside: glibc maps a
 * larger block than it has ever freed anew, and gives back what is free beyond twice that, so that
 * from the first such answer on there is memory for the next one. */
static lathe_code expect_body(lathe_exchange *exchange)
{
    const size_t size = exchange->announced, ceiling = exchange->body.ceiling;
    const size_t times = size > usual_body || usual_room * size > ceiling ? 2 : usual_room;
    if (exchange->gunzip || exchange->body.data || size < least_expected || size > most_expected ||
        times * size > ceiling)
        return LATHE_OK;
    return lathe_buf_reserve(&exchange->body, times * size);
}

static size_t receive_body(char *data, size_t unit, size_t count, void *self)
{
    lathe_exchange *exchange = self;
    size_t size = unit * count;
    exchange->server->heard++;
    exchange->body_seen = true;
    if (exchange->skip_body)
        return size;
    lathe_code code = expect_body(exchange);
    if (!code && exchange->gunzip)
        code = lathe_gunzip_feed(exchange->gunzip, data, size, &exchange->body);
    else if (!code)
        code = lathe_buf_append(&exchange->body, data, size);
    if (code == LATHE_TOO_LARGE)
        return stop(exchange, LATHE_STOP_BODY, NULL);
    if (code == LATHE_CONNECTION)
        return stop(exchange, LATHE_STOP_GZIP, NULL);
    return code ? stop(exchange, LATHE_STOP_MEMORY, NULL) : size;
}

/* Two requests under way tell whether a connection carries both, long before one is answered. */
static void note_connection(lathe_exchange *exchange, int local_port)
{
    lathe_server *server = exchange->server;
    server->reached = true;
    server->unreachable = false;
    if (!server->first) {
        server->first = exchange;
        server->first_port = local_port;
    } else if (server->carries == LATHE_CARRIES_UNKNOWN) {
        server->carries = local_port == server->first_port ? LATHE_CARRIES_MANY : LATHE_CARRIES_ONE;
    }
}

/* The version that an answer came by corrects what connections seemed to show. */
static void note_end(lathe_exchange *exchange, bool answered)
{
    lathe_server *server = exchange->server;
    long version = 0;
    if (answered && exchange->settings->https) {
        curl_easy_getinfo(exchange->easy, CURLINFO_HTTP_VERSION, &version);
        server->carries = version >= CURL_HTTP_VERSION_2_0 ? LATHE_CARRIES_MANY : LATHE_CARRIES_ONE;
    }
    const lathe_carrier *carrier = exchange->connected ? carrier_of(exchange) : NULL;
    bool http2 = carrier && carrier->is_http2 && !exchange->settings->proxy;
    server->http2_socket = http2 ? exchange->carrier : -1;
    server->long_answers = exchange->body.size > (size_t)long_read;
    if (!exchange->connected)
        server->unreachable = true;
}

/* libcurl 7.88 puts a second request on a busy connection of HTTP/1.1 when others to the host are
 * of HTTP/2 (its issue 4885), and then anybody reads anybody's answer. One that has just become
 * idle may still be counted as busy. */
static bool is_of_use(const lathe_carrier *carrier, int fd, bool tls)
{
    return !(carrier->users && carrier->version == 1) && !lathe_multi_is_stale(fd, tls);
}

static void join_connection(lathe_exchange *exchange, lathe_carrier *carrier, int fd)
{
    exchange->carrier = fd;
    exchange->port = carrier->port;
    exchange->shared = carrier->users && !carrier->version;
    carrier->users++;
}

/* Called when a connection is there, before the request goes out. A second time means that libcurl
 * sends again by itself, since the connection it reused was dead: that is ours to decide and count.
 */
static int before_request(void *self, char *address, char *local, int port, int local_port)
{
    (void)address, (void)local, (void)port;
    lathe_exchange *exchange = self;
    if (exchange->connected) {
        stop(exchange, LATHE_STOP_RESEND, NULL);
        return CURL_PREREQFUNC_ABORT;
    }
    exchange->connected = true;
    int fd = lathe_multi_find(exchange->multi, exchange->socket, local_port);
    lathe_carrier *carrier = lathe_multi_carrier(exchange->multi, fd, local_port);
    if (exchange->only >= 0 && !(carrier && fd == exchange->only && carrier->is_http2)) {
        stop(exchange, LATHE_STOP_HANDLE, NULL);
        return CURL_PREREQFUNC_ABORT;
    }
    if (carrier && fd != exchange->socket && !is_of_use(carrier, fd, exchange->settings->https)) {
        stop(exchange, LATHE_STOP_STALE, NULL);
        curl_easy_setopt(exchange->easy, CURLOPT_FORBID_REUSE, 1L); /* nor by others */
        return CURL_PREREQFUNC_ABORT;
    }
    if (carrier)
        join_connection(exchange, carrier, fd);
    note_connection(exchange, local_port);
    return CURL_PREREQFUNC_OK;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static int set_socket(void *self, curl_socket_t fd, curlsocktype purpose)
{
    (void)self, (void)purpose;
#ifdef TCP_KEEPCNT
    const int probes = 5;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
#else
    (void)fd;
#endif
    return CURL_SOCKOPT_OK;
}

/* Whether a header is among the caller's lines, which win over ours. */
static bool is_given(const lathe_lines *lines, const char *name)
{
    lathe_text value;
    for (size_t i = 0; i < lines->count; i++)
        if (header_is(lines->items[i], strlen(lines->items[i]), name, &value))
            return true;
    return false;
}

static const char attempt_name[] = "x-promptlathe-attempt";

/* The list's nodes borrow the lines, which libcurl's own functions would copy, key and all. */
lathe_code lathe_lines_list(lathe_lines *lines)
{
    static char no_expect[] = "Expect:"; /* else bodies over 1 MiB wait a second */
    struct curl_slist *nodes = lines->list = lathe_calloc(lines->count + 1, sizeof *nodes);
    if (!nodes)
        return LATHE_MEMORY;
    for (size_t i = 0; i < lines->count; i++)
        nodes[i] = (struct curl_slist){lines->items[i], &nodes[i + 1]};
    nodes[lines->count].data = no_expect;
    lines->tells_attempt = is_given(lines, attempt_name);
    return LATHE_OK;
}

/* The lines of all attempts, behind the one that is this attempt's. */
static struct curl_slist *list_of(lathe_exchange *exchange, const lathe_outgoing *outgoing)
{
    static char first_attempt[] = "x-promptlathe-attempt: 1"; /* printing takes longer */
    struct curl_slist *list = outgoing->lines->list;
    if (outgoing->lines->tells_attempt)
        return list;
    exchange->first = (struct curl_slist){first_attempt, list};
    if (outgoing->attempt > 1) {
        snprintf(exchange->attempt_line, sizeof exchange->attempt_line, "%s: %d", attempt_name,
                 outgoing->attempt);
        exchange->first.data = exchange->attempt_line;
    }
    return &exchange->first;
}

#define SET(option, value)                                                                         \
    if (curl_easy_setopt(easy, option, value))                                                     \
    return LATHE_MEMORY

static lathe_code set_security(CURL *easy, const lathe_settings *settings)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, settings->https ? "https" : "http");
#else
    SET(CURLOPT_PROTOCOLS, settings->https ? CURLPROTO_HTTPS : CURLPROTO_HTTP);
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTPAUTH, CURLAUTH_NONE);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_PROXY, settings->proxy ? settings->proxy : ""); /* never libcurl's own look-up */
    SET(CURLOPT_NOPROXY, settings->no_proxy ? settings->no_proxy : "");
    if (!settings->https && !settings->proxy)
        return LATHE_OK; /* there is no TLS */
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* Both must be said: a built-in CApath makes libcurl parse the bundle for every connection. */
    SET(CURLOPT_CAINFO, settings->ca_file);
    SET(CURLOPT_CAPATH, settings->ca_dir);
    SET(CURLOPT_PROXY_CAINFO, settings->ca_file);
    SET(CURLOPT_PROXY_CAPATH, settings->ca_dir);
    SET(CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return LATHE_OK;
}

static long connect_milliseconds(double seconds)
{
    return isinf(seconds) ? 0x7fffffffL : (long)lathe_milliseconds(seconds + connect_grace);
}

/* After this time libcurl tries another family of addresses. Its timer costs a step of every
 * handshake that takes longer, all at once, so that it is not set where addresses are known to be
 * good. */
static long eyeballs_milliseconds(const lathe_server *server)
{
    return server->reached && !server->unreachable ? 100000 : CURL_HET_DEFAULT;
}

/* libcurl copies the body into it piece by piece and sends each with a call of its own, save with
 * TLS, which cuts pieces of 16 KB anyway. */
static long upload_buffer(const lathe_outgoing *outgoing)
{
    const long small = 16384, usual = 65536, large = 524288;
    if (outgoing->body_size > (size_t)large && !outgoing->settings->https)
        return large;
    return outgoing->body_size > (size_t)usual ? usual : small;
}

lathe_code lathe_exchange_prepare(CURL *easy, const lathe_settings *settings,
                                  const lathe_share *share)
{
    SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT, 1L); /* else a hanging name look-up freezes everybody */
#endif
    SET(CURLOPT_SHARE, share->handle);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, 60L);
    SET(CURLOPT_TCP_KEEPINTVL, 60L);
    SET(CURLOPT_SOCKOPTFUNCTION, set_socket);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HEADERFUNCTION, receive_header);
    SET(CURLOPT_WRITEFUNCTION, receive_body);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    return set_security(easy, settings);
}

static lathe_code set_connection(CURL *easy, const lathe_outgoing *outgoing,
                                 const lathe_server *server)
{
    /* Each transfer has both for itself, and newer versions touch all of them. */
    SET(CURLOPT_UPLOAD_BUFFERSIZE, upload_buffer(outgoing));
    SET(CURLOPT_BUFFERSIZE, server->long_answers ? long_read : short_read);
    SET(CURLOPT_PIPEWAIT,
        outgoing->settings->https && server->carries != LATHE_CARRIES_ONE ? 1L : 0L);
    SET(CURLOPT_FRESH_CONNECT, outgoing->fresh ? 1L : 0L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, connect_milliseconds(outgoing->connect_timeout));
    SET(CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, eyeballs_milliseconds(server));
    return LATHE_OK;
}

static lathe_code set_request(CURL *easy, lathe_exchange *exchange, const lathe_outgoing *outgoing)
{
    /* Both are the same: without the text libcurl 7.88 would write it out for every attempt. */
    SET(CURLOPT_URL, outgoing->target->url);
    SET(CURLOPT_CURLU, outgoing->target->address);
    SET(CURLOPT_HTTPHEADER, list_of(exchange, outgoing));
    SET(CURLOPT_POSTFIELDS, outgoing->body);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)outgoing->body_size);
    SET(CURLOPT_HEADERDATA, exchange);
    SET(CURLOPT_WRITEDATA, exchange);
    SET(CURLOPT_PREREQDATA, exchange);
    SET(CURLOPT_ERRORBUFFER, exchange->curl_text);
    SET(CURLOPT_PRIVATE, exchange);
    return LATHE_OK;
}

lathe_code lathe_exchange_begin(lathe_exchange *exchange, CURL *easy,
                                const lathe_outgoing *outgoing, lathe_server *server)
{
    *exchange = (lathe_exchange){.easy = easy,
                                 .server = server,
                                 .settings = outgoing->settings,
                                 .body_sent_size = outgoing->body_size,
                                 .socket = -1,
                                 .carrier = -1,
                                 .only = -1,
                                 .started = outgoing->started};
    lathe_buf_init(&exchange->head, MOST_HEAD_BYTES);
    lathe_buf_init(&exchange->body, outgoing->settings->max_response_bytes);
    lathe_code code = set_connection(easy, outgoing, server);
    return code ? code : set_request(easy, exchange, outgoing);
}

bool lathe_exchange_detach(CURL *easy)
{
    /* Refused as long as there is a buffer, which libcurl keeps while others use the connection. */
    return !curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, short_read) &&
           !curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL) &&
           !curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL) &&
           !curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL) &&
           !curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
}

void lathe_exchange_opened(lathe_exchange *exchange, int fd, const struct sockaddr *address,
                           socklen_t size)
{
    exchange->socket = fd;
    if (getnameinfo(address, size, exchange->address, sizeof exchange->address, NULL, 0,
                    NI_NUMERICHOST))
        exchange->address[0] = '\0';
}

void lathe_exchange_extend(lathe_exchange *exchange, double seconds)
{
    curl_easy_setopt(exchange->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_milliseconds(seconds));
}

/* ---- Judging --------------------------------------------------------------------------------- */

static double info_time(CURL *easy, CURLINFO info)
{
    curl_off_t microseconds = 0;
    curl_easy_getinfo(easy, info, &microseconds);
    return microseconds > 0 ? (double)microseconds / 1e6 : -1;
}

static void fill_times(const lathe_exchange *exchange, lathe_times *times)
{
    CURL *easy = exchange->easy;
    *times = (lathe_times){.resolve = info_time(easy, CURLINFO_NAMELOOKUP_TIME_T),
                           .connect = info_time(easy, CURLINFO_CONNECT_TIME_T),
                           .tls = info_time(easy, CURLINFO_APPCONNECT_TIME_T),
                           .send = info_time(easy, CURLINFO_PRETRANSFER_TIME_T),
                           .wait = info_time(easy, CURLINFO_STARTTRANSFER_TIME_T),
                           .total = lathe_clock() - exchange->started};
}

/* Where the attempt is, or was, connected to; "" when no socket was ever opened. Some versions of
 * libcurl tell it only after TLS. */
static const char *address_of(const lathe_exchange *exchange)
{
    const char *address = NULL;
    curl_easy_getinfo(exchange->easy, CURLINFO_PRIMARY_IP, &address);
    return address && *address ? address : exchange->address;
}

/* Whether the connection stands but for its TLS. No version of libcurl tells the time of it before
 * TLS ends; 7.88 at least tells the address, the socket itself always does. */
static bool is_connected(const lathe_exchange *exchange)
{
    const char *address = NULL;
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    curl_easy_getinfo(exchange->easy, CURLINFO_PRIMARY_IP, &address);
    return (address && *address) || !getpeername(exchange->socket, (struct sockaddr *)&peer, &size);
}

/* The same through a proxy, which has to let us through first. */
static bool is_at_host(const lathe_exchange *exchange)
{
    long answer = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_HTTP_CONNECTCODE, &answer);
    return is_connected(exchange) && (!exchange->settings->proxy || answer / 100 == 2);
}

lathe_phase lathe_exchange_phase(const lathe_exchange *exchange)
{
    curl_off_t sent = 0;
    if (!exchange->connected) {
        if (info_time(exchange->easy, CURLINFO_NAMELOOKUP_TIME_T) < 0)
            return LATHE_PHASE_RESOLVE;
        return exchange->settings->https && is_at_host(exchange) ? LATHE_PHASE_TLS
                                                                 : LATHE_PHASE_CONNECT;
    }
    if (exchange->lines || exchange->stop > LATHE_STOP_RESEND)
        return LATHE_PHASE_READ;
    curl_easy_getinfo(exchange->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    return (size_t)sent < exchange->body_sent_size ? LATHE_PHASE_SEND : LATHE_PHASE_WAIT;
}

/* Some of libcurl's codes say more than the state does. */
static lathe_phase phase_of(const lathe_exchange *exchange, CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return LATHE_PHASE_RESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return LATHE_PHASE_CONNECT;
    case CURLE_GOT_NOTHING:
        return LATHE_PHASE_WAIT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return LATHE_PHASE_TLS;
    case CURLE_WEIRD_SERVER_REPLY:   /* a proxy's before there is a connection */
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 or no HTTP at all */
        return exchange->connected ? LATHE_PHASE_READ : LATHE_PHASE_CONNECT;
    default:
        return lathe_exchange_phase(exchange);
    }
}

static bool is_final(CURLcode result)
{
    return result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE ||
           result == CURLE_SSL_CERTPROBLEM || result == CURLE_SSL_ISSUER_ERROR ||
           result == CURLE_URL_MALFORMAT;
}

static void fill_connection(lathe_exchange *exchange, lathe_phase phase, lathe_error *error)
{
    error->phase = phase;
    snprintf(error->host, sizeof error->host, "%s", exchange->settings->host);
    snprintf(error->address, sizeof error->address, "%s", address_of(exchange));
    fill_times(exchange, &error->times);
}

static lathe_code broken(lathe_exchange *exchange, CURLcode result, const char *reason,
                         lathe_error *error)
{
    lathe_phase phase = phase_of(exchange, result);
    const char *text = reason                   ? reason
                       : exchange->curl_text[0] ? exchange->curl_text
                                                : curl_easy_strerror(result);
    fill_connection(exchange, phase, error);
    error->curl_code = (int)result;
    snprintf(error->curl_message, sizeof error->curl_message, "%s", text);
    /* Its own limit, when a step came too late for ours. */
    lathe_code code = result == CURLE_OPERATION_TIMEDOUT ? LATHE_TIMEOUT : LATHE_CONNECTION;
    return lathe_fail(error, code, "no complete answer from %.200s: %s failed: %.250s", error->host,
                      lathe_phase_name(phase), text);
}

void lathe_exchange_timeout(lathe_exchange *exchange, double seconds, const char *what,
                            lathe_error *error)
{
    lathe_phase phase = lathe_exchange_phase(exchange);
    note_end(exchange, false);
    fill_connection(exchange, phase, error);
    error->curl_code = CURLE_OPERATION_TIMEDOUT;
    snprintf(error->curl_message, sizeof error->curl_message, "%s",
             curl_easy_strerror(CURLE_OPERATION_TIMEDOUT));
    lathe_fail(error, LATHE_TIMEOUT,
               "no complete answer from %.200s within the %s of %g s (phase %s)", error->host, what,
               seconds, lathe_phase_name(phase));
}

static lathe_code unusable(lathe_exchange *exchange, const char *why, lathe_error *error)
{
    error->status = exchange->status;
    return lathe_fail(error, LATHE_RESPONSE_VALIDATION, "an answer that cannot be used: %s", why);
}

static lathe_code unreadable_ca(const lathe_settings *settings, lathe_error *error)
{
    const char *path = settings->ca_file ? settings->ca_file : settings->ca_dir;
    return lathe_fail(error, LATHE_CONFIGURATION, "the CA certificates in %.300s cannot be read",
                      path ? path : "no file");
}

/* What a callback's veto means. */
static lathe_code judge_stop(lathe_exchange *exchange, lathe_error *error)
{
    char text[80];
    switch (exchange->stop) {
    case LATHE_STOP_STALE: /* begun anew, not judged */
    case LATHE_STOP_HANDLE:
    case LATHE_STOP_RESEND:
        return broken(exchange, CURLE_GOT_NOTHING,
                      "the connection was closed by the other side before an answer", error);
    case LATHE_STOP_MALFORMED:
        return broken(exchange, CURLE_WEIRD_SERVER_REPLY, exchange->reason, error);
    case LATHE_STOP_GZIP:
        return broken(exchange, CURLE_BAD_CONTENT_ENCODING, "the body is no valid gzip", error);
    case LATHE_STOP_ENCODING:
        return unusable(exchange, "its content-encoding was not asked for", error);
    case LATHE_STOP_HEADERS:
        return unusable(exchange, "it has more than 256 KiB or 1,000 lines of headers", error);
    case LATHE_STOP_INTERIM:
        return unusable(exchange, "it has more than 100 interim (1xx) responses", error);
    case LATHE_STOP_BODY:
        snprintf(text, sizeof text, "its body is larger than %zu bytes (max_response_bytes)",
                 exchange->body.ceiling);
        return unusable(exchange, text, error);
    case LATHE_STOP_MEMORY:
    case LATHE_STOP_NONE:
        break;
    }
    return lathe_fail(error, LATHE_MEMORY, NULL);
}

/* Whether libcurl gave up because of the size of a head, which it calls by other names. */
static bool is_head_too_large(const lathe_exchange *exchange, CURLcode result)
{
    enum { TOO_LARGE = 100 }; /* from 8.6 on; the headers here may be older than the library */
    if (!exchange->connected || exchange->headers_done)
        return false; /* a proxy's head is no answer */
    return (int)result == TOO_LARGE ||
           (result == CURLE_OUT_OF_MEMORY &&
            info_time(exchange->easy, CURLINFO_STARTTRANSFER_TIME_T) > 0);
}

/* Whether a body whose length nobody told begins as an object and does not end as one. Over HTTP/2
 * libcurl takes a stream that was reset without an error for the body's end; 7.88 also does that
 * with a connection that broke. */
static bool is_cut_off(const lathe_exchange *exchange)
{
    const char *body = exchange->body.data;
    size_t size = exchange->body.size;
    if (exchange->status != 200 || exchange->old_http || exchange->sized || exchange->gunzip)
        return false;
    while (size && memchr(" \t\r\n", body[size - 1], 4))
        size--;
    return size && body[0] == '{' && body[size - 1] != '}';
}

static lathe_code judge(lathe_exchange *exchange, CURLcode result, bool *final, lathe_error *error)
{
    if (exchange->stop) {
        lathe_code code = judge_stop(exchange, error);
        *final = code != LATHE_CONNECTION;
        return code;
    }
    if (is_head_too_large(exchange, result)) {
        exchange->stop = LATHE_STOP_HEADERS;
        *final = true;
        return judge_stop(exchange, error);
    }
    *final = is_final(result) || result == CURLE_OUT_OF_MEMORY;
    if (result == CURLE_OUT_OF_MEMORY)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    if (result == CURLE_SSL_CACERT_BADFILE)
        return unreadable_ca(exchange->settings, error);
    if (result)
        return broken(exchange, result, result == CURLE_COULDNT_CONNECT ? exchange->reason : NULL,
                      error);
    if (!exchange->headers_done) /* libcurl takes it for an answer without a body */
        return broken(exchange, CURLE_PARTIAL_FILE, "the connection was closed within the headers",
                      error);
    bool decoded = !exchange->gunzip || (!exchange->body_seen && exchange->status != 200) ||
                   lathe_gunzip_complete(exchange->gunzip);
    if (!decoded)
        return broken(exchange, CURLE_PARTIAL_FILE, "the gzip body is cut off", error);
    if (is_cut_off(exchange))
        return broken(exchange, CURLE_PARTIAL_FILE, "the body is cut off", error);
    return LATHE_OK;
}

static lathe_code take_answer(lathe_exchange *exchange, lathe_answer *answer)
{
    /* A result is what the service sent; everything else may end in an exception or a log. */
    lathe_settings_redact(exchange->settings, exchange->head.data, exchange->head.size);
    if (exchange->status != 200)
        lathe_settings_redact(exchange->settings, exchange->body.data, exchange->body.size);
    answer->status = exchange->status;
    const char *head = exchange->head.data ? exchange->head.data : "";
    lathe_code code = lathe_headers_parse(&answer->headers, head, exchange->head.size);
    answer->body_room = exchange->body.capacity - exchange->body.size;
    if (!code && !(answer->body = lathe_buf_steal(&exchange->body, &answer->body_size)))
        code = LATHE_MEMORY;
    return code;
}

lathe_code lathe_exchange_end(lathe_exchange *exchange, CURLcode result, lathe_answer *answer,
                              bool *final, lathe_error *error)
{
    lathe_code code = judge(exchange, result, final, error);
    note_end(exchange, result == CURLE_OK && exchange->headers_done);
    if (!code && take_answer(exchange, answer)) {
        *final = true;
        code = lathe_fail(error, LATHE_MEMORY, NULL);
    }
    lathe_exchange_drop(exchange);
    return code;
}

void lathe_exchange_drop(lathe_exchange *exchange)
{
    if (exchange->server && exchange->server->first == exchange)
        exchange->server->first = NULL;
    lathe_carrier *carrier = exchange->connected ? carrier_of(exchange) : NULL;
    if (carrier && carrier->users)
        carrier->users--;
    lathe_buf_clear(&exchange->head);
    lathe_buf_clear(&exchange->body);
    lathe_gunzip_free(exchange->gunzip);
    *exchange = (lathe_exchange){0};
}

void lathe_answer_clear(lathe_answer *answer)
{
    lathe_headers_clear(&answer->headers);
    lathe_free(answer->body);
    *answer = (lathe_answer){0};
}

double lathe_http_time(const char *text)
{
    time_t time = text ? curl_getdate(text, NULL) : -1;
    return time == -1 ? (double)NAN : (double)time;
}

double lathe_http_date(const char *text, const char *date)
{
    double now = lathe_http_time(date);
    return lathe_http_time(text) - (isnan(now) ? (double)time(NULL) : now);
}
