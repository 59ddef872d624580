/* Native Python objects as a host of the core. */
#ifndef LATHE_BINDING_VALUE_PYTHON_H
#define LATHE_BINDING_VALUE_PYTHON_H

#include "module.h"

#ifdef Py_GIL_DISABLED
/* A list as it was when its length was asked for. */
typedef struct lathe_py_view {
    PyObject *list;      /* borrowed */
    size_t first, count; /* where its items are among what is held */
} lathe_py_view;
#endif

/* Reads list and tuple, dict, str, bool, int, float and None, through the C API alone: a subclass's
 * own methods are never called. What it hands out is held until the source is cleared, so that no
 * other thread can pull it away. */
typedef struct lathe_py_source {
    PyObject **held;
    size_t count, capacity;
#ifdef Py_GIL_DISABLED
    lathe_py_view *views; /* of the lists being walked, the innermost last */
    size_t view_count, view_capacity;
#endif
} lathe_py_source;

void lathe_py_source_init(lathe_py_source *source);
void lathe_py_source_clear(lathe_py_source *source);
/* Takes over a reference and holds it as well; LATHE_MEMORY gives it up. NULL is LATHE_HOST. */
lathe_code lathe_py_source_hold(lathe_py_source *source, PyObject *object);
lathe_source lathe_py_source_of(lathe_py_source *source);

/* Levels that a sink takes: those that lathe_json_read allows, and some of our own around them. */
enum { LATHE_PY_DEPTH = 2064 };

typedef struct lathe_py_frame {
    PyObject *container; /* borrowed: what holds it is below it on the stack, or the root */
    PyObject *key;       /* owned; the key that waits for its value */
} lathe_py_frame;

/* Builds exact dicts, lists, strs, ints, floats, bools and None. */
typedef struct lathe_py_sink {
    lathe_py_state *state;
    lathe_py_frame *frames;
    size_t depth, capacity;
    PyObject *root;
} lathe_py_sink;

void lathe_py_sink_init(lathe_py_sink *sink, lathe_py_state *state);
/* Drops what was built, finished or not. */
void lathe_py_sink_clear(lathe_py_sink *sink);
lathe_sink lathe_py_sink_of(lathe_py_sink *sink);
/* The finished value, a new reference, and clears the sink. NULL with SystemError when the core
 * did not feed a whole value. */
PyObject *lathe_py_sink_take(lathe_py_sink *sink);

#endif
