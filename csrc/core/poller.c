#ifdef __linux__
/* For POLLRDHUP. NOLINTNEXTLINE(*-reserved-identifier,cert-dcl*) */
#define _GNU_SOURCE
#endif
#include "poller.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"

#if defined(__linux__) && !defined(LATHE_POLL)
#define HAVE_EPOLL 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
#else
#define HAVE_EPOLL 0
#endif

/* ---- Waking: an eventfd, a pipe elsewhere ---------------------------------------------------- */

static int wake_open(int ends[2])
{
#if HAVE_EPOLL
    ends[0] = ends[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return ends[0] < 0 ? -1 : 0;
#else
    if (pipe(ends))
        return -1;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
#endif
}

static void wake_close(const int ends[2])
{
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0 && ends[1] != ends[0])
        close(ends[1]);
}

static void wake_write(int fd)
{
    const uint64_t one = 1;
    /* A full pipe or counter means that a wake is already on its way. */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

#if HAVE_EPOLL

/* What the system was told of a descriptor, and what is wanted of it. One that is idle stays
 * registered: it is wanted again soon, most often for the same. */
typedef struct place {
    uint8_t registered, wanted;
} place;

struct lathe_poller {
    int epoll;
    int wake[2];
    place *places; /* by descriptor */
    size_t count;
};

lathe_poller *lathe_poller_new(void)
{
    lathe_poller *poller = lathe_malloc(sizeof *poller);
    if (!poller)
        return NULL;
    *poller = (lathe_poller){.epoll = epoll_create1(EPOLL_CLOEXEC), .wake = {-1, -1}};
    /* By edges, every write to it is told once, and nobody needs to read the number. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (poller->epoll >= 0 && !wake_open(poller->wake)) {
        event.data.fd = poller->wake[0];
        if (!epoll_ctl(poller->epoll, EPOLL_CTL_ADD, poller->wake[0], &event))
            return poller;
    }
    lathe_poller_free(poller);
    return NULL;
}

void lathe_poller_free(lathe_poller *poller)
{
    if (!poller)
        return;
    if (poller->epoll >= 0)
        close(poller->epoll);
    wake_close(poller->wake);
    lathe_free(poller->places);
    lathe_free(poller);
}

void lathe_poller_abandon(lathe_poller *poller)
{
    close(poller->epoll); /* closing a copy of a descriptor does not touch the set */
    wake_close(poller->wake);
    poller->epoll = poller->wake[0] = poller->wake[1] = -1;
}

static bool reserve(lathe_poller *poller, int fd)
{
    size_t needed = (size_t)fd + 1;
    if (needed <= poller->count)
        return true;
    size_t count = needed + needed / 2 + 16;
    place *places = lathe_realloc(poller->places, count * sizeof *places);
    if (!places)
        return false;
    memset(places + poller->count, 0, (count - poller->count) * sizeof *places);
    poller->places = places;
    poller->count = count;
    return true;
}

static int control(lathe_poller *poller, int operation, int fd, unsigned what)
{
    struct epoll_event event = {.data.fd = fd,
                                .events = (what & LATHE_READABLE ? (unsigned)EPOLLIN : 0U) |
                                          (what & LATHE_WRITABLE ? (unsigned)EPOLLOUT : 0U)};
    return epoll_ctl(poller->epoll, operation, fd, &event);
}

lathe_code lathe_poller_watch(lathe_poller *poller, int fd, unsigned what)
{
    if (!reserve(poller, fd))
        return LATHE_MEMORY;
    place *at = &poller->places[fd];
    at->wanted = (uint8_t)what;
    if (at->registered == what)
        return LATHE_OK;
    if (control(poller, at->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, what))
        return LATHE_MEMORY;
    at->registered = (uint8_t)what;
    return LATHE_OK;
}

void lathe_poller_keep(lathe_poller *poller, int fd)
{
    if ((size_t)fd < poller->count)
        poller->places[fd].wanted = 0;
}

/* Closing does that by itself, but not when a fork's child has a copy. */
void lathe_poller_forget(lathe_poller *poller, int fd)
{
    if ((size_t)fd >= poller->count || !poller->places[fd].registered)
        return;
    control(poller, EPOLL_CTL_DEL, fd, 0);
    poller->places[fd] = (place){0};
}

void lathe_poller_renew(lathe_poller *poller, int fd)
{
    if ((size_t)fd < poller->count)
        poller->places[fd] = (place){0};
}

int lathe_poller_wait(lathe_poller *poller, lathe_ready *ready, int most, int milliseconds)
{
    struct epoll_event events[64];
    int room = most < 64 ? most : 64, count = 0;
    int found = epoll_wait(poller->epoll, events, room, milliseconds);
    for (int i = 0; i < found; i++) {
        int fd = events[i].data.fd;
        uint32_t is = events[i].events;
        if (fd == poller->wake[0])
            continue;
        if (!poller->places[fd].wanted) {
            lathe_poller_forget(poller, fd); /* its end most often, which can wait */
            continue;
        }
        ready[count++] = (lathe_ready){fd, (is & EPOLLIN ? LATHE_READABLE : 0U) |
                                               (is & EPOLLOUT ? LATHE_WRITABLE : 0U) |
                                               (is & (EPOLLERR | EPOLLHUP) ? LATHE_BROKEN : 0U)};
    }
    return found < 0 ? -1 : count;
}

int lathe_poller_descriptor(const lathe_poller *poller)
{
    return poller->epoll;
}

#else

static void wake_drain(int fd)
{
    uint64_t bytes[16];
    while (read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        continue;
}

struct lathe_poller {
    int wake[2];
    struct pollfd *fds; /* the first is the wake's */
    size_t count, capacity;
};

static lathe_code add(lathe_poller *poller, int fd, short events)
{
    if (poller->count == poller->capacity) {
        size_t capacity = poller->capacity ? poller->capacity * 2 : 8;
        struct pollfd *fds = lathe_realloc(poller->fds, capacity * sizeof *fds);
        if (!fds)
            return LATHE_MEMORY;
        poller->fds = fds;
        poller->capacity = capacity;
    }
    poller->fds[poller->count++] = (struct pollfd){.fd = fd, .events = events};
    return LATHE_OK;
}

lathe_poller *lathe_poller_new(void)
{
    lathe_poller *poller = lathe_calloc(1, sizeof *poller);
    if (!poller)
        return NULL;
    poller->wake[0] = poller->wake[1] = -1;
    if (!wake_open(poller->wake) && !add(poller, poller->wake[0], POLLIN))
        return poller;
    lathe_poller_free(poller);
    return NULL;
}

void lathe_poller_free(lathe_poller *poller)
{
    if (!poller)
        return;
    wake_close(poller->wake);
    lathe_free(poller->fds);
    lathe_free(poller);
}

void lathe_poller_abandon(lathe_poller *poller)
{
    wake_close(poller->wake);
    poller->wake[0] = poller->wake[1] = -1;
}

static size_t find(const lathe_poller *poller, int fd)
{
    size_t i = 1;
    while (i < poller->count && poller->fds[i].fd != fd)
        i++;
    return i;
}

lathe_code lathe_poller_watch(lathe_poller *poller, int fd, unsigned what)
{
    size_t i = find(poller, fd);
    short events =
        (short)((what & LATHE_READABLE ? POLLIN : 0) | (what & LATHE_WRITABLE ? POLLOUT : 0));
    if (i == poller->count)
        return add(poller, fd, events);
    poller->fds[i].events = events;
    return LATHE_OK;
}

void lathe_poller_keep(lathe_poller *poller, int fd)
{
    lathe_poller_forget(poller, fd);
}

void lathe_poller_forget(lathe_poller *poller, int fd)
{
    size_t i = find(poller, fd);
    if (i < poller->count)
        poller->fds[i] = poller->fds[--poller->count];
}

void lathe_poller_renew(lathe_poller *poller, int fd)
{
    lathe_poller_forget(poller, fd);
}

int lathe_poller_wait(lathe_poller *poller, lathe_ready *ready, int most, int milliseconds)
{
    int found = poll(poller->fds, (nfds_t)poller->count, milliseconds), count = 0;
    if (found < 0)
        return -1;
    if (poller->fds[0].revents)
        wake_drain(poller->wake[0]);
    for (size_t i = 1; i < poller->count && count < most; i++) {
        short is = poller->fds[i].revents;
        if (is)
            ready[count++] = (lathe_ready){
                poller->fds[i].fd, (is & POLLIN ? LATHE_READABLE : 0U) |
                                       (is & POLLOUT ? LATHE_WRITABLE : 0U) |
                                       (is & (POLLERR | POLLHUP | POLLNVAL) ? LATHE_BROKEN : 0U)};
    }
    return count;
}

int lathe_poller_descriptor(const lathe_poller *poller)
{
    (void)poller;
    return -1;
}

#endif

void lathe_poller_wake(lathe_poller *poller)
{
    wake_write(poller->wake[1]);
}

bool lathe_poller_is_over(int fd)
{
#ifdef POLLRDHUP
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
#else
    struct pollfd end = {.fd = fd};
#endif
    return poll(&end, 1, 0) > 0;
}
