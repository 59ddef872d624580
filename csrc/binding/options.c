#include "options.h"

#include <math.h>
#include <string.h>

void lathe_py_options_init(lathe_py_options *options, lathe_py_state *state)
{
    *options = (lathe_py_options){.state = state};
    lathe_options_init(&options->core);
    lathe_py_source_init(&options->held);
}

void lathe_py_options_clear(lathe_py_options *options)
{
    PyMem_Free(options->betas);
    PyMem_Free(options->headers);
    lathe_py_source_clear(&options->held);
    *options = (lathe_py_options){.state = options->state};
}

static bool absent(PyObject *value)
{
    return !value || value == Py_Ellipsis;
}

/* An error that names an option and what would be right, and shows the value if it has a short
 * form (an int of thousands of digits has none). */
static int wrong_value(lathe_py_state *state, const char *name, const char *wanted, PyObject *value)
{
    PyObject *shown = PyObject_Repr(value);
    if (shown) {
        lathe_py_configuration(state, "%s must be %s, not %.40U", name, wanted, shown);
        Py_DECREF(shown);
        return -1;
    }
    PyErr_Clear();
    return lathe_py_configuration(state, "%s must be %s", name, wanted);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

int lathe_py_option_seconds(lathe_py_state *state, const char *name, PyObject *value,
                            double *seconds)
{
    static const char wanted[] = "a number of seconds or None";
    *seconds = INFINITY;
    if (value == Py_None)
        return 0;
    if (PyBool_Check(value))
        return lathe_py_wrong_type(name, wanted, value);
    *seconds = PyFloat_AsDouble(value);
    if (*seconds == -1 && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        return lathe_py_wrong_type(name, wanted, value);
    }
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (!PyErr_Occurred() && isfinite(*seconds) && *seconds > 0)
        return 0;
    PyErr_Clear();
    return wrong_value(state, name, "above 0 and finite, in seconds, or None for no limit", value);
}

int lathe_py_options_timeout(lathe_py_options *options, PyObject *value)
{
    if (absent(value))
        return 0;
    if (lathe_py_timeout_read(options->state, value, &options->core.timeout,
                              &options->core.connect_timeout))
        return 0;
    if (!PyBool_Check(value) && (value == Py_None || PyNumber_Check(value)))
        return lathe_py_option_seconds(options->state, "timeout", value, &options->core.timeout);
    return lathe_py_wrong_type("timeout", "a number of seconds, a Timeout or None", value);
}

/* An int, or what has __index__, but no bool. */
static PyObject *whole_number(const char *name, PyObject *value)
{
    if (PyIndex_Check(value) && !PyBool_Check(value))
        return PyNumber_Index(value);
    lathe_py_wrong_type(name, "an int", value);
    return NULL;
}

/* An option from `least` to INT_MAX; `wanted` says so. */
static int take_int(lathe_py_state *state, const char *name, PyObject *value, long least, long most,
                    const char *wanted, int *taken)
{
    PyObject *number = absent(value) ? NULL : whole_number(name, value);
    if (!number)
        return absent(value) ? 0 : -1;
    int overflow;
    long count = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (count == -1 && PyErr_Occurred())
        return -1;
    if (overflow || count < least || count > most)
        return wrong_value(state, name, wanted, value);
    *taken = (int)count;
    return 0;
}

int lathe_py_options_retries(lathe_py_options *options, PyObject *value)
{
    return take_int(options->state, "max_retries", value, 0, INT_MAX, "from 0 to 2147483647",
                    &options->core.max_retries);
}

int lathe_py_options_max_tokens(lathe_py_options *options, PyObject *value)
{
    return take_int(options->state, "max_tokens", value, 1, LATHE_MAX_TOKENS_MOST,
                    "from 1 to 1000000000", &options->core.max_tokens);
}

int lathe_py_option_size(lathe_py_state *state, const char *name, PyObject *value, size_t *size)
{
    PyObject *number = absent(value) ? NULL : whole_number(name, value);
    if (!number)
        return absent(value) ? 0 : -1;
    *size = PyLong_AsSize_t(number);
    Py_DECREF(number);
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (!PyErr_Occurred() && *size > 0)
        return 0;
    PyErr_Clear();
    return wrong_value(state, name, "a number of bytes above 0", value);
}

int lathe_py_option_flag(const char *name, PyObject *value, bool *flag)
{
    if (absent(value))
        return 0;
    if (!PyBool_Check(value))
        return lathe_py_wrong_type(name, "a bool", value);
    *flag = value == Py_True;
    return 0;
}

/* ---- Text ------------------------------------------------------------------------------------ */

/* The bytes of a str that C can take; never shows them, since they may be a key. */
static int c_string(lathe_py_state *state, const char *name, PyObject *value, const char **text)
{
    Py_ssize_t size;
    *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (!*text && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        return lathe_py_configuration(state, "%s holds a lone surrogate; it has no UTF-8 form",
                                      name);
    }
    if (!*text)
        return -1;
    if (strlen(*text) != (size_t)size)
        return lathe_py_configuration(state, "%s holds a NUL character", name);
    return 0;
}

int lathe_py_option_text(lathe_py_state *state, const char *name, PyObject *value,
                         const char **text)
{
    *text = NULL;
    if (absent(value) || value == Py_None)
        return 0;
    if (!PyUnicode_Check(value))
        return lathe_py_wrong_type(name, "a str or None", value);
    return c_string(state, name, value, text);
}

/* "" stands for None, so it cannot stand for itself. */
static int not_empty(lathe_py_state *state, const char *name, const char *text)
{
    return text && *text ? 0 : lathe_py_configuration(state, "%s must not be empty", name);
}

int lathe_py_options_model(lathe_py_options *options, PyObject *value)
{
    const char **model = &options->core.model;
    if (absent(value))
        return 0;
    *model = "";
    if (value == Py_None)
        return 0;
    if (lathe_py_option_text(options->state, "model", value, model))
        return -1;
    return not_empty(options->state, "model", *model);
}

int lathe_py_options_instructions(lathe_py_options *options, PyObject *value)
{
    const char **folder = &options->core.instructions;
    if (absent(value))
        return 0;
    *folder = "";
    if (value == Py_None)
        return 0;
    if (lathe_py_option_path(options, "instructions", value, folder))
        return -1;
    return not_empty(options->state, "instructions", *folder);
}

/* One of some words; *taken is its place among them. */
static int take_choice(lathe_py_state *state, const char *name, PyObject *value,
                       const char *const *words, const char *wanted, int *taken)
{
    if (absent(value))
        return 0;
    if (!PyUnicode_Check(value))
        return lathe_py_wrong_type(name, "a str", value);
    for (int i = 0; words[i]; i++)
        if (PyUnicode_CompareWithASCIIString(value, words[i]) == 0) {
            *taken = i;
            return 0;
        }
    return wrong_value(state, name, wanted, value);
}

int lathe_py_options_effort(lathe_py_options *options, PyObject *value)
{
    static const char *const words[] = {"fast", "thorough", NULL};
    return take_choice(options->state, "effort", value, words, "'fast' or 'thorough'",
                       &options->core.effort);
}

int lathe_py_options_on_change(lathe_py_options *options, PyObject *value)
{
    static const char *const words[] = {"raise", "keep_original", "warn", NULL};
    return take_choice(options->state, "on_variable_change", value, words,
                       "'raise', 'keep_original' or 'warn'", &options->core.on_variable_change);
}

int lathe_py_option_path(lathe_py_options *options, const char *name, PyObject *value,
                         const char **path)
{
    *path = NULL;
    if (absent(value) || value == Py_None)
        return 0;
    if (!PyUnicode_Check(value) && !PyBytes_Check(value) &&
        !PyObject_HasAttrString(value, "__fspath__"))
        return lathe_py_wrong_type(name, "a path (str or os.PathLike) or None", value);
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(value, &bytes)) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear();
        return lathe_py_configuration(options->state,
                                      "%s holds a NUL or a character that no path can have", name);
    }
    if (lathe_py_source_hold(&options->held, bytes)) {
        PyErr_NoMemory();
        return -1;
    }
    *path = PyBytes_AsString(bytes);
    return 0;
}

