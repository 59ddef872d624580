#include "value_python.h"

#include <stdint.h>
#include <string.h>

/* ---- Source ---------------------------------------------------------------------------------- */

void lathe_py_source_init(lathe_py_source *source)
{
    *source = (lathe_py_source){0};
}

void lathe_py_source_clear(lathe_py_source *source)
{
    while (source->count)
        Py_XDECREF(source->held[--source->count]);
    PyMem_Free(source->held);
#ifdef Py_GIL_DISABLED
    PyMem_Free(source->views);
#endif
    *source = (lathe_py_source){0};
}

static lathe_code reserve(lathe_py_source *source, size_t more)
{
    if (more <= source->capacity - source->count)
        return LATHE_OK;
    size_t capacity = source->capacity ? source->capacity * 2 : 32;
    if (capacity < source->count + more)
        capacity = source->count + more;
    if (capacity > PY_SSIZE_T_MAX / sizeof *source->held)
        return LATHE_MEMORY;
    PyObject **held = PyMem_Realloc(source->held, capacity * sizeof *held);
    if (!held)
        return LATHE_MEMORY;
    source->held = held;
    source->capacity = capacity;
    return LATHE_OK;
}

lathe_code lathe_py_source_hold(lathe_py_source *source, PyObject *object)
{
    lathe_code code = object ? reserve(source, 1) : LATHE_HOST;
    if (code)
        Py_XDECREF(object);
    else
        source->held[source->count++] = object;
    return code;
}

static lathe_kind source_kind(void *self, const void *value)
{
    (void)self;
    PyObject *object = (PyObject *)value;
    const PyTypeObject *type = Py_TYPE(object);
    /* Most values are of one of these: the checks for subclasses are calls. */
    if (type == &PyUnicode_Type)
        return LATHE_KIND_STRING;
    if (type == &PyDict_Type)
        return LATHE_KIND_OBJECT;
    if (type == &PyList_Type)
        return LATHE_KIND_LIST;
    if (PyUnicode_Check(object))
        return LATHE_KIND_STRING;
    if (PyDict_Check(object))
        return LATHE_KIND_OBJECT;
    if (PyList_Check(object) || PyTuple_Check(object))
        return LATHE_KIND_LIST;
    if (object == Py_None)
        return LATHE_KIND_NULL;
    if (PyBool_Check(object))
        return LATHE_KIND_BOOLEAN;
    if (PyLong_Check(object))
        return LATHE_KIND_INTEGER;
    return PyFloat_Check(object) ? LATHE_KIND_REAL : LATHE_KIND_OTHER;
}

static lathe_code source_text(void *self, const void *string, lathe_text *text)
{
    (void)self;
    Py_ssize_t size;
    text->data = PyUnicode_AsUTF8AndSize((PyObject *)string, &size);
    text->size = text->data ? (size_t)size : 0;
    if (text->data)
        return LATHE_OK;
    lathe_code code = PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) ? LATHE_NOT_UNICODE
                      : PyErr_ExceptionMatches(PyExc_MemoryError)      ? LATHE_MEMORY
                                                                       : LATHE_HOST;
    if (code != LATHE_HOST)
        PyErr_Clear();
    return code;
}

#ifdef Py_GIL_DISABLED
/* Where a walk of C code can be disturbed, all items are taken hold of at once, when the length is
 * asked for. */

static bool reserve_view(lathe_py_source *source)
{
    if (source->view_count < source->view_capacity)
        return true;
    size_t capacity = source->view_capacity ? source->view_capacity * 2 : 8;
    lathe_py_view *views = PyMem_Realloc(source->views, capacity * sizeof *views);
    if (views) {
        source->views = views;
        source->view_capacity = capacity;
    }
    return views != NULL;
}

/* Without memory for the items they are read one by one, and that fails then. */
static size_t list_length(lathe_py_source *source, PyObject *list)
{
    PyCriticalSection lock;
    PyCriticalSection_Begin(&lock, list);
    size_t count = (size_t)PyList_Size(list);
    if (!reserve(source, count) && reserve_view(source)) {
        source->views[source->view_count++] = (lathe_py_view){list, source->count, count};
        for (size_t i = 0; i < count; i++)
            source->held[source->count++] = Py_NewRef(PyList_GetItem(list, (Py_ssize_t)i));
    }
    PyCriticalSection_End(&lock);
    return count;
}

