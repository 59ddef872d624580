#include "calls.h"

#include "args.h"

#define CALL_OPTIONS "timeout", "max_retries", "betas", "extra_headers"

enum { MEMBERS_MAX = 4 };

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
    return lathe_py_options_headers(options, "extra_headers", values[3]);
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

void lathe_py_arguments_clear(lathe_py_arguments *arguments)
{
    lathe_py_options_clear(&arguments->options);
}
