/* Answers every POST with the same 200, after a delay: the service, as the benchmarks need it. One
 * thread, epoll, keep-alive; nothing of a request is looked at but its length.
 *
 *   server [--tls CERTIFICATE KEY] [--http2 | --close] [--no-tickets] DELAY HOLD BODY_FILE
 *
 * DELAY is in milliseconds. With HOLD above 1 nobody is answered before that many requests have
 * been held at once; the very first request, by which a client may warm up, is. It speaks HTTP/1.1,
 * or with --http2 HTTP/2 alone; --no-tickets lets no client resume a session of TLS; --close ends
 * each connection after its answer. It prints its port, and at the end of its standard input, as a
 * line of JSON, what it has seen. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, BACKLOG = 4096, CHUNK = 1 << 18 };

typedef struct request {
    peer *from;
    int32_t stream;
    int64_t due; /* of the answer, in ms */
    struct request *next;
} request;

typedef struct queue {
    request *first, *last;
    size_t count;
} queue;

static struct {
    const char *certificate, *key;
    bool http2, no_tickets, close;
    int64_t delay;
    size_t hold;
} options;

static int poller, listener;
static SSL_CTX *context;
static char *answer; /* of HTTP/1.1: a head and the body */
static size_t answer_size, head_size;
static queue waiting; /* for others to come */
static queue timed;   /* for its time, the same delay for all and so in order */
static size_t requests, connections, resumed, open_now, most_open, most_held;

_Noreturn void server_die(const char *what)
{
    perror(what);
    exit(1);
}

static _Noreturn void refuse(const char *what)
{
    fprintf(stderr, "server: %s\n", what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void put(queue *q, request *r)
{
    r->next = NULL;
    if (q->last)
        q->last->next = r;
    else
        q->first = r;
    q->last = r;
    q->count++;
}

static request *take(queue *q)
{
    request *r = q->first;
    q->first = r->next;
    if (!q->first)
        q->last = NULL;
    q->count--;
    return r;
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void watch(int change, int fd, unsigned what, void *self)
{
    struct epoll_event event = {.events = what, .data.ptr = self};
    if (epoll_ctl(poller, change, fd, &event))
        server_die("epoll_ctl");
}

static void begin(int fd)
{
    const int one = 1;
    peer *p = calloc(1, sizeof *p);
    if (!p || (context && !(p->tls = SSL_new(context))))
        server_die("memory");
    p->fd = fd;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
        server_die("a connection");
    if (p->tls) {
        SSL_set_fd(p->tls, fd);
        SSL_set_accept_state(p->tls);
    }
    if (options.http2)
        http2_begin(p);
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, p);
    connections++;
    if (++open_now > most_open)
        most_open = open_now;
}

static void accept_all(void)
{
    int fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0)
        begin(fd);
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ECONNABORTED)
        server_die("accept");
}

/* One with requests that are held is freed when the last one's turn comes. */
static void end(peer *p)
{
    if (p->fd >= 0) {
        if (p->tls) {
            resumed += SSL_session_reused(p->tls) == 1;
            SSL_shutdown(p->tls);
            SSL_free(p->tls);
        }
        nghttp2_session_del(p->session);
        free(p->pending);
        close(p->fd);
        p->fd = -1;
        open_now--;
    }
    if (!p->held)
        free(p);
}

