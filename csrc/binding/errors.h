/* The tree of exceptions, and how an error of the core becomes one of them. */
#ifndef LATHE_BINDING_ERRORS_H
#define LATHE_BINDING_ERRORS_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include "promptlathe.h"

struct lathe_py_state;

/* Name, base of ours, base of Python's, docstring. A parent stands before its children. */
#define LATHE_EXCEPTIONS(X)                                                                        \
    X(PromptLatheError, none, Exception, "Base of every exception of promptlathe.")                \
    X(ConfigurationError, PromptLatheError, ValueError,                                            \
      "An option that cannot be used: no key, or a malformed key, URL, header, time or CA file.")  \
    X(ClientClosedError, PromptLatheError, RuntimeError,                                           \
      "The client was closed before the call or while it was in flight.")                          \
    X(InvalidRequestError, PromptLatheError, ValueError,                                           \
      "Input that breaks the documented rules; nothing was sent.\n\n"                              \
      "Attributes\n----------\n"                                                                   \
      "errors : list of dict\n"                                                                    \
      "    The first 1,000 faults, each with ``path``, ``code`` and ``message``.\n"                \
      "total : int\n"                                                                              \
      "    How many faults there are in all.")                                                     \
    X(InvalidPromptError, PromptLatheError, ValueError,                                            \
      "A legacy prompt that breaks the rules of Text Completions.\n\n"                             \
      "Attributes\n----------\n"                                                                   \
      "errors : list of dict\n"                                                                    \
      "    The faults, each with ``code``, ``message`` and ``offset`` (in code points from 0\n"    \
      "    into the prompt as given, or None).\n"                                                  \
      "total : int\n"                                                                              \
      "    How many faults there are in all.")                                                     \
    X(MissingVariableError, PromptLatheError, KeyError,                                            \
      "Variables of a template that have no value.\n\n"                                            \
      "Attributes\n----------\n"                                                                   \
      "names : list of str\n"                                                                      \
      "    The variables, in first-seen order.")                                                   \
    X(APIError, PromptLatheError, none,                                                            \
      "A call that was sent, or should have been, and has no usable result.\n\n"                   \
      "Attributes\n----------\n"                                                                   \
      "message : str\n"                                                                            \
      "    What the service said, or else what happened.\n"                                        \
      "attempts : int\n"                                                                           \
      "    How many times the request was tried.\n"                                                \
      "retry_after : float or None\n"                                                              \
      "    Seconds that the service asked to wait.")                                               \
    X(APIConnectionError, APIError, none,                                                          \
      "No complete answer was received.\n\n"                                                       \
      "Attributes\n----------\n"                                                                   \
      "phase : str or None\n"                                                                      \
      "    Where it ended: queue, resolve, connect, tls, send, wait or read.\n"                    \
      "host, address : str or None\n"                                                              \
      "    The host that was asked for, and the address that was connected to.\n"                  \
      "curl_code : int or None\n"                                                                  \
      "    libcurl's error code.\n"                                                                \
      "curl_message : str or None\n"                                                               \
      "    libcurl's words for it.\n"                                                              \
      "times : dict\n"                                                                             \
      "    Seconds from the last attempt's start to the end of each phase; None where it\n"        \
      "    was not reached.")                                                                      \
    X(APITimeoutError, APIConnectionError, none, "The time allowed for the call ran out.")         \
    X(APIResponseValidationError, APIError, none,                                                  \
      "An answer that cannot be used: no JSON, or not of the documented shape.\n\n"                \
      "Attributes\n----------\n"                                                                   \
      "status_code : int\n"                                                                        \
      "request_id : str or None\n"                                                                 \
      "headers : dict\n"                                                                           \
      "    Names in lower case.\n"                                                                 \
      "body : object\n"                                                                            \
      "    The answer's beginning, at most 64 KiB: parsed JSON, or else text.")                    \
    X(ModelAnswerError, APIError, none,                                                            \
      "A model's answer that cannot be used, also not after it was told why.\n\n"                  \
      "Attributes\n----------\n"                                                                   \
      "type : str or None\n"                                                                       \
      "    \"cut_off\", \"refusal\", \"unparsable\" or \"variables\".\n"                           \
      "answer : str or None\n"                                                                     \
      "    What the model wrote last. It may quote the request, so no pickle holds it.\n"          \
      "usage : dict\n"                                                                             \
      "    The sum over the model's answers.\n"                                                    \
      "request_id : str or None\n"                                                                 \
      "headers : dict\n"                                                                           \
      "    Of the last answer, names in lower case.")                                              \
    X(VariablesChangedError, ModelAnswerError, none,                                               \
      "An improved prompt that has not the variables of the original.\n\n"                         \
      "Attributes\n----------\n"                                                                   \
      "lost, won : list of str\n"                                                                  \
      "    The variables of the original that are missing, and those that are new.")               \
    X(APIStatusError, APIError, none,                                                              \
      "The service answered with an error status.\n\n"                                             \
      "Attributes\n----------\n"                                                                   \
      "status_code : int\n"                                                                        \
      "type : str or None\n"                                                                       \
      "    The service's own word for the error, such as ``rate_limit_error``.\n"                  \
      "request_id : str or None\n"                                                                 \
      "headers : dict\n"                                                                           \
      "    Names in lower case.\n"                                                                 \
      "location : str or None\n"                                                                   \
      "    Where a redirect points; it is never followed.\n"                                       \
      "body : object\n"                                                                            \
      "    What the service wrote, at most 64 KiB: parsed JSON, or else text.")                    \
    X(BadRequestError, APIStatusError, none, "Status 400.")                                        \
    X(AuthenticationError, APIStatusError, none, "Status 401: the key was not accepted.")          \
    X(PermissionDeniedError, APIStatusError, none, "Status 403.")                                  \
    X(NotFoundError, APIStatusError, none, "Status 404.")                                          \
    X(EndpointRetiredError, NotFoundError, none,                                                   \
      "The vendor retired its own three endpoints on 2026-08-17; use a base_url that serves "      \
      "them.")                                                                                     \
    X(ConflictError, APIStatusError, none, "Status 409.")                                          \
    X(RequestTooLargeError, APIStatusError, none, "Status 413.")                                   \
    X(UnprocessableEntityError, APIStatusError, none, "Status 422.")                               \
    X(RateLimitError, APIStatusError, none, "Status 429: too many requests.")                      \
    X(InternalServerError, APIStatusError, none, "Status 500 and above.")                          \
    X(OverloadedError, InternalServerError, none, "Status 529: the service is overloaded.")

