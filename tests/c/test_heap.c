#include "heap.h"

#include <math.h>

#include "support_alloc.h"
#include "test.h"

enum { TIMERS = 200 };

/* Checks that the timers come out in order. */
static void check_order(lathe_heap *heap, size_t count)
{
    double last = -1;
    for (lathe_timer *timer; (timer = lathe_heap_first(heap)); count--) {
        CHECK(timer->due >= last);
        last = timer->due;
        lathe_heap_remove(heap, timer);
        CHECK_INT(timer->place, 0);
    }
    CHECK_INT(count, 0);
}

TEST(earliest_first)
{
    lathe_heap heap = {0};
    lathe_timer timers[TIMERS] = {0};
    for (unsigned i = 0; i < TIMERS; i++)
        CHECK_CODE(lathe_heap_set(&heap, &timers[i], (i * 7919) % TIMERS), LATHE_OK);
    for (unsigned i = 0; i < TIMERS; i += 3)
        CHECK_CODE(lathe_heap_set(&heap, &timers[i], (i * 104729) % 1000), LATHE_OK);
    for (unsigned i = 0; i < TIMERS; i += 10)
        lathe_heap_remove(&heap, &timers[i]);
    lathe_heap_remove(&heap, &timers[0]); /* not in any more */
    check_order(&heap, TIMERS - TIMERS / 10);
    lathe_heap_clear(&heap);
}

TEST(never_is_last)
{
    lathe_heap heap = {0};
    lathe_timer never = {0}, soon = {0};
    CHECK(!lathe_heap_first(&heap));
    lathe_heap_set(&heap, &never, INFINITY);
    lathe_heap_set(&heap, &soon, 1);
    CHECK(lathe_heap_first(&heap) == &soon);
    lathe_heap_clear(&heap);
}

static lathe_code grow(void *self)
{
    lathe_heap heap = {0};
    lathe_timer timers[20] = {0};
    lathe_code code = LATHE_OK;
    (void)self;
    for (unsigned i = 0; i < 20 && !code; i++) {
        code = lathe_heap_set(&heap, &timers[i], i);
        if (code)
            CHECK_INT(timers[i].place, 0);
    }
    lathe_heap_clear(&heap);
    return code;
}

TEST(memory)
{
    alloc_try_each(grow, NULL, LATHE_OK);
}

TESTS(ENTRY(earliest_first), ENTRY(never_is_last), ENTRY(memory))
