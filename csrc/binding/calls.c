#include "calls.h"

#include "args.h"

#define CALL_OPTIONS                                                                               \
    "timeout", "max_retries", "betas", "extra_headers", "max_tokens", "effort",                    \
        "on_variable_change", "instructions"

enum { MEMBERS_MAX = 4, OPTION_COUNT = 8 };

/* A verb's arguments: first the members of its body, then the options of every call. */
static const struct {
    lathe_signature signature;
    int member_count;
    size_t members[MEMBERS_MAX]; /* where each goes in lathe_request */
} verbs[] = {
    [LATHE_GENERATE] = {{"generate", 1, 1, {"task", "target_model", CALL_OPTIONS}},
                        2,
                        {offsetof(lathe_request, task), offsetof(lathe_request, target_model)}},
    [LATHE_IMPROVE] =
        {{"improve", 1, 1, {"messages", "feedback", "system", "target_model", CALL_OPTIONS}},
         4,
         {offsetof(lathe_request, messages), offsetof(lathe_request, feedback),
          offsetof(lathe_request, system), offsetof(lathe_request, target_model)}},
    [LATHE_TEMPLATIZE] = {{"templatize", 1, 1, {"messages", "system", CALL_OPTIONS}},
                          2,
                          {offsetof(lathe_request, messages), offsetof(lathe_request, system)}},
};

/* None is left out, save for what is required: that is for the rules to refuse. */
static void take_members(lathe_verb verb, PyObject *const *values, lathe_request *request)
{
    for (int i = 0; i < verbs[verb].member_count; i++) {
        const void **member = (const void **)((char *)request + verbs[verb].members[i]);
        bool left_out = i >= verbs[verb].signature.required && values[i] == Py_None;
        *member = left_out ? NULL : values[i];
    }
}

static int take_options(PyObject *const *values, lathe_py_options *options)
{
    if (lathe_py_options_timeout(options, values[0]) ||
        lathe_py_options_retries(options, values[1]) || lathe_py_options_betas(options, values[2]))
        return -1;
    if (lathe_py_options_headers(options, "extra_headers", values[3]) ||
        lathe_py_options_max_tokens(options, values[4]) ||
        lathe_py_options_effort(options, values[5]) ||
        lathe_py_options_on_change(options, values[6]))
        return -1;
    return lathe_py_options_instructions(options, values[7]);
}

int lathe_py_arguments_take(lathe_py_arguments *arguments, lathe_py_state *state, lathe_verb verb,
                            PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    arguments->request = (lathe_request){.verb = verb};
    lathe_py_options_init(&arguments->options, state);
    PyObject *values[LATHE_ARGS_MAX];
    if (lathe_py_args(&verbs[verb].signature, args, count, kwnames, values))
        return -1;
    take_members(verb, values, &arguments->request);
    return take_options(values + verbs[verb].member_count, &arguments->options);
}

int lathe_py_arguments_given(lathe_py_arguments *arguments, lathe_py_state *state, lathe_verb verb,
                             PyObject *const *values, Py_ssize_t count)
{
    const int members = verbs[verb].member_count, options = OPTION_COUNT;
    arguments->request = (lathe_request){.verb = verb};
    lathe_py_options_init(&arguments->options, state);
    if (count != members + options) {
        PyErr_Format(PyExc_TypeError, "%s has %d arguments, not %zd", lathe_verb_name(verb),
                     members + options, count);
        return -1;
    }
    take_members(verb, values, &arguments->request);
    return take_options(values + members, &arguments->options);
}

/* ---- Requests of map ------------------------------------------------------------------------- */

/* One more than any verb takes: among so many keys is one that is refused, and no further is needed
 * to find that out. */
enum { KEYS_MAX = LATHE_ARGS_MAX + 1 };

typedef struct request_parts {
    PyObject *verb; /* NULL: not given */
    PyObject *names[KEYS_MAX], *values[KEYS_MAX];
    Py_ssize_t count;
} request_parts;

static bool is_verb(PyObject *key)
{
    return PyUnicode_Check(key) && PyUnicode_CompareWithASCIIString(key, "verb") == 0;
}

/* Takes the dict apart; what is found is borrowed from the source. */
static lathe_code take_apart(const lathe_source *source, PyObject *request, request_parts *parts)
{
    lathe_cursor cursor = {0};
    const void *key = request, *value = NULL;
    while (key) {
        lathe_code code = source->table->member(source->self, request, &cursor, &key, &value);
        if (code)
            return code;
        if (key && !parts->verb && is_verb((PyObject *)key)) {
            parts->verb = (PyObject *)value;
        } else if (key && parts->count < KEYS_MAX) {
            parts->names[parts->count] = (PyObject *)key;
            parts->values[parts->count++] = (PyObject *)value;
        }
    }
    return LATHE_OK;
}

static int take_keywords(lathe_py_arguments *arguments, lathe_verb verb, const request_parts *parts)
{
    PyObject *names = PyTuple_New(parts->count);
    for (Py_ssize_t i = 0; names && i < parts->count; i++)
        PyTuple_SetItem(names, i, Py_NewRef(parts->names[i]));
    int failed = !names || lathe_py_arguments_take(arguments, arguments->options.state, verb,
                                                   parts->values, 0, names);
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static int wrong_request(PyObject *request, size_t index)
{
    char name[48];
    PyOS_snprintf(name, sizeof name, "requests[%zu]", index);
    return lathe_py_wrong_type(name, "a dict", request);
}

int lathe_py_arguments_of(lathe_py_arguments *arguments, lathe_py_source *held,
                          lathe_py_state *state, PyObject *request, size_t index)
{
    lathe_py_options_init(&arguments->options, state);
    if (!PyDict_Check(request))
        return wrong_request(request, index);
    const lathe_source source = lathe_py_source_of(held);
    request_parts parts = {.count = 0};
    lathe_verb verb = LATHE_GENERATE;
    lathe_error error;
    lathe_error_init(&error);
    lathe_code code = take_apart(&source, request, &parts);
    if (code)
        error.code = code;
    else
        code = lathe_verb_read(&source, parts.verb, &verb, &error);
    if (code)
        lathe_py_raise(state, &error);
    lathe_error_clear(&error);
    return code || take_keywords(arguments, verb, &parts) ? -1 : 0;
}

/* ---- Their end ------------------------------------------------------------------------------- */

void lathe_py_arguments_clear(lathe_py_arguments *arguments)
{
    lathe_py_options_clear(&arguments->options);
}
