#include "args.h"

/* The place of a keyword among the names, or -1. */
static int find(const lathe_signature *signature, PyObject *keyword)
{
    for (int i = 0; signature->names[i]; i++)
        if (PyUnicode_CompareWithASCIIString(keyword, signature->names[i]) == 0)
            return i;
    return -1;
}

static int take_keyword(const lathe_signature *signature, PyObject *keyword, PyObject *value,
                        PyObject **values)
{
    if (!PyUnicode_Check(keyword)) {
        PyErr_Format(PyExc_TypeError, "%s() keywords must be strings", signature->function);
        return -1;
    }
    int i = find(signature, keyword);
    if (i < 0)
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     signature->function, keyword);
    else if (values[i])
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                     signature->function, keyword);
    else
        values[i] = value;
    return PyErr_Occurred() ? -1 : 0;
}

static int check_count(const lathe_signature *signature, Py_ssize_t count)
{
    if (count <= signature->positional)
        return 0;
    const char *from = signature->required < signature->positional ? "from 0 to " : "";
    PyErr_Format(PyExc_TypeError, "%s() takes %s%d positional argument%s but %zd %s given",
                 signature->function, from, signature->positional,
                 signature->positional == 1 ? "" : "s", count, count == 1 ? "was" : "were");
    return -1;
}

static int check_required(const lathe_signature *signature, PyObject *const *values)
{
    for (int i = 0; i < signature->required; i++)
        if (!values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'",
                         signature->function, signature->names[i]);
            return -1;
        }
    return 0;
}

static int take_positional(const lathe_signature *signature, PyObject *const *args,
                           Py_ssize_t count, PyObject **values)
{
    for (int i = 0; signature->names[i]; i++)
        values[i] = NULL;
    if (check_count(signature, count))
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        values[i] = args[i];
    return 0;
}

int lathe_py_args(const lathe_signature *signature, PyObject *const *args, Py_ssize_t count,
                  PyObject *kwnames, PyObject **values)
{
    if (take_positional(signature, args, count, values))
        return -1;
    Py_ssize_t keywords = kwnames ? PyTuple_Size(kwnames) : 0;
    for (Py_ssize_t i = 0; i < keywords; i++)
        if (take_keyword(signature, PyTuple_GetItem(kwnames, i), args[count + i], values))
            return -1;
    return check_required(signature, values);
}

int lathe_py_args_tuple(const lathe_signature *signature, PyObject *args, PyObject *kwargs,
                        PyObject **values)
{
    PyObject *given[LATHE_ARGS_MAX];
    Py_ssize_t count = PyTuple_Size(args);
    for (Py_ssize_t i = 0; i < count && i < LATHE_ARGS_MAX; i++)
        given[i] = PyTuple_GetItem(args, i);
    if (take_positional(signature, given, count, values))
        return -1;
    Py_ssize_t position = 0;
    PyObject *keyword, *value;
    while (kwargs && PyDict_Next(kwargs, &position, &keyword, &value))
        if (take_keyword(signature, keyword, value, values))
            return -1;
    return check_required(signature, values);
}
