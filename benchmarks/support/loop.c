/* The least that the calls cost with libcurl: what all else in the benchmarks is compared with.
 *
 *   loop [--http2] [--ca FILE] URL BODY_FILE CALLS CONCURRENCY
 *
 * After one call to warm up it makes CALLS calls with the same bytes, and appends each answer to a
 * buffer; no JSON is read or written. One after another they go through one easy handle; with a
 * CONCURRENCY above 1 so many are in flight by curl_multi_socket_action and epoll, on as many easy
 * handles, each set up once. Connections of HTTP/2 carry up to 100 streams each. It prints a line
 * of JSON, as clients.py does: CPU and memory of the whole process, and failures. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, STREAMS_EACH = 100 };

static const long whole = 600000; /* ms for a call */

typedef struct call {
    CURL *easy;
    char *answer;
    size_t size, room;
} call;

static struct {
    const char *url, *ca;
    bool http2;
    size_t calls, concurrency;
} options;

static char *body;
static size_t body_size;
static struct curl_slist *lines;
static size_t answers, failures;
static char failure[256];
static char *watched; /* by file descriptor */
static size_t watched_size;
static int poller;
static CURLM *multi;
static double due = -1; /* of libcurl's timer, in ms; none below 0 */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *must(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

static void ensure(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "loop: libcurl refuses %s\n", what);
    exit(1);
}

/* ---- What is measured ------------------------------------------------------------------------ */

/* Seconds of CPU, user and system. */
static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Bytes of a line in the process's status. */
static double memory(const char *name)
{
    char line[256];
    double bytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)))
            bytes = strtod(line + strlen(name), NULL) * 1024;
    if (file)
        fclose(file);
    return bytes;
}

/* The peak of the memory is counted from here. */
static void forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file)
        return;
    fputs("5", file);
    fclose(file);
}

/* ---- A call ---------------------------------------------------------------------------------- */

static size_t append(char *data, size_t one, size_t size, void *self)
{
    (void)one;
    call *c = self;
    if (c->size + size > c->room) {
        c->room = 2 * (c->size + size);
        c->answer = must(realloc(c->answer, c->room));
    }
    memcpy(c->answer + c->size, data, size);
    c->size += size;
    return size;
}

static void make_lines(void)
{
    static const char *const all[] = {"x-api-key: a-key",
                                      "anthropic-version: 2023-06-01",
                                      "anthropic-beta: prompt-tools-2025-04-02",
                                      "content-type: application/json",
                                      "accept: application/json",
                                      "user-agent: loop",
                                      "expect:"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        lines = must(curl_slist_append(lines, all[i]));
}

#define SET(option, value) ensure(!curl_easy_setopt(easy, option, value), #option)

static void open_call(call *c)
{
    CURL *easy = c->easy = must(curl_easy_init());
    long version = options.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
    SET(CURLOPT_URL, options.url);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_HTTPHEADER, lines);
    SET(CURLOPT_POSTFIELDS, body);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_size);
    SET(CURLOPT_WRITEFUNCTION, append);
    SET(CURLOPT_WRITEDATA, c);
    SET(CURLOPT_PRIVATE, c);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TIMEOUT_MS, whole);
    SET(CURLOPT_HTTP_VERSION, version);
    SET(CURLOPT_PIPEWAIT, (long)options.http2);
    if (!options.ca)
        return;
    SET(CURLOPT_CAINFO, options.ca);
    SET(CURLOPT_CAPATH, NULL);
}

static void end_call(call *c, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!code && status == 200 && c->size) {
        answers++;
        return;
    }
    if (!failures++)
        snprintf(failure, sizeof failure, "%s, status %ld", curl_easy_strerror(code), status);
}

static void run_one_by_one(call *c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        c->size = 0;
        end_call(c, curl_easy_perform(c->easy));
    }
}

/* ---- Many calls at once ---------------------------------------------------------------------- */

static void reserve(size_t count)
{
    if (count <= watched_size)
        return;
    watched = must(realloc(watched, 2 * count));
    memset(watched + watched_size, 0, 2 * count - watched_size);
    watched_size = 2 * count;
}

static int watch(CURL *easy, curl_socket_t fd, int what, void *self, void *socket)
{
    (void)easy, (void)self, (void)socket;
    struct epoll_event event = {.data.fd = fd};
    reserve((size_t)fd + 1);
    if (what & CURL_POLL_IN && what != CURL_POLL_REMOVE)
        event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT && what != CURL_POLL_REMOVE)
        event.events |= EPOLLOUT;
    int change = what == CURL_POLL_REMOVE ? EPOLL_CTL_DEL
                 : watched[fd]            ? EPOLL_CTL_MOD
                                          : EPOLL_CTL_ADD;
    watched[fd] = what != CURL_POLL_REMOVE;
    epoll_ctl(poller, change, fd, &event);
    return 0;
}

