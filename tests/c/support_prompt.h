/* What tests of templates ask of a prompt: {"messages", "system"}, the messages in normal form. */
#ifndef SUPPORT_PROMPT_H
#define SUPPORT_PROMPT_H

#include <jansson.h>
#include <stdbool.h>

/* The list of the names of its variables. */
json_t *prompt_variables(const json_t *prompt);
/* Whether `made`, rendered with its own variable_values, is `prompt` again. */
bool prompt_renders_back(const json_t *prompt, const json_t *made);

#endif
