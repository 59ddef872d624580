/* The end of a process whose threads are in the middle of calls: they stand still before the TLS
 * library frees what they work with. A file of its own, since the order of a process's handlers is
 * that of its first use of libcurl. */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "promptlathe.h"
#include "support_client.h"
#include "support_elsewhere.h"
#include "test.h"

enum { PAUSE_MS = 200 };

static elsewhere service;
static sem_t ended; /* once for each call of the thread */
static int verdict; /* a pipe's end */

static lathe_code call_once(lathe_client *client)
{
    int attempts;
    lathe_error error;
    lathe_error_init(&error);
    lathe_code code = call_whole(client, NULL, &error, &attempts);
    lathe_error_clear(&error);
    return code;
}

static void *call_without_rest(void *client)
{
    for (;;)
        if (!call_once(client))
            sem_post(&ended);
    return NULL;
}

/* How many calls end now: with one, the thread was on its way to tell of it. */
static int calls_of_the_thread(void)
{
    int count = 0;
    while (!sem_trywait(&ended))
        ;
    poll(NULL, 0, PAUSE_MS); /* nothing tells that nothing happens */
    while (!sem_trywait(&ended))
        count++;
    return count;
}

/* Registered before the core's, this runs behind it, as the TLS library's does. */
static void at_the_end(void)
{
    int calls = calls_of_the_thread();
    char what = calls > 1 ? 1 : 0;
    lathe_client *client = client_for(service.url);
    if (!client || call_once(client)) /* who ends the process may go on */
        what = 2;
    lathe_client_free(client);
    (void)!write(verdict, &what, 1);
    kill(getpid(), SIGKILL); /* what the thread holds is no leak */
}

static void end_while_a_thread_calls(void)
{
    pthread_t thread;
    if (sem_init(&ended, 0, 0) || atexit(at_the_end))
        _exit(1);
    lathe_client *client = client_for(service.url);
    if (!client || pthread_create(&thread, NULL, call_without_rest, client))
        _exit(1);
    sem_wait(&ended);
    exit(0);
}

TEST(threads_stand_still)
{
    int ends[2];
    char what = -1;
    REQUIRE(elsewhere_init(&service));
    REQUIRE(!pipe(ends));
    pid_t child = fork();
    if (!child) {
        verdict = ends[1];
        end_while_a_thread_calls();
    }
    close(ends[1]);
    CHECK_INT(read(ends[0], &what, 1), 1);
    CHECK_INT(what, 0);
    close(ends[0]);
    CHECK(waitpid(child, NULL, 0) == child);
    elsewhere_clear(&service);
}

TESTS(ENTRY(threads_stand_still))
