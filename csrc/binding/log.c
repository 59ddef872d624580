#include "log.h"

#include "pending.h"

#include <string.h>

/* A module that is already loaded; a new reference, or NULL. */
static PyObject *loaded(const char *name)
{
    PyObject *text = PyUnicode_FromString(name);
    PyObject *module = text ? PyImport_GetModule(text) : NULL;
    Py_XDECREF(text);
    return module;
}

static PyObject *find_heard(void)
{
    PyObject *module = PyImport_ImportModule("promptlathe._log");
    PyObject *function = module ? lathe_py_attribute(module, "heard") : NULL;
    Py_XDECREF(module);
    return function;
}

/* What was found first, by whichever thread; a new reference or NULL. */
static PyObject *keep_heard(lathe_py_state *state, PyObject *found)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, LATHE_TYPE(state, Client));
    if (!state->heard)
        state->heard = Py_XNewRef(found);
    PyObject *function = Py_XNewRef(state->heard);
    lathe_py_lock_end(&lock);
    return function;
}

/* Looked up once. */
static PyObject *get_heard(lathe_py_state *state)
{
    PyObject *function = keep_heard(state, NULL);
    if (function)
        return function;
    PyObject *found = find_heard();
    function = keep_heard(state, found);
    Py_XDECREF(found);
    return function;
}

PyObject *lathe_py_log_open(lathe_py_state *state, int *failed)
{
    PyObject *logging = loaded("logging"); /* it is no more when the interpreter ends */
    PyObject *heard = logging ? get_heard(state) : NULL;
    PyObject *log = heard ? PyObject_CallNoArgs(heard) : NULL;
    Py_XDECREF(heard);
    Py_XDECREF(logging);
    *failed = !log && PyErr_Occurred();
    return log;
}

/* The places of the functions: what is heard at a level is also heard at those below it. */
enum { RETRY, CALL, ATTEMPT, BODY };

/* What records the kind, borrowed; NULL when nobody would hear of it. */
static PyObject *listener(PyObject *log, Py_ssize_t kind)
{
    return log && kind < PyTuple_Size(log) ? PyTuple_GetItem(log, kind) : NULL;
}

/* Calls a listener with a new tuple. */
static int tell(PyObject *listener, PyObject *args)
{
    PyObject *result = args ? PyObject_CallObject(listener, args) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static PyObject *number_or_none(long number)
{
    return number ? PyLong_FromLong(number) : Py_NewRef(Py_None);
}

int lathe_py_log_event(PyObject *log, lathe_verb verb, const lathe_event *event)
{
    PyObject *heard = listener(log, event->kind == LATHE_EVENT_RETRY ? RETRY : ATTEMPT);
    if (!heard)
        return 0;
    return tell(heard,
                Py_BuildValue("(siNdsNN)", lathe_verb_name(verb), event->attempt,
                              number_or_none(event->status), event->elapsed,
                              lathe_phase_name(event->phase), number_or_none(event->curl_code),
                              lathe_py_string(event->request_id)));
}

/* The body as text; a key that the service echoed, or that stands in a prompt, is not shown. */
static PyObject *body_text(const lathe_call *call, const char *body, size_t size)
{
    char *copy = PyMem_Malloc(size + 1);
    if (!copy)
        return PyErr_NoMemory();
    memcpy(copy, body, size);
    lathe_call_redact(call, copy, size);
    PyObject *text = lathe_py_text(copy, size);
    PyMem_Free(copy);
    return text;
}

int lathe_py_log_body(PyObject *log, lathe_verb verb, const char *what, const lathe_call *call,
                      const char *body, size_t size)
{
    PyObject *heard = body ? listener(log, BODY) : NULL;
    if (!heard)
        return 0;
    return tell(heard,
                Py_BuildValue("(ssN)", lathe_verb_name(verb), what, body_text(call, body, size)));
}

int lathe_py_log_call(PyObject *log, lathe_verb verb, const lathe_response *response,
                      const lathe_error *error, double started)
{
    PyObject *heard = listener(log, CALL);
    if (!heard)
        return 0;
    int status = error->code ? error->status : response->status;
    int attempts = error->code ? error->attempts : response->attempts;
    const char *request_id = error->code ? error->request_id : response->request_id;
    return tell(heard, Py_BuildValue("(ssNidN)", lathe_verb_name(verb),
                                     error->code ? lathe_code_exception(error->code) : "",
                                     number_or_none(status), attempts, lathe_py_now() - started,
                                     lathe_py_string(request_id)));
}
