/* The rules as functions of the module: input messages, legacy prompts, templates. */
#include <string.h>

#include "args.h"
#include "host.h"

#define SHAPES "a str, a list of messages or a response dict"

/* ---- Input messages -------------------------------------------------------------------------- */

PyDoc_STRVAR(validate_messages_doc,
             "validate_messages($module, messages)\n--\n\n"
             "Check input messages of improve and templatize and return their normal form.\n\n"
             "Parameters\n----------\n"
             "messages : str, list or tuple\n"
             "    One or more user messages, then at most one assistant message (the prefill).\n"
             "    A str stands for one user message.\n\n"
             "Returns\n-------\n"
             "list of dict\n"
             "    The messages with content as lists of text blocks.\n\n"
             "Raises\n------\n"
             "InvalidRequestError\n"
             "    With every fault in ``errors``, each with its path, code and message.\n\n"
             "Notes\n-----\n"
             "Source of the rules: the service's documentation of improve_prompt and\n"
             "templatize_prompt, \"messages\".\n");

static PyObject *validate_messages(PyObject *module, PyObject *const *args, Py_ssize_t count,
                                   PyObject *kwnames)
{
    static const lathe_signature signature = {"validate_messages", 1, 1, {"messages"}};
    PyObject *messages;
    if (lathe_py_args(&signature, args, count, kwnames, &messages))
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, PyModule_GetState(module));
    lathe_code code = lathe_messages_check(&host.source, messages, &host.sink, &host.error);
    return lathe_py_host_finish(&host, code);
}

/* ---- Legacy prompts -------------------------------------------------------------------------- */

/* A str as bytes; lone surrogates as surrogatepass writes them, for the core to refuse. */
typedef struct text_bytes {
    PyObject *holder; /* keeps the bytes alive when they are not the str's own */
    const char *data;
    size_t size;
} text_bytes;

static int text_open(const char *name, PyObject *text, text_bytes *bytes)
{
    *bytes = (text_bytes){0};
    if (!PyUnicode_Check(text))
        return lathe_py_wrong_type(name, "a str", text);
    Py_ssize_t size;
    bytes->data = PyUnicode_AsUTF8AndSize(text, &size);
    if (!bytes->data && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        bytes->holder = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
        bytes->data = bytes->holder ? PyBytes_AsString(bytes->holder) : NULL;
        size = bytes->holder ? PyBytes_Size(bytes->holder) : 0;
    }
    bytes->size = (size_t)size;
    return bytes->data ? 0 : -1;
}

/* The sanitized prompt; the same object when nothing was changed. What is cut off is ASCII, so its
 * bytes are code points too. */
static PyObject *sanitized_str(PyObject *prompt, const text_bytes *bytes,
                               const lathe_sanitized *sanitized)
{
    size_t start = (size_t)(sanitized->text.data - bytes->data);
    size_t cut = bytes->size - start - sanitized->text.size;
    PyObject *text = PyUnicode_Substring(prompt, (Py_ssize_t)start,
                                         PyUnicode_GetLength(prompt) - (Py_ssize_t)cut);
    if (!text || !sanitized->normalized)
        return text;
    PyObject *whole = PyUnicode_FromFormat("\n\n%U", text);
    Py_DECREF(text);
    return whole;
}

static lathe_code call_counter(PyObject *function, PyObject *text, int64_t *count)
{
    PyObject *result = PyObject_CallFunctionObjArgs(function, text, NULL);
    if (!result)
        return LATHE_HOST;
    int overflow = 0;
    if (PyLong_Check(result) && !PyBool_Check(result))
        *count = PyLong_AsLongLongAndOverflow(result, &overflow);
    else
        lathe_py_wrong_type("the result of count_tokens", "an int", result);
    Py_DECREF(result);
    if (overflow)
        *count = overflow > 0 ? INT64_MAX : INT64_MIN;
    return PyErr_Occurred() ? LATHE_HOST : LATHE_OK;
}

/* The arguments (prompt, *, count_tokens=None). */
typedef struct prompt_call {
    PyObject *prompt, *counter; /* borrowed; counter is NULL for None */
    text_bytes bytes;
    PyObject *sanitized; /* once it has been asked for */
} prompt_call;

