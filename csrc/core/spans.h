/* Templates from the spans that a model names. The model only names them; what is replaced is
 * decided here, so that rendering the template with its values gives the text back exactly:
 *
 *   - A span is replaced wherever its text stands, in the system prompt and in each block of each
 *     message, but not within a word (where it begins or ends with a letter of Latin, Greek or
 *     Cyrillic, a digit or an underscore, and another one is next to it) and not where a variable
 *     stands already.
 *   - Longer texts come first, else those named first; what they have replaced is not looked into.
 *     So of nested texts the outer one is replaced, and the inner one where it stands elsewhere.
 *   - A text that is named twice keeps its first name. A name that is another text's, or a
 *     variable's that the prompt had already, gets a number behind: NAME_2.
 *   - Names are brought into the form of ours: capital letters, digits and underscores.
 *   - What is not found, or cannot be used, is dropped, and noted. */
#ifndef LATHE_SPANS_H
#define LATHE_SPANS_H

#include <jansson.h>

#include "promptlathe.h"

enum { LATHE_SPANS_MOST = 256 };

/* Names as the members of an object, to be looked up; NULL without memory. */
json_t *lathe_name_table(const json_t *names);

/* Whether it is a list of objects with string name and text. */
bool lathe_spans_valid(const json_t *spans);

/* Replaces the spans in `prompt`, an object with `messages` in normal form and the string `system`,
 * whose variables are `variables`; adds its `variable_values`, and to `notes` what was dropped or
 * renamed: {"code", "message", "name", "text"}. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_spans_replace(json_t *prompt, const json_t *spans, const json_t *variables,
                               json_t *notes);

#endif
