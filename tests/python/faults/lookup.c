/* A getaddrinfo for tests, loaded before the C library's. Names under example.invalid are
 * 127.0.0.1; the first LOOKUPS_THAT_HANG of their look-ups say so in the FIFO LOOKUP_BEGAN and wait
 * until somebody opens the FIFO LOOKUP_GO for writing. All other names go on to the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static atomic_int begun;

static int ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), tail = strlen(end);
    return size >= tail && !strcmp(text + size - tail, end);
}

/* Opening a FIFO waits for the other side. */
static void hang(void)
{
    int fd = open(getenv("LOOKUP_BEGAN"), O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    fd = open(getenv("LOOKUP_GO"), O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    lookup *next = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || !ends_with(name, ".example.invalid"))
        return next(name, service, hints, result);
    if (atomic_fetch_add(&begun, 1) < atoi(getenv("LOOKUPS_THAT_HANG")))
        hang();
    return next("127.0.0.1", service, hints, result);
}
