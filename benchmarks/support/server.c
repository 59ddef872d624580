/* Answers every POST with the same 200, after a delay: the service, as benchmarks of many calls at
 * once need it. One thread, epoll, HTTP/1.1 with keep-alive; nothing of a request is looked at but
 * its length.
 *
 *   server DELAY HOLD BODY
 *
 * DELAY is in milliseconds. With HOLD above 1 nobody is answered before that many requests are held
 * at once; the very first request, by which a client may warm up, never is. It prints its port, and
 * at the end of its standard input, as a line of JSON, what it has seen. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_REQUEST = 8192, BATCH = 256, BACKLOG = 4096 };

typedef struct peer {
    int fd; /* -1 when the client has gone while its request is held */
    bool held;
    int64_t due; /* of the answer, in ms */
    struct peer *next;
    size_t size;
    char request[MOST_REQUEST + 1];
} peer;

typedef struct queue {
    peer *first, *last;
    size_t count;
} queue;

static int poller, listener;
static int64_t delay;
static size_t hold;
static char *answer;
static size_t answer_size;
static queue waiting; /* for others to come */
static queue timed;   /* for its time, the same delay for all and so in order */
static size_t requests, connections, open_now, most_open, most_held;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void put(queue *q, peer *p)
{
    p->next = NULL;
    if (q->last)
        q->last->next = p;
    else
        q->first = p;
    q->last = p;
    q->count++;
}

static peer *take(queue *q)
{
    peer *p = q->first;
    q->first = p->next;
    if (!q->first)
        q->last = NULL;
    q->count--;
    return p;
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void watch(int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

static void accept_all(void)
{
    const int one = 1;
    int fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        peer *p = malloc(sizeof *p);
        if (!p)
            die("malloc");
        p->fd = fd;
        p->held = false;
        p->size = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd, p);
        connections++;
        if (++open_now > most_open)
            most_open = open_now;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ECONNABORTED)
        die("accept");
}

/* One that is held is freed when its turn comes. */
static void end(peer *p)
{
    close(p->fd);
    p->fd = -1;
    open_now--;
    if (!p->held)
        free(p);
}

static void send_answer(peer *p)
{
    p->held = false;
    if (p->fd < 0) {
        free(p);
        return;
    }
    ssize_t sent = send(p->fd, answer, answer_size, MSG_NOSIGNAL);
    if (sent != (ssize_t)answer_size)
        end(p); /* gone; an answer fits into any socket's buffer */
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* The size of the request at the beginning of the text, or 0 while its head is not complete. */
static size_t size_of(char *text)
{
    static const char name[] = "\r\ncontent-length:";
    char *body = strstr(text, "\r\n\r\n");
    if (!body)
        return 0;
    for (char *c = text; c < body; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    const char *length = strstr(text, name);
    if (!length || length > body) {
        fputs("server: a request without content-length\n", stderr);
        exit(1);
    }
    return (size_t)(body + 4 - text) + strtoul(length + sizeof name - 1, NULL, 10);
}

static void release(void)
{
    while (waiting.count) {
        peer *p = take(&waiting);
        p->due = now() + delay;
        put(&timed, p);
    }
}

static void hold_request(peer *p)
{
    p->size = 0;
    p->held = true;
    put(&waiting, p);
    if (waiting.count + timed.count > most_held)
        most_held = waiting.count + timed.count;
    if (++requests == 1 || waiting.count >= hold)
        release();
}

static void receive(peer *p)
{
    ssize_t got = recv(p->fd, p->request + p->size, MOST_REQUEST - p->size, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        end(p);
        return;
    }
    p->size += (size_t)got;
    p->request[p->size] = '\0';
    size_t size = size_of(p->request);
    if (p->held || p->size == MOST_REQUEST || (size && p->size > size)) {
        fputs("server: a pipelined or too large request\n", stderr);
        exit(1);
    }
    if (size && p->size == size)
        hold_request(p);
}

/* ---- The service ----------------------------------------------------------------------------- */

static void answer_due(void)
{
    int64_t time = now();
    while (timed.first && timed.first->due <= time)
        send_answer(take(&timed));
}

static int patience(void)
{
    if (!timed.first)
        return -1;
    int64_t left = timed.first->due - now();
    return left > 0 ? (int)left : 0;
}

static void report_and_exit(void)
{
    printf("{\"requests\": %zu, \"connections\": %zu, \"most_open\": %zu, \"most_held\": %zu}\n",
           requests, connections, most_open, most_held);
    exit(0);
}

static void serve(void)
{
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, BATCH, patience());
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &listener)
                accept_all();
            else if (events[i].data.ptr == stdin)
                report_and_exit();
            else
                receive(events[i].data.ptr);
        answer_due();
    }
}

static void make_answer(const char *body)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                               "request-id: req_in_flight\r\ncontent-length: %zu\r\n\r\n%s";
    size_t room = sizeof head + strlen(body) + 32;
    answer = malloc(room);
    if (!answer)
        die("malloc");
    answer_size = (size_t)snprintf(answer, room, head, strlen(body), body);
}

static unsigned open_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, BACKLOG) || getsockname(listener, (struct sockaddr *)&address, &size))
        die("listen");
    return ntohs(address.sin_port);
}

int main(int count, char **arguments)
{
    struct rlimit files;
    if (count != 4) {
        fputs("usage: server DELAY HOLD BODY\n", stderr);
        return 2;
    }
    delay = strtol(arguments[1], NULL, 10);
    hold = strtoul(arguments[2], NULL, 10);
    make_answer(arguments[3]);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        die("epoll_create1");
    printf("%u\n", open_port());
    fflush(stdout);
    watch(listener, &listener);
    watch(STDIN_FILENO, stdin);
    serve();
}
