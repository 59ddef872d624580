/* The Client type. */
#ifndef LATHE_BINDING_CLIENT_TYPE_H
#define LATHE_BINDING_CLIENT_TYPE_H

#include "calls.h"

/* Makes a call on a Client and returns a dict, or a RawResponse when `raw`. */
PyObject *lathe_py_client_call(PyObject *client, lathe_verb verb, bool raw, PyObject *const *args,
                               Py_ssize_t count, PyObject *kwnames);

/* The same with arguments already read; returns a dict. */
PyObject *lathe_py_client_run(PyObject *client, lathe_py_arguments *arguments);

/* The core's client, which lives as long as the object does; NULL with an exception when `object`
 * is no Client that is set up. */
lathe_client *lathe_py_client_handle(lathe_py_state *state, PyObject *object);

#endif
