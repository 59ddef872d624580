/* What a task is, for the two files that make it: task.c takes answers, task_request.c asks. */
#ifndef LATHE_TASK_STATE_H
#define LATHE_TASK_STATE_H

#include <jansson.h>

#include "task.h"

/* The sections of answers. */
#define LATHE_SECTION_PROMPT    "result_prompt"
#define LATHE_SECTION_PREFILL   "result_prefill"
#define LATHE_SECTION_EXAMPLES  "result_examples"
#define LATHE_SECTION_VARIABLES "result_variables"

struct lathe_task {
    lathe_verb verb;
    char *model;
    int max_tokens;
    lathe_on_change on_change;
    lathe_instructions *instructions;
    json_t *input;     /* the verb's arguments */
    json_t *variables; /* the names of the input's, in order */
    lathe_instruction_kind step;
    bool schema, schema_refused; /* it is asked for; it was refused */
    bool answered;               /* since it was refused */
    bool takes_prefill;          /* the model that the prompt is for */
    /* of the step */
    bool again;       /* its answer could not be used once */
    lathe_buf fault;  /* why; ends with what the model is to do */
    json_t *unusable; /* that answer, to be shown to the model, or NULL */
    /* of the steps before */
    json_t *draft, *examples;
    /* of all answers */
    json_t *answers, *notes, *usage;
};

/* Compact JSON. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_json_dump(const json_t *value, lathe_buf *out);

#endif
