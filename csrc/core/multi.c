#include "multi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"

/* How many requests a connection of HTTP/2 carries at once, for libcurl as for most servers.
 * Without a bound libcurl opens one for nearly every request beyond them. */
enum { FIRST_SOCKETS = 32, STREAMS_EACH = 100, IDLE_AT_LEAST = 256 };

/* CURLMOPT_QUICK_EXIT, from 8.20 on, where look-ups are the multi's: else one that hangs freezes
 * everybody in the end. The headers here may be older than the library. */
enum { QUICK_EXIT = 21 };

/* What is known of a descriptor. One that is still connecting libcurl 7.88 may close without a
 * word, but that nobody need wait for it any more. */
enum { CLOSED, CONNECTING, CONNECTED };

/* ---- Making and freeing ---------------------------------------------------------------------- */

static bool curl_ready;

/* Whether a handle may make several transfers, whatever the protocol. libcurl before 8.1.2 keeps a
 * pointer to the last header of the one before, which is freed, and writes there when an answer, or
 * a proxy's, begins with a folded line (its issue 11101). HTTP/2 has no folded lines, and there
 * libcurl stores :status before all other headers. */
static bool reusable;

/* The TLS library frees at exit what threads still work with: they have to stand still by then.
 * Handlers run in the reverse of their order: this one, registered last, before the library's. */
static void start_curl(void)
{
    lathe_work_begin();
    curl_ready = !curl_global_init(CURL_GLOBAL_DEFAULT) && !atexit(lathe_work_stop);
    reusable = curl_version_info(CURLVERSION_NOW)->version_num >= 0x080102;
    lathe_work_end();
}

bool lathe_multi_init(lathe_multi *multi, lathe_lock *lock)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    *multi = (lathe_multi){.lock = lock, .due = INFINITY, .server.http2_socket = -1};
    multi->poller = curl_ready ? lathe_poller_new() : NULL;
    return multi->poller != NULL;
}

void lathe_multi_clear(lathe_multi *multi)
{
    for (size_t i = 0; i < multi->easy_count; i++)
        curl_easy_cleanup(multi->easy[i]);
    if (multi->handle)
        curl_multi_cleanup(multi->handle);
    lathe_poller_free(multi->poller);
    lathe_free(multi->sockets);
    lathe_free(multi->carriers);
}

void lathe_multi_abandon(lathe_multi *multi)
{
    for (size_t fd = 0; fd < multi->socket_count; fd++)
        if (multi->sockets[fd] != CLOSED)
            close((int)fd);
    multi->socket_count = 0;
    lathe_poller_abandon(multi->poller);
}

/* ---- Sockets --------------------------------------------------------------------------------- */

/* Room for descriptors below `count`. */
static bool reserve_sockets(lathe_multi *multi, size_t count)
{
    if (count <= multi->socket_count)
        return true;
    count += count / 2 + 16;
    pthread_mutex_lock(&multi->lock->mutex);
    lathe_carrier *carriers = lathe_realloc(multi->carriers, count * sizeof *carriers);
    unsigned char *sockets = carriers ? lathe_realloc(multi->sockets, count) : NULL;
    multi->carriers = carriers ? carriers : multi->carriers;
    if (sockets) {
        size_t old = multi->socket_count;
        memset(sockets + old, CLOSED, count - old);
        memset(carriers + old, 0, (count - old) * sizeof *carriers);
        multi->sockets = sockets;
        multi->socket_count = count;
    }
    pthread_mutex_unlock(&multi->lock->mutex);
    return sockets != NULL;
}

static int new_socket(const struct curl_sockaddr *address)
{
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
#endif
}

/* A fork finds a socket open and known, or neither. -1 without descriptors. */
static int open_known(lathe_multi *multi, const struct curl_sockaddr *address)
{
    pthread_mutex_lock(&multi->lock->mutex);
    int fd = new_socket(address);
    if (fd >= 0 && (size_t)fd < multi->socket_count)
        multi->sockets[fd] = CONNECTING;
    pthread_mutex_unlock(&multi->lock->mutex);
    return fd;
}

/* Makes room in both tables where the number is beyond what they have. */
static bool enter_socket(lathe_multi *multi, int fd)
{
    if ((size_t)fd >= multi->socket_count) {
        if (!reserve_sockets(multi, (size_t)fd + 1))
            return false;
        pthread_mutex_lock(&multi->lock->mutex);
        multi->sockets[fd] = CONNECTING;
        pthread_mutex_unlock(&multi->lock->mutex);
    }
    lathe_poller_renew(multi->poller, fd);
    return !lathe_poller_watch(multi->poller, fd, LATHE_WRITABLE);
}

