/* A heap of timers: the earliest first. */
#ifndef LATHE_HEAP_H
#define LATHE_HEAP_H

#include <stddef.h>

#include "promptlathe.h"

typedef struct lathe_timer {
    double due;   /* on lathe_clock; INFINITY: never */
    size_t place; /* the heap's own: index + 1, 0 outside */
} lathe_timer;

typedef struct lathe_heap {
    lathe_timer **items;
    size_t count, capacity;
} lathe_heap;

void lathe_heap_clear(lathe_heap *heap);
/* Puts the timer in, or moves it to its new `due`. LATHE_OK, or LATHE_MEMORY for one not yet in. */
lathe_code lathe_heap_set(lathe_heap *heap, lathe_timer *timer, double due);
/* Accepts one that is not in. */
void lathe_heap_remove(lathe_heap *heap, lathe_timer *timer);
/* The earliest, or NULL. */
lathe_timer *lathe_heap_first(const lathe_heap *heap);

#endif
