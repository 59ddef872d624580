#include "client_type.h"

#include <structmember.h>

#include "args.h"
#include "calls.h"
#include "host.h"
#include "map.h"
#include "pending.h"
#include "raw.h"

typedef struct client_object {
    PyObject_HEAD lathe_py_state *state;
    /* NULL until __init__ has succeeded; never changes after that. Atomic for those who look
     * while another thread, with no GIL, is in __init__. */
    _Atomic(lathe_client *) client;
    PyObject
        *original; /* of a copy: kept, since its collection would close the copy too; or NULL */
    PyObject *weakrefs;
} client_object;

/* The client, or NULL with a RuntimeError. */
static lathe_client *handle(PyObject *self)
{
    lathe_client *client = ((client_object *)self)->client;
    if (!client)
        PyErr_SetString(PyExc_RuntimeError, "Client.__init__() has not been called");
    return client;
}

lathe_client *lathe_py_client_handle(lathe_py_state *state, PyObject *object)
{
    if (PyObject_TypeCheck(object, (PyTypeObject *)LATHE_TYPE(state, Client)))
        return handle(object);
    lathe_py_wrong_type("client", "a Client", object);
    return NULL;
}

/* ---- Making one ------------------------------------------------------------------------------ */

static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    lathe_py_state *state = lathe_py_state_of(type);
    if (!state)
        return NULL;
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    client_object *self = (client_object *)alloc(type, 0);
    if (self)
        self->state = state;
    return (PyObject *)self;
}

enum {
    API_KEY,
    AUTH_TOKEN,
    BASE_URL,
    TIMEOUT,
    MAX_RETRIES,
    BETAS,
    DEFAULT_HEADERS,
    CA_FILE,
    PROXY,
    ALLOW_HTTP,
    MAX_RESPONSE_BYTES,
    LOG_BODIES,
    MODEL,
    MAX_TOKENS,
    EFFORT,
    ON_VARIABLE_CHANGE,
    INSTRUCTIONS,
};

static const lathe_signature init_signature = {"Client",
                                               1,
                                               0,
                                               {
                                                   [API_KEY] = "api_key",
                                                   [AUTH_TOKEN] = "auth_token",
                                                   [BASE_URL] = "base_url",
                                                   [TIMEOUT] = "timeout",
                                                   [MAX_RETRIES] = "max_retries",
                                                   [BETAS] = "betas",
                                                   [DEFAULT_HEADERS] = "default_headers",
                                                   [CA_FILE] = "ca_file",
                                                   [PROXY] = "proxy",
                                                   [ALLOW_HTTP] = "allow_http",
                                                   [MAX_RESPONSE_BYTES] = "max_response_bytes",
                                                   [LOG_BODIES] = "log_bodies",
                                                   [MODEL] = "model",
                                                   [MAX_TOKENS] = "max_tokens",
                                                   [EFFORT] = "effort",
                                                   [ON_VARIABLE_CHANGE] = "on_variable_change",
                                                   [INSTRUCTIONS] = "instructions",
                                               }};

static int take_strings(lathe_py_state *state, PyObject *const *values,
                        lathe_client_options *options)
{
    if (lathe_py_option_text(state, "api_key", values[API_KEY], &options->api_key) ||
        lathe_py_option_text(state, "auth_token", values[AUTH_TOKEN], &options->auth_token) ||
        lathe_py_option_text(state, "base_url", values[BASE_URL], &options->base_url))
        return -1;
    return lathe_py_option_text(state, "proxy", values[PROXY], &options->proxy);
}

static int take_call_options(PyObject *const *values, lathe_py_options *options)
{
    if (lathe_py_options_timeout(options, values[TIMEOUT]) ||
        lathe_py_options_retries(options, values[MAX_RETRIES]) ||
        lathe_py_options_betas(options, values[BETAS]))
        return -1;
    return lathe_py_options_headers(options, "default_headers", values[DEFAULT_HEADERS]);
}