/* In ms. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int set_timer(CURLM *handle, long wait, void *self)
{
    (void)handle, (void)self;
    due = wait < 0 ? -1 : now() + (double)wait;
    return 0;
}

#define SET_MULTI(option, value) ensure(!curl_multi_setopt(multi, option, value), #option)

static void open_multi(void)
{
    long most = options.http2 ? (long)((options.concurrency - 1) / STREAMS_EACH + 1) : 0;
    multi = must(curl_multi_init());
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        die("epoll_create1");
    SET_MULTI(CURLMOPT_SOCKETFUNCTION, watch);
    SET_MULTI(CURLMOPT_TIMERFUNCTION, set_timer);
    SET_MULTI(CURLMOPT_MAXCONNECTS, (long)options.concurrency);
    SET_MULTI(CURLMOPT_MAX_HOST_CONNECTIONS, most);
}

static void begin(call *c)
{
    c->size = 0;
    ensure(!curl_multi_add_handle(multi, c->easy), "a call");
}

static int patience(void)
{
    if (due < 0)
        return -1;
    double left = due - now();
    return left > 0 ? (int)left + 1 : 0;
}

static void act(void)
{
    struct epoll_event events[BATCH];
    int running, count = epoll_wait(poller, events, BATCH, patience());
    for (int i = 0; i < count; i++) {
        int what = (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & ~(unsigned)EPOLLOUT ? CURL_CSELECT_IN : 0);
        curl_multi_socket_action(multi, events[i].data.fd, what, &running);
    }
    if (due >= 0 && due <= now()) {
        due = -1;
        curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

/* One that has ended, or NULL. */
static call *ended(void)
{
    int left;
    call *c = NULL;
    CURLMsg *message = curl_multi_info_read(multi, &left);
    if (!message)
        return NULL;
    CURLcode code = message->data.result;
    CURL *easy = message->easy_handle;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
    curl_multi_remove_handle(multi, easy);
    end_call(c, code);
    return c;
}

static void run_at_once(call *calls, size_t count)
{
    size_t begun = 0, done = 0;
    for (; begun < count && begun < options.concurrency; begun++)
        begin(&calls[begun]);
    while (done < count) {
        act();
        for (call *c; (c = ended()); done++)
            if (begun < count) {
                begun++;
                begin(c);
            }
    }
}

static void run(call *calls, size_t count)
{
    if (options.concurrency == 1)
        run_one_by_one(calls, count);
    else
        run_at_once(calls, count);
}

/* ---- The program ----------------------------------------------------------------------------- */

static void measure(call *calls)
{
    run(calls, 1);
    answers = 0;
    forget_peak();
    double resident = memory("VmRSS:"), used = cpu();
    run(calls, options.calls);
    used = cpu() - used;
    printf("{\"cpu\": %.9f, \"memory\": %.0f, \"failures\": %zu, \"failure\": \"%s\"}\n",
           used / (double)options.calls,
           (memory("VmHWM:") - resident) / (double)options.concurrency, options.calls - answers,
           failure);
}

static void read_body(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die(path);
    body_size = (size_t)ftell(file);
    body = must(malloc(body_size + 1));
    rewind(file);
    if (fread(body, 1, body_size, file) != body_size)
        die(path);
    fclose(file);
}

static void read_arguments(int count, char **arguments)
{
    int i = 1;
    for (; i < count && !strncmp(arguments[i], "--", 2); i++)
        if (!strcmp(arguments[i], "--http2"))
            options.http2 = true;
        else if (!strcmp(arguments[i], "--ca") && i + 1 < count)
            options.ca = arguments[++i];
        else
            break;
    if (count - i != 4) {
        fputs("usage: loop [--http2] [--ca FILE] URL BODY_FILE CALLS CONCURRENCY\n", stderr);
        exit(2);
    }
    options.url = arguments[i];
    read_body(arguments[i + 1]);
    options.calls = strtoul(arguments[i + 2], NULL, 10);
    options.concurrency = strtoul(arguments[i + 3], NULL, 10);
}

int main(int count, char **arguments)
{
    struct rlimit files;
    read_arguments(count, arguments);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    ensure(!curl_global_init(CURL_GLOBAL_DEFAULT), "to begin");
    make_lines();
    call *calls = must(calloc(options.concurrency, sizeof *calls));
    for (size_t i = 0; i < options.concurrency; i++)
        open_call(&calls[i]);
    if (options.concurrency > 1)
        open_multi();
    measure(calls);
    return 0;
}