/* Its place in the table, or NULL for one that nobody entered. */
static unsigned char *place_of(const lathe_multi *multi, int fd)
{
    return multi->sockets && (size_t)fd < multi->socket_count ? &multi->sockets[fd] : NULL;
}

static void forget_locked(lathe_multi *multi, int fd)
{
    unsigned char *place = place_of(multi, fd);
    if (place) {
        *place = CLOSED;
        multi->carriers[fd] = (lathe_carrier){0};
    }
}

static int close_socket(void *self, curl_socket_t fd)
{
    lathe_multi *multi = self;
    lathe_poller_forget(multi->poller, fd);
    pthread_mutex_lock(&multi->lock->mutex);
    forget_locked(multi, fd);
    int status = close(fd);
    pthread_mutex_unlock(&multi->lock->mutex);
    return status;
}

/* It is watched from the start: libcurl, for which a number that is used again has never gone, may
 * not ask for it. */
static curl_socket_t open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    lathe_exchange *exchange = self;
    if (exchange->connected || exchange->only >= 0) { /* connected: see before_request */
        exchange->stop = exchange->connected ? LATHE_STOP_RESEND : LATHE_STOP_HANDLE;
        return CURL_SOCKET_BAD;
    }
    int fd = open_known(exchange->multi, address);
    if (fd < 0) {
        exchange->reason = "no file descriptor is left for it"; /* else there is hardly a reason */
        return CURL_SOCKET_BAD;
    }
    if (!enter_socket(exchange->multi, fd)) {
        exchange->stop = LATHE_STOP_MEMORY;
        close_socket(exchange->multi, fd);
        return CURL_SOCKET_BAD;
    }
    lathe_exchange_opened(exchange, fd, &address->addr, address->addrlen);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size))
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
    return address.ss_family == AF_INET ? ntohs(((const struct sockaddr_in *)&address)->sin_port)
                                        : 0;
}

/* libcurl 8.23 looks at nothing when the connection has rested for less than a second. What a
 * server has sent beyond an answer, which would be taken for that of the next request, none before
 * version 8 looks for; over TLS it may be a session ticket, or belong to another stream. */
bool lathe_multi_is_stale(int fd, bool tls)
{
    char byte;
    ssize_t size = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (size > 0)
        return !tls || lathe_poller_is_over(fd);
    return size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

int lathe_multi_find(lathe_multi *multi, int opened, int port)
{
    if (opened >= 0 && place_of(multi, opened) && port_of(opened) == port) {
        multi->carriers[opened].port = (uint16_t)port;
        return opened;
    }
    int found = -1;
    for (size_t fd = 0; fd < multi->socket_count; fd++) {
        if (multi->carriers[fd].port != port || multi->sockets[fd] == CLOSED)
            continue;
        if (found >= 0)
            return -1; /* to another address, from the same port */
        found = (int)fd;
    }
    return found;
}

lathe_carrier *lathe_multi_carrier(lathe_multi *multi, int fd, int port)
{
    return place_of(multi, fd) && multi->carriers[fd].port == port ? &multi->carriers[fd] : NULL;
}

bool lathe_multi_is_light(const lathe_multi *multi)
{
    struct rlimit limit;
    size_t open = 0;
    for (size_t fd = 0; fd < multi->socket_count; fd++)
        open += multi->sockets[fd] != CLOSED;
    return !getrlimit(RLIMIT_NOFILE, &limit) && open <= limit.rlim_cur / 4;
}

/* ---- libcurl's wishes ------------------------------------------------------------------------ */

static bool is_connected(CURL *easy)
{
    lathe_exchange *exchange = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&exchange);
    return exchange && exchange->connected;
}

/* A connection that is idle from now on; a socket that libcurl may have closed already, so that the
 * number may be another thread's; or one of libcurl's own. */