/* model, max_tokens, effort, on_variable_change, instructions. */
static int take_model_options(PyObject *const *values, lathe_py_options *options)
{
    if (lathe_py_options_model(options, values[0]) ||
        lathe_py_options_max_tokens(options, values[1]) ||
        lathe_py_options_effort(options, values[2]) ||
        lathe_py_options_on_change(options, values[3]))
        return -1;
    return lathe_py_options_instructions(options, values[4]);
}

static int take_limits(lathe_py_state *state, PyObject *const *values,
                       lathe_client_options *options)
{
    if (lathe_py_option_flag("allow_http", values[ALLOW_HTTP], &options->allow_http) ||
        lathe_py_option_flag("log_bodies", values[LOG_BODIES], &options->log_bodies))
        return -1;
    return lathe_py_option_size(state, "max_response_bytes", values[MAX_RESPONSE_BYTES],
                                &options->max_response_bytes);
}

/* certifi.where(), or NULL without an exception when certifi is not installed. */
static PyObject *certifi_file(void)
{
    PyObject *certifi = PyImport_ImportModule("certifi");
    if (!certifi && PyErr_ExceptionMatches(PyExc_ImportError))
        PyErr_Clear();
    PyObject *path = certifi ? PyObject_CallMethod(certifi, "where", NULL) : NULL;
    Py_XDECREF(certifi);
    return path;
}

/* Without CA certificates: those of certifi, or else an error that lists what was tried. */
static lathe_client *create_with_certifi(lathe_py_state *state, lathe_py_options *call,
                                         lathe_client_options *options, lathe_error *error)
{
    PyObject *path = certifi_file();
    if (!path && !PyErr_Occurred())
        lathe_py_configuration(state, "%s; certifi (not installed)", error->message);
    if (!path)
        return NULL;
    int failed = lathe_py_option_path(call, "certifi.where()", path, &options->ca_fallback);
    Py_DECREF(path);
    if (failed)
        return NULL;
    lathe_error_clear(error);
    lathe_client *made;
    if (lathe_client_new(options, &made, error))
        lathe_py_raise(state, error);
    return made;
}

static int refuse_another(void)
{
    PyErr_SetString(PyExc_RuntimeError, "this Client is set up already; make a new one");
    return -1;
}

/* Takes over a new client. Another thread may have been faster: reading options can run Python. */
static int keep(client_object *self, lathe_client *made)
{
    if (!self->client) {
        self->client = made;
        return 0;
    }
    lathe_client_free(made);
    return refuse_another();
}

/* Takes options whose pointers are all alive; the environment is read with the GIL held, since
 * os.environ writes it. */
static int create(client_object *self, lathe_py_options *call, lathe_client_options *options)
{
    options->call = call->core;
    lathe_error error;
    lathe_error_init(&error);
    lathe_client *made;
    lathe_code code = lathe_client_new(options, &made, &error);
    if (code == LATHE_NO_CA)
        made = create_with_certifi(self->state, call, options, &error);
    else if (code)
        lathe_py_raise(self->state, &error);
    lathe_error_clear(&error);
    return made ? keep(self, made) : -1;
}

static void write_agent(char *agent, size_t size)
{
    unsigned version = (unsigned)Py_Version;
    PyOS_snprintf(agent, size, "python/%u.%u.%u", version >> 24, version >> 16 & 0xFF,
                  version >> 8 & 0xFF);
}

static int init_once(client_object *self, PyObject *args, PyObject *kwargs)
{
    PyObject *values[LATHE_ARGS_MAX];
    if (self->client)
        return refuse_another();
    if (lathe_py_args_tuple(&init_signature, args, kwargs, values))
        return -1;
    lathe_client_options options;
    lathe_client_options_init(&options);
    char agent[32];
    write_agent(agent, sizeof agent);
    options.host_agent = agent;
    lathe_py_options call;
    lathe_py_options_init(&call, self->state);
    call.core = options.call;
    int failed = take_strings(self->state, values, &options) || take_call_options(values, &call) ||
                 take_limits(self->state, values, &options) ||
                 take_model_options(values + MODEL, &call) ||
                 lathe_py_option_path(&call, "ca_file", values[CA_FILE], &options.ca_file) ||
                 create(self, &call, &options);
    lathe_py_options_clear(&call);
    return failed ? -1 : 0;
}