/* The sanitized prompt, borrowed. */
static PyObject *call_sanitized(prompt_call *call)
{
    if (!call->sanitized) {
        lathe_sanitized found = lathe_completion_sanitize(call->bytes.data, call->bytes.size);
        call->sanitized = sanitized_str(call->prompt, &call->bytes, &found);
    }
    return call->sanitized;
}

static void call_clear(prompt_call *call)
{
    Py_CLEAR(call->sanitized);
    Py_CLEAR(call->bytes.holder);
}

static lathe_code count_tokens(void *self, const char *text, size_t size, int64_t *count)
{
    prompt_call *call = self;
    (void)text, (void)size; /* what call_sanitized gives as a str */
    PyObject *prompt = call_sanitized(call);
    return prompt ? call_counter(call->counter, prompt, count) : LATHE_HOST;
}

static int prompt_args(const lathe_signature *signature, PyObject *const *args, Py_ssize_t count,
                       PyObject *kwnames, prompt_call *call)
{
    PyObject *values[2];
    *call = (prompt_call){0};
    if (lathe_py_args(signature, args, count, kwnames, values))
        return -1;
    call->prompt = values[0];
    call->counter = values[1] == Py_None ? NULL : values[1];
    if (call->counter && !PyCallable_Check(call->counter))
        return lathe_py_wrong_type("count_tokens", "a callable or None", call->counter);
    return text_open("prompt", call->prompt, &call->bytes);
}

/* CPython makes nothing but valid UTF-8 of a str, save with surrogatepass. */
static lathe_prompt prompt_of(const prompt_call *call)
{
    const text_bytes *bytes = &call->bytes;
    return (lathe_prompt){bytes->data, bytes->size, .is_utf8 = !bytes->holder};
}

#define PROMPT_PARAMETERS                                                                          \
    "Parameters\n----------\n"                                                                     \
    "prompt : str\n"                                                                               \
    "    A prompt with ``\\n\\nHuman:`` and ``\\n\\nAssistant:`` turns.\n"                         \
    "count_tokens : callable, optional\n"                                                          \
    "    Takes the sanitized prompt, returns its number of tokens (int). Asked once, and only\n"   \
    "    for a prompt of 99,999 bytes of UTF-8 or more; a shorter one always fits.\n\n"

#define PROMPT_RAISES                                                                              \
    "Raises\n------\n"                                                                             \
    "InvalidPromptError\n"                                                                         \
    "    With every fault in ``errors``, each with its code, message and offset (code points).\n"  \
    "TypeError\n"                                                                                  \
    "    When the prompt is no str, or ``count_tokens`` returns no int.\n\n"                       \
    "Notes\n-----\n"                                                                               \
    "Source of the rules: the Text Completions documentation, \"Prompt validation\".\n"

PyDoc_STRVAR(validate_completion_prompt_doc,
             "validate_completion_prompt($module, prompt, *, count_tokens=None)\n--\n\n"
             "Sanitize and check a legacy Text Completions prompt.\n\n" PROMPT_PARAMETERS
             "Returns\n-------\n"
             "str\n"
             "    The sanitized prompt; the very same object when it is clean.\n\n" PROMPT_RAISES);

static PyObject *validate_completion_prompt(PyObject *module, PyObject *const *args,
                                            Py_ssize_t count, PyObject *kwnames)
{
    static const lathe_signature signature = {
        "validate_completion_prompt", 1, 1, {"prompt", "count_tokens"}};
    PyObject *result = NULL;
    prompt_call call;
    if (prompt_args(&signature, args, count, kwnames, &call))
        return NULL;
    lathe_error error;
    lathe_error_init(&error);
    if (lathe_completion_check(prompt_of(&call), call.counter ? count_tokens : NULL, &call, NULL,
                               &error))
        lathe_py_raise(PyModule_GetState(module), &error);
    else
        result = Py_XNewRef(call_sanitized(&call));
    lathe_error_clear(&error);
    call_clear(&call);
    return result;
}

