/* The case files, and comparing what the rules give with what a case says. */
#ifndef SUPPORT_CASES_H
#define SUPPORT_CASES_H

#include <jansson.h>

#include "promptlathe.h"

/* Runs `check` on each case of the files whose names begin with `prefix`, with the case's name as
 * context. A file that cannot be read, or no case at all, fails the test. */
void cases_each(const char *prefix, void (*check)(json_t *item));

/* Takes what a builder built and compares it with `expected`; order of members counts. */
void cases_check_built(lathe_jansson_builder *builder, const json_t *expected);

/* Compares faults, in order, with a list of {"path", "code"}. */
void cases_check_faults(const lathe_faults *faults, const json_t *expected);

#endif
