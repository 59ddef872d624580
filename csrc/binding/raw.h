/* with_raw_response: the same calls, with status and headers. */
#ifndef LATHE_BINDING_RAW_H
#define LATHE_BINDING_RAW_H

#include "module.h"

/* The object that Client.with_raw_response gives. */
PyObject *lathe_py_raw_calls_new(lathe_py_state *state, PyObject *client);

/* A RawResponse; takes over the reference to `data`, which may be NULL. */
PyObject *lathe_py_raw_response_new(lathe_py_state *state, PyObject *data,
                                    const lathe_response *response);

#endif