/* Bytes that were read; 0 at the end, -1 when there are none now. */
static ssize_t pull(peer *p, char *to, size_t room)
{
    if (!p->tls) {
        ssize_t got = recv(p->fd, to, room, 0);
        return got < 0 && errno != EAGAIN && errno != EINTR ? 0 : got;
    }
    int got = SSL_read(p->tls, to, (int)room);
    if (got > 0)
        return got;
    int why = SSL_get_error(p->tls, got);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

/* Bytes that were sent; 0 when the client has gone, -1 when none can be sent now. */
static ssize_t push(peer *p)
{
    if (!p->tls) {
        ssize_t sent = send(p->fd, p->out, p->out_size, MSG_NOSIGNAL);
        return sent < 0 && errno != EAGAIN && errno != EINTR ? 0 : sent;
    }
    int sent = SSL_write(p->tls, p->out, (int)p->out_size);
    if (sent > 0)
        return sent;
    int why = SSL_get_error(p->tls, sent);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

/* Sends what there is, as far as it goes; false when the connection has ended. */
static bool flush(peer *p)
{
    ssize_t sent = 1;
    while (p->out_size || (p->session && http2_fill(p))) {
        sent = push(p);
        if (sent <= 0)
            break;
        p->out += sent;
        p->out_size -= (size_t)sent;
    }
    if (!sent || (options.close && !p->out_size)) {
        end(p);
        return false;
    }
    if (p->blocked != (sent < 0)) {
        p->blocked = sent < 0;
        watch(EPOLL_CTL_MOD, p->fd, EPOLLIN | (p->blocked ? EPOLLOUT : 0u), p);
    }
    return true;
}

/* ---- Requests and answers -------------------------------------------------------------------- */

static void release(void)
{
    while (waiting.count) {
        request *r = take(&waiting);
        r->due = now() + options.delay;
        put(&timed, r);
    }
}

void server_hold(peer *p, int32_t stream)
{
    request *r = malloc(sizeof *r);
    if (!r)
        server_die("malloc");
    r->from = p;
    r->stream = stream;
    p->held++;
    put(&waiting, r);
    if (waiting.count + timed.count > most_held)
        most_held = waiting.count + timed.count;
    if (waiting.count >= options.hold)
        options.hold = 1; /* they have been in flight at once, and need not be again */
    if (++requests == 1 || options.hold == 1)
        release();
}

static void send_answer(const request *r)
{
    peer *p = r->from;
    p->held--;
    if (p->fd < 0) {
        end(p);
        return;
    }
    if (p->session) {
        http2_answer(p, r->stream, answer + head_size, answer_size - head_size);
    } else {
        p->out = answer;
        p->out_size = answer_size;
    }
    /* Those of HTTP/2 that are due together go out together. */
    if (p->session && timed.first && timed.first->from == p && timed.first->due <= r->due)
        return;
    flush(p);
}

/* The size of a request's body; `*end` is where its head ends, NULL while that is not here. */
static size_t size_of(char *text, char **end)
{
    static const char name[] = "\r\ncontent-length:";
    *end = strstr(text, "\r\n\r\n");
    if (!*end)
        return 0;
    for (char *c = text; c < *end; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    const char *length = strstr(text, name);
    if (!length || length > *end)
        refuse("a request without content-length");
    *end += 4;
    return strtoul(length + sizeof name - 1, NULL, 10);
}

/* Of HTTP/1.1. */
static void take_data(peer *p, const char *data, size_t size)
{
    if (p->held)
        refuse("a pipelined request");
    if (!p->left) {
        size_t room = MOST_HEAD - p->head_size, part = size < room ? size : room;
        char *end;
        memcpy(p->head + p->head_size, data, part);
        p->head[p->head_size + part] = '\0';
        p->left = size_of(p->head, &end);
        if (!end && part == room)
            refuse("a head that is too large");
        if (!end) {
            p->head_size += part;
            return;
        }
        size -= (size_t)(end - p->head) - p->head_size;
        p->head_size = 0;
    }
    if (size > p->left)
        refuse("a pipelined request");
    p->left -= size;
    if (!p->left)
        server_hold(p, 0);
}

static void receive(peer *p)
{
    static char chunk[CHUNK];
    ssize_t got;
    do {
        got = pull(p, chunk, sizeof chunk);
        if (got > 0 && !p->session)
            take_data(p, chunk, (size_t)got);
        if (!got || (got > 0 && p->session && !http2_take(p, chunk, (size_t)got))) {
            end(p);
            return;
        }
    } while (got > 0 && p->tls && SSL_has_pending(p->tls));
    if (p->session && (!p->tls || SSL_is_init_finished(p->tls)))
        flush(p);
}

static void act(peer *p, unsigned what)
{
    if (what & EPOLLOUT && !flush(p))
        return;
    if (what & ~(unsigned)EPOLLOUT)
        receive(p);
}

/* ---- The service ----------------------------------------------------------------------------- */

static void answer_due(void)
{
    int64_t time = now();
    while (timed.first && timed.first->due <= time) {
        request *r = take(&timed);
        send_answer(r);
        free(r);
    }
}

static int patience(void)
{
    if (!timed.first)
        return -1;
    int64_t left = timed.first->due - now();
    return left > 0 ? (int)left : 0;
}

static _Noreturn void report_and_exit(void)
{
    printf("{\"requests\": %zu, \"connections\": %zu, \"resumed\": %zu, \"most_open\": %zu, "
           "\"most_held\": %zu}\n",
           requests, connections, resumed, most_open, most_held);
    exit(0);
}

static void serve(void)
{
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, BATCH, patience());
        if (count < 0 && errno != EINTR)
            server_die("epoll_wait");
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &listener)
                accept_all();
            else if (events[i].data.ptr == stdin)
                report_and_exit();
            else
                act(events[i].data.ptr, events[i].events);
        answer_due();
    }
}

