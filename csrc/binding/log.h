/* What happened to a call, told to the logger "promptlathe" when the program uses logging. */
#ifndef LATHE_BINDING_LOG_H
#define LATHE_BINDING_LOG_H

#include "module.h"

/* What the logger would take now: a tuple of functions of promptlathe._log, a new reference; NULL
 * without an exception when the program has not imported logging. *failed is set when there is an
 * exception. */
PyObject *lathe_py_log_open(lathe_py_state *state, int *failed);

/* Each accepts a NULL log and returns -1 with an exception of the program's own logging. */
int lathe_py_log_event(PyObject *log, lathe_verb verb, const lathe_event *event);
int lathe_py_log_body(PyObject *log, lathe_verb verb, const char *what, const lathe_call *call,
                      const char *body, size_t size);
/* The end of a call that began at `started`: `error` when it failed, else `response`. */
int lathe_py_log_call(PyObject *log, lathe_verb verb, const lathe_response *response,
                      const lathe_error *error, double started);

#endif
