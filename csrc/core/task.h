/* A verb that a model does: what it is asked, what its answers mean, and what comes of them. A
 * state machine without a network: write a request, take its answer, and so on until there is no
 * more. */
#ifndef LATHE_TASK_H
#define LATHE_TASK_H

#include "buf.h"
#include "instructions.h"
#include "promptlathe.h"

typedef struct lathe_task lathe_task;

/* `body` is that of the documented endpoint, checked: the arguments in normal form. Of `options`
 * model, max_tokens, effort and on_variable_change are set. `schema`: the server may know
 * structured output. */
lathe_task *lathe_task_new(lathe_verb verb, const lathe_buf *body, const lathe_options *options,
                           lathe_instructions *instructions, bool schema);
void lathe_task_free(lathe_task *task);

/* Writes the body of the next request, in place of what `body` holds. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_task_write(const lathe_task *task, lathe_buf *body);

/* Takes the answer to it. *more: another request is to be sent; else `response` is the verb's, its
 * body in the documented shape, or there is an error: RESPONSE_VALIDATION, MODEL_ANSWER,
 * VARIABLES_CHANGED, MEMORY. */
lathe_code lathe_task_take(lathe_task *task, lathe_response *response, bool *more,
                           lathe_error *error);

/* Writes, as JSON, what is the caller's of a request, and the model's of one that shows its answer:
 * an error must not repeat it, as it may the model's name or our instructions. LATHE_OK or
 * LATHE_MEMORY. */
lathe_code lathe_task_own_words(const lathe_task *task, lathe_buf *out);

/* The request was refused with these words (a body). True when the server knows no structured
 * output: then the same request is to be written again, without. */
bool lathe_task_refused(lathe_task *task, const char *body, size_t size);
/* Whether such a request has been answered well since: then the server is known to be so. */
bool lathe_task_knows_no_schema(const lathe_task *task);

#endif
