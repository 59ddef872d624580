/* The documented shape of a success body, checked while it streams from a reader into a host's
 * sink: no tree is needed, whoever reads. */
#ifndef LATHE_SHAPE_H
#define LATHE_SHAPE_H

#include "promptlathe.h"

/* What the value that comes next must be. */
typedef enum lathe_slot {
    LATHE_SLOT_ANY, /* not looked into */
    LATHE_SLOT_TOP,
    LATHE_SLOT_MESSAGES,
    LATHE_SLOT_MESSAGE,
    LATHE_SLOT_ROLE,
    LATHE_SLOT_CONTENT,
    LATHE_SLOT_BLOCK,
    LATHE_SLOT_TYPE,
    LATHE_SLOT_TEXT,
    LATHE_SLOT_SYSTEM,
    LATHE_SLOT_USAGE,
    LATHE_SLOT_VALUES,
    LATHE_SLOT_VALUE,
} lathe_slot;

enum { LATHE_SHAPE_LEVELS = 5 }; /* top, messages, message, content, block */

/* A list or object that is open and looked into. */
typedef struct lathe_level {
    lathe_slot slot;
    unsigned seen;   /* members, by bits of their slots */
    size_t index;    /* of the next item of a list */
    bool text_type;  /* a block whose type is "text" */
    bool text_wrong; /* a block whose text is no string */
} lathe_level;

typedef struct lathe_shape {
    lathe_sink inner;
    lathe_error *error;
    bool templatize;  /* variable_values is part of the shape */
    bool named_error; /* the top has a member "error" */
    lathe_level levels[LATHE_SHAPE_LEVELS];
    unsigned depth;   /* levels open */
    size_t unchecked; /* lists and objects open below the last level */
    lathe_slot next;
} lathe_shape;

/* A sink that checks, and passes on to `inner`. */
lathe_sink lathe_shape_sink(lathe_shape *shape, bool templatize, const lathe_sink *inner,
                            lathe_error *error);
/* After the last event. */
lathe_code lathe_shape_finish(lathe_shape *shape);

#endif
