#include "support_alloc.h"

#include <jansson.h>
#include <stdlib.h>

#include "test.h"

static atomic_size_t blocks;
static alloc_plan plan;
static void (*_Atomic on_free)(void);

void alloc_plan_set(alloc_plan *self, size_t nth, bool on)
{
    self->failed = false;
    self->go_on = on;
    self->countdown = nth;
}

bool alloc_plan_fails(alloc_plan *self)
{
    if (self->go_on && self->failed)
        return true;
    size_t left = self->countdown;
    while (left && !atomic_compare_exchange_weak(&self->countdown, &left, left - 1))
        ;
    if (left == 1)
        self->failed = true;
    return left == 1;
}

static void *count_malloc(size_t size)
{
    void *block = alloc_plan_fails(&plan) ? NULL : malloc(size);
    blocks += block != NULL;
    return block;
}

static void *count_realloc(void *block, size_t size)
{
    void *moved = alloc_plan_fails(&plan) ? NULL : realloc(block, size);
    blocks += moved && !block;
    return moved;
}

static void count_free(void *block)
{
    void (*hook)(void) = on_free;
    if (hook)
        hook();
    blocks -= block != NULL;
    free(block);
}

void alloc_install(void)
{
    static const lathe_allocator allocator = {count_malloc, count_realloc, count_free};
    lathe_set_allocator(&allocator);
    json_set_alloc_funcs(count_malloc, count_free);
}

size_t alloc_blocks(void)
{
    return blocks;
}

void alloc_fail_at(size_t nth, bool on)
{
    alloc_plan_set(&plan, nth, on);
}

bool alloc_failed(void)
{
    return plan.failed;
}

void alloc_on_free(void (*hook)(void))
{
    on_free = hook;
}

static void try_each(lathe_code (*attempt)(void *self), void *self, lathe_code expected, bool on)
{
    for (size_t nth = 1;; nth++) {
        size_t before = alloc_blocks();
        alloc_fail_at(nth, on);
        lathe_code code = attempt(self);
        bool hit = alloc_failed();
        alloc_fail_at(0, false);
        test_context("allocation %zu fails%s", nth, on ? " and all after it" : "");
        CHECK_CODE(code, hit ? LATHE_MEMORY : expected);
        CHECK_INT(alloc_blocks(), before);
        test_context(NULL);
        if (!hit)
            return;
    }
}

void alloc_try_each(lathe_code (*attempt)(void *self), void *self, lathe_code expected)
{
    try_each(attempt, self, expected, false);
    try_each(attempt, self, expected, true);
}
