/* What an event loop drives: the types Loop (an engine of its own) and Pending (one call in it). */

#include "client_type.h"

#include <math.h>

#include "args.h"
#include "log.h"
#include "pending.h"

/* What is asked of a future; of its iterator; of who drives the loop. */
enum { DONE, SET_RESULT, SET_EXCEPTION, THROW, CLOSE, SCHEDULE, CHANGED, METHOD_COUNT };

static const char *const method_names[METHOD_COUNT] = {
    "done", "set_result", "set_exception", "throw", "close", "schedule", "changed"};

/* What due() returns when there is nothing to arm. */
static const double nothing_due = -1;

/* The shortest time that a timer is armed for: timers of event loops may fire a little early. */
static const double shortest = 0.001;

struct loop_object;

typedef struct pending_object {
    PyObject_HEAD lathe_py_call call;
    PyObject *future;
    PyObject *wait; /* the future's iterator, while it is awaited */
    struct loop_object *loop;
    struct pending_object *next, *previous;
    bool in_flight; /* in the loop's list, which then owns a reference */
    bool raw;
} pending_object;

typedef struct loop_object {
    PyObject_HEAD lathe_py_state *state;
    lathe_loop *loop;      /* NULL once closed */
    pending_object *first; /* what is in flight */
    PyObject *log;
    PyObject *methods[METHOD_COUNT];
    double budget; /* seconds that a drain may take */
    double armed; /* when the driver's timer fires, by the monotonic clock; INFINITY: it has none */
    bool soon;    /* a drain is among what the driver runs next */
    bool busy;    /* a step or what follows it is under way */
    bool closing; /* close as soon as that is over */
} loop_object;

static pending_object *keep(pending_object *pending)
{
    return (pending_object *)Py_NewRef((PyObject *)pending);
}

static void drop(pending_object *pending)
{
    Py_DECREF((PyObject *)pending);
}

/* ---- The list of what is in flight ----------------------------------------------------------- */

static void put_in_flight(loop_object *self, pending_object *pending)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    pending->next = self->first;
    if (pending->next)
        pending->next->previous = pending;
    self->first = keep(pending);
    pending->in_flight = true;
    lathe_py_lock_end(&lock);
}

/* The list's reference goes to the caller; false when it is in flight no more. */
static bool take_out_locked(loop_object *self, pending_object *pending)
{
    if (!pending->in_flight)
        return false;
    if (pending->previous)
        pending->previous->next = pending->next;
    else
        self->first = pending->next;
    if (pending->next)
        pending->next->previous = pending->previous;
    pending->next = pending->previous = NULL;
    pending->in_flight = false;
    return true;
}

static bool take_out(loop_object *self, pending_object *pending)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    bool taken = take_out_locked(self, pending);
    lathe_py_lock_end(&lock);
    return taken;
}

/* Cancels a call, unless it has ended; its future is left alone. Under the lock, or reap() could
 * find the call before it is cancelled and what it stands for after it was dropped. */
static bool abandon(loop_object *self, pending_object *pending)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    bool taken = take_out_locked(self, pending);
    if (taken)
        lathe_call_cancel(pending->call.call);
    lathe_py_lock_end(&lock);
    if (taken)
        drop(pending); /* the list's */
    return taken;
}

/* ---- Pending --------------------------------------------------------------------------------- */

static pending_object *pending_new(loop_object *loop, PyObject *future, bool raw)
{
    PyTypeObject *type = (PyTypeObject *)LATHE_TYPE(loop->state, Pending);
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    pending_object *self = (pending_object *)alloc(type, 0);
    if (!self)
        return NULL;
    self->loop = (loop_object *)Py_NewRef((PyObject *)loop);
    self->future = Py_NewRef(future);
    self->raw = raw;
    return self;
}

static int pending_traverse(PyObject *object, visitproc visit, void *arg)
{
    const pending_object *self = (pending_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->future);
    Py_VISIT(self->wait);
    Py_VISIT(self->loop);
    return 0;
}

/* Out of flight before the loop is let go: the list must not outlive the way to it. */
static int pending_clear(PyObject *object)
{
    pending_object *self = (pending_object *)object;
    bool taken = self->loop && take_out(self->loop, self);
    lathe_py_call_clear(&self->call);
    Py_CLEAR(self->future);
    Py_CLEAR(self->wait);
    PyObject *loop = (PyObject *)self->loop;
    self->loop = NULL;
    Py_XDECREF(loop);
    if (taken)
        drop(self);
    return 0;
}