/* A list that is read again is the innermost: those inside it are done. */
static const lathe_py_view *find_view(lathe_py_source *source, const PyObject *list)
{
    for (size_t i = source->view_count; i-- > 0;)
        if (source->views[i].list == list) {
            source->view_count = i + 1;
            return &source->views[i];
        }
    return NULL;
}

/* Borrowed, or NULL without an exception when the list has become shorter. */
static lathe_code list_item(lathe_py_source *source, PyObject *list, size_t index,
                            const void **item)
{
    const lathe_py_view *view = find_view(source, list);
    if (view) {
        *item = index < view->count ? source->held[view->first + index] : NULL;
        return LATHE_OK;
    }
    PyObject *found = PyList_GetItemRef(list, (Py_ssize_t)index);
    if (!found)
        PyErr_Clear();
    *item = found;
    return found ? lathe_py_source_hold(source, found) : LATHE_OK;
}
#else
static size_t list_length(lathe_py_source *source, PyObject *list)
{
    (void)source;
    return (size_t)PyList_Size(list);
}

static lathe_code list_item(lathe_py_source *source, PyObject *list, size_t index,
                            const void **item)
{
    bool there = (Py_ssize_t)index < PyList_Size(list);
    *item = there ? PyList_GetItem(list, (Py_ssize_t)index) : NULL;
    return there ? lathe_py_source_hold(source, Py_NewRef((PyObject *)*item)) : LATHE_OK;
}
#endif

static size_t source_length(void *self, const void *list)
{
    PyObject *object = (PyObject *)list;
    return PyList_Check(object) ? list_length(self, object) : (size_t)PyTuple_Size(object);
}

static lathe_code source_item(void *self, const void *list, size_t index, const void **item)
{
    lathe_py_source *source = self;
    PyObject *object = (PyObject *)list;
    *item = NULL;
    if (PyList_Check(object))
        return list_item(source, object, index, item);
    if ((Py_ssize_t)index >= PyTuple_Size(object))
        return LATHE_OK;
    *item = PyTuple_GetItem(object, (Py_ssize_t)index);
    return lathe_py_source_hold(source, Py_NewRef((PyObject *)*item));
}

/* Takes hold of all members at once, keys and values in turn and NULL at the end: whatever changes
 * the dict afterwards cannot disturb the walk. PyDict_Copy would run a subclass's methods. */
static lathe_code hold_members(lathe_py_source *source, PyObject *dict)
{
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, dict);
    lathe_code code = reserve(source, 2 * (size_t)PyDict_Size(dict) + 1);
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (!code && PyDict_Next(dict, &position, &key, &value)) {
        source->held[source->count++] = Py_NewRef(key);
        source->held[source->count++] = Py_NewRef(value);
    }
    lathe_py_lock_end(&lock);
    if (!code)
        source->held[source->count++] = NULL;
    return code;
}

/* The cursor's position is the index among what is held, plus one. */
static lathe_code source_member(void *self, const void *object, lathe_cursor *cursor,
                                const void **key, const void **value)
{
    lathe_py_source *source = self;
    if (!cursor->position) {
        cursor->position = source->count + 1;
        lathe_code code = hold_members(source, (PyObject *)object);
        if (code)
            return code;
    }
    *key = source->held[cursor->position - 1];
    if (!*key)
        return LATHE_OK;
    *value = source->held[cursor->position];
    cursor->position += 2;
    return LATHE_OK;
}

/* The first of the names that is the key's and has no value yet, or `count`. */
static size_t find_name(PyObject *key, const char *const *names, size_t count, const void **values)
{
    if (source_kind(NULL, key) != LATHE_KIND_STRING)
        return count;
    for (size_t i = 0; i < count; i++)
        if (!values[i] && PyUnicode_CompareWithASCIIString(key, names[i]) == 0)
            return i;
    return count;
}

