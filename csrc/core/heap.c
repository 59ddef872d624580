#include "heap.h"

#include "alloc.h"

static void put(lathe_heap *heap, size_t index, lathe_timer *timer)
{
    heap->items[index] = timer;
    timer->place = index + 1;
}

static void rise(lathe_heap *heap, size_t index)
{
    lathe_timer *timer = heap->items[index];
    for (size_t parent; index && heap->items[parent = (index - 1) / 2]->due > timer->due;
         index = parent)
        put(heap, index, heap->items[parent]);
    put(heap, index, timer);
}

static void sink(lathe_heap *heap, size_t index)
{
    lathe_timer *timer = heap->items[index];
    for (size_t child; (child = 2 * index + 1) < heap->count; index = child) {
        if (child + 1 < heap->count && heap->items[child + 1]->due < heap->items[child]->due)
            child++;
        if (heap->items[child]->due >= timer->due)
            break;
        put(heap, index, heap->items[child]);
    }
    put(heap, index, timer);
}

void lathe_heap_clear(lathe_heap *heap)
{
    lathe_free(heap->items);
    *heap = (lathe_heap){0};
}

lathe_code lathe_heap_set(lathe_heap *heap, lathe_timer *timer, double due)
{
    timer->due = due;
    if (!timer->place) {
        if (heap->count == heap->capacity) {
            size_t capacity = heap->capacity ? heap->capacity * 2 : 8;
            lathe_timer **items = lathe_realloc(heap->items, capacity * sizeof(lathe_timer *));
            if (!items)
                return LATHE_MEMORY;
            heap->items = items;
            heap->capacity = capacity;
        }
        put(heap, heap->count++, timer);
    }
    rise(heap, timer->place - 1);
    sink(heap, timer->place - 1);
    return LATHE_OK;
}

void lathe_heap_remove(lathe_heap *heap, lathe_timer *timer)
{
    if (!timer->place)
        return;
    size_t index = timer->place - 1;
    lathe_timer *last = heap->items[--heap->count];
    timer->place = 0;
    if (last == timer)
        return;
    put(heap, index, last);
    rise(heap, index);
    sink(heap, last->place - 1);
}

lathe_timer *lathe_heap_first(const lathe_heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}