static void pending_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    pending_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Cancel the call; its future is left alone. From any thread.\n\n"
             "Returns\n-------\n"
             "Loop or None\n"
             "    The loop, whose due() may have changed; None when the call had ended.\n");

static PyObject *pending_cancel(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    loop_object *loop = ((pending_object *)object)->loop;
    bool cancelled = loop && abandon(loop, (pending_object *)object);
    return Py_NewRef(cancelled ? (PyObject *)loop : Py_None);
}

/* ---- Awaiting it ----------------------------------------------------------------------------- */

/* Awaiting it is awaiting its future, but that the call is cancelled when the wait ends early. */
static PyObject *pending_await(PyObject *object)
{
    pending_object *self = (pending_object *)object;
    unaryfunc await = self->future ? PyType_GetSlot(Py_TYPE(self->future), Py_am_await) : NULL;
    if (!await) {
        PyErr_SetString(PyExc_TypeError, "this call has no future to be awaited");
        return NULL;
    }
    if (self->wait) {
        PyErr_SetString(PyExc_RuntimeError, "this call is already awaited");
        return NULL;
    }
    self->wait = await(self->future);
    return self->wait ? Py_NewRef(object) : NULL;
}

/* Whoever waited does so no more; an exception that is set stays. */
static void stop_waiting(pending_object *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    loop_object *loop = self->loop ? (loop_object *)Py_NewRef((PyObject *)self->loop) : NULL;
    if (loop && abandon(loop, self)) {
        PyObject *told = PyObject_CallMethodObjArgs((PyObject *)loop, loop->methods[CHANGED], NULL);
        if (!told)
            PyErr_WriteUnraisable((PyObject *)loop);
        Py_XDECREF(told);
    }
    Py_XDECREF((PyObject *)loop);
    PyErr_Restore(type, value, traceback);
}

static PySendResult pending_send(PyObject *object, PyObject *value, PyObject **result)
{
    pending_object *self = (pending_object *)object;
    if (!self->wait) {
        PyErr_SetString(PyExc_RuntimeError, "this call is not awaited");
        *result = NULL;
        return PYGEN_ERROR;
    }
    PySendResult sent = PyIter_Send(self->wait, value, result);
    if (sent == PYGEN_ERROR)
        stop_waiting(self);
    return sent;
}

/* The same for who does not know how to send. */
static PyObject *pending_next(PyObject *object)
{
    PyObject *result;
    if (pending_send(object, Py_None, &result) != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
    if (stop)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    Py_DECREF(result);
    return NULL;
}

/* Passes it on to the future's iterator. */
static PyObject *end_wait(PyObject *object, int method, PyObject *args)
{
    pending_object *self = (pending_object *)object;
    PyObject *function =
        self->wait ? PyObject_GetAttr(self->wait, self->loop->methods[method]) : NULL;
    PyObject *result = function ? PyObject_CallObject(function, args) : NULL;
    Py_XDECREF(function);
    if (!result && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "this call is not awaited");
    stop_waiting(self);
    return result;
}

PyDoc_STRVAR(throw_doc, "throw($self, /, *exception)\n--\n\nEnd the wait, and cancel the call.");

static PyObject *pending_throw(PyObject *self, PyObject *args)
{
    return end_wait(self, THROW, args);
}

PyDoc_STRVAR(pending_close_doc, "close($self, /)\n--\n\nEnd the wait, and cancel the call.");

static PyObject *pending_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return end_wait(self, CLOSE, NULL);
}