/* Holds the values alone: the keys are not handed out. */
static lathe_code source_find(void *self, const void *object, const char *const *names,
                              size_t count, const void **values, bool *others)
{
    lathe_py_source *source = self;
    lathe_code code = reserve(source, count);
    if (code)
        return code;
    lathe_py_lock lock;
    lathe_py_lock_begin(&lock, (PyObject *)object);
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next((PyObject *)object, &position, &key, &value)) {
        size_t name = find_name(key, names, count, values);
        if (name < count)
            values[name] = source->held[source->count++] = Py_NewRef(value);
        else
            *others = true;
    }
    lathe_py_lock_end(&lock);
    return LATHE_OK;
}

static const lathe_source_table source_table = {
    .kind = source_kind,
    .text = source_text,
    .length = source_length,
    .item = source_item,
    .member = source_member,
    .find = source_find,
};

lathe_source lathe_py_source_of(lathe_py_source *source)
{
    return (lathe_source){&source_table, source};
}

/* ---- Sink ------------------------------------------------------------------------------------ */

void lathe_py_sink_init(lathe_py_sink *sink, lathe_py_state *state)
{
    *sink = (lathe_py_sink){.state = state};
}

void lathe_py_sink_clear(lathe_py_sink *sink)
{
    while (sink->depth)
        Py_XDECREF(sink->frames[--sink->depth].key);
    PyMem_Free(sink->frames);
    Py_XDECREF(sink->root);
    lathe_py_sink_init(sink, sink->state);
}

PyObject *lathe_py_sink_take(lathe_py_sink *sink)
{
    PyObject *root = sink->depth ? NULL : Py_XNewRef(sink->root);
    lathe_py_sink_clear(sink);
    if (!root)
        PyErr_SetString(PyExc_SystemError, "the core did not build a whole value");
    return root;
}

/* Puts a value in its place and gives up the reference to it. */
static lathe_code put(lathe_py_sink *sink, PyObject *value)
{
    if (!value)
        return LATHE_HOST;
    int failed = 0;
    if (!sink->depth) {
        Py_XDECREF(sink->root);
        sink->root = value;
        return LATHE_OK;
    }
    lathe_py_frame *top = &sink->frames[sink->depth - 1];
    if (top->key) {
        failed = PyDict_SetItem(top->container, top->key, value);
        Py_CLEAR(top->key);
    } else {
        failed = PyList_Append(top->container, value);
    }
    Py_DECREF(value);
    return failed ? LATHE_HOST : LATHE_OK;
}

static lathe_code grow_frames(lathe_py_sink *sink)
{
    if (sink->depth < sink->capacity)
        return LATHE_OK;
    if (sink->depth >= LATHE_PY_DEPTH) {
        PyErr_SetString(PyExc_RecursionError, "a value is nested too deeply");
        return LATHE_HOST;
    }
    size_t capacity = sink->capacity ? sink->capacity * 2 : 16;
    lathe_py_frame *frames = PyMem_Realloc(sink->frames, capacity * sizeof *frames);
    if (!frames)
        return LATHE_MEMORY;
    sink->frames = frames;
    sink->capacity = capacity;
    return LATHE_OK;
}

static lathe_code begin(lathe_py_sink *sink, PyObject *container)
{
    lathe_code code = container ? grow_frames(sink) : LATHE_HOST;
    if (code) {
        Py_XDECREF(container);
        return code;
    }
    code = put(sink, container);
    if (!code)
        sink->frames[sink->depth++] = (lathe_py_frame){.container = container};
    return code;
}

static lathe_code sink_null(void *self)
{
    return put(self, Py_NewRef(Py_None));
}

static lathe_code sink_boolean(void *self, bool value)
{
    return put(self, PyBool_FromLong(value));
}

static lathe_code sink_integer(void *self, int64_t value)
{
    return put(self, PyLong_FromLongLong(value));
}

static lathe_code sink_real(void *self, double value)
{
    return put(self, PyFloat_FromDouble(value));
}

