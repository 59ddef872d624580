/* One call in flight: what the ways to wait for it have in common, and the simplest of them. */
#ifndef LATHE_BINDING_PENDING_H
#define LATHE_BINDING_PENDING_H

#include "module.h"

/* A call from its making to its result. It holds nothing of Python. Zeroed, it is an empty one. */
typedef struct lathe_py_call {
    lathe_py_state *state;
    lathe_verb verb;
    lathe_call *call; /* owned; NULL: none */
    double started;   /* seconds, on the monotonic clock */
} lathe_py_call;

/* Reads the request, whose source is set here, makes its call, and logs the body if bodies are
 * logged. Nothing is sent. -1 with an exception, and then there is nothing to clear. The log here
 * and below is that of lathe_py_log_open, or NULL. */
int lathe_py_call_new(lathe_py_call *self, lathe_py_state *state, lathe_client *client,
                      lathe_request *request, const lathe_options *options, PyObject *log);
/* Frees the call; one in flight is cancelled. */
void lathe_py_call_clear(lathe_py_call *self);

/* Logs what has happened to the call and was not logged yet; to be done at LATHE_WAIT_EVENT also
 * without a log. -1 with an exception of the program's own logging. */
int lathe_py_call_events(const lathe_py_call *self, PyObject *log);

/* The result of a call that has ended (LATHE_WAIT_DONE), once: a dict, or a RawResponse when `raw`,
 * or NULL with the exception that the verb raises. Logs the events that are left and the end. The
 * call stays to be cleared. */
PyObject *lathe_py_finish(const lathe_py_call *self, PyObject *log, bool raw);

/* Seconds on the monotonic clock. */
double lathe_py_now(void);

/* The longest that a signal waits for its handler on the main thread, in seconds. */
#define LATHE_PY_SLICE 0.05

/* Whether signal handlers run in this thread; yes when nobody can tell, since a needless look for
 * signals does no harm. */
bool lathe_py_is_main_thread(void);

/* Makes the call, waits for it without the GIL and returns its result, a dict, or a RawResponse
 * when `raw`. The request's source is set here. A signal handler's exception on the main thread
 * cancels this call alone. */
PyObject *lathe_py_run(lathe_py_state *state, lathe_client *client, lathe_request *request,
                       const lathe_options *options, bool raw);

#endif
