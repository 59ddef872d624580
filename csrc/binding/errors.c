#include "errors.h"

#include <string.h>

#include "module.h"
#include "value_python.h"

/* ---- The tree -------------------------------------------------------------------------------- */

#define BUILTIN_none         NULL
#define BUILTIN_Exception    &PyExc_Exception
#define BUILTIN_ValueError   &PyExc_ValueError
#define BUILTIN_RuntimeError &PyExc_RuntimeError
#define BUILTIN_KeyError     &PyExc_KeyError

static const struct {
    const char *name; /* with its module */
    int parent;
    PyObject **builtin;
    const char *doc;
} tree[] = {
#define ROW(name, parent, builtin, doc)                                                            \
    {"promptlathe." #name, LATHE_EXCEPTION_##parent, BUILTIN_##builtin, doc},
    LATHE_EXCEPTIONS(ROW)
#undef ROW
};

/* What an attribute is on the class, for exceptions that a user's own tests make. The empty values
 * cannot be changed, since every instance shares them. */
typedef enum { NOTHING, NUMBER, WORDS, EMPTY_TUPLE, EMPTY_MAPPING } default_kind;

static const struct {
    int exception;
    const char *name;
    default_kind kind;
    long number;
} attributes[] = {
#define ATTRIBUTE(exception, name, ...)                                                            \
    {                                                                                              \
        LATHE_EXCEPTION_##exception, name, __VA_ARGS__                                             \
    }
    ATTRIBUTE(InvalidRequestError, "errors", EMPTY_TUPLE, 0),
    ATTRIBUTE(InvalidRequestError, "total", NUMBER, 0),
    ATTRIBUTE(InvalidPromptError, "errors", EMPTY_TUPLE, 0),
    ATTRIBUTE(InvalidPromptError, "total", NUMBER, 0),
    ATTRIBUTE(MissingVariableError, "names", EMPTY_TUPLE, 0),
    ATTRIBUTE(APIError, "message", WORDS, 0),
    ATTRIBUTE(APIError, "attempts", NUMBER, 0),
    ATTRIBUTE(APIError, "retry_after", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "phase", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "host", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "address", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "curl_code", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "curl_message", NOTHING, 0),
    ATTRIBUTE(APIConnectionError, "times", EMPTY_MAPPING, 0),
    ATTRIBUTE(APIResponseValidationError, "status_code", NUMBER, 0),
    ATTRIBUTE(APIResponseValidationError, "request_id", NOTHING, 0),
    ATTRIBUTE(APIResponseValidationError, "headers", EMPTY_MAPPING, 0),
    ATTRIBUTE(APIResponseValidationError, "body", NOTHING, 0),
    ATTRIBUTE(ModelAnswerError, "type", NOTHING, 0),
    ATTRIBUTE(ModelAnswerError, "answer", NOTHING, 0),
    ATTRIBUTE(ModelAnswerError, "usage", EMPTY_MAPPING, 0),
    ATTRIBUTE(ModelAnswerError, "request_id", NOTHING, 0),
    ATTRIBUTE(ModelAnswerError, "headers", EMPTY_MAPPING, 0),
    ATTRIBUTE(VariablesChangedError, "lost", EMPTY_TUPLE, 0),
    ATTRIBUTE(VariablesChangedError, "won", EMPTY_TUPLE, 0),
    ATTRIBUTE(APIStatusError, "status_code", NUMBER, 0),
    ATTRIBUTE(APIStatusError, "type", NOTHING, 0),
    ATTRIBUTE(APIStatusError, "request_id", NOTHING, 0),
    ATTRIBUTE(APIStatusError, "headers", EMPTY_MAPPING, 0),
    ATTRIBUTE(APIStatusError, "location", NOTHING, 0),
    ATTRIBUTE(APIStatusError, "body", NOTHING, 0),
    ATTRIBUTE(BadRequestError, "status_code", NUMBER, 400),
    ATTRIBUTE(AuthenticationError, "status_code", NUMBER, 401),
    ATTRIBUTE(PermissionDeniedError, "status_code", NUMBER, 403),
    ATTRIBUTE(NotFoundError, "status_code", NUMBER, 404),
    ATTRIBUTE(ConflictError, "status_code", NUMBER, 409),
    ATTRIBUTE(RequestTooLargeError, "status_code", NUMBER, 413),
    ATTRIBUTE(UnprocessableEntityError, "status_code", NUMBER, 422),
    ATTRIBUTE(RateLimitError, "status_code", NUMBER, 429),
    ATTRIBUTE(InternalServerError, "status_code", NUMBER, 500),
    ATTRIBUTE(OverloadedError, "status_code", NUMBER, 529),
#undef ATTRIBUTE
};

static PyObject *empty_mapping(void)
{
    PyObject *dict = PyDict_New();
    PyObject *proxy = dict ? PyDictProxy_New(dict) : NULL;
    Py_XDECREF(dict);
    return proxy;
}

static PyObject *default_value(default_kind kind, long number)
{
    switch (kind) {
    case NUMBER:
        return PyLong_FromLong(number);
    case WORDS:
        return PyUnicode_FromString("");
    case EMPTY_TUPLE:
        return PyTuple_New(0);
    case EMPTY_MAPPING:
        return empty_mapping();
    case NOTHING:
        break;
    }
    return Py_NewRef(Py_None);
}

/* Sets an attribute and gives up the reference to the value. */
static int set(PyObject *object, const char *name, PyObject *value)
{
    int failed = value ? PyObject_SetAttrString(object, name, value) : -1;
    Py_XDECREF(value);
    return failed;
}

/* KeyError shows its argument's repr; ours is a sentence. */
static int plain_str(PyObject *exception)
{
    return set(exception, "__str__", lathe_py_attribute(PyExc_Exception, "__str__"));
}

static PyObject *bases_of(lathe_py_state *state, size_t i)
{
    PyObject *parent = tree[i].parent < 0 ? NULL : state->exceptions[tree[i].parent];
    PyObject *builtin = tree[i].builtin ? *tree[i].builtin : NULL;
    if (parent && builtin)
        return PyTuple_Pack(2, parent, builtin);
    return PyTuple_Pack(1, parent ? parent : builtin);
}

/* The root as a class statement makes it, with weak references; its children from specs, which
 * inherit its slots instead of looking each one up: a tenth of the CPU. */
static PyObject *make_exception(lathe_py_state *state, size_t i)
{
    const char *name = tree[i].name;
    PyType_Slot slots[] = {{Py_tp_doc, (void *)(uintptr_t)tree[i].doc}, {0, NULL}};
    PyType_Spec spec = {
        .name = name, .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    PyObject *bases = bases_of(state, i), *exception = NULL;
    if (bases)
        exception = tree[i].parent < 0 ? PyErr_NewExceptionWithDoc(name, tree[i].doc, bases, NULL)
                                       : PyType_FromSpecWithBases(&spec, bases);
    Py_XDECREF(bases);
    return exception;
}

PyDoc_STRVAR(model_reduce_doc,
             "__reduce__($self, /)\n--\n\nHow to make it again, for pickle: without the answer.");

/* (type, args, state), the state without what the model wrote. */
static PyObject *model_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *args = lathe_py_attribute(self, "args"), *reduced = NULL;
    PyObject *all = lathe_py_attribute(self, "__dict__");
    PyObject *state = all ? PyDict_Copy(all) : NULL;
    if (args && state && !PyDict_SetItemString(state, "answer", Py_None))
        reduced = PyTuple_Pack(3, (PyObject *)Py_TYPE(self), args, state);
    Py_XDECREF(args);
    Py_XDECREF(all);
    Py_XDECREF(state);
    return reduced;
}

static PyMethodDef model_reduce_method = {"__reduce__", model_reduce, METH_NOARGS,
                                          model_reduce_doc};

static int without_answer(PyObject *exception)
{
    return set(exception, "__reduce__",
               PyDescr_NewMethod((PyTypeObject *)exception, &model_reduce_method));
}

int lathe_py_add_exceptions(PyObject *module, lathe_py_state *state)
{
    for (size_t i = 0; i < LATHE_EXCEPTION_COUNT; i++) {
        state->exceptions[i] = make_exception(state, i);
        const char *name = strchr(tree[i].name, '.') + 1;
        if (!state->exceptions[i] || PyModule_AddObjectRef(module, name, state->exceptions[i]))
            return -1;
    }
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (set(state->exceptions[attributes[i].exception], attributes[i].name,
                default_value(attributes[i].kind, attributes[i].number)))
            return -1;
    return without_answer(LATHE_EXCEPTION(state, ModelAnswerError))
               ? -1
               : plain_str(LATHE_EXCEPTION(state, MissingVariableError));
}

/* ---- From an error of the core --------------------------------------------------------------- */

PyObject *lathe_py_text(const char *data, size_t size)
{
    return data ? PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, "replace") : Py_NewRef(Py_None);
}