PyDoc_STRVAR(
    sanitize_completion_prompt_doc,
    "sanitize_completion_prompt($module, prompt)\n--\n\n"
    "Sanitize a legacy Text Completions prompt; check nothing.\n\n"
    "Parameters\n----------\n"
    "prompt : str\n"
    "    Any text.\n\n"
    "Returns\n-------\n"
    "tuple of (str, list of str)\n"
    "    The sanitized prompt (the very same object when it is clean) and the changes made:\n"
    "    ``normalized_leading_newlines``, ``stripped_trailing_whitespace``.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    When the prompt is no str.\n\n"
    "Notes\n-----\n"
    "Source of the rules: the Text Completions documentation, \"Prompt sanitization\".\n");

static int append_string(PyObject *list, const char *string)
{
    PyObject *text = PyUnicode_FromString(string);
    int failed = text ? PyList_Append(list, text) : -1;
    Py_XDECREF(text);
    return failed;
}

static PyObject *change_list(const lathe_sanitized *sanitized)
{
    PyObject *list = PyList_New(0);
    if (!list)
        return NULL;
    if ((sanitized->normalized && append_string(list, "normalized_leading_newlines")) ||
        (sanitized->stripped && append_string(list, "stripped_trailing_whitespace")))
        Py_CLEAR(list);
    return list;
}

static PyObject *sanitize_completion_prompt(PyObject *module, PyObject *const *args,
                                            Py_ssize_t count, PyObject *kwnames)
{
    static const lathe_signature signature = {"sanitize_completion_prompt", 1, 1, {"prompt"}};
    (void)module;
    PyObject *prompt;
    text_bytes bytes;
    if (lathe_py_args(&signature, args, count, kwnames, &prompt) ||
        text_open("prompt", prompt, &bytes))
        return NULL;
    lathe_sanitized sanitized = lathe_completion_sanitize(bytes.data, bytes.size);
    PyObject *text = sanitized_str(prompt, &bytes, &sanitized);
    PyObject *changes = text ? change_list(&sanitized) : NULL;
    PyObject *result = changes ? PyTuple_Pack(2, text, changes) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(changes);
    Py_XDECREF(bytes.holder);
    return result;
}

PyDoc_STRVAR(convert_completion_prompt_doc,
             "convert_completion_prompt($module, prompt, *, count_tokens=None)\n--\n\n"
             "Check a legacy Text Completions prompt and convert it to messages.\n\n"
             "Text before the first turn, stripped, is the system prompt; each turn's text,\n"
             "stripped, is one message; turns left empty are dropped. Nothing is merged or added:\n"
             "the result may have turns that improve refuses.\n\n" PROMPT_PARAMETERS
             "Returns\n-------\n"
             "dict\n"
             "    ``{\"system\": str, \"messages\": list}``.\n\n" PROMPT_RAISES);

static PyObject *convert_completion_prompt(PyObject *module, PyObject *const *args,
                                           Py_ssize_t count, PyObject *kwnames)
{
    static const lathe_signature signature = {
        "convert_completion_prompt", 1, 1, {"prompt", "count_tokens"}};
    prompt_call call;
    if (prompt_args(&signature, args, count, kwnames, &call))
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, PyModule_GetState(module));
    lathe_code code = lathe_completion_convert(prompt_of(&call), call.counter ? count_tokens : NULL,
                                               &call, &host.sink, &host.error);
    PyObject *result = lathe_py_host_finish(&host, code);
    call_clear(&call);
    return result;
}

/* ---- Templates ------------------------------------------------------------------------------- */

static int is_messages(PyObject *value)
{
    return PyUnicode_Check(value) || PyList_Check(value) || PyTuple_Check(value);
}

static int check_shape(const char *name, PyObject *value)
{
    if (is_messages(value) || PyDict_Check(value))
        return 0;
    return lathe_py_wrong_type(name, SHAPES, value);
}

