/* The names of variables, each once, in first-seen order, with what stands for each. */
#ifndef LATHE_NAMES_H
#define LATHE_NAMES_H

#include "promptlathe.h"

typedef struct lathe_name {
    lathe_text name;  /* borrowed */
    lathe_text value; /* borrowed; data is NULL as long as there is none */
    bool refused;     /* it has a value, but one that cannot be used */
} lathe_name;

typedef struct lathe_names {
    lathe_name *items;
    size_t count, capacity;
    size_t *slots; /* a hash table: 0 or a place in items, from 1 */
    size_t slot_count;
    uint64_t seed;
} lathe_names;

/* {0} is an empty set too. */
void lathe_names_clear(lathe_names *names);

/* Adds a name unless it is there. *item stays valid until the next addition. LATHE_OK or
 * LATHE_MEMORY. */
lathe_code lathe_names_add(lathe_names *names, lathe_text name, lathe_name **item);

/* NULL when it is not there. */
lathe_name *lathe_names_find(const lathe_names *names, lathe_text name);

#endif