/* ---- Lists and headers ----------------------------------------------------------------------- */

/* Sets the exception for a failure of the source. */
static int source_failed(lathe_code code)
{
    if (code == LATHE_MEMORY)
        PyErr_NoMemory();
    return -1;
}

static int take_beta(lathe_py_options *options, const lathe_source *source, PyObject *list,
                     size_t index)
{
    const void *item;
    lathe_code code = source->table->item(source->self, list, index, &item);
    if (code || !item)
        return code ? source_failed(code) : 0;
    PyObject *beta = (PyObject *)item;
    if (!PyUnicode_Check(beta))
        return lathe_py_wrong_type("each of betas", "a str", beta);
    const char *text;
    if (c_string(options->state, "betas", beta, &text))
        return -1;
    options->betas[options->core.beta_count++] = text;
    return 0;
}

int lathe_py_options_betas(lathe_py_options *options, PyObject *value)
{
    if (absent(value))
        return 0;
    if (!PyList_Check(value) && !PyTuple_Check(value))
        return lathe_py_wrong_type("betas", "a list or tuple of strings", value);
    lathe_source source = lathe_py_source_of(&options->held);
    size_t count = source.table->length(source.self, value);
    options->betas = PyMem_Calloc(count + 1, sizeof *options->betas);
    options->core.betas = options->betas;
    if (!options->betas)
        return source_failed(LATHE_MEMORY);
    for (size_t i = 0; i < count; i++)
        if (take_beta(options, &source, value, i))
            return -1;
    return 0;
}

static int take_header(lathe_py_options *options, const char *name, PyObject *key, PyObject *value)
{
    if (!PyUnicode_Check(key) || !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a dict of str to str; one of its %s is no str",
                     name, PyUnicode_Check(key) ? "values" : "names");
        return -1;
    }
    lathe_header *header = &options->headers[options->core.header_count];
    if (c_string(options->state, name, key, &header->name) ||
        c_string(options->state, name, value, &header->value))
        return -1;
    options->core.header_count++;
    return 0;
}

static int take_headers(lathe_py_options *options, const char *name, PyObject *dict, size_t room)
{
    lathe_source source = lathe_py_source_of(&options->held);
    lathe_cursor cursor = {0};
    const void *key = dict, *value = NULL;
    while (key && options->core.header_count < room) {
        lathe_code code = source.table->member(source.self, dict, &cursor, &key, &value);
        if (code)
            return source_failed(code);
        if (key && take_header(options, name, (PyObject *)key, (PyObject *)value))
            return -1;
    }
    return 0;
}

int lathe_py_options_headers(lathe_py_options *options, const char *name, PyObject *value)
{
    if (absent(value))
        return 0;
    if (value != Py_None && !PyDict_Check(value))
        return lathe_py_wrong_type(name, "a dict of str to str, or None", value);
    size_t room = value == Py_None ? 0 : (size_t)PyDict_Size(value);
    options->headers = PyMem_Calloc(room + 1, sizeof *options->headers);
    options->core.headers = options->headers;
    if (!options->headers)
        return source_failed(LATHE_MEMORY);
    return room ? take_headers(options, name, value, room) : 0;
}