static void unwatch_socket(lathe_multi *multi, CURL *easy, int fd)
{
    unsigned char *place = place_of(multi, fd);
    if (!place || *place == CLOSED) {
        lathe_poller_forget(multi->poller, fd);
        return;
    }
    lathe_poller_keep(multi->poller, fd);
    pthread_mutex_lock(&multi->lock->mutex);
    if (*place == CONNECTING)
        *place = is_connected(easy) ? CONNECTED : CLOSED;
    pthread_mutex_unlock(&multi->lock->mutex);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *self, void *socket)
{
    (void)socket;
    lathe_multi *multi = self;
    unsigned mask = (what & CURL_POLL_IN ? (unsigned)LATHE_READABLE : 0U) |
                    (what & CURL_POLL_OUT ? (unsigned)LATHE_WRITABLE : 0U);
    if (fd < 0)
        return 0; /* libcurl 7.88, of a connection that several shared and one has closed */
    if (what != CURL_POLL_REMOVE)
        return lathe_poller_watch(multi->poller, fd, mask) ? -1 : 0;
    unwatch_socket(multi, easy, fd);
    return 0;
}

static int set_timer(CURLM *handle, long milliseconds, void *self)
{
    (void)handle;
    lathe_multi *multi = self;
    multi->due = milliseconds < 0 ? INFINITY : lathe_clock() + (double)milliseconds / 1000;
    return 0;
}

