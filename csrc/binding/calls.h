/* The three verbs: their signatures, their documentation, and their arguments. */
#ifndef LATHE_BINDING_CALLS_H
#define LATHE_BINDING_CALLS_H

#include "options.h"

/* The arguments of a call, read; its values are the caller's, borrowed. */
typedef struct lathe_py_arguments {
    lathe_request request;
    lathe_py_options options;
} lathe_py_arguments;

/* -1 with an exception; clear them all the same. */
int lathe_py_arguments_take(lathe_py_arguments *arguments, lathe_py_state *state, lathe_verb verb,
                            PyObject *const *args, Py_ssize_t count, PyObject *kwnames);
/* The same for a request of map, a dict of `verb` and that verb's arguments by name; `index` is its
 * place among the requests. It is a snapshot: the values are held by `held`, not by the dict. */
int lathe_py_arguments_of(lathe_py_arguments *arguments, lathe_py_source *held,
                          lathe_py_state *state, PyObject *request, size_t index);
/* The same with all `count` arguments of the verb given, in the order of its signature. */
int lathe_py_arguments_given(lathe_py_arguments *arguments, lathe_py_state *state, lathe_verb verb,
                             PyObject *const *values, Py_ssize_t count);
void lathe_py_arguments_clear(lathe_py_arguments *arguments);

#define CALL_OPTIONS_SIGNATURE                                                                     \
    "timeout=..., max_retries=..., betas=(), extra_headers=None, max_tokens=..., effort=..., "     \
    "on_variable_change=..., instructions=...)\n--\n\n"

#define GENERATE_SIGNATURE(self)                                                                   \
    "generate(" self ", task, *, target_model=None, " CALL_OPTIONS_SIGNATURE
#define IMPROVE_SIGNATURE(self)                                                                    \
    "improve(" self                                                                                \
    ", messages, *, feedback=None, system=None, target_model=None, " CALL_OPTIONS_SIGNATURE
#define TEMPLATIZE_SIGNATURE(self)                                                                 \
    "templatize(" self ", messages, *, system=None, " CALL_OPTIONS_SIGNATURE

#define MESSAGES_PARAMETER                                                                         \
    "messages : str, list or tuple\n"                                                              \
    "    One or more user messages, then at most one assistant message (the prefill); content\n"   \
    "    is a str or a list of text blocks. A str stands for one user message.\n"

#define TARGET_MODEL_PARAMETER                                                                     \
    "target_model : str, optional\n"                                                               \
    "    The model that the prompt is for, 1 to 256 characters.\n"

#define CALL_OPTIONS_DOC                                                                           \
    "timeout : float, Timeout or None, optional\n"                                                 \
    "    Seconds for the whole call; None is no limit. The client's when not given.\n"             \
    "max_retries : int, optional\n"                                                                \
    "    How often a failed attempt is repeated. The client's when not given.\n"                   \
    "betas : list or tuple of str, optional\n"                                                     \
    "    Further values of the anthropic-beta header, added to the client's.\n"                    \
    "extra_headers : dict of str to str, optional\n"                                               \
    "    Headers of this call, over the client's.\n" MODEL_OPTIONS_DOC "\n"

/* Of clients, copies and calls. */
#define MODEL_OPTIONS_DOC                                                                          \
    "max_tokens : int, optional\n"                                                                 \
    "    With a model: the most tokens of one of its answers.\n"                                   \
    "effort : {\"fast\", \"thorough\"}, optional\n"                                                \
    "    With a model: ``improve`` in one request, or in four, a step of the work in each.\n"      \
    "on_variable_change : {\"raise\", \"keep_original\", \"warn\"}, optional\n"                    \
    "    With a model: what is done when an improved prompt lacks a {{variable}} of the\n"         \
    "    original or has a new one, also after the model was told so once.\n"                      \
    "instructions : str or os.PathLike, optional\n"                                                \
    "    With a model: a folder with texts in place of the built-in ones; None is those.\n"

#define CALL_RAISES_DOC                                                                            \
    "Raises\n------\n"                                                                             \
    "InvalidRequestError\n"                                                                        \
    "    When the input breaks the documented rules; ``errors`` has every fault. Nothing was\n"    \
    "    sent.\n"                                                                                  \
    "ConfigurationError\n"                                                                         \
    "    When an option cannot be used.\n"                                                         \
    "ClientClosedError\n"                                                                          \
    "    When the client is closed before or during the call.\n"                                   \
    "APIStatusError\n"                                                                             \
    "    When the service answers with an error; see its subclasses.\n"                            \
    "APIConnectionError\n"                                                                         \
    "    When no complete answer is received; APITimeoutError when the time ran out.\n"            \
    "ModelAnswerError\n"                                                                           \
    "    With a model: when its answer cannot be used, also not after it was told why.\n"          \
    "APIResponseValidationError\n"                                                                 \
    "    When the answer is not of the documented shape.\n\n"                                      \
    "Notes\n-----\n"

#define GENERATE_DOC                                                                               \
    "Write a prompt for a task.\n\n"                                                               \
    "Parameters\n----------\n"                                                                     \
    "task : str\n"                                                                                 \
    "    What the prompt is to do.\n" TARGET_MODEL_PARAMETER CALL_OPTIONS_DOC "Returns\n-------\n" \
    "dict\n"                                                                                       \
    "    ``messages``, ``system`` and ``usage``, exactly what the service "                        \
    "sent.\n\n" CALL_RAISES_DOC                                                                    \
    "Source: the service's documentation, POST /v1/experimental/generate_prompt.\n"

#define IMPROVE_DOC                                                                                \
    "Improve a prompt.\n\n"                                                                        \
    "Parameters\n----------\n" MESSAGES_PARAMETER "feedback : str, optional\n"                     \
    "    What to do better.\n"                                                                     \
    "system : str, optional\n"                                                                     \
    "    The system prompt; it comes back folded into the user message.\n" TARGET_MODEL_PARAMETER  \
        CALL_OPTIONS_DOC "Returns\n-------\n"                                                      \
    "dict\n"                                                                                       \
    "    ``messages``, ``system`` and ``usage``, exactly what the service "                        \
    "sent.\n\n" CALL_RAISES_DOC                                                                    \
    "Source: the service's documentation, POST /v1/experimental/improve_prompt.\n"

#define TEMPLATIZE_DOC                                                                             \
    "Turn the literal values of a prompt into {{VARIABLES}}.\n\n"                                  \
    "Parameters\n----------\n" MESSAGES_PARAMETER "system : str, optional\n"                       \
    "    The system prompt, templatized as well.\n" CALL_OPTIONS_DOC "Returns\n-------\n"          \
    "dict\n"                                                                                       \
    "    ``messages``, ``system``, ``usage`` and ``variable_values`` (the text that each\n"        \
    "    variable replaced), exactly what the service sent.\n\n" CALL_RAISES_DOC                   \
    "Source: the service's documentation, POST /v1/experimental/templatize_prompt.\n"

#endif
