#ifdef __linux__
/* For a lock that lets no fork wait for ever. NOLINTNEXTLINE(*-reserved-identifier,cert-dcl*) */
#define _GNU_SOURCE
#endif
#include "forking.h"

#include <stdatomic.h>
#include <stddef.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static lathe_lock *locks[LATHE_LOCK_CLASSES];
static atomic_uint generation;

/* Held for reading by those who work, for writing by a fork. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_rwlock_t work;
static _Thread_local unsigned depth;

static void init_work(void)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    pthread_rwlock_init(&work, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

static void take_all(void)
{
    pthread_rwlock_wrlock(&work);
    pthread_mutex_lock(&registry);
    for (int class = 0; class < LATHE_LOCK_CLASSES; class ++)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            pthread_mutex_lock(&lock->mutex);
}

static void release_locks(void)
{
    for (int class = LATHE_LOCK_CLASSES - 1; class >= 0; class --)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            pthread_mutex_unlock(&lock->mutex);
    pthread_mutex_unlock(&registry);
}

static void release_all(void)
{
    release_locks();
    pthread_rwlock_unlock(&work);
}

static void renew_child(void)
{
    init_work(); /* it knows its writer by a thread's number, which is another one here */
    atomic_fetch_add(&generation, 1);
    for (int class = 0; class < LATHE_LOCK_CLASSES; class ++)
        for (lathe_lock *lock = locks[class]; lock; lock = lock->next)
            if (lock->in_child)
                lock->in_child(lock);
    release_locks();
}

static void register_handlers(void)
{
    init_work();
    pthread_atfork(take_all, release_all, renew_child);
}

void lathe_lock_init(lathe_lock *lock, lathe_lock_class class, void (*in_child)(lathe_lock *lock))
{
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

void lathe_work_begin(void)
{
    pthread_once(&once, register_handlers);
    if (!depth++)
        pthread_rwlock_rdlock(&work);
}

void lathe_work_end(void)
{
    if (!--depth)
        pthread_rwlock_unlock(&work);
}

void lathe_work_stop(void)
{
    if (!depth++)
        pthread_rwlock_wrlock(&work);
}

unsigned lathe_generation(void)
{
    return atomic_load(&generation);
}
