/* Timeout: how long a call may take in all, and to connect. */
#include <math.h>

#include "args.h"
#include "options.h"

typedef struct timeout_object {
    PyObject_HEAD double total, connect; /* INFINITY: no limit */
} timeout_object;

bool lathe_py_timeout_read(const lathe_py_state *state, PyObject *value, double *total,
                           double *connect)
{
    if (!Py_IS_TYPE(value, (PyTypeObject *)LATHE_TYPE(state, Timeout)))
        return false;
    *total = ((timeout_object *)value)->total;
    *connect = ((timeout_object *)value)->connect;
    return true;
}

static PyObject *timeout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const lathe_signature signature = {"Timeout", 2, 0, {"total", "connect"}};
    lathe_py_state *state = lathe_py_state_of(type);
    PyObject *values[2];
    double total = 600, connect = 5;
    if (!state || lathe_py_args_tuple(&signature, args, kwargs, values) ||
        (values[0] && lathe_py_option_seconds(state, "total", values[0], &total)) ||
        (values[1] && lathe_py_option_seconds(state, "connect", values[1], &connect)))
        return NULL;
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    timeout_object *self = (timeout_object *)alloc(type, 0);
    if (self) {
        self->total = total;
        self->connect = connect;
    }
    return (PyObject *)self;
}

static void timeout_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int timeout_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static PyObject *seconds(double value)
{
    return isinf(value) ? Py_NewRef(Py_None) : PyFloat_FromDouble(value);
}

static PyObject *timeout_total(PyObject *self, void *closure)
{
    (void)closure;
    return seconds(((timeout_object *)self)->total);
}

static PyObject *timeout_connect(PyObject *self, void *closure)
{
    (void)closure;
    return seconds(((timeout_object *)self)->connect);
}

/* (total, connect) */
static PyObject *pair(PyObject *self)
{
    return Py_BuildValue("(NN)", timeout_total(self, NULL), timeout_connect(self, NULL));
}

static PyObject *timeout_repr(PyObject *self)
{
    PyObject *total = timeout_total(self, NULL), *connect = timeout_connect(self, NULL);
    PyObject *repr = total && connect
                         ? PyUnicode_FromFormat("Timeout(total=%R, connect=%R)", total, connect)
                         : NULL;
    Py_XDECREF(total);
    Py_XDECREF(connect);
    return repr;
}

static Py_hash_t timeout_hash(PyObject *self)
{
    PyObject *values = pair(self);
    Py_hash_t hash = values ? PyObject_Hash(values) : -1;
    Py_XDECREF(values);
    return hash;
}

static PyObject *timeout_compare(PyObject *self, PyObject *other, int operation)
{
    if ((operation != Py_EQ && operation != Py_NE) || !Py_IS_TYPE(other, Py_TYPE(self)))
        return Py_NewRef(Py_NotImplemented);
    const timeout_object *a = (timeout_object *)self, *b = (timeout_object *)other;
    bool equal = a->total == b->total && a->connect == b->connect;
    return PyBool_FromLong(equal == (operation == Py_EQ));
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\nHow to make it again, for pickle.");

static PyObject *timeout_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_BuildValue("(ON)", Py_TYPE(self), pair(self));
}

PyDoc_STRVAR(
    timeout_doc,
    "Timeout(total=600.0, connect=5.0)\n--\n\n"
    "How long a call may take. Immutable.\n\n"
    "Parameters\n----------\n"
    "total : float or None, default 600.0\n"
    "    Seconds for the whole call, with its queueing, retries and body; None is no limit.\n"
    "connect : float or None, default 5.0\n"
    "    Seconds for name look-up, connection and TLS of one attempt; None is no limit.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    When a value is no number.\n"
    "ConfigurationError\n"
    "    When a value is not above 0 and finite.\n");

static PyGetSetDef timeout_getset[] = {
    {"total", timeout_total, NULL, "Seconds for the whole call, or None.", NULL},
    {"connect", timeout_connect, NULL, "Seconds to connect, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef timeout_methods[] = {
    {"__reduce__", timeout_reduce, METH_NOARGS, reduce_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, (void *)timeout_doc},     {Py_tp_new, timeout_new},
    {Py_tp_dealloc, timeout_dealloc},     {Py_tp_traverse, timeout_traverse},
    {Py_tp_repr, timeout_repr},           {Py_tp_hash, timeout_hash},
    {Py_tp_richcompare, timeout_compare}, {Py_tp_getset, timeout_getset},
    {Py_tp_methods, timeout_methods},     {0, NULL},
};

PyType_Spec lathe_py_timeout_spec = {
    .name = "promptlathe.Timeout",
    .basicsize = sizeof(timeout_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = timeout_slots,
};
