#include "map.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "args.h"
#include "calls.h"
#include "log.h"
#include "pending.h"

/* How long requests are read without a look at those in flight, in seconds. */
static const double reading = 0.001;

/* One request that was read and is not given out. */
typedef struct entry {
    lathe_py_call call; /* the core's map frees it, until it gives it out */
    PyObject *failure;  /* what is given instead of the call's result; or NULL */
    struct entry *next, *previous;
} entry;

/* Only the thread that has set `running` touches what stands below it; but close() in another
 * thread closes `own` (under the object's lock), and the garbage collector looks at what is kept.
 */
typedef struct map_object {
    PyObject_HEAD lathe_py_state *state;
    bool running;
    atomic_bool closed;
    bool ordered, keeps_failures;
    bool in_main;         /* whether signal handlers run in `thread` */
    unsigned long thread; /* that went on with the map last */
    size_t read;          /* requests so far */
    lathe_map *map;       /* NULL after the end, like all that follows */
    lathe_client *own;    /* a copy: closing it ends what is in flight, from any thread */
    PyObject *client;     /* of which it is; kept, since its collection would close it */
    PyObject *requests;   /* the iterator; NULL when it has ended */
    PyObject *last;       /* the exception that stands where the requests ended; or NULL */
    entry *entries;
} map_object;

/* ---- Its end --------------------------------------------------------------------------------- */

static void entry_free(map_object *self, entry *e)
{
    *(e->previous ? &e->previous->next : &self->entries) = e->next;
    if (e->next)
        e->next->previous = e->previous;
    Py_XDECREF(e->failure);
    PyMem_Free(e);
}

/* Thousands of connections take a while to close: other threads go on meanwhile. */
static void free_unlocked(lathe_map *map)
{
    PyThreadState *thread = PyEval_SaveThread();
    lathe_map_free(map);
    PyEval_RestoreThread(thread);
}

/* Cancels what is in flight and lets everything go; an exception that is set stays. What a thread
 * of a fork's parent was at work on is not touched: nobody knows its state. */
static void let_go(map_object *self, bool abandoned)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    lathe_map *map = self->map;
    lathe_client *own = self->own;
    self->map = NULL;
    self->own = NULL;
    lathe_py_lock_end(&lock);
    if (!abandoned && map)
        free_unlocked(map);
    while (self->entries)
        entry_free(self, self->entries);
    lathe_client_free(own);
    Py_CLEAR(self->requests);
    Py_CLEAR(self->last);
    Py_CLEAR(self->client);
    PyErr_Restore(type, value, traceback);
}

/* Whether this thread may use the map now, until stop_running; false when another does, or this one
 * already. *abandoned: a thread did when the process was forked, and is not there in the child. */
static bool start_running(map_object *self, bool *abandoned)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    *abandoned = self->running && self->map && !lathe_map_is_ours(self->map);
    bool free = !self->running || *abandoned;
    if (free)
        self->running = true;
    lathe_py_lock_end(&lock);
    return free;
}

static void stop_running(map_object *self)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    self->running = false;
    lathe_py_lock_end(&lock);
}

static PyObject *begun_before_fork(const map_object *self)
{
    PyErr_SetString(LATHE_EXCEPTION(self->state, ClientClosedError),
                    "the map was begun before a fork");
    return NULL;
}

/* Whether it has become useless while Python code ran; then with an exception after a fork, without
 * one after close(). */
static bool is_over(const map_object *self)
{
    if (!lathe_map_is_ours(self->map))
        begun_before_fork(self);
    return PyErr_Occurred() || atomic_load(&self->closed);
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* A StopIteration would pass for the map's own end (PEP 479). */
static PyObject *raise_stop(PyObject *stop)
{
    PyErr_SetString(PyExc_RuntimeError, "a request of the map raised StopIteration");
    PyObject *error = lathe_py_take_exception();
    PyException_SetCause(error, Py_NewRef(stop));
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

/* Raises what lathe_py_take_exception gave, as it was; NULL, always. */
static PyObject *raise_again(PyObject *exception)
{
    if (PyErr_GivenExceptionMatches(exception, PyExc_StopIteration))
        return raise_stop(exception);
    PyObject *traceback = PyException_GetTraceback(exception);
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), Py_NewRef(exception), traceback);
    return NULL;
}

