#include "host.h"

void lathe_py_host_init(lathe_py_host *host, lathe_py_state *state)
{
    host->state = state;
    lathe_py_source_init(&host->values);
    lathe_py_sink_init(&host->results, state);
    host->source = lathe_py_source_of(&host->values);
    host->sink = lathe_py_sink_of(&host->results);
    lathe_error_init(&host->error);
}

void lathe_py_host_clear(lathe_py_host *host)
{
    lathe_py_source_clear(&host->values);
    lathe_py_sink_clear(&host->results);
    lathe_error_clear(&host->error);
}

PyObject *lathe_py_host_finish(lathe_py_host *host, lathe_code code)
{
    PyObject *result = NULL;
    if (!code) {
        result = lathe_py_sink_take(&host->results);
    } else {
        if (!host->error.code)
            host->error.code = code;
        lathe_py_raise(host->state, &host->error);
    }
    lathe_py_host_clear(host);
    return result;
}
