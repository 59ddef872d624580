/* An answer of POST /v1/messages, read as leniently as those who imitate the vendor ask for, and
 * the marked sections in what the model wrote. */
#ifndef LATHE_MODEL_ANSWER_H
#define LATHE_MODEL_ANSWER_H

#include <jansson.h>

#include "buf.h"
#include "promptlathe.h"

typedef enum lathe_ending {
    LATHE_ENDING_WHOLE,
    LATHE_ENDING_CUT_OFF, /* by max_tokens or the model's own limit */
    LATHE_ENDING_REFUSAL,
} lathe_ending;

typedef struct lathe_model_answer {
    json_t *root;      /* the whole body, an object */
    lathe_buf text;    /* its text blocks, joined */
    lathe_text spoken; /* the same without what was thought aloud before */
    lathe_ending ending;
    json_t *members; /* what the model wrote, when that is one JSON object; or NULL */
    json_t *amid;    /* one amid its talk, from the first brace to the last; or NULL */
} lathe_model_answer;

/* LATHE_RESPONSE_VALIDATION when it is no JSON object with content that is a string or a list of
 * blocks: text blocks must hold text, others are passed over. A stop_reason that nobody knows is an
 * end in good order. Clear it also after a failure. */
lathe_code lathe_model_answer_read(lathe_model_answer *answer, const char *body, size_t size,
                                   lathe_error *error);
void lathe_model_answer_clear(lathe_model_answer *answer);

/* The section <name>, without white space around it, or the string member `name` of JSON; of JSON
 * amid talk only where there is no such section. `name` has 60 bytes at most. False when it is not
 * there, not closed, or there twice. */
bool lathe_model_answer_section(const lathe_model_answer *answer, const char *name,
                                lathe_text *section);
/* The same for a section that holds JSON: *value is a new reference, or NULL when it is not there
 * or no JSON. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_model_answer_json(const lathe_model_answer *answer, const char *name,
                                   json_t **value);

#endif