/* Whether an exception of a request is given out and not raised. A closed client ends the map. */
static bool is_kept(const map_object *self, PyObject *failure)
{
    return self->keeps_failures &&
           !PyErr_GivenExceptionMatches(failure, LATHE_EXCEPTION(self->state, ClientClosedError));
}

/* Says of a failure whose it is. */
static void note_request(PyObject *failure, size_t index)
{
    char text[64];
    snprintf(text, sizeof text, "in requests[%zu]", index);
    PyObject *add = lathe_py_attribute(failure, "add_note");
    PyObject *done = add ? PyObject_CallFunction(add, "s", text) : NULL;
    if (!done)
        PyErr_Clear();
    Py_XDECREF(add);
    Py_XDECREF(done);
}

/* The requests end here, with an exception or without. */
static void stop_reading(map_object *self, PyObject *last)
{
    self->last = last;
    Py_CLEAR(self->requests);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static entry *entry_new(map_object *self)
{
    entry *e = PyMem_Calloc(1, sizeof *e);
    if (!e) {
        PyErr_NoMemory();
        return NULL;
    }
    e->next = self->entries;
    if (e->next)
        e->next->previous = e;
    self->entries = e;
    return e;
}

/* Makes the call of a request. */
static int make_call(map_object *self, PyObject *request, lathe_py_call *call, PyObject *log)
{
    lathe_py_arguments arguments;
    lathe_py_source held;
    lathe_py_source_init(&held);
    int failed = lathe_py_arguments_of(&arguments, &held, self->state, request, self->read++) ||
                 lathe_py_call_new(call, self->state, self->own, &arguments.request,
                                   &arguments.options.core, log);
    lathe_py_arguments_clear(&arguments);
    lathe_py_source_clear(&held);
    return failed ? -1 : 0;
}

/* Takes the exception that is set for the request's, to be given out or raised in its turn; -1 when
 * it is one that no program handles in passing, such as KeyboardInterrupt. */
static int take_failure(map_object *self, entry *e)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *failure = lathe_py_take_exception();
    if (!is_kept(self, failure)) {
        note_request(failure, self->read - 1);
        stop_reading(self, failure);
        return 1;
    }
    e->failure = failure;
    return 0;
}

/* Puts a request that was read in its place. -1 with an exception that ends the map at once. */
static int add_request(map_object *self, PyObject *request, PyObject *log)
{
    entry *e = entry_new(self);
    if (!e)
        return -1;
    int failed = make_call(self, request, &e->call, log) ? take_failure(self, e) : 0;
    if (!failed && is_over(self))
        failed = 1;
    if (!failed && lathe_map_add(self->map, e->call.call, e)) {
        PyErr_NoMemory();
        failed = -1;
    }
    if (!failed)
        return 0;
    lathe_py_call_clear(&e->call);
    entry_free(self, e);
    return PyErr_Occurred() ? -1 : 0;
}

/* Reads one request. The deadlines of the others stand still meanwhile. */
static int read_request(map_object *self, PyObject *log)
{
    lathe_map_leave(self->map);
    PyObject *request = PyIter_Next(self->requests);
    int failed = 0;
    if (request)
        failed = is_over(self) ? -1 : add_request(self, request, log);
    else if (!PyErr_Occurred())
        stop_reading(self, NULL);
    else if (PyErr_ExceptionMatches(PyExc_Exception))
        stop_reading(self, lathe_py_take_exception());
    else
        failed = -1;
    Py_XDECREF(request);
    return failed;
}

/* Reads as many as there is room for, but not for long: those in flight want to be looked after. -1
 * when the map is over. */
static int read_requests(map_object *self, PyObject *log)
{
    const double until = lathe_py_now() + reading;
    bool late = false;
    while (!is_over(self) && self->requests && lathe_map_wants(self->map) && !late) {
        if (read_request(self, log))
            return -1;
        late = lathe_py_now() >= until;
    }
    return is_over(self) ? -1 : 0;
}

/* ---- Giving out ------------------------------------------------------------------------------ */

static lathe_wait drive(map_object *self, bool main, lathe_map_item *item)
{
    const bool more = self->requests && lathe_map_wants(self->map);
    const double seconds = more ? 0 : main ? LATHE_PY_SLICE : INFINITY;
    PyThreadState *thread = PyEval_SaveThread();
    lathe_wait what = lathe_map_next(self->map, seconds, main, item);
    PyEval_RestoreThread(thread);
    return what;
}

