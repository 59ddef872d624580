/* The library's own memory: every block of the core comes from here. */
#ifndef LATHE_ALLOC_H
#define LATHE_ALLOC_H

#include <stddef.h>

void *lathe_malloc(size_t size);
/* Zeroed; NULL also when count * size overflows. */
void *lathe_calloc(size_t count, size_t size);
void *lathe_realloc(void *block, size_t size);
void lathe_free(void *block);

/* A copy of `size` bytes with a NUL behind, or NULL. */
char *lathe_copy(const void *data, size_t size);
/* A copy of a string; NULL for NULL or without memory. */
char *lathe_copy_string(const char *string);

/* Overwrites in a way that the compiler may not leave out. */
void lathe_wipe(void *block, size_t size);

#endif
