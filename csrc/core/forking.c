#include "forking.h"

#include <stdatomic.h>
#include <stddef.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static lathe_lock *locks[LATHE_LOCK_CLASSES];
static atomic_uint generation;

static void take_all(void)
{
    pthread_mutex_lock(&registry);
    for (int class = 0; class < LATHE_LOCK_CLASSES; class ++)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            pthread_mutex_lock(&lock->mutex);
}

static void release_all(void)
{
    for (int class = LATHE_LOCK_CLASSES - 1; class >= 0; class --)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            pthread_mutex_unlock(&lock->mutex);
    pthread_mutex_unlock(&registry);
}

static void renew_child(void)
{
    atomic_fetch_add(&generation, 1);
    for (int class = 0; class < LATHE_LOCK_CLASSES; class ++)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            if (lock->in_child)
                lock->in_child(lock);
    release_all();
}

static void register_handlers(void)
{
    pthread_atfork(take_all, release_all, renew_child);
}

void lathe_lock_init(lathe_lock *lock, lathe_lock_class class, void (*in_child)(lathe_lock *lock))
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_handlers);
    pthread_mutex_init(&lock->mutex, NULL);
    lock->class = class;
    lock->in_child = in_child;
    pthread_mutex_lock(&registry);
    lock->previous = NULL;
    lock->next = locks[class];
    if (lock->next)
        lock->next->previous = lock;
    locks[class] = lock;
    pthread_mutex_unlock(&registry);
}

void lathe_lock_destroy(lathe_lock *lock)
{
    pthread_mutex_lock(&registry);
    if (lock->previous)
        lock->previous->next = lock->next;
    else
        locks[lock->class] = lock->next;
    if (lock->next)
        lock->next->previous = lock->previous;
    pthread_mutex_unlock(&registry);
    pthread_mutex_destroy(&lock->mutex);
}

unsigned lathe_generation(void)
{
    return atomic_load(&generation);
}
