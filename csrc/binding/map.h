/* Client.map: an iterator over the results of many requests. */
#ifndef LATHE_BINDING_MAP_H
#define LATHE_BINDING_MAP_H

#include "module.h"

/* The Map that Client.map gives; `object` is the Client of `client`. The arguments are those of a
 * method. NULL with an exception. */
PyObject *lathe_py_map_new(lathe_py_state *state, PyObject *object, lathe_client *client,
                           PyObject *const *args, Py_ssize_t count, PyObject *kwnames);

#endif
