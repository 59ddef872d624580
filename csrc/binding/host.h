/* One walk of the core over Python's values: what is read, what is built, what went wrong. */
#ifndef LATHE_BINDING_HOST_H
#define LATHE_BINDING_HOST_H

#include "value_python.h"

typedef struct lathe_py_host {
    lathe_py_state *state;
    lathe_py_source values;
    lathe_py_sink results;
    lathe_source source;
    lathe_sink sink;
    lathe_error error;
} lathe_py_host;

/* In place: source and sink point into it. */
void lathe_py_host_init(lathe_py_host *host, lathe_py_state *state);
void lathe_py_host_clear(lathe_py_host *host);
/* What was built, or NULL with the exception that `code` and the error say. Clears the host. */
PyObject *lathe_py_host_finish(lathe_py_host *host, lathe_code code);

#endif