static int client_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, self);
    int failed = init_once((client_object *)self, args, kwargs);
    lathe_py_lock_end(&lock);
    return failed;
}

/* ---- Its end --------------------------------------------------------------------------------- */

static int client_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((client_object *)self)->original);
    return 0;
}

static int client_clear(PyObject *self)
{
    Py_CLEAR(((client_object *)self)->original);
    return 0;
}

static void client_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs(self);
    lathe_client_free(((client_object *)self)->client);
    client_clear(self);
    freefunc release = PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static void close_client(PyObject *self)
{
    lathe_client *client = ((client_object *)self)->client;
    if (!client)
        return;
    PyThreadState *thread = PyEval_SaveThread();
    lathe_client_close(client);
    PyEval_RestoreThread(thread);
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Refuse new calls and end those in flight with ClientClosedError.\n\n"
             "May be called twice. Closing a copy made by with_options leaves the original open;\n"
             "closing the original ends its copies.\n");

static PyObject *client_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    close_client(self);
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nReturn the client itself.");

static PyObject *client_enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return handle(self) ? Py_NewRef(self) : NULL;
}

PyDoc_STRVAR(exit_doc, "__exit__($self, exc_type, exc, traceback, /)\n--\n\nClose the client.");

static PyObject *client_exit(PyObject *self, PyObject *args)
{
    (void)args;
    close_client(self);
    return Py_NewRef(Py_None);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static PyObject *run(PyObject *self, lathe_py_arguments *arguments, bool raw)
{
    lathe_client *client = handle(self);
    if (!client)
        return NULL;
    return lathe_py_run(((client_object *)self)->state, client, &arguments->request,
                        &arguments->options.core, raw);
}

PyObject *lathe_py_client_run(PyObject *client, lathe_py_arguments *arguments)
{
    return run(client, arguments, false);
}

PyObject *lathe_py_client_call(PyObject *client, lathe_verb verb, bool raw, PyObject *const *args,
                               Py_ssize_t count, PyObject *kwnames)
{
    lathe_py_arguments arguments;
    PyObject *result = NULL;
    lathe_py_state *state = ((client_object *)client)->state;
    if (!lathe_py_arguments_take(&arguments, state, verb, args, count, kwnames))
        result = run(client, &arguments, raw);
    lathe_py_arguments_clear(&arguments);
    return result;
}

PyDoc_STRVAR(generate_doc, GENERATE_SIGNATURE("$self") GENERATE_DOC);
PyDoc_STRVAR(improve_doc, IMPROVE_SIGNATURE("$self") IMPROVE_DOC);
PyDoc_STRVAR(templatize_doc, TEMPLATIZE_SIGNATURE("$self") TEMPLATIZE_DOC);

#define VERB(name, verb)                                                                           \
    static PyObject *client_##name(PyObject *self, PyObject *const *args, Py_ssize_t count,        \
                                   PyObject *kwnames)                                              \
    {                                                                                              \
        return lathe_py_client_call(self, verb, false, args, count, kwnames);                      \
    }

VERB(generate, LATHE_GENERATE)
VERB(improve, LATHE_IMPROVE)
VERB(templatize, LATHE_TEMPLATIZE)

