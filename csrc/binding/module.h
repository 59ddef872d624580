/* The extension module promptlathe._core: what it keeps, and how its parts reach it. */
#ifndef LATHE_BINDING_MODULE_H
#define LATHE_BINDING_MODULE_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include "errors.h"
#include "promptlathe.h"

/* Types of the module, each made by the lathe_py_*_spec of its file. */
#define LATHE_TYPES(X)                                                                             \
    X(Client, lathe_py_client_spec)                                                                \
    X(ClientWithRawResponse, lathe_py_raw_calls_spec)                                              \
    X(Map, lathe_py_map_spec)                                                                      \
    X(Loop, lathe_py_loop_spec)                                                                    \
    X(Pending, lathe_py_pending_spec)                                                              \
    X(RawResponse, lathe_py_raw_response_spec)                                                     \
    X(Timeout, lathe_py_timeout_spec)

/* Keys and roles that results repeat; each is made once. */
#define LATHE_NAMES(X)                                                                             \
    X(role)                                                                                        \
    X(content)                                                                                     \
    X(type)                                                                                        \
    X(text)                                                                                        \
    X(messages)                                                                                    \
    X(system)                                                                                      \
    X(usage)                                                                                       \
    X(variable_values)                                                                             \
    X(input_tokens)                                                                                \
    X(output_tokens)                                                                               \
    X(path)                                                                                        \
    X(code)                                                                                        \
    X(message)                                                                                     \
    X(offset)                                                                                      \
    X(expected)                                                                                    \
    X(got)                                                                                         \
    X(limit)                                                                                       \
    X(remaining)                                                                                   \
    X(reset)                                                                                       \
    X(user)                                                                                        \
    X(assistant)

enum {
#define LATHE_ENUMERATE(name, spec) LATHE_TYPE_##name,
    LATHE_TYPES(LATHE_ENUMERATE)
#undef LATHE_ENUMERATE
        LATHE_TYPE_COUNT
};

enum {
#define LATHE_ENUMERATE(name) LATHE_NAME_##name,
    LATHE_NAMES(LATHE_ENUMERATE)
#undef LATHE_ENUMERATE
        LATHE_NAME_COUNT
};

/* Nothing but owned references, so that visiting and clearing walk it as an array. */
typedef struct lathe_py_state {
    PyObject *types[LATHE_TYPE_COUNT];
    PyObject *exceptions[LATHE_EXCEPTION_COUNT];
    PyObject *names[LATHE_NAME_COUNT];
    PyObject *user_model;      /* {"role": "user", "content": None}, to be copied */
    PyObject *assistant_model; /* the same with "assistant" */
    PyObject *block_model;     /* {"type": "text", "text": None} */
    PyObject *default_client;  /* a Client, from the first call of a module function on */
    PyObject *heard;           /* promptlathe._log.heard, once logging is there */
} lathe_py_state;

#define LATHE_TYPE(state, name)      ((state)->types[LATHE_TYPE_##name])
#define LATHE_EXCEPTION(state, name) ((state)->exceptions[LATHE_EXCEPTION_##name])

#define LATHE_DECLARE(name, spec) extern PyType_Spec spec;
LATHE_TYPES(LATHE_DECLARE)
#undef LATHE_DECLARE

/* Functions of the module: the rules, and the three verbs on the default client. */
extern PyMethodDef lathe_py_rules[];
extern PyMethodDef lathe_py_functions[];

/* The state that `type`, a type of this module or derived from one, belongs to. NULL with a
 * TypeError. */
lathe_py_state *lathe_py_state_of(PyTypeObject *type);

/* A key made once, borrowed; NULL when `data` is none of LATHE_NAMES. */
PyObject *lathe_py_name(const lathe_py_state *state, const char *data, size_t size);

/* An attribute by its name, interned: a type's cache of look-ups would keep any other copy. */
PyObject *lathe_py_attribute(PyObject *object, const char *name);

/* A function that takes arguments as METH_FASTCALL | METH_KEYWORDS, as a slot of PyMethodDef. */
#define LATHE_FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

/* What protects an object's own fields where there is no GIL; nothing where there is one. */
#ifdef Py_GIL_DISABLED
typedef PyCriticalSection lathe_py_lock;
#define lathe_py_lock_begin PyCriticalSection_Begin
#define lathe_py_lock_end   PyCriticalSection_End
#else
typedef char lathe_py_lock;

static inline void lathe_py_lock_begin(lathe_py_lock *lock, PyObject *object)
{
    *lock = 0;
    (void)object;
}

static inline void lathe_py_lock_end(lathe_py_lock *lock)
{
    (void)lock;
}
#endif

#endif
