/* An allocator for the library and for jansson that counts blocks and can be made to fail. Its
 * counters may be used from any thread. */
#ifndef SUPPORT_ALLOC_H
#define SUPPORT_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "promptlathe.h"

/* Which allocation fails; all zero: none. */
typedef struct alloc_plan {
    atomic_size_t countdown;
    atomic_bool failed, go_on;
} alloc_plan;

/* The nth from now on fails (1 is the next one; 0: none), with `on` every one after it too. */
void alloc_plan_set(alloc_plan *plan, size_t nth, bool on);
/* Whether the allocation that is now asked for is to fail. */
bool alloc_plan_fails(alloc_plan *plan);

/* Before anything of the library is alive; test_main does it. */
void alloc_install(void);

/* Blocks that are alive. */
size_t alloc_blocks(void);

/* As alloc_plan_set, for this allocator. */
void alloc_fail_at(size_t nth, bool on);
/* Whether it did fail. */
bool alloc_failed(void);

/* `hook` is called before each block that is freed; NULL: nothing. It holds no lock of the library.
 */
void alloc_on_free(void (*hook)(void));

/* Calls `attempt` with the first allocation failing, then the second, ... until one call needs no
 * more than succeed, once with that one failing alone and once with all after it. Each call that
 * saw a failure must return LATHE_MEMORY and leave no block behind, the last must return
 * `expected`. */
void alloc_try_each(lathe_code (*attempt)(void *self), void *self, lathe_code expected);

#endif
