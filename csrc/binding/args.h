/* Arguments given as METH_FASTCALL | METH_KEYWORDS, or as a tuple and a dict. */
#ifndef LATHE_BINDING_ARGS_H
#define LATHE_BINDING_ARGS_H

#include "module.h"

enum { LATHE_ARGS_MAX = 20 };

/* What a function takes: the first `positional` of its `names` also by position, the first
 * `required` of them without a default. `names` ends with NULL. */
typedef struct lathe_signature {
    const char *function;
    int positional, required;
    const char *names[LATHE_ARGS_MAX + 1];
} lathe_signature;

/* Borrowed references into `values`, one for each name; NULL where nothing was given. -1 with the
 * TypeError that a Python function would raise. */
int lathe_py_args(const lathe_signature *signature, PyObject *const *args, Py_ssize_t count,
                  PyObject *kwnames, PyObject **values);

/* The same for __new__ and __init__; `kwargs` may be NULL. */
int lathe_py_args_tuple(const lathe_signature *signature, PyObject *args, PyObject *kwargs,
                        PyObject **values);

#endif