/* Logs what happened to a call. What the program's own logging raises is the call's result, and the
 * rest is not logged. */
static int note_events(entry *e, PyObject *log)
{
    if (!lathe_py_call_events(&e->call, e->failure ? NULL : log))
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    e->failure = lathe_py_take_exception();
    return 0;
}

/* What the verb would return, or raise, or an exception as a result. */
static PyObject *result_of(const map_object *self, const entry *e, size_t index, PyObject *log)
{
    PyObject *result = e->failure ? NULL : lathe_py_finish(&e->call, log, false);
    if (result || (!e->failure && !PyErr_ExceptionMatches(PyExc_Exception)))
        return result;
    PyObject *failure = e->failure ? Py_NewRef(e->failure) : lathe_py_take_exception();
    note_request(failure, index);
    if (is_kept(self, failure))
        return failure;
    raise_again(failure);
    Py_DECREF(failure);
    return NULL;
}

static PyObject *with_index(size_t index, PyObject *result)
{
    return result ? Py_BuildValue("(nN)", (Py_ssize_t)index, result) : NULL;
}

static PyObject *give(map_object *self, const lathe_map_item *item, PyObject *log)
{
    entry *e = item->kept;
    PyObject *result = atomic_load(&self->closed) ? NULL : result_of(self, e, item->index, log);
    lathe_py_call_clear(&e->call);
    entry_free(self, e);
    return self->ordered ? result : with_index(item->index, result);
}

/* Whether signal handlers run here; asked anew when another thread goes on with the map. */
static bool runs_in_main(map_object *self)
{
    unsigned long thread = PyThread_get_thread_ident();
    if (thread != self->thread)
        self->in_main = lathe_py_is_main_thread();
    self->thread = thread;
    return self->in_main;
}

/* The next result; NULL at the end, with an exception or without. */
static PyObject *advance(map_object *self, PyObject *log)
{
    const bool main = runs_in_main(self);
    lathe_map_item item;
    while (!read_requests(self, log)) {
        if (!lathe_map_count(self->map))
            return self->last ? raise_again(self->last) : NULL;
        lathe_wait what = drive(self, main, &item);
        if (what == LATHE_WAIT_DONE)
            return give(self, &item, log);
        if ((main && PyErr_CheckSignals()) ||
            (what == LATHE_WAIT_EVENT && note_events(item.kept, log)))
            return NULL;
    }
    return NULL;
}

static PyObject *advance_logged(map_object *self)
{
    int failed;
    PyObject *log = lathe_py_log_open(self->state, &failed);
    PyObject *result = failed ? NULL : advance(self, log);
    Py_XDECREF(log);
    return result;
}

static PyObject *map_next(PyObject *object)
{
    map_object *self = (map_object *)object;
    PyObject *result = NULL;
    bool abandoned;
    if (!start_running(self, &abandoned)) {
        PyErr_SetString(PyExc_ValueError, "this Map is already executing");
        return NULL;
    }
    if (abandoned)
        begun_before_fork(self);
    else if (self->map)
        result = advance_logged(self);
    if (!result || atomic_load(&self->closed))
        let_go(self, abandoned);
    else
        lathe_map_leave(self->map);
    stop_running(self);
    return result;
}

/* ---- Closing --------------------------------------------------------------------------------- */

/* What another thread waits for ends at once, and its wait with it. */
static void close_own(map_object *self)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    if (self->own)
        lathe_client_close(self->own);
    lathe_py_lock_end(&lock);
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Cancel what is in flight; the iterator is then exhausted.\n\n"
    "May be called twice, from any thread, and from the iterable of requests. A thread that\n"
    "waits for a result meanwhile gets StopIteration.\n");

static PyObject *map_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    map_object *self = (map_object *)object;
    bool abandoned;
    atomic_store(&self->closed, true);
    if (start_running(self, &abandoned)) {
        let_go(self, abandoned);
        stop_running(self);
    } else {
        close_own(self);
    }
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nReturn the iterator itself.");

static PyObject *map_enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(self);
}

PyDoc_STRVAR(exit_doc, "__exit__($self, exc_type, exc, traceback, /)\n--\n\nClose the iterator.");

/* ---- Making one ------------------------------------------------------------------------------ */