static int choose_protocol(SSL *tls, const unsigned char **chosen, unsigned char *size,
                           const unsigned char *offered, unsigned offered_size, void *self)
{
    (void)tls, (void)self;
    static const unsigned char http1[] = "\x08http/1.1", http2[] = "\x02h2";
    const unsigned char *ours = options.http2 ? http2 : http1;
    unsigned char *found;
    if (SSL_select_next_proto(&found, size, ours, ours[0] + 1u, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

static void make_context(void)
{
    context = SSL_CTX_new(TLS_server_method());
    if (!context || !SSL_CTX_use_certificate_chain_file(context, options.certificate) ||
        !SSL_CTX_use_PrivateKey_file(context, options.key, SSL_FILETYPE_PEM))
        refuse("the certificate or its key cannot be used");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (options.no_tickets) {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
}

static void make_answer(const char *path)
{
    char head[256];
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        server_die(path);
    size_t size = (size_t)ftell(file);
    head_size = (size_t)snprintf(head, sizeof head,
                                 "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                 "request-id: req_benchmark\r\n%scontent-length: %zu\r\n\r\n",
                                 options.close ? "connection: close\r\n" : "", size);
    answer_size = head_size + size;
    answer = malloc(answer_size);
    rewind(file);
    if (!answer || fread(answer + head_size, 1, size, file) != size)
        server_die(path);
    memcpy(answer, head, head_size);
    fclose(file);
}

static unsigned open_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, BACKLOG) || getsockname(listener, (struct sockaddr *)&address, &size))
        server_die("listen");
    return ntohs(address.sin_port);
}

static bool read_option(char **arguments)
{
    if (!strcmp(*arguments, "--http2"))
        options.http2 = true;
    else if (!strcmp(*arguments, "--no-tickets"))
        options.no_tickets = true;
    else if (!strcmp(*arguments, "--close"))
        options.close = true;
    else
        return false;
    return true;
}

static void read_arguments(int count, char **arguments)
{
    int i = 1;
    for (; i < count && !strncmp(arguments[i], "--", 2); i++)
        if (!strcmp(arguments[i], "--tls") && i + 2 < count) {
            options.certificate = arguments[++i];
            options.key = arguments[++i];
        } else if (!read_option(&arguments[i])) {
            break;
        }
    if (count - i != 3 || (options.close && options.http2)) {
        fputs("usage: server [--tls CERTIFICATE KEY] [--http2 | --close] [--no-tickets] "
              "DELAY HOLD BODY_FILE\n",
              stderr);
        exit(2);
    }
    options.delay = strtol(arguments[i], NULL, 10);
    options.hold = strtoul(arguments[i + 1], NULL, 10);
    make_answer(arguments[i + 2]);
}

int main(int count, char **arguments)
{
    struct rlimit files;
    read_arguments(count, arguments);
    if (options.certificate)
        make_context();
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        server_die("epoll_create1");
    printf("%u\n", open_port());
    fflush(stdout);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, stdin);
    serve();
}
