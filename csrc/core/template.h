/* Variables, in one text and in messages: what finding, rendering and the round trip share. */
#ifndef LATHE_TEMPLATE_H
#define LATHE_TEMPLATE_H

#include "buf.h"
#include "names.h"
#include "promptlathe.h"
#include "walk.h"

/* "{{ NAME }}" in a text: where it begins, where it ends, and the name. */
typedef struct lathe_variable {
    size_t start, end;
    lathe_text name;
} lathe_variable;

/* The first variable at or behind `from`. A walk through all variables of a text is linear. */
bool lathe_next_variable(lathe_text text, size_t from, lathe_variable *variable);

/* The text with the variables that have a value replaced; those without stay. *rendered is `text`
 * itself or bytes of `buf`, whose former content is lost. */
lathe_code lathe_render_text(const lathe_names *names, lathe_text text, lathe_buf *buf,
                             lathe_text *rendered);

/* How much of a prompt's shape is looked at. */
typedef enum lathe_strictness {
    LATHE_TEMPLATE, /* what is needed to find its templates */
    LATHE_ANSWER,   /* all that an answer of templatize has, save its variable_values */
} lathe_strictness;

/* Walks the templates of a response (system first, then messages) whose members' paths begin with
 * `parent`, or at the top when that is NULL. Adds the variables to `names` (may be NULL) and what
 * is wrong with the shape to `faults`. */
lathe_code lathe_walk_response(const lathe_source *source, const void *response,
                               const lathe_path *parent, lathe_strictness strictness,
                               lathe_names *names, lathe_faults *faults);
/* The same for a string, a list of messages or a response. */
lathe_code lathe_walk_prompt(const lathe_source *source, const void *prompt, lathe_names *names,
                             lathe_faults *faults);

/* Keeps a value for a name that is in the set, once: its text, or a fault at `path` (wrong_type,
 * not_unicode). */
lathe_code lathe_name_set(lathe_name *name, const lathe_source *source, const void *value,
                          const lathe_path *path, lathe_faults *faults);

#endif