PyDoc_STRVAR(
    map_doc,
    "map($self, requests, *, concurrency=16, ordered=True, return_exceptions=False)\n--\n\n"
    "Make many calls from one thread, some at a time, and iterate over their results.\n\n"
    "Requests are read as results are taken: at most twice ``concurrency`` are read ahead, and\n"
    "memory does not depend on how many there are. Nothing is read or sent before the first\n"
    "result is asked for. What is in flight goes on while the iterator is asked for a result.\n\n"
    "Parameters\n----------\n"
    "requests : iterable of dict\n"
    "    Each has ``verb`` (\"generate\", \"improve\" or \"templatize\"), and that verb's "
    "arguments\n"
    "    and options by name. A ``timeout`` (seconds) begins when its request is read, and\n"
    "    stands still while the iterator is not asked for a result.\n"
    "concurrency : int, default 16\n"
    "    How many calls are in flight at once, 1 to 65536.\n"
    "ordered : bool, default True\n"
    "    Give results in the order of the requests; else as they come.\n"
    "return_exceptions : bool, default False\n"
    "    Give the failure of a request as its result, and go on.\n\n"
    "Yields\n------\n"
    "dict or tuple of int and dict\n"
    "    What the verb returns; with ``ordered=False`` after the request's index, from 0. In\n"
    "    place of a failed one the exception, with ``return_exceptions=True``.\n\n"
    "Raises\n------\n"
    "TypeError, ConfigurationError\n"
    "    At once, when an argument of ``map`` itself is of a wrong type or value.\n"
    "ClientClosedError\n"
    "    At once, when the client is closed. When it is closed later, results that are there\n"
    "    are given first, then it is raised, whatever ``return_exceptions`` says. Also in a\n"
    "    fork's child for a map of the parent.\n"
    "Exception\n"
    "    What the verb raises for a request, in its turn; the rest is then cancelled. With\n"
    "    ``ordered=False`` a request that cannot be sent is raised after the results of those\n"
    "    before it. What the iterable raises comes after the results of what was read before.\n"
    "ValueError\n"
    "    When two threads ask for a result at once, or the iterable itself does.\n\n"
    "Notes\n-----\n"
    "The iterator is a context manager; leaving a loop early and dropping it, or ``close()``,\n"
    "cancels what is in flight. After an exception, Ctrl-C included, it is at its end: results\n"
    "that it has not given are lost. What is raised or given for a request has the note\n"
    "``in requests[INDEX]``. Over HTTP/1.1 each call in flight has a connection, and with it a\n"
    "file descriptor.\n\n"
    "Source: the service's documentation, the three endpoints of /v1/experimental.\n");