PyDoc_STRVAR(find_variables_doc,
             "find_variables($module, prompt)\n--\n\n"
             "Find the {{VARIABLES}} of a prompt.\n\n"
             "Parameters\n----------\n"
             "prompt : str, list of messages, or dict\n"
             "    A text, messages, or a response (its system first, then its messages).\n\n"
             "Returns\n-------\n"
             "list of str\n"
             "    Each name once, in first-seen order.\n\n"
             "Raises\n------\n"
             "TypeError\n"
             "    When ``prompt`` is none of these.\n"
             "InvalidRequestError\n"
             "    When something inside it is not of the expected form.\n");

static PyObject *find_variables(PyObject *module, PyObject *const *args, Py_ssize_t count,
                                PyObject *kwnames)
{
    static const lathe_signature signature = {"find_variables", 1, 1, {"prompt"}};
    PyObject *prompt;
    if (lathe_py_args(&signature, args, count, kwnames, &prompt) || check_shape("prompt", prompt))
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, PyModule_GetState(module));
    lathe_code code = lathe_template_variables(&host.source, prompt, &host.sink, &host.error);
    return lathe_py_host_finish(&host, code);
}

/* A value that is a str but has no UTF-8 form is a fault like any other. */
static int is_value_type_fault(const lathe_fault *fault)
{
    return strncmp(fault->path, "values.", 7) == 0 && strcmp(fault->code, "wrong_type") == 0;
}

/* A value that is no str is a TypeError, as a wrong argument is. NULL, always. */
static PyObject *raise_values(lathe_py_host *host)
{
    const lathe_faults *faults = &host->error.faults;
    PyObject *names = PyUnicode_FromString("");
    size_t shown = faults->count < 5 ? faults->count : 5;
    for (size_t i = 0; names && i < shown; i++) {
        PyObject *more =
            PyUnicode_FromFormat("%U%s%s", names, i ? ", " : "", faults->items[i].path + 7);
        Py_DECREF(names);
        names = more;
    }
    if (names)
        PyErr_Format(PyExc_TypeError, "render(): values must be str, and these are not: %U%s",
                     names, faults->total > shown ? ", ..." : "");
    Py_XDECREF(names);
    lathe_py_host_clear(host);
    return NULL;
}

static PyObject *finish_render(lathe_py_host *host, lathe_code code)
{
    const lathe_faults *faults = &host->error.faults;
    size_t values = 0;
    while (values < faults->count && is_value_type_fault(&faults->items[values]))
        values++;
    if (code == LATHE_INVALID_REQUEST && values && values == faults->count)
        return raise_values(host);
    return lathe_py_host_finish(host, code);
}

PyDoc_STRVAR(render_doc,
             "render($module, prompt, values, *, partial=False)\n--\n\n"
             "Put values in for the {{VARIABLES}} of a prompt, literally.\n\n"
             "Parameters\n----------\n"
             "prompt : str, list of messages, or dict\n"
             "    A text, messages, or a response. Its ``variable_values`` are not touched.\n"
             "values : dict of str to str\n"
             "    Values by name. Values with no variable are ignored.\n"
             "partial : bool, default False\n"
             "    Leave variables without a value as they are.\n\n"
             "Returns\n-------\n"
             "str, list or dict\n"
             "    The same shape as given.\n\n"
             "Raises\n------\n"
             "MissingVariableError\n"
             "    When a variable has no value; ``names`` holds them all.\n"
             "TypeError\n"
             "    When an argument, or the value of a variable, is of a wrong type.\n"
             "InvalidRequestError\n"
             "    When something inside ``prompt`` is not of the expected form, or a value holds\n"
             "    a lone surrogate.\n");

static PyObject *render(PyObject *module, PyObject *const *args, Py_ssize_t count,
                        PyObject *kwnames)
{
    static const lathe_signature signature = {"render", 2, 2, {"prompt", "values", "partial"}};
    PyObject *values[3];
    if (lathe_py_args(&signature, args, count, kwnames, values) || check_shape("prompt", values[0]))
        return NULL;
    if (!PyDict_Check(values[1])) {
        lathe_py_wrong_type("values", "a dict of names and strings", values[1]);
        return NULL;
    }
    if (values[2] && !PyBool_Check(values[2])) {
        lathe_py_wrong_type("partial", "a bool", values[2]);
        return NULL;
    }
    lathe_py_host host;
    lathe_py_host_init(&host, PyModule_GetState(module));
    lathe_code code = lathe_template_render(&host.source, values[0], values[1],
                                            values[2] == Py_True, &host.sink, &host.error);
    return finish_render(&host, code);
}

