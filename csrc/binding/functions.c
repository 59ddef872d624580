/* The three verbs as functions of the module, on a default client. */
#include "client_type.h"

/* The default client, a new reference; made from the environment at the first call. Two threads may
 * both make one; the first to be kept is everybody's. */
static PyObject *default_client(PyObject *module)
{
    lathe_py_state *state = PyModule_GetState(module);
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, module);
    PyObject *client = Py_XNewRef(state->default_client);
    lathe_py_lock_end(&lock);
    if (client)
        return client;
    PyObject *made = PyObject_CallNoArgs(LATHE_TYPE(state, Client));
    if (!made)
        return NULL;
    lathe_py_lock_begin(&lock, module);
    if (!state->default_client)
        state->default_client = Py_NewRef(made);
    client = Py_NewRef(state->default_client);
    lathe_py_lock_end(&lock);
    Py_DECREF(made);
    return client;
}

/* Wrong arguments are told before a client is made. */
static PyObject *call(PyObject *module, lathe_verb verb, PyObject *const *args, Py_ssize_t count,
                      PyObject *kwnames)
{
    lathe_py_arguments arguments;
    PyObject *client = NULL, *result = NULL;
    if (!lathe_py_arguments_take(&arguments, PyModule_GetState(module), verb, args, count, kwnames))
        client = default_client(module);
    if (client)
        result = lathe_py_client_run(client, &arguments);
    lathe_py_arguments_clear(&arguments);
    Py_XDECREF(client);
    return result;
}

PyDoc_STRVAR(generate_doc, GENERATE_SIGNATURE("$module") GENERATE_DOC);
PyDoc_STRVAR(improve_doc, IMPROVE_SIGNATURE("$module") IMPROVE_DOC);
PyDoc_STRVAR(templatize_doc, TEMPLATIZE_SIGNATURE("$module") TEMPLATIZE_DOC);

#define VERB(name, verb)                                                                           \
    static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t count,               \
                          PyObject *kwnames)                                                       \
    {                                                                                              \
        return call(module, verb, args, count, kwnames);                                           \
    }

VERB(generate, LATHE_GENERATE)
VERB(improve, LATHE_IMPROVE)
VERB(templatize, LATHE_TEMPLATIZE)

#define METHOD(name)                                                                               \
    {                                                                                              \
#name, LATHE_FASTCALL(name), METH_FASTCALL | METH_KEYWORDS, name##_doc                     \
    }

PyMethodDef lathe_py_functions[] = {
    METHOD(generate),
    METHOD(improve),
    METHOD(templatize),
    {NULL, NULL, 0, NULL},
};
