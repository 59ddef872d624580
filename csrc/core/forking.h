/* What a fork must find in order: every lock of the core free, and a number that a child can tell
 * what it inherited by. */
#ifndef LATHE_FORKING_H
#define LATHE_FORKING_H

#include <pthread.h>

/* Locks are taken before a fork class by class, in this order, which is the order in which code may
 * hold them together. */
typedef enum lathe_lock_class {
    LATHE_LOCK_HUB,
    LATHE_LOCK_ENGINE,
    LATHE_LOCK_CLASSES
} lathe_lock_class;

typedef struct lathe_lock {
    pthread_mutex_t mutex;
    lathe_lock_class class;
    void (*in_child)(
        struct lathe_lock *lock); /* in a fork's child, with every lock held; or NULL */
    struct lathe_lock *next, *previous;
} lathe_lock;

void lathe_lock_init(lathe_lock *lock, lathe_lock_class class, void (*in_child)(lathe_lock *lock));
void lathe_lock_destroy(lathe_lock *lock);

/* Around all work inside libcurl. A fork waits for its end: it is short, and the locks of the TLS
 * library, which no fork makes anew, would stay taken in the child for ever. May nest; begun
 * without any lock from above. */
void lathe_work_begin(void);
void lathe_work_end(void);

/* By the thread that ends the process: waits for the end of the work under way, and lets nobody but
 * itself begin any more. */
void lathe_work_stop(void);

/* Grows by one in each fork's child. */
unsigned lathe_generation(void);

#endif