static bool make_handle(lathe_multi *multi)
{
    if (multi->handle)
        return true;
    CURLM *handle = curl_multi_init();
    if (!handle)
        return false;
    curl_multi_setopt(handle, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(handle, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(handle, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(handle, CURLMOPT_TIMERDATA, multi);
    curl_multi_setopt(handle, CURLMOPT_MAXCONNECTS, multi->kept = IDLE_AT_LEAST);
    curl_multi_setopt(handle, (CURLMoption)QUICK_EXIT, 1L);
    multi->handle = handle;
    return true;
}

/* libcurl 8.14 leaves those who wait for a connection to show what it carries to wait for its first
 * answer, when it carries one request alone. It looks after them when a handle is taken out. */
static void rouse(lathe_multi *multi)
{
    CURL *any = curl_easy_init();
    if (any && !curl_multi_add_handle(multi->handle, any))
        curl_multi_remove_handle(multi->handle, any);
    curl_easy_cleanup(any);
}

static void act(lathe_multi *multi, curl_socket_t fd, int mask)
{
    int running;
    const lathe_exchange *first = multi->server.first;
    if (!multi->handle || multi->broken)
        return;
    if (curl_multi_socket_action(multi->handle, fd, mask, &running))
        multi->broken = true;
    else if (multi->server.first != first && multi->server.carries == LATHE_CARRIES_UNKNOWN &&
             multi->running > 1)
        rouse(multi);
}

void lathe_multi_tick(lathe_multi *multi)
{
    if (multi->due == INFINITY || multi->due > lathe_clock())
        return;
    multi->due = INFINITY;
    act(multi, CURL_SOCKET_TIMEOUT, 0);
}

/* Whether requests have gone out on a connection that may be one of HTTP/2. */
static bool may_carry_many(const lathe_multi *multi, int fd)
{
    return multi->server.carries != LATHE_CARRIES_ONE && place_of(multi, fd) &&
           multi->carriers[fd].port;
}

void lathe_multi_feed(lathe_multi *multi, const lathe_ready *ready)
{
    unsigned long heard = multi->server.heard;
    act(multi, ready->fd,
        (ready->what & LATHE_READABLE ? CURL_CSELECT_IN : 0) |
            (ready->what & LATHE_WRITABLE ? CURL_CSELECT_OUT : 0) |
            (ready->what & LATHE_BROKEN ? CURL_CSELECT_ERR : 0));
    /* What puts an end to a session of HTTP/2, libcurl 8 tells only when it is called for the
     * socket once more, and that the other side may never bring about. */
    if (heard == multi->server.heard && may_carry_many(multi, ready->fd))
        act(multi, ready->fd, CURL_CSELECT_IN);
}

void lathe_multi_mend(lathe_multi *multi)
{
    curl_multi_cleanup(multi->handle);
    multi->handle = NULL;
    multi->broken = false;
    multi->bound = multi->kept = 0;
    multi->due = INFINITY;
}

/* ---- Attempts -------------------------------------------------------------------------------- */

/* Two tell whether they share a connection; the first need not have been answered for that. */
bool lathe_multi_holds(const lathe_multi *multi)
{
    const lathe_server *server = &multi->server;
    return server->carries == LATHE_CARRIES_UNKNOWN && !server->unreachable && multi->running >= 2;
}

/* As many connections as the streams require; none of HTTP/1.1, where each request needs its own.
 */
static void set_bound(lathe_multi *multi)
{
    long bound = 0;
    if (multi->server.carries == LATHE_CARRIES_MANY)
        bound = multi->running ? (long)((multi->running - 1) / STREAMS_EACH) + 1 : 1;
    if (bound == multi->bound)
        return;
    multi->bound = bound;
    curl_multi_setopt(multi->handle, CURLMOPT_MAX_HOST_CONNECTIONS, bound);
}

/* By itself libcurl closes those that a burst leaves behind, and the next burst begins anew. */
static void keep_connections(lathe_multi *multi)
{
    if ((long)multi->running <= multi->kept)
        return;
    multi->kept *= 2;
    curl_multi_setopt(multi->handle, CURLMOPT_MAXCONNECTS, multi->kept);
}

/* One whose transfer failed may have something left of it: libcurl counts by handle how often it
 * has sent again. */
void lathe_multi_give(lathe_multi *multi, CURL *easy, bool answered)
{
    bool keep = answered && (reusable || multi->server.http2_socket >= 0);
    if (keep && multi->easy_count < LATHE_EASY_KEPT && lathe_exchange_detach(easy))
        multi->easy[multi->easy_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

static CURL *new_easy(lathe_multi *multi, const lathe_outgoing *outgoing)
{
    CURL *easy = curl_easy_init();
    if (easy && !lathe_exchange_prepare(easy, outgoing->settings, outgoing->share) &&
        !curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) &&
        !curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) &&
        !curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, multi))
        return easy;
    curl_easy_cleanup(easy);
    return NULL;
}

/* Whether the connection of HTTP/2 that the last answer came by is still open: libcurl will most
 * likely use it. Where it does not, the attempt begins anew before anything is sent. */
static bool is_http2_open(const lathe_multi *multi)
{
    const int fd = multi->server.http2_socket;
    return fd >= 0 && place_of(multi, fd) && multi->carriers[fd].is_http2;
}

/* A handle with the exchange set up on it: a kept one, when any may be used again or a connection
 * of HTTP/2 is there for it; or a new one. */
static lathe_code equip(lathe_multi *multi, lathe_exchange *exchange,
                        const lathe_outgoing *outgoing)
{
    bool used = multi->easy_count && !outgoing->new_handle && (reusable || is_http2_open(multi));
    CURL *easy = used ? multi->easy[--multi->easy_count] : new_easy(multi, outgoing);
    if (!easy)
        return LATHE_MEMORY;
    lathe_code code = lathe_exchange_begin(exchange, easy, outgoing, &multi->server);
    exchange->multi = multi;
    if (used && !reusable)
        exchange->only = multi->server.http2_socket;
    if (!code && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange))
        code = LATHE_MEMORY;
    return code;
}

lathe_code lathe_multi_begin(lathe_multi *multi, lathe_exchange *exchange,
                             const lathe_outgoing *outgoing)
{
    if (!make_handle(multi) || !reserve_sockets(multi, FIRST_SOCKETS))
        return LATHE_MEMORY;
    if (!outgoing->settings->https)
        multi->server.carries = LATHE_CARRIES_ONE;
    lathe_code code = equip(multi, exchange, outgoing);
    if (!exchange->easy)
        return code;
    multi->running++;
    set_bound(multi);
    keep_connections(multi);
    if (!code && curl_multi_add_handle(multi->handle, exchange->easy))
        code = LATHE_MEMORY;
    if (code)
        lathe_multi_drop(multi, exchange);
    return code;
}

static void take_out(lathe_multi *multi, CURL *easy)
{
    curl_multi_remove_handle(multi->handle, easy);
    multi->running--;
    set_bound(multi);
}

void lathe_multi_drop(lathe_multi *multi, lathe_exchange *exchange)
{
    CURL *easy = exchange->easy;
    if (!easy)
        return;
    /* Over HTTP/2 libcurl would keep the connection, which may be dead. One that others use stays.
     */
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    take_out(multi, easy);
    lathe_exchange_drop(exchange);
    lathe_multi_give(multi, easy, false);
}

lathe_exchange *lathe_multi_ended(lathe_multi *multi, CURLcode *result)
{
    CURLMsg *message;
    int left;
    while (multi->handle && (message = curl_multi_info_read(multi->handle, &left))) {
        lathe_exchange *exchange = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        *result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
        take_out(multi, exchange->easy); /* the message is gone with it */
        return exchange;
    }
    return NULL;
}
