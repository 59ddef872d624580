/* Many threads on one client that end their calls in every way there is: for the sanitizers, and
 * for hangs and leaks. What each thread does comes from its number alone. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "promptlathe.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

enum { THREADS = 16, ROUNDS = 120, STEPS = 11 };

typedef enum way {
    SHORT_TIME,
    OWN_COPY_CLOSED,
    WAIT_THEN_CANCEL,
    FREE_AT_ONCE,
    WAIT_THEN_FREE,
    TO_THE_END, /* and what is beyond it */
    WAYS = 8,
} way;

static lathe_client *shared;
static atomic_size_t ended[LATHE_OVERLOADED + 1];

static unsigned draw(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return *seed >> 8;
}

/* Ends a call that runs; true when the call is gone. */
static bool disturb(lathe_call *call, way deed, lathe_client *copy)
{
    if (deed == OWN_COPY_CLOSED)
        lathe_client_close(copy);
    if (deed == WAIT_THEN_CANCEL || deed == WAIT_THEN_FREE)
        lathe_call_wait(call, 0.0005, deed == WAIT_THEN_FREE);
    if (deed == WAIT_THEN_CANCEL)
        lathe_call_cancel(call);
    if (deed != FREE_AT_ONCE && deed != WAIT_THEN_FREE)
        return false;
    lathe_call_free(call);
    return true;
}

static void one_round(unsigned *seed)
{
    way deed = (way)(draw(seed) % WAYS);
    lathe_client *copy = NULL;
    lathe_options options;
    lathe_error error;
    lathe_error_init(&error);
    lathe_options_init(&options);
    options.max_retries = (int)(draw(seed) % 3);
    if (deed == SHORT_TIME)
        options.timeout = 0.002;
    CHECK_CODE(lathe_client_copy(shared, &options, &copy, &error), LATHE_OK);
    lathe_call *call = call_started(deed == OWN_COPY_CLOSED ? copy : shared, &options);
    if (call && !disturb(call, deed, copy))
        ended[call_finish(call, &error)]++;
    lathe_error_clear(&error);
    lathe_client_free(copy);
}

static void *work(void *self)
{
    unsigned seed = *(unsigned *)self;
    for (int i = 0; i < ROUNDS; i++)
        one_round(&seed);
    return NULL;
}

/* A server that is well, busy, or breaks off. */
static void make_steps(server_step steps[STEPS])
{
    static const char busy[] =
        "HTTP/1.1 529 Busy\r\nretry-after-ms: 1\r\nContent-Length: 0\r\n\r\n";
    for (int i = 0; i < STEPS; i++)
        steps[i] = (server_step){server_good(), 0, SERVER_KEEP};
    steps[3] = (server_step){NULL, 0, SERVER_RESET};
    steps[5] = (server_step){busy, 0, SERVER_KEEP};
    steps[7].end = SERVER_CLOSE;
}

TEST(every_way_to_end_at_once)
{
    server_step steps[STEPS];
    pthread_t threads[THREADS];
    unsigned seeds[THREADS];
    make_steps(steps);
    server *s = server_new(steps, STEPS);
    server_repeat(s);
    shared = client_for(server_url(s));
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = i * 7919 + 13;
        REQUIRE(!pthread_create(&threads[i], NULL, work, &seeds[i]));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    lathe_client_free(shared);
    server_free(s);
    CHECK(ended[LATHE_OK] > 0 && ended[LATHE_CANCELLED] > 0 && ended[LATHE_CLIENT_CLOSED] > 0);
    size_t known = ended[LATHE_OK] + ended[LATHE_CANCELLED] + ended[LATHE_CLIENT_CLOSED] +
                   ended[LATHE_CONNECTION] + ended[LATHE_TIMEOUT] + ended[LATHE_OVERLOADED];
    size_t all = 0;
    for (size_t i = 0; i <= LATHE_OVERLOADED; i++)
        all += ended[i];
    CHECK_INT(known, all);
}

TESTS(ENTRY(every_way_to_end_at_once))