PyObject *lathe_py_string(const char *string)
{
    return lathe_py_text(string, string ? strlen(string) : 0);
}

/* "" stands for nothing in the members that are arrays. */
static PyObject *word(const char *string)
{
    return lathe_py_string(*string ? string : NULL);
}

static PyObject *seconds(double value)
{
    return value < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value);
}

/* Headers may hold any byte; as Latin-1 each is a character. */
static PyObject *latin1(const char *string)
{
    return PyUnicode_DecodeLatin1(string, (Py_ssize_t)strlen(string), NULL);
}

PyObject *lathe_py_headers(const lathe_headers *headers)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < headers->count; i++) {
        const lathe_header *header = &headers->items[i];
        PyObject *name = latin1(header->name), *value = latin1(header->value);
        if (!name || !value || PyDict_SetItem(dict, name, value))
            Py_CLEAR(dict);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *request_fault(const lathe_fault *fault)
{
    return Py_BuildValue("{s:N,s:s,s:N}", "path", lathe_py_text(fault->path, fault->path_size),
                         "code", fault->code, "message", lathe_py_string(fault->message));
}

static PyObject *prompt_fault(const lathe_fault *fault)
{
    PyObject *offset = fault->offset < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(fault->offset);
    return Py_BuildValue("{s:s,s:N,s:N}", "code", fault->code, "message",
                         lathe_py_string(fault->message), "offset", offset);
}

static PyObject *fault_list(const lathe_faults *faults, PyObject *(*make)(const lathe_fault *))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < faults->count; i++) {
        PyObject *fault = make(&faults->items[i]);
        if (!fault || PyList_Append(list, fault))
            Py_CLEAR(list);
        Py_XDECREF(fault);
    }
    return list;
}