static PyMethodDef pending_methods[] = {
    {"cancel", pending_cancel, METH_NOARGS, cancel_doc},
    {"throw", pending_throw, METH_VARARGS, throw_doc},
    {"close", pending_close, METH_NOARGS, pending_close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pending_slots[] = {
    {Py_tp_doc, "A call of a Loop, from Loop.start; it is awaited as its future would be."},
    {Py_tp_dealloc, pending_dealloc},
    {Py_tp_traverse, pending_traverse},
    {Py_tp_clear, pending_clear},
    {Py_tp_methods, pending_methods},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, pending_next},
    {Py_am_await, pending_await},
    {Py_am_send, pending_send},
    {0, NULL},
};

PyType_Spec lathe_py_pending_spec = {
    .name = "promptlathe._core.Pending",
    .basicsize = sizeof(pending_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pending_slots,
};

/* ---- What has ended -------------------------------------------------------------------------- */

/* Calls a method of a future; takes the argument over. */
static int tell(loop_object *self, PyObject *future, int method, PyObject *argument)
{
    PyObject *done =
        argument ? PyObject_CallMethodObjArgs(future, self->methods[method], argument, NULL) : NULL;
    Py_XDECREF(argument);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Gives the future its result (taken over), or the exception that is set. What a future does not
 * take, a StopIteration of a log's handler say, it is told of in turn. */
static int resolve(loop_object *self, PyObject *future, PyObject *result)
{
    if (result && !tell(self, future, SET_RESULT, result))
        return 0;
    if (!tell(self, future, SET_EXCEPTION, lathe_py_take_exception()))
        return 0;
    return tell(self, future, SET_EXCEPTION, lathe_py_take_exception());
}

/* 1 when the future has been cancelled, or has its result in another way. */
static int is_done(loop_object *self, PyObject *future)
{
    PyObject *done = PyObject_CallMethodObjArgs(future, self->methods[DONE], NULL);
    int truth = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    return truth;
}

static int finish(loop_object *self, pending_object *pending)
{
    int done = is_done(self, pending->future);
    int failed = done < 0 ? -1 : 0;
    if (done == 0)
        failed = resolve(self, pending->future,
                         lathe_py_finish(&pending->call, self->log, pending->raw));
    lathe_py_call_clear(&pending->call);
    return failed;
}

/* The next call that has ended, out of flight, or that has events; a new reference, or NULL. */
static pending_object *reap(loop_object *self, lathe_wait *what)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)self);
    lathe_call *call = lathe_loop_reap(self->loop, what);
    pending_object *pending = call ? lathe_call_tag(call) : NULL;
    if (pending && !(*what == LATHE_WAIT_DONE && take_out_locked(self, pending)))
        keep(pending);
    lathe_py_lock_end(&lock);
    return pending;
}

/* Treats what has ended until the time is over, one at least. *left: there may be more. */
static int treat_ended(loop_object *self, double end, bool *left)
{
    lathe_wait what;
    pending_object *pending;
    int failed = 0;
    *left = false;
    while (!failed && !*left && (pending = reap(self, &what))) {
        failed = what == LATHE_WAIT_DONE ? finish(self, pending)
                                         : lathe_py_call_events(&pending->call, self->log);
        drop(pending);
        *left = lathe_py_now() >= end;
    }
    return failed;
}

/* ---- Driving --------------------------------------------------------------------------------- */

static double due(loop_object *self)
{
    double seconds = self->loop ? lathe_loop_next(self->loop) : INFINITY;
    if (seconds <= 0)
        return 0;
    double at = lathe_py_now() + seconds;
    if (at >= self->armed)
        return nothing_due; /* whoever looks too early looks again */
    seconds = seconds < shortest ? shortest : seconds;
    self->armed = at;
    return seconds;
}

static void close_now(loop_object *self)
{
    lathe_loop *loop = self->loop;
    self->loop = NULL;
    lathe_loop_free(loop); /* ends all of them, in the order that costs the least */
    while (self->first)
        abandon(self, self->first);
}

/* `seconds` as for lathe_loop_step. */
static void step(loop_object *self, double seconds)
{
    self->busy = true;
    PyThreadState *thread = PyEval_SaveThread();
    lathe_loop_step(self->loop, seconds, self->budget);
    PyEval_RestoreThread(thread);
    self->busy = false;
}

/* One step and what ended by it; -1 with an exception. */
static int drive(loop_object *self, bool *left)
{
    double end = lathe_py_now() + self->budget;
    step(self, 0);
    self->busy = true;
    int failed = self->closing ? 0 : treat_ended(self, end, left);
    self->busy = false;
    if (self->closing)
        close_now(self);
    return failed;
}

