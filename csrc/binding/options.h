/* Options of clients and calls as Python gives them. A wrong type is a TypeError that names the
 * option, a wrong value a ConfigurationError. */
#ifndef LATHE_BINDING_OPTIONS_H
#define LATHE_BINDING_OPTIONS_H

#include "value_python.h"

typedef struct lathe_py_options {
    lathe_py_state *state;
    lathe_options core; /* its pointers belong to the members below */
    lathe_py_source held;
    const char **betas;
    lathe_header *headers;
} lathe_py_options;

void lathe_py_options_init(lathe_py_options *options, lathe_py_state *state);
void lathe_py_options_clear(lathe_py_options *options);

/* Each takes NULL and Ellipsis as "not given" and returns -1 with an exception. The betas are a
 * list or tuple of str; `name` is what the caller knows the option by. */
int lathe_py_options_timeout(lathe_py_options *options, PyObject *value);
int lathe_py_options_retries(lathe_py_options *options, PyObject *value);
int lathe_py_options_betas(lathe_py_options *options, PyObject *value);
int lathe_py_options_headers(lathe_py_options *options, const char *name, PyObject *value);

/* Those of a model's work. None of `model` and `instructions` is "" for the core. */
int lathe_py_options_model(lathe_py_options *options, PyObject *value);
int lathe_py_options_instructions(lathe_py_options *options, PyObject *value);
int lathe_py_options_max_tokens(lathe_py_options *options, PyObject *value);
int lathe_py_options_effort(lathe_py_options *options, PyObject *value);
int lathe_py_options_on_change(lathe_py_options *options, PyObject *value);

/* A str without NUL, or NULL for None and not given. The bytes live as long as `value`. */
int lathe_py_option_text(lathe_py_state *state, const char *name, PyObject *value,
                         const char **text);
/* A file's path: str, bytes or os.PathLike; the bytes live as long as `options`. */
int lathe_py_option_path(lathe_py_options *options, const char *name, PyObject *value,
                         const char **path);
int lathe_py_option_flag(const char *name, PyObject *value, bool *flag);
/* A whole number of bytes above 0. */
int lathe_py_option_size(lathe_py_state *state, const char *name, PyObject *value, size_t *size);

/* Seconds: a number above 0 and finite, or None for INFINITY. */
int lathe_py_option_seconds(lathe_py_state *state, const char *name, PyObject *value,
                            double *seconds);

/* Reads a Timeout; false when `value` is none. */
bool lathe_py_timeout_read(const lathe_py_state *state, PyObject *value, double *total,
                           double *connect);

#endif