static int fill_request(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    if (set(exception, "errors", fault_list(&error->faults, request_fault)))
        return -1;
    return set(exception, "total", PyLong_FromSize_t(error->faults.total));
}

static int fill_prompt(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    if (set(exception, "errors", fault_list(&error->faults, prompt_fault)))
        return -1;
    return set(exception, "total", PyLong_FromSize_t(error->faults.total));
}

static PyObject *name_list(char *const *names, size_t count)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *name = lathe_py_string(names[i]);
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static int fill_names(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    return set(exception, "names", name_list(error->names, error->name_count));
}

static int fill_variables(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    if (set(exception, "lost", name_list(error->names, error->name_count)))
        return -1;
    return set(exception, "won", name_list(error->won, error->won_count));
}

static int fill_api(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    if (set(exception, "message", lathe_py_string(error->message)) ||
        set(exception, "attempts", PyLong_FromLong(error->attempts)))
        return -1;
    return set(exception, "retry_after", seconds(error->retry_after));
}

static PyObject *times_dict(const lathe_times *times)
{
    return Py_BuildValue("{s:N,s:N,s:N,s:N,s:N,s:N}", "resolve", seconds(times->resolve), "connect",
                         seconds(times->connect), "tls", seconds(times->tls), "send",
                         seconds(times->send), "wait", seconds(times->wait), "total",
                         seconds(times->total));
}

static int fill_connection(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    (void)state;
    PyObject *curl_code = error->curl_code ? PyLong_FromLong(error->curl_code) : Py_NewRef(Py_None);
    if (set(exception, "curl_code", curl_code) ||
        set(exception, "curl_message", word(error->curl_message)) ||
        set(exception, "phase", word(lathe_phase_name(error->phase))) ||
        set(exception, "host", word(error->host)) ||
        set(exception, "address", word(error->address)))
        return -1;
    return set(exception, "times", times_dict(&error->times));
}

PyObject *lathe_py_json(lathe_py_state *state, const char *data, size_t size)
{
    lathe_py_sink sink;
    lathe_py_sink_init(&sink, state);
    lathe_sink out = lathe_py_sink_of(&sink);
    lathe_error why;
    lathe_error_init(&why);
    lathe_code code = lathe_json_read(data, size, &out, &why);
    if (code)
        lathe_py_raise(state, &why);
    lathe_error_clear(&why);
    PyObject *value = code ? NULL : lathe_py_sink_take(&sink);
    lathe_py_sink_clear(&sink);
    return value;
}

/* Parsed when it is JSON, else text; JSON that does not pass a second time is text as well. */
static PyObject *body_of(lathe_py_state *state, const lathe_error *error)
{
    PyObject *body =
        error->body_is_json ? lathe_py_json(state, error->body, error->body_size) : NULL;
    if (body)
        return body;
    PyErr_Clear();
    return lathe_py_text(error->body, error->body_size);
}