static int take_concurrency(lathe_py_state *state, PyObject *value, size_t *concurrency)
{
    if (!value)
        return 0;
    if (!PyIndex_Check(value) || PyBool_Check(value))
        return lathe_py_wrong_type("concurrency", "an int", value);
    PyObject *number = PyNumber_Index(value);
    if (!number)
        return -1;
    *concurrency = PyLong_AsSize_t(number);
    Py_DECREF(number);
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (!PyErr_Occurred() && *concurrency >= 1 && *concurrency <= LATHE_MAP_MOST)
        return 0;
    PyErr_Clear();
    return lathe_py_configuration(state, "concurrency must be from 1 to %d", LATHE_MAP_MOST);
}

/* An iterator over the requests; an object without one is told apart from one whose fails. */
static PyObject *iterator_of(PyObject *requests)
{
    if (PyType_GetSlot(Py_TYPE(requests), Py_tp_iter) || PySequence_Check(requests))
        return PyObject_GetIter(requests);
    lathe_py_wrong_type("requests", "an iterable of dicts", requests);
    return NULL;
}

static int open_map(map_object *self, lathe_client *client, size_t concurrency)
{
    lathe_options options;
    lathe_error error;
    lathe_options_init(&options);
    lathe_error_init(&error);
    if (!lathe_client_copy(client, &options, &self->own, &error))
        lathe_map_new(self->own, concurrency, self->ordered, &self->map, &error);
    if (error.code)
        lathe_py_raise(self->state, &error);
    lathe_error_clear(&error);
    return self->map ? 0 : -1;
}

/* Takes over the reference to the iterator. */
static map_object *map_alloc(lathe_py_state *state, PyObject *object, PyObject *requests)
{
    PyTypeObject *type = (PyTypeObject *)LATHE_TYPE(state, Map);
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    map_object *self = requests ? (map_object *)alloc(type, 0) : NULL;
    if (!self) {
        Py_XDECREF(requests);
        return NULL;
    }
    self->state = state;
    self->requests = requests;
    self->client = Py_NewRef(object);
    return self;
}

PyObject *lathe_py_map_new(lathe_py_state *state, PyObject *object, lathe_client *client,
                           PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    static const lathe_signature signature = {
        "map", 1, 1, {"requests", "concurrency", "ordered", "return_exceptions"}};
    PyObject *values[LATHE_ARGS_MAX];
    size_t concurrency = 16;
    bool ordered = true, keeps_failures = false;
    if (lathe_py_args(&signature, args, count, kwnames, values) ||
        take_concurrency(state, values[1], &concurrency) ||
        lathe_py_option_flag("ordered", values[2], &ordered) ||
        lathe_py_option_flag("return_exceptions", values[3], &keeps_failures))
        return NULL;
    map_object *self = map_alloc(state, object, iterator_of(values[0]));
    if (!self)
        return NULL;
    self->ordered = ordered;
    self->keeps_failures = keeps_failures;
    if (open_map(self, client, concurrency))
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ---- The type -------------------------------------------------------------------------------- */

static int map_traverse(PyObject *object, visitproc visit, void *arg)
{
    map_object *self = (map_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->client);
    Py_VISIT(self->requests);
    Py_VISIT(self->last);
    for (entry *e = self->entries; e; e = e->next)
        Py_VISIT(e->failure);
    return 0;
}

/* One that is running here was begun before a fork: who uses it also holds it. */
static int map_clear(PyObject *object)
{
    map_object *self = (map_object *)object;
    let_go(self, self->running);
    return 0;
}

static void map_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    map_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(map_doc,
             "The results of many requests, from Client.map.\n\n"
             "An iterator, and a context manager that closes it. When it is exhausted, closed or\n"
             "collected, what is still in flight is cancelled.\n");

PyDoc_STRVAR(generic_doc, "__class_getitem__($type, item, /)\n--\n\nFor annotations.");

static PyMethodDef map_methods[] = {
    {"close", map_close, METH_NOARGS, close_doc},
    {"__enter__", map_enter, METH_NOARGS, enter_doc},
    {"__exit__", map_close, METH_VARARGS, exit_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, generic_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_doc, (void *)map_doc},    {Py_tp_dealloc, map_dealloc},
    {Py_tp_traverse, map_traverse},  {Py_tp_clear, map_clear},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, map_next},
    {Py_tp_methods, map_methods},    {0, NULL},
};

PyType_Spec lathe_py_map_spec = {
    .name = "promptlathe.Map",
    .basicsize = sizeof(map_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = map_slots,
};
