#include "poller.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "support_alloc.h"
#include "test.h"

enum { MOST = 8, LONG = 30000 };

static void *wake(void *poller)
{
    lathe_poller_wake(poller);
    return NULL;
}

TEST(wake_ends_the_wait)
{
    lathe_poller *poller = lathe_poller_new();
    lathe_ready ready[MOST];
    pthread_t thread;
    REQUIRE(poller != NULL);
    REQUIRE(!pthread_create(&thread, NULL, wake, poller));
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 100; i++)
        lathe_poller_wake(poller); /* many count as one */
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 0);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, 0), 0);
    lathe_poller_free(poller);
}

TEST(descriptors)
{
    int ends[2];
    lathe_poller *poller = lathe_poller_new();
    lathe_ready ready[MOST];
    REQUIRE(poller && !pipe(ends));
    CHECK_CODE(lathe_poller_watch(poller, ends[0], LATHE_READABLE), LATHE_OK);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, 0), 0);
    CHECK_INT(write(ends[1], "x", 1), 1);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 1);
    CHECK_INT(ready[0].fd, ends[0]);
    CHECK_INT(ready[0].what, LATHE_READABLE);
    CHECK_CODE(lathe_poller_watch(poller, ends[1], LATHE_WRITABLE), LATHE_OK);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 2);
    lathe_poller_keep(poller, ends[1]);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 1);
    CHECK_CODE(lathe_poller_watch(poller, ends[0], LATHE_WRITABLE), LATHE_OK); /* changed */
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, 0), 0);
    lathe_poller_forget(poller, ends[0]);
    lathe_poller_forget(poller, ends[0]); /* gone already */
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, 0), 0);
    CHECK_CODE(lathe_poller_watch(poller, ends[0], LATHE_READABLE), LATHE_OK);
    close(ends[1]);
    CHECK_INT(lathe_poller_wait(poller, ready, MOST, LONG), 1);
    CHECK(ready[0].what & (LATHE_READABLE | LATHE_BROKEN));
    lathe_poller_forget(poller, ends[0]);
    close(ends[0]);
    lathe_poller_free(poller);
}

static lathe_code fill(void *self)
{
    lathe_code code = LATHE_OK;
    int ends[20];
    (void)self;
    lathe_poller *poller = lathe_poller_new();
    for (int i = 0; i < 20; i += 2)
        if (pipe(ends + i))
            return LATHE_HOST;
    for (int i = 0; i < 20 && poller && !code; i++)
        code = lathe_poller_watch(poller, ends[i], i % 2 ? LATHE_WRITABLE : LATHE_READABLE);
    lathe_poller_free(poller);
    for (int i = 0; i < 20; i++)
        close(ends[i]);
    return poller ? code : LATHE_MEMORY;
}

TEST(memory)
{
    alloc_try_each(fill, NULL, LATHE_OK);
}

TESTS(ENTRY(wake_ends_the_wait), ENTRY(descriptors), ENTRY(memory))
