#include "pending.h"

#include <math.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "host.h"
#include "log.h"
#include "raw.h"

/* The longest that a signal waits for its handler on the main thread. */
static const double slice = 0.05;

typedef struct pending {
    lathe_py_state *state;
    lathe_verb verb;
    lathe_call *call;
    PyObject *log; /* NULL when the program does not log */
    bool log_bodies;
} pending;

/* ---- The main thread ------------------------------------------------------------------------- */

static bool is_process_main(void)
{
#ifdef __linux__
    return syscall(SYS_gettid) == getpid();
#else
    return false;
#endif
}

/* Whether threading takes this thread for the main one; yes when nobody can tell, since a needless
 * look for signals does no harm. */
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

/* ---- Waiting --------------------------------------------------------------------------------- */

static int drain_events(pending *self)
{
    lathe_event event;
    while (lathe_call_event(self->call, &event))
        if (lathe_py_log_event(self->log, self->verb, &event))
            return -1;
    return 0;
}

/* Until the call has ended; -1 when Python has an exception instead. */
static int wait_for_end(pending *self)
{
    bool main = is_process_main() || is_threading_main();
    lathe_wait state = LATHE_WAIT_AGAIN;
    do {
        PyThreadState *thread = PyEval_SaveThread();
        state = lathe_call_wait(self->call, main ? slice : INFINITY, main);
        PyEval_RestoreThread(thread);
        if ((main && PyErr_CheckSignals()) || drain_events(self))
            return -1;
    } while (state != LATHE_WAIT_DONE);
    return 0;
}

static int log_request(pending *self)
{
    size_t size;
    const char *body = lathe_call_body(self->call, &size);
    self->log_bodies = body != NULL;
    return lathe_py_log_body(self->log, self->verb, "request", self->call, body, size);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- The result ------------------------------------------------------------------------------ */

/* Logs what the service wrote, when bodies are logged. */
static int log_answer(pending *self, const char *body, size_t size)
{
    return self->log_bodies && body
               ? lathe_py_log_body(self->log, self->verb, "response", self->call, body, size)
               : 0;
}

/* Reads the answer into the host; the error holds what went wrong. */
static lathe_code receive(pending *self, lathe_response **response, lathe_py_host *host)
{
    lathe_code code = lathe_call_result(self->call, response, &host->error);
    const char *body = code ? host->error.body : (*response)->body;
    size_t size = code ? host->error.body_size : (*response)->body_size;
    if (log_answer(self, body, size))
        return host->error.code = LATHE_HOST;
    return code ? code : lathe_response_read(*response, &host->sink, &host->error);
}

static PyObject *finish(pending *self, lathe_py_host *host, double started, bool raw)
{
    lathe_response *response = NULL;
    PyObject *result = NULL;
    lathe_code code = receive(self, &response, host);
    if (code != LATHE_HOST &&
        lathe_py_log_call(self->log, self->verb, response, &host->error, now() - started)) {
        lathe_py_host_clear(host);
        goto out;
    }
    result = lathe_py_host_finish(host, code);
    if (result && raw)
        result = lathe_py_raw_response_new(self->state, result, response);
out:
    lathe_response_free(response);
    return result;
}

/* Everything after the request was read. */
static PyObject *drive(pending *self, lathe_py_host *host, bool raw)
{
    int failed;
    double started = now();
    self->log = lathe_py_log_open(&failed);
    if (!failed && !log_request(self)) {
        lathe_call_start(self->call);
        if (!wait_for_end(self))
            return finish(self, host, started, raw);
        lathe_call_cancel(self->call);
    }
    lathe_py_host_clear(host);
    return NULL;
}

PyObject *lathe_py_run(lathe_py_state *state, lathe_client *client, lathe_request *request,
                       const lathe_options *options, bool raw)
{
    pending self = {.state = state, .verb = request->verb};
    lathe_py_host host;
    lathe_py_host_init(&host, state);
    request->source = host.source;
    lathe_code code = lathe_call_new(client, request, options, &self.call, &host.error);
    lathe_py_source_clear(&host.values);
    PyObject *result = code ? lathe_py_host_finish(&host, code) : drive(&self, &host, raw);
    lathe_call_free(self.call);
    Py_XDECREF(self.log);
    return result;
}
