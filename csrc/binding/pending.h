/* One call in flight. */
#ifndef LATHE_BINDING_PENDING_H
#define LATHE_BINDING_PENDING_H

#include "module.h"

/* Makes the call, waits for it without the GIL and returns its result, a dict, or a RawResponse
 * when `raw`. The request's source is set here. A signal handler's exception on the main thread
 * cancels this call alone. */
PyObject *lathe_py_run(lathe_py_state *state, lathe_client *client, lathe_request *request,
                       const lathe_options *options, bool raw);

#endif
