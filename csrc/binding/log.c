#include "log.h"

#include <string.h>

/* A module that is already loaded; a new reference, or NULL. */
static PyObject *loaded(const char *name)
{
    PyObject *text = PyUnicode_FromString(name);
    PyObject *module = text ? PyImport_GetModule(text) : NULL;
    Py_XDECREF(text);
    return module;
}

PyObject *lathe_py_log_open(int *failed)
{
    PyObject *logging = loaded("logging"), *module = NULL;
    if (logging) {
        module = loaded("promptlathe._log");
        if (!module && !PyErr_Occurred())
            module = PyImport_ImportModule("promptlathe._log");
    }
    PyObject *function = module ? lathe_py_attribute(module, "heard") : NULL;
    PyObject *log = function ? PyObject_CallNoArgs(function) : NULL;
    Py_XDECREF(function);
    Py_XDECREF(module);
    Py_XDECREF(logging);
    *failed = PyErr_Occurred() != NULL;
    return log;
}

/* What records the kind, borrowed; NULL when nobody would hear of it, or with an exception. */
static PyObject *listener(PyObject *log, const char *kind)
{
    PyObject *key = log ? PyUnicode_InternFromString(kind) : NULL;
    PyObject *function = key ? PyDict_GetItemWithError(log, key) : NULL;
    Py_XDECREF(key);
    return function;
}

/* Calls a listener with a new tuple. */
static int tell(PyObject *listener, PyObject *args)
{
    PyObject *result = args ? PyObject_CallObject(listener, args) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int nobody(void)
{
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *number_or_none(long number)
{
    return number ? PyLong_FromLong(number) : Py_NewRef(Py_None);
}

int lathe_py_log_event(PyObject *log, lathe_verb verb, const lathe_event *event)
{
    PyObject *heard = listener(log, event->kind == LATHE_EVENT_RETRY ? "retry" : "attempt");
    if (!heard)
        return nobody();
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
    PyObject *heard = body ? listener(log, "body") : NULL;
    if (!heard)
        return nobody();
    return tell(heard,
                Py_BuildValue("(ssN)", lathe_verb_name(verb), what, body_text(call, body, size)));
}

int lathe_py_log_call(PyObject *log, lathe_verb verb, const lathe_response *response,
                      const lathe_error *error, double elapsed)
{
    PyObject *heard = listener(log, "call");
    if (!heard)
        return nobody();
    int status = error->code ? error->status : response->status;
    int attempts = error->code ? error->attempts : response->attempts;
    const char *request_id = error->code ? error->request_id : response->request_id;
    return tell(heard, Py_BuildValue("(ssNidN)", lathe_verb_name(verb),
                                     error->code ? lathe_code_exception(error->code) : "",
                                     number_or_none(status), attempts, elapsed,
                                     lathe_py_string(request_id)));
}
