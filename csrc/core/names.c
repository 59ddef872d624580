#include "names.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

#include "alloc.h"

void lathe_names_clear(lathe_names *names)
{
    lathe_free(names->items);
    lathe_free(names->slots);
    *names = (lathe_names){0};
}

/* FNV-1a from a start that differs from run to run, so that nobody can prepare names that collide.
 */
static uint64_t hash(const lathe_names *names, lathe_text name)
{
    uint64_t value = names->seed;
    for (size_t i = 0; i < name.size; i++)
        value = (value ^ (unsigned char)name.data[i]) * UINT64_C(0x100000001B3);
    return value ^ value >> 32;
}

static uint64_t new_seed(const lathe_names *names)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t seed = (uint64_t)(uintptr_t)names ^ (uint64_t)now.tv_nsec << 32;
    return (seed ^ (uint64_t)now.tv_sec) * UINT64_C(0x9E3779B97F4A7C15) +
           UINT64_C(0xCBF29CE484222325);
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t *find_slot(const lathe_names *names, lathe_text name)
{
    size_t mask = names->slot_count - 1;
    for (size_t at = (size_t)hash(names, name) & mask;; at = (at + 1) & mask) {
        size_t *slot = &names->slots[at];
        if (!*slot)
            return slot;
        lathe_text other = names->items[*slot - 1].name;
        if (other.size == name.size && memcmp(other.data, name.data, name.size) == 0)
            return slot;
    }
}

lathe_name *lathe_names_find(const lathe_names *names, lathe_text name)
{
    if (!names->count)
        return NULL;
    size_t slot = *find_slot(names, name);
    return slot ? &names->items[slot - 1] : NULL;
}

static lathe_code grow_items(lathe_names *names)
{
    size_t capacity = names->capacity ? names->capacity * 2 : 8;
    lathe_name *items = lathe_realloc(names->items, capacity * sizeof *items);
    if (!items)
        return LATHE_MEMORY;
    names->items = items;
    names->capacity = capacity;
    return LATHE_OK;
}

static lathe_code grow_slots(lathe_names *names)
{
    size_t count = names->slot_count ? names->slot_count * 2 : 16;
    size_t *slots = lathe_calloc(count, sizeof *slots);
    if (!slots)
        return LATHE_MEMORY;
    if (!names->slots)
        names->seed = new_seed(names);
    lathe_free(names->slots);
    names->slots = slots;
    names->slot_count = count;
    for (size_t i = 0; i < names->count; i++)
        *find_slot(names, names->items[i].name) = i + 1;
    return LATHE_OK;
}

lathe_code lathe_names_add(lathe_names *names, lathe_text name, lathe_name **item)
{
    *item = lathe_names_find(names, name);
    if (*item)
        return LATHE_OK;
    lathe_code code = LATHE_OK;
    if (!names->items || names->count == names->capacity)
        code = grow_items(names);
    if (!code && (!names->slots || (names->count + 1) * 2 > names->slot_count))
        code = grow_slots(names);
    if (code)
        return code;
    *find_slot(names, name) = names->count + 1;
    *item = &names->items[names->count++];
    **item = (lathe_name){.name = name};
    return LATHE_OK;
}
