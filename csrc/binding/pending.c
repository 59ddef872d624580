#include "pending.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "host.h"
#include "log.h"
#include "raw.h"

/* ---- The main thread ------------------------------------------------------------------------- */

/* One that is stays it, also in a fork's child. */
static bool is_process_main(void)
{
#ifdef __linux__
    static _Thread_local bool known;
    return known || (known = syscall(SYS_gettid) == getpid());
#else
    return false;
#endif
}

/* Whether threading takes this thread for the main one; yes when nobody can tell. */
static bool is_threading_main(void)
{
    PyObject *name = PyUnicode_FromString("threading");
    PyObject *threading = name ? PyImport_GetModule(name) : NULL;
    PyObject *function = threading ? lathe_py_attribute(threading, "main_thread") : NULL;
    PyObject *thread = function ? PyObject_CallNoArgs(function) : NULL;
    PyObject *ident = thread ? lathe_py_attribute(thread, "ident") : NULL;
    unsigned long value = ident ? PyLong_AsUnsignedLong(ident) : 0;
    bool known = ident && !PyErr_Occurred();
    PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(threading);
    Py_XDECREF(function);
    Py_XDECREF(thread);
    Py_XDECREF(ident);
    return !known || value == PyThread_get_thread_ident();
}

bool lathe_py_is_main_thread(void)
{
    return is_process_main() || is_threading_main();
}

/* ---- The beginning --------------------------------------------------------------------------- */

double lathe_py_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int log_request(const lathe_py_call *self, PyObject *log)
{
    size_t size;
    const char *body = lathe_call_body(self->call, &size);
    return lathe_py_log_body(log, self->verb, "request", self->call, body, size);
}

int lathe_py_call_new(lathe_py_call *self, lathe_py_state *state, lathe_client *client,
                      lathe_request *request, const lathe_options *options, PyObject *log)
{
    lathe_py_host host;
    lathe_py_host_init(&host, state);
    request->source = host.source;
    *self = (lathe_py_call){.state = state, .verb = request->verb, .started = lathe_py_now()};
    lathe_code code = lathe_call_new(client, request, options, &self->call, &host.error);
    if (code)
        lathe_py_raise(state, &host.error);
    lathe_py_host_clear(&host);
    if (!code && !log_request(self, log))
        return 0;
    lathe_py_call_clear(self);
    return -1;
}

void lathe_py_call_clear(lathe_py_call *self)
{
    lathe_call_free(self->call);
    self->call = NULL;
}

int lathe_py_call_events(const lathe_py_call *self, PyObject *log)
{
    lathe_event event;
    while (lathe_call_event(self->call, &event))
        if (lathe_py_log_event(log, self->verb, &event))
            return -1;
    return 0;
}

/* ---- The result ------------------------------------------------------------------------------ */

/* Logs what the service wrote, when bodies are logged. */
static int log_answer(const lathe_py_call *self, PyObject *log, const char *body, size_t size)
{
    size_t unused;
    return body && lathe_call_body(self->call, &unused)
               ? lathe_py_log_body(log, self->verb, "response", self->call, body, size)
               : 0;
}

/* Reads the answer into the host; the error holds what went wrong. */
static lathe_code receive(const lathe_py_call *self, PyObject *log, lathe_response **response,
                          lathe_py_host *host)
{
    lathe_code code = lathe_call_result(self->call, response, &host->error);
    const char *body = code ? host->error.body : (*response)->body;
    size_t size = code ? host->error.body_size : (*response)->body_size;
    if (!code && (*response)->answers) { /* what came, not what was made of it */
        body = (*response)->answers;
        size = strlen(body);
    }
    if (log_answer(self, log, body, size))
        return host->error.code = LATHE_HOST;
    return code ? code : lathe_response_read(*response, &host->sink, &host->error);
}

/* -1 when the program has made an exception of it. */
static int warn(const lathe_response *response)
{
    return response->warning ? PyErr_WarnEx(PyExc_UserWarning, response->warning, 1) : 0;
}

PyObject *lathe_py_finish(const lathe_py_call *self, PyObject *log, bool raw)
{
    lathe_response *response = NULL;
    PyObject *result = NULL;
    if (lathe_py_call_events(self, log))
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, self->state);
    lathe_code code = receive(self, log, &response, &host);
    if (code != LATHE_HOST &&
        lathe_py_log_call(log, self->verb, response, &host.error, self->started)) {
        lathe_py_host_clear(&host);
        goto out;
    }
    result = lathe_py_host_finish(&host, code);
    if (result && warn(response))
        Py_CLEAR(result);
    if (result && raw)
        result = lathe_py_raw_response_new(self->state, result, response);
out:
    lathe_response_free(response);
    return result;
}

/* ---- One call -------------------------------------------------------------------------------- */

/* Until the call has ended; -1 when Python has an exception instead. */
static int wait_for_end(const lathe_py_call *self, PyObject *log)
{
    bool main = lathe_py_is_main_thread();
    lathe_wait state = LATHE_WAIT_AGAIN;
    do {
        PyThreadState *thread = PyEval_SaveThread();
        state = lathe_call_wait(self->call, main ? LATHE_PY_SLICE : INFINITY, main);
        PyEval_RestoreThread(thread);
        if ((main && PyErr_CheckSignals()) ||
            (state == LATHE_WAIT_EVENT && lathe_py_call_events(self, log)))
            return -1;
    } while (state != LATHE_WAIT_DONE);
    return 0;
}

PyObject *lathe_py_run(lathe_py_state *state, lathe_client *client, lathe_request *request,
                       const lathe_options *options, bool raw)
{
    lathe_py_call call;
    PyObject *result = NULL;
    int failed;
    PyObject *log = lathe_py_log_open(state, &failed);
    if (!failed && !lathe_py_call_new(&call, state, client, request, options, log)) {
        lathe_call_start(call.call);
        if (!wait_for_end(&call, log))
            result = lathe_py_finish(&call, log, raw);
        lathe_py_call_clear(&call);
    }
    Py_XDECREF(log);
    return result;
}