/* Has the driver come back when it is time; it is told nothing when there is nothing to arm. */
static int schedule(loop_object *self, double seconds)
{
    if (seconds < 0)
        return 0;
    PyObject *number = PyFloat_FromDouble(seconds);
    PyObject *done =
        number ? PyObject_CallMethodObjArgs((PyObject *)self, self->methods[SCHEDULE], number, NULL)
               : NULL;
    Py_XDECREF(number);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* After an exception, such as KeyboardInterrupt, there may be more to do. */
static PyObject *schedule_failed(loop_object *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (schedule(self, 0))
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *drain(loop_object *self)
{
    bool left = false;
    if (self->loop && !self->busy && lathe_loop_is_ours(self->loop) && drive(self, &left))
        return schedule_failed(self);
    return schedule(self, left ? 0 : due(self)) ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(drain_doc, "drain($self, fired, /)\n--\n\n"
                        "Take one step, resolve the futures of what has ended, within the budget,\n"
                        "and ask to be called again.\n\n"
                        "Parameters\n----------\n"
                        "fired : bool\n"
                        "    Whether the timer that was armed has fired.\n");

static PyObject *loop_drain(PyObject *self, PyObject *fired)
{
    if (fired == Py_True)
        ((loop_object *)self)->armed = INFINITY;
    return drain((loop_object *)self);
}

PyDoc_STRVAR(ready_doc,
             "ready($self, /)\n--\n\n"
             "Drain, since the descriptor is readable; unless that is done soon anyway.");

static PyObject *loop_ready(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return ((loop_object *)self)->soon ? Py_NewRef(Py_None) : drain((loop_object *)self);
}

PyDoc_STRVAR(schedule_doc,
             "schedule($self, due, /)\n--\n\n"
             "Called for a drain to be made: at once when `due` is 0, by call_soon say, else\n"
             "after so many seconds, in place of what was asked for before. To be overridden.");
PyDoc_STRVAR(changed_doc,
             "changed($self, /)\n--\n\n"
             "Called in any thread when a wait has been given up, so that due() may have changed.\n"
             "To be overridden.");

static PyObject *loop_ignore(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(due_doc,
             "due($self, /)\n--\n\n"
             "When to drain, if the descriptor does not say so before.\n\n"
             "Returns\n-------\n"
             "float\n"
             "    0: soon. Above 0: seconds that a timer is to be armed for, in place of the one\n"
             "    before. Below 0: nothing is to be done.\n");

static PyObject *loop_due(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyFloat_FromDouble(due((loop_object *)self));
}

/* ---- Starting calls -------------------------------------------------------------------------- */

static int check_usable(const loop_object *self)
{
    if (!self->loop)
        PyErr_SetString(LATHE_EXCEPTION(self->state, ClientClosedError), "the client is closed");
    else if (!lathe_loop_is_ours(self->loop))
        PyErr_SetString(PyExc_RuntimeError,
                        "this event loop was inherited by a fork, and what it watches is the "
                        "parent's: use a new one in the child, asyncio.run()");
    return PyErr_Occurred() ? -1 : 0;
}

/* Puts the call in flight; alone there, it is sent at once. It is not ended here, or a coroutine
 * with one call after another would never let the event loop have its turn. */
static void launch(loop_object *self, pending_object *pending)
{
    bool alone = !self->first && !self->busy;
    put_in_flight(self, pending);
    lathe_loop_start(self->loop, pending->call.call, pending);
    if (alone)
        step(self, -1); /* what comes back the descriptor tells */
}

/* `arguments` are read. */
static PyObject *start(loop_object *self, PyObject *client, PyObject *future, bool raw,
                       lathe_py_arguments *arguments)
{
    lathe_client *handle = lathe_py_client_handle(self->state, client);
    pending_object *pending = handle && !check_usable(self) ? pending_new(self, future, raw) : NULL;
    if (!pending)
        return NULL;
    if (!lathe_py_call_new(&pending->call, self->state, handle, &arguments->request,
                           &arguments->options.core, self->log)) {
        launch(self, pending);
        return (PyObject *)pending;
    }
    drop(pending);
    return NULL;
}

PyDoc_STRVAR(start_doc,
             "start($self, client, verb, raw, future, values, /)\n--\n\n"
             "Start a call; alone in flight, it is sent at once. A drain is asked for when one is\n"
             "needed.\n\n"
             "Parameters\n----------\n"
             "client : Client\n"
             "    The loop's, or one that shares its connections.\n"
             "verb : int\n"
             "    0, 1, 2: generate, improve, templatize.\n"
             "raw : bool\n"
             "    Whether the result is a RawResponse.\n"
             "future : object\n"
             "    Told the result by ``set_result`` or ``set_exception``, unless ``done``.\n"
             "values : tuple\n"
             "    Every argument of the verb, in the order of its signature.\n\n"
             "Returns\n-------\n"
             "Pending\n");

enum { CLIENT, VERB, RAW, FUTURE, VALUES, START_COUNT };

/* Takes a tuple apart; its items are borrowed. How many there are, or -1 without an exception. */
static Py_ssize_t take_values(PyObject *tuple, PyObject **values)
{
    Py_ssize_t count = PyTuple_Check(tuple) ? PyTuple_Size(tuple) : -1;
    if (count > LATHE_ARGS_MAX)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        values[i] = PyTuple_GetItem(tuple, i);
    return count;
}

static PyObject *wrong_start(void)
{
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "start() takes a client, a verb, raw, a future and a "
                                         "tuple of the verb's arguments");
    return NULL;
}

static PyObject *loop_start(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    loop_object *self = (loop_object *)object;
    PyObject *values[LATHE_ARGS_MAX], *pending = NULL;
    long verb = count == START_COUNT ? PyLong_AsLong(args[VERB]) : -1;
    Py_ssize_t given = count == START_COUNT ? take_values(args[VALUES], values) : -1;
    if (verb < LATHE_GENERATE || verb > LATHE_TEMPLATIZE || given < 0)
        return wrong_start();
    lathe_py_arguments arguments;
    if (!lathe_py_arguments_given(&arguments, self->state, (lathe_verb)verb, values, given))
        pending = start(self, args[CLIENT], args[FUTURE], args[RAW] == Py_True, &arguments);
    lathe_py_arguments_clear(&arguments);
    if (pending && !self->soon && schedule(self, due(self))) {
        abandon(self, (pending_object *)pending);
        Py_CLEAR(pending);
    }
    return pending;
}

PyDoc_STRVAR(start_request_doc, "start_request($self, client, future, request, index, /)\n--\n\n"
                                "Start a call as map describes it. Ask due() afterwards.\n\n"
                                "Parameters\n----------\n"
                                "client, future\n"
                                "    As for start().\n"
                                "request : dict\n"
                                "    ``verb``, and that verb's arguments by name.\n"
                                "index : int\n"
                                "    The request's place among those of the map, for messages.\n\n"
                                "Returns\n-------\n"
                                "Pending\n");

static PyObject *loop_start_request(PyObject *object, PyObject *args)
{
    loop_object *self = (loop_object *)object;
    PyObject *client, *future, *request, *pending = NULL;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(args, "OOOn", &client, &future, &request, &index))
        return NULL;
    lathe_py_source held;
    lathe_py_source_init(&held);
    lathe_py_arguments arguments;
    if (!lathe_py_arguments_of(&arguments, &held, self->state, request, (size_t)index))
        pending = start(self, client, future, false, &arguments);
    lathe_py_arguments_clear(&arguments);
    lathe_py_source_clear(&held);
    return pending;
}

/* ---- The loop's life ------------------------------------------------------------------------- */

static int open_loop(loop_object *self, PyObject *client)
{
    lathe_client *handle = lathe_py_client_handle(self->state, client);
    if (!handle)
        return -1;
    lathe_error error;
    lathe_error_init(&error);
    if (lathe_loop_new(handle, &self->loop, &error))
        lathe_py_raise(self->state, &error);
    lathe_error_clear(&error);
    if (self->loop && lathe_loop_descriptor(self->loop) < 0)
        PyErr_SetString(PyExc_RuntimeError,
                        "this system has no descriptor that an event loop could watch (it has with "
                        "epoll): use Client in threads, asyncio.to_thread(client.generate, ...)");
    return PyErr_Occurred() ? -1 : 0;
}

static int fill(loop_object *self, PyObject *client)
{
    int failed;
    for (int i = 0; i < METHOD_COUNT; i++)
        if (!(self->methods[i] = PyUnicode_InternFromString(method_names[i])))
            return -1;
    self->log = lathe_py_log_open(self->state, &failed);
    return failed ? -1 : open_loop(self, client);
}

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const lathe_signature signature = {"Loop", 2, 2, {"client", "budget"}};
    PyObject *values[2];
    lathe_py_state *state = lathe_py_state_of(type);
    if (!state || lathe_py_args_tuple(&signature, args, kwargs, values))
        return NULL;
    double budget = PyFloat_AsDouble(values[1]);
    if (PyErr_Occurred())
        return NULL;
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    loop_object *self = (loop_object *)alloc(type, 0);
    if (!self)
        return NULL;
    self->state = state;
    self->armed = INFINITY;
    self->budget = budget;
    if (!fill(self, values[0]))
        return (PyObject *)self;
    Py_DECREF((PyObject *)self);
    return NULL;
}

static int loop_traverse(PyObject *object, visitproc visit, void *arg)
{
    const loop_object *self = (loop_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->log);
    for (pending_object *pending = self->first; pending; pending = pending->next)
        Py_VISIT(pending);
    return 0;
}

static int loop_clear(PyObject *object)
{
    loop_object *self = (loop_object *)object;
    close_now(self);
    Py_CLEAR(self->log);
    return 0;
}

static void loop_dealloc(PyObject *object)
{
    loop_object *self = (loop_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    loop_clear(object);
    for (int i = 0; i < METHOD_COUNT; i++)
        Py_CLEAR(self->methods[i]);
    freefunc release = PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Cancel what is in flight, without a word to its futures, and give up the descriptor,\n"
    "which nobody may watch any more. May be called twice, and from a drain.\n");

static PyObject *loop_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    loop_object *self = (loop_object *)object;
    self->closing = true;
    if (!self->busy)
        close_now(self);
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(fileno_doc,
             "fileno($self, /)\n--\n\nReturn what to watch for reading; -1 once closed.");

static PyObject *loop_fileno(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    const loop_object *self = (loop_object *)object;
    return PyLong_FromLong(self->loop ? lathe_loop_descriptor(self->loop) : -1);
}

static PyObject *loop_closed(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(!((loop_object *)self)->loop);
}

static PyObject *loop_stale(PyObject *self, void *closure)
{
    (void)closure;
    const lathe_loop *loop = ((loop_object *)self)->loop;
    return PyBool_FromLong(loop && !lathe_loop_is_ours(loop));
}

static PyObject *loop_idle(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(!((loop_object *)self)->first);
}

static PyObject *loop_soon(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((loop_object *)self)->soon);
}

static int loop_set_soon(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    ((loop_object *)self)->soon = value == Py_True;
    return 0;
}

/* ---- The type -------------------------------------------------------------------------------- */

PyDoc_STRVAR(loop_doc,
             "Loop(client, budget)\n--\n\n"
             "An engine that one event loop drives: its thread alone uses it.\n\n"
             "Parameters\n----------\n"
             "client : Client\n"
             "    Whose calls it takes, and those of clients that share its connections.\n"
             "budget : float\n"
             "    Seconds that a drain may take.\n");

static PyMethodDef loop_methods[] = {
    {"start", LATHE_FASTCALL(loop_start), METH_FASTCALL, start_doc},
    {"start_request", loop_start_request, METH_VARARGS, start_request_doc},
    {"drain", loop_drain, METH_O, drain_doc},
    {"ready", loop_ready, METH_NOARGS, ready_doc},
    {"schedule", loop_ignore, METH_O, schedule_doc},
    {"changed", loop_ignore, METH_NOARGS, changed_doc},
    {"due", loop_due, METH_NOARGS, due_doc},
    {"close", loop_close, METH_NOARGS, close_doc},
    {"fileno", loop_fileno, METH_NOARGS, fileno_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef loop_getset[] = {
    {"closed", loop_closed, NULL, "Whether close() was called.", NULL},
    {"stale", loop_stale, NULL, "Whether it was made before a fork, in the parent.", NULL},
    {"idle", loop_idle, NULL, "Whether no call is in flight.", NULL},
    {"soon", loop_soon, loop_set_soon, "Whether a drain is among what is run next.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, (void *)loop_doc}, {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc}, {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},     {Py_tp_methods, loop_methods},
    {Py_tp_getset, loop_getset},   {0, NULL},
};

PyType_Spec lathe_py_loop_spec = {
    .name = "promptlathe._core.Loop",
    .basicsize = sizeof(loop_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loop_slots,
};