enum {
    LATHE_EXCEPTION_none = -1,
#define LATHE_ENUMERATE(name, parent, builtin, doc) LATHE_EXCEPTION_##name,
    LATHE_EXCEPTIONS(LATHE_ENUMERATE)
#undef LATHE_ENUMERATE
        LATHE_EXCEPTION_COUNT
};

/* Makes the exceptions, keeps them in the state and adds them to the module. -1 when it fails. */
int lathe_py_add_exceptions(PyObject *module, struct lathe_py_state *state);

/* Raises what `error` says; NULL, always. LATHE_HOST leaves the exception that is already set. */
PyObject *lathe_py_raise(struct lathe_py_state *state, const lathe_error *error);

/* The exception that is set, as an object with its traceback; it is set no more. NULL for none. */
PyObject *lathe_py_take_exception(void);

/* A ConfigurationError; -1, always. */
int lathe_py_configuration(struct lathe_py_state *state, const char *format, ...);

/* "<what> must be <wanted>, not <type of value>"; -1, always. */
int lathe_py_wrong_type(const char *what, const char *wanted, PyObject *value);

/* Headers as a dict. */
PyObject *lathe_py_headers(const lathe_headers *headers);

/* JSON as native objects; NULL with an exception. */
PyObject *lathe_py_json(struct lathe_py_state *state, const char *data, size_t size);

/* UTF-8 that others wrote: what is not valid is replaced. None for NULL. */
PyObject *lathe_py_text(const char *data, size_t size);
PyObject *lathe_py_string(const char *string);

#endif