static int fill_model_answer(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    const char *usage = error->usage ? error->usage : "{}";
    if (set(exception, "type", lathe_py_string(error->type)) ||
        set(exception, "answer", lathe_py_text(error->answer, error->answer_size)) ||
        set(exception, "usage", lathe_py_json(state, usage, strlen(usage))) ||
        set(exception, "request_id", lathe_py_string(error->request_id)))
        return -1;
    return set(exception, "headers", lathe_py_headers(&error->headers));
}

static int fill_answer(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    if (set(exception, "status_code", PyLong_FromLong(error->status)) ||
        set(exception, "request_id", lathe_py_string(error->request_id)) ||
        set(exception, "headers", lathe_py_headers(&error->headers)))
        return -1;
    return set(exception, "body", body_of(state, error));
}

/* body["error"]["message"], borrowed, or NULL. */
static PyObject *service_message(PyObject *body)
{
    PyObject *inner = PyDict_Check(body) ? PyDict_GetItemString(body, "error") : NULL;
    PyObject *said = inner && PyDict_Check(inner) ? PyDict_GetItemString(inner, "message") : NULL;
    return said && PyUnicode_Check(said) && PyUnicode_GetLength(said) ? said : NULL;
}

static int fill_status(lathe_py_state *state, PyObject *exception, const lathe_error *error)
{
    if (fill_answer(state, exception, error) ||
        set(exception, "type", lathe_py_string(error->type)) ||
        set(exception, "location", lathe_py_string(error->location)))
        return -1;
    PyObject *body = lathe_py_attribute(exception, "body");
    PyObject *said = body ? service_message(body) : NULL;
    int failed = body && !said ? 0 : set(exception, "message", Py_XNewRef(said));
    Py_XDECREF(body);
    return failed;
}

static const struct {
    int exception;
    int (*fill)(lathe_py_state *state, PyObject *exception, const lathe_error *error);
} fillers[] = {
    {LATHE_EXCEPTION_InvalidRequestError, fill_request},
    {LATHE_EXCEPTION_InvalidPromptError, fill_prompt},
    {LATHE_EXCEPTION_MissingVariableError, fill_names},
    {LATHE_EXCEPTION_APIError, fill_api},
    {LATHE_EXCEPTION_APIConnectionError, fill_connection},
    {LATHE_EXCEPTION_APIResponseValidationError, fill_answer},
    {LATHE_EXCEPTION_ModelAnswerError, fill_model_answer},
    {LATHE_EXCEPTION_VariablesChangedError, fill_variables},
    {LATHE_EXCEPTION_APIStatusError, fill_status},
};

static PyObject *class_of(const lathe_py_state *state, lathe_code code)
{
    const char *name = lathe_code_exception(code);
    for (size_t i = 0; i < LATHE_EXCEPTION_COUNT; i++)
        if (strcmp(strchr(tree[i].name, '.') + 1, name) == 0 && state->exceptions[i])
            return state->exceptions[i];
    return PyExc_SystemError;
}

static int fill(lathe_py_state *state, PyObject *class, PyObject *exception,
                const lathe_error *error)
{
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++)
        if (PyErr_GivenExceptionMatches(class, state->exceptions[fillers[i].exception]) &&
            fillers[i].fill(state, exception, error))
            return -1;
    return 0;
}

PyObject *lathe_py_raise(lathe_py_state *state, const lathe_error *error)
{
    if (error->code == LATHE_HOST && PyErr_Occurred())
        return NULL;
    if (error->code == LATHE_MEMORY && !error->message[0])
        return PyErr_NoMemory();
    PyErr_Clear();
    if (error->code == LATHE_MEMORY) {
        PyErr_SetString(PyExc_MemoryError, error->message);
        return NULL;
    }
    PyObject *class = class_of(state, error->code);
    PyObject *text = lathe_py_string(error->message);
    PyObject *exception = text ? PyObject_CallFunctionObjArgs(class, text, NULL) : NULL;
    if (exception && (class == PyExc_SystemError || !fill(state, class, exception, error)))
        PyErr_SetObject(class, exception);
    Py_XDECREF(text);
    Py_XDECREF(exception);
    return NULL;
}

PyObject *lathe_py_take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

int lathe_py_configuration(lathe_py_state *state, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyErr_FormatV(LATHE_EXCEPTION(state, ConfigurationError), format, args);
    va_end(args);
    return -1;
}

int lathe_py_wrong_type(const char *what, const char *wanted, PyObject *value)
{
    PyObject *name = PyType_GetName(Py_TYPE(value));
    if (name)
        PyErr_Format(PyExc_TypeError, "%s must be %s, not %U", what, wanted, name);
    Py_XDECREF(name);
    return -1;
}