/* One of LATHE_NAMES if it is short enough to be worth the search, or a new one. */
static PyObject *make_string(const lathe_py_sink *sink, const char *data, size_t size, size_t most)
{
    PyObject *name = size <= most ? lathe_py_name(sink->state, data, size) : NULL;
    return name ? Py_NewRef(name) : PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, NULL);
}

/* Each block says that its type is text. */
static lathe_code sink_string(void *self, const char *data, size_t size)
{
    return put(self, make_string(self, data, size, strlen("text")));
}

static lathe_code sink_begin_list(void *self)
{
    return begin(self, PyList_New(0));
}

static lathe_code sink_begin_object(void *self)
{
    return begin(self, PyDict_New());
}

static lathe_code sink_key(void *self, const char *data, size_t size)
{
    lathe_py_sink *sink = self;
    PyObject *key = make_string(sink, data, size, SIZE_MAX);
    if (!key)
        return LATHE_HOST;
    Py_XDECREF(sink->frames[sink->depth - 1].key);
    sink->frames[sink->depth - 1].key = key;
    return LATHE_OK;
}

static lathe_code sink_end(void *self)
{
    lathe_py_sink *sink = self;
    Py_CLEAR(sink->frames[--sink->depth].key);
    return LATHE_OK;
}

/* A string or number of a subclass becomes an exact one, by its value and none of its methods. */
static lathe_code sink_pass(void *self, const void *value)
{
    PyObject *object = (PyObject *)value;
    if (PyUnicode_Check(object))
        return put(self, PyUnicode_FromObject(object));
    if (PyFloat_Check(object) && !PyFloat_CheckExact(object))
        return put(self, PyFloat_FromDouble(PyFloat_AsDouble(object)));
    if (PyLong_Check(object) && !PyBool_Check(object))
        return put(self, PyNumber_Index(object));
    return put(self, Py_NewRef(object));
}

/* A copy takes a dict's table over as a whole. Gives up the reference to the value. */
static PyObject *copy_with(PyObject *model, PyObject *key, PyObject *value)
{
    PyObject *copy = value ? PyDict_Copy(model) : NULL;
    if (copy && PyDict_SetItem(copy, key, value))
        Py_CLEAR(copy);
    Py_XDECREF(value);
    return copy;
}

/* Most roles are given as the very string that the model has. */
static PyObject *make_message(const lathe_py_state *state, bool assistant, PyObject *given)
{
    PyObject *model = assistant ? state->assistant_model : state->user_model;
    PyObject *role = state->names[assistant ? LATHE_NAME_assistant : LATHE_NAME_user];
    if (!given || given == role)
        return PyDict_Copy(model);
    return copy_with(model, state->names[LATHE_NAME_role], PyUnicode_FromObject(given));
}

static lathe_code sink_begin_message(void *self, bool assistant, const void *given)
{
    lathe_py_sink *sink = self;
    lathe_code code = begin(sink, make_message(sink->state, assistant, (PyObject *)given));
    if (code)
        return code;
    sink->frames[sink->depth - 1].key = Py_NewRef(sink->state->names[LATHE_NAME_content]);
    return begin(sink, PyList_New(0));
}

static lathe_code sink_text_block(void *self, const char *data, size_t size, const void *given)
{
    const lathe_py_state *state = ((lathe_py_sink *)self)->state;
    PyObject *text = given ? PyUnicode_FromObject((PyObject *)given)
                           : PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, NULL);
    return put(self, copy_with(state->block_model, state->names[LATHE_NAME_text], text));
}

static const lathe_sink_table sink_table = {
    .null = sink_null,
    .boolean = sink_boolean,
    .integer = sink_integer,
    .real = sink_real,
    .string = sink_string,
    .begin_list = sink_begin_list,
    .begin_object = sink_begin_object,
    .key = sink_key,
    .end = sink_end,
    .pass = sink_pass,
    .host = &source_table,
    .begin_message = sink_begin_message,
    .text_block = sink_text_block,
};

lathe_sink lathe_py_sink_of(lathe_py_sink *sink)
{
    return (lathe_sink){&sink_table, sink};
}