PyDoc_STRVAR(
    check_round_trip_doc,
    "check_round_trip($module, request_messages, response, *, system=None)\n--\n\n"
    "Check that a templatize response gives back its request.\n\n"
    "The response is rendered (partially) with its own ``variable_values`` and compared\n"
    "with the request, both in normal form, block by block.\n\n"
    "Parameters\n----------\n"
    "request_messages : str, list or tuple\n"
    "    The messages that were given to templatize.\n"
    "response : dict\n"
    "    Its answer.\n"
    "system : str, optional\n"
    "    The system prompt that was given to templatize.\n\n"
    "Returns\n-------\n"
    "list of dict\n"
    "    Each place that differs: ``path``, ``code`` (``text``, ``role`` or ``count``),\n"
    "    ``expected``, ``got``. Empty when the round trip is exact.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    When an argument is of a wrong type.\n"
    "InvalidRequestError\n"
    "    When the messages break the rules, or the response is no answer of templatize.\n");

static PyObject *check_round_trip(PyObject *module, PyObject *const *args, Py_ssize_t count,
                                  PyObject *kwnames)
{
    static const lathe_signature signature = {
        "check_round_trip", 2, 2, {"request_messages", "response", "system"}};
    PyObject *values[3];
    if (lathe_py_args(&signature, args, count, kwnames, values))
        return NULL;
    PyObject *messages = values[0], *response = values[1];
    PyObject *system = values[2] == Py_None ? NULL : values[2];
    int wrong = 0;
    if (!is_messages(messages))
        wrong = lathe_py_wrong_type("request_messages", "a str or a list of messages", messages);
    else if (!PyDict_Check(response))
        wrong = lathe_py_wrong_type("response", "a response dict", response);
    else if (system && !PyUnicode_Check(system))
        wrong = lathe_py_wrong_type("system", "a str or None", system);
    if (wrong)
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, PyModule_GetState(module));
    lathe_code code =
        lathe_round_trip_check(&host.source, messages, system, response, &host.sink, &host.error);
    return lathe_py_host_finish(&host, code);
}

/* ---- Models ---------------------------------------------------------------------------------- */

PyDoc_STRVAR(
    takes_prefill_doc,
    "takes_prefill($module, model)\n--\n\n"
    "Tell whether a model is known to go on from a final assistant message.\n\n"
    "Parameters\n----------\n"
    "model : str\n"
    "    Its name, as vendors, clouds and gateways write it.\n\n"
    "Returns\n-------\n"
    "bool\n"
    "    True for Claude Haiku, Sonnet and Opus from 3 to 4.5; False for later ones, which\n"
    "    refuse it, and for all of which a name does not tell.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    When ``model`` is no str.\n");

static PyObject *takes_prefill(PyObject *module, PyObject *const *args, Py_ssize_t count,
                               PyObject *kwnames)
{
    static const lathe_signature signature = {"takes_prefill", 1, 1, {"model"}};
    (void)module;
    PyObject *model;
    text_bytes bytes;
    if (lathe_py_args(&signature, args, count, kwnames, &model) ||
        text_open("model", model, &bytes))
        return NULL;
    bool takes = lathe_model_takes_prefill(bytes.data, bytes.size);
    Py_XDECREF(bytes.holder);
    return PyBool_FromLong(takes);
}

#define METHOD(name)                                                                               \
    {                                                                                              \
#name, LATHE_FASTCALL(name), METH_FASTCALL | METH_KEYWORDS, name##_doc                     \
    }

PyMethodDef lathe_py_rules[] = {
    METHOD(validate_messages),
    METHOD(validate_completion_prompt),
    METHOD(sanitize_completion_prompt),
    METHOD(convert_completion_prompt),
    METHOD(find_variables),
    METHOD(render),
    METHOD(check_round_trip),
    METHOD(takes_prefill),
    {NULL, NULL, 0, NULL},
};
