#include "alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "promptlathe.h"

static const lathe_allocator standard = {malloc, realloc, free};
static lathe_allocator current = {malloc, realloc, free};

void lathe_set_allocator(const lathe_allocator *allocator)
{
    current = allocator ? *allocator : standard;
}

void *lathe_malloc(size_t size)
{
    return current.malloc(size ? size : 1);
}

void *lathe_calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *block = lathe_malloc(count * size);
    if (block)
        memset(block, 0, count * size);
    return block;
}

void *lathe_realloc(void *block, size_t size)
{
    return current.realloc(block, size ? size : 1);
}

void lathe_free(void *block)
{
    if (block)
        current.free(block);
}

char *lathe_copy(const void *data, size_t size)
{
    if (size == SIZE_MAX)
        return NULL;
    char *copy = lathe_malloc(size + 1);
    if (!copy)
        return NULL;
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

char *lathe_copy_string(const char *string)
{
    return string ? lathe_copy(string, strlen(string)) : NULL;
}

void lathe_wipe(void *block, size_t size)
{
    volatile unsigned char *byte = block;
    while (size--)
        *byte++ = 0;
}