static PyObject *client_map(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *kwnames)
{
    lathe_client *client = handle(self);
    if (!client)
        return NULL;
    return lathe_py_map_new(((client_object *)self)->state, self, client, args, count, kwnames);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

/* What a subclass keeps on its instances goes with the copy. */
static int copy_attributes(PyObject *self, PyObject *copy)
{
    if (Py_IS_TYPE(self, (PyTypeObject *)LATHE_TYPE(((client_object *)self)->state, Client)))
        return 0;
    PyObject *from = lathe_py_attribute(self, "__dict__");
    PyObject *to = from ? lathe_py_attribute(copy, "__dict__") : NULL;
    int failed = to ? PyDict_Update(to, from) : -1;
    Py_XDECREF(from);
    Py_XDECREF(to);
    if (failed && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear(); /* a subclass with __slots__ has none */
        failed = 0;
    }
    return failed;
}

static PyObject *copy_with(PyObject *self, const lathe_options *options)
{
    lathe_client *client = handle(self);
    PyObject *copy = client ? client_new(Py_TYPE(self), NULL, NULL) : NULL;
    if (!copy)
        return NULL;
    lathe_error error;
    lathe_error_init(&error);
    lathe_client *made;
    if (lathe_client_copy(client, options, &made, &error))
        lathe_py_raise(((client_object *)self)->state, &error);
    ((client_object *)copy)->client = made;
    if (!made || copy_attributes(self, copy))
        Py_CLEAR(copy);
    if (copy)
        ((client_object *)copy)->original = Py_NewRef(self);
    lathe_error_clear(&error);
    return copy;
}

PyDoc_STRVAR(
    with_options_doc,
    "with_options($self, *, timeout=..., max_retries=..., betas=..., default_headers=..., "
    "model=..., max_tokens=..., effort=..., on_variable_change=..., instructions=...)"
    "\n--\n\n"
    "Make a client with other options on the same connections, key and rate limits.\n\n"
    "The copy is of the same class; a subclass's ``__init__`` is not run, its instance\n"
    "attributes are carried over.\n\n"
    "Parameters\n----------\n"
    "timeout : float, Timeout or None, optional\n"
    "    Seconds for a whole call; None is no limit.\n"
    "max_retries : int, optional\n"
    "    How often a failed attempt is repeated.\n"
    "betas : list or tuple of str, optional\n"
    "    Instead of this client's.\n"
    "default_headers : dict of str to str or None, optional\n"
    "    Over this client's, name by name.\n"
    "model : str or None, optional\n"
    "    The model that does the work; None is the documented endpoints.\n" MODEL_OPTIONS_DOC "\n"
    "Returns\n-------\n"
    "Client\n"
    "    Closing it leaves this client open; closing this client ends it.\n\n"
    "Raises\n------\n"
    "TypeError, ConfigurationError\n"
    "    When an option is of a wrong type or value.\n"
    "ClientClosedError\n"
    "    When this client is closed.\n");

static PyObject *client_with_options(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                     PyObject *kwnames)
{
    static const lathe_signature signature = {"with_options",
                                              0,
                                              0,
                                              {"timeout", "max_retries", "betas", "default_headers",
                                               "model", "max_tokens", "effort",
                                               "on_variable_change", "instructions"}};
    PyObject *values[LATHE_ARGS_MAX], *copy = NULL;
    if (lathe_py_args(&signature, args, count, kwnames, values))
        return NULL;
    lathe_py_options options;
    lathe_py_options_init(&options, ((client_object *)self)->state);
    if (!lathe_py_options_timeout(&options, values[0]) &&
        !lathe_py_options_retries(&options, values[1]) &&
        !lathe_py_options_betas(&options, values[2]) &&
        !lathe_py_options_headers(&options, "default_headers", values[3]) &&
        !take_model_options(values + 4, &options))
        copy = copy_with(self, &options.core);
    lathe_py_options_clear(&options);
    return copy;
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\nRefuse: a client cannot be pickled.");

static PyObject *client_reduce(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    PyErr_SetString(PyExc_TypeError,
                    "a Client cannot be pickled or copied: make one in each process, or use "
                    "with_options() for a copy that shares its connections");
    return NULL;
}

/* ---- Properties ------------------------------------------------------------------------------ */

static PyObject *client_raw(PyObject *self, void *closure)
{
    (void)closure;
    return lathe_py_raw_calls_new(((client_object *)self)->state, self);
}

static PyObject *client_rate_limits(PyObject *self, void *closure)
{
    (void)closure;
    lathe_client *client = handle(self);
    if (!client)
        return NULL;
    lathe_py_host host;
    lathe_py_host_init(&host, ((client_object *)self)->state);
    return lathe_py_host_finish(&host, lathe_client_rate_limits(client, &host.sink));
}

static PyObject *client_base_url(PyObject *self, void *closure)
{
    (void)closure;
    lathe_client *client = handle(self);
    return client ? PyUnicode_FromString(lathe_client_base_url(client)) : NULL;
}

static PyObject *client_closed(PyObject *self, void *closure)
{
    (void)closure;
    lathe_client *client = handle(self);
    return client ? PyBool_FromLong(lathe_client_closed(client)) : NULL;
}

static PyObject *client_repr(PyObject *self)
{
    lathe_client *client = ((client_object *)self)->client;
    PyObject *type = (PyObject *)Py_TYPE(self);
    PyObject *module = lathe_py_attribute(type, "__module__");
    PyObject *name = module ? PyType_GetQualName(Py_TYPE(self)) : NULL;
    PyObject *repr = NULL;
    if (name && client)
        repr = PyUnicode_FromFormat("<%S.%U %s%s>", module, name, lathe_client_base_url(client),
                                    lathe_client_closed(client) ? " closed" : "");
    else if (name)
        repr = PyUnicode_FromFormat("<%S.%U not set up>", module, name);
    Py_XDECREF(module);
    Py_XDECREF(name);
    return repr;
}

/* ---- The type -------------------------------------------------------------------------------- */

PyDoc_STRVAR(
    client_doc,
    "Client(api_key=None, *, auth_token=None, base_url=None, timeout=600, max_retries=2, betas=(), "
    "default_headers=None, ca_file=None, proxy=None, allow_http=False, "
    "max_response_bytes=67108864, log_bodies=False, model=None, max_tokens=8192, effort='fast', "
    "on_variable_change='raise', instructions=None)\n--\n\n"
    "A client of the prompt tools. Safe to use from any thread; a context manager.\n\n"
    "Parameters\n----------\n"
    "api_key : str, optional\n"
    "    Else the environment variable ANTHROPIC_API_KEY.\n"
    "auth_token : str, optional\n"
    "    Sent as ``Authorization: Bearer``, for gateways; else ANTHROPIC_AUTH_TOKEN. Not\n"
    "    together with ``api_key``.\n"
    "base_url : str, optional\n"
    "    Else ANTHROPIC_BASE_URL, else https://api.anthropic.com.\n"
    "timeout : float, Timeout or None, default 600\n"
    "    Seconds for a whole call, with its queueing, retries and body; None is no limit. A\n"
    "    number leaves the time to connect at 5 seconds.\n"
    "max_retries : int, default 2\n"
    "    How often a failed attempt is repeated.\n"
    "betas : list or tuple of str, optional\n"
    "    Further values of the anthropic-beta header.\n"
    "default_headers : dict of str to str, optional\n"
    "    Sent with every call.\n"
    "ca_file : str or os.PathLike, optional\n"
    "    CA certificates in PEM form; else SSL_CERT_FILE, SSL_CERT_DIR, the system's, certifi.\n"
    "proxy : str, optional\n"
    "    URL of a proxy, or \"\" for none; else the usual environment variables.\n"
    "allow_http : bool, default False\n"
    "    Allow a base_url of http to another host than this one.\n"
    "max_response_bytes : int, default 67108864\n"
    "    The largest decoded answer, in bytes.\n"
    "log_bodies : bool, default False\n"
    "    Log bodies of requests and answers at DEBUG.\n"
    "model : str, optional\n"
    "    The model that does the work of the verbs, over ``POST /v1/messages`` of the service at\n"
    "    ``base_url``, which needs no key when it is this host. Without a model the\n"
    "    documented endpoints are called, which the vendor itself has retired.\n"
    "max_tokens : int, default 8192\n"
    "    With a model: the most tokens of one of its answers.\n"
    "effort : {\"fast\", \"thorough\"}, default \"fast\"\n"
    "    With a model: ``improve`` in one request, or in four, a step of the work in each.\n"
    "on_variable_change : {\"raise\", \"keep_original\", \"warn\"}, default \"raise\"\n"
    "    With a model: what is done when an improved prompt lacks a {{variable}} of the original\n"
    "    or has a new one, also after the model was told so once.\n"
    "instructions : str or os.PathLike, optional\n"
    "    With a model: a folder with texts in place of the built-in ones.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    When an option is of a wrong type.\n"
    "ConfigurationError\n"
    "    When an option cannot be used: no key, a malformed URL, no CA certificates.\n");

#define METHOD(name)                                                                               \
    {                                                                                              \
#name, LATHE_FASTCALL(client_##name), METH_FASTCALL | METH_KEYWORDS, name##_doc            \
    }

static PyMethodDef client_methods[] = {
    METHOD(generate),
    METHOD(improve),
    METHOD(templatize),
    METHOD(map),
    METHOD(with_options),
    {"close", client_close, METH_NOARGS, close_doc},
    {"__enter__", client_enter, METH_NOARGS, enter_doc},
    {"__exit__", client_exit, METH_VARARGS, exit_doc},
    {"__reduce__", client_reduce, METH_NOARGS, reduce_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_getset[] = {
    {"with_raw_response", client_raw, NULL,
     "The three calls, each returning a RawResponse: the answer with status and headers.", NULL},
    {"rate_limits", client_rate_limits, NULL,
     "{kind: {\"limit\", \"remaining\", \"reset\"}} from the newest answer that told.", NULL},
    {"base_url", client_base_url, NULL, "Where the service is, without a slash at the end.", NULL},
    {"closed", client_closed, NULL, "Whether close() was called, here or on the original.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef client_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(client_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, (void *)client_doc},
    {Py_tp_new, client_new},
    {Py_tp_init, client_init},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_clear, client_clear},
    {Py_tp_repr, client_repr},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_getset},
    {Py_tp_members, client_members},
    {0, NULL},
};

PyType_Spec lathe_py_client_spec = {
    .name = "promptlathe.Client",
    .basicsize = sizeof(client_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = client_slots,
};
