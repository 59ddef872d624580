#include "raw.h"

#include <string.h>
#include <structmember.h>

#include "args.h"
#include "client_type.h"

/* ---- RawResponse ----------------------------------------------------------------------------- */

enum { FIELD_COUNT = 9, REQUIRED = 6 };

typedef struct response_object {
    PyObject_HEAD PyObject *fields[FIELD_COUNT];
} response_object;

static const lathe_signature response_signature = {"RawResponse",
                                                   FIELD_COUNT,
                                                   REQUIRED,
                                                   {"data", "status", "headers", "request_id",
                                                    "attempts", "elapsed", "answers", "notes",
                                                    "instructions"}};

static PyObject *response_make(PyTypeObject *type, PyObject *const *fields)
{
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    response_object *self = (response_object *)alloc(type, 0);
    for (int i = 0; self && i < FIELD_COUNT; i++)
        self->fields[i] = Py_NewRef(fields[i] ? fields[i] : Py_None);
    return (PyObject *)self;
}

static PyObject *response_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *fields[FIELD_COUNT];
    if (lathe_py_args_tuple(&response_signature, args, kwargs, fields))
        return NULL;
    return response_make(type, fields);
}

static PyObject *json_of(lathe_py_state *state, const char *json)
{
    return json ? lathe_py_json(state, json, strlen(json)) : Py_NewRef(Py_None);
}

PyObject *lathe_py_raw_response_new(lathe_py_state *state, PyObject *data,
                                    const lathe_response *response)
{
    PyObject *fields[FIELD_COUNT] = {
        data,
        PyLong_FromLong(response->status),
        lathe_py_headers(&response->headers),
        lathe_py_string(response->request_id),
        PyLong_FromLong(response->attempts),
        PyFloat_FromDouble(response->elapsed),
        json_of(state, response->answers),
        json_of(state, response->notes),
        lathe_py_string(response->instructions),
    };
    bool whole = true;
    for (int i = 0; i < FIELD_COUNT; i++)
        whole = whole && fields[i];
    PyTypeObject *type = (PyTypeObject *)LATHE_TYPE(state, RawResponse);
    PyObject *self = whole ? response_make(type, fields) : NULL;
    for (int i = 0; i < FIELD_COUNT; i++)
        Py_XDECREF(fields[i]);
    return self;
}

static int response_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (int i = 0; i < FIELD_COUNT; i++)
        Py_VISIT(((response_object *)self)->fields[i]);
    return 0;
}

static int response_clear(PyObject *self)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        Py_CLEAR(((response_object *)self)->fields[i]);
    return 0;
}

static void response_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    response_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Without the data and the headers: a repr is what ends up in logs. */
static PyObject *response_repr(PyObject *self)
{
    PyObject *const *fields = ((response_object *)self)->fields;
    return PyUnicode_FromFormat("<promptlathe.RawResponse status=%R request_id=%R attempts=%R>",
                                fields[1], fields[3], fields[4]);
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\nHow to make it again, for pickle.");

static PyObject *response_reduce(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *const *fields = ((response_object *)self)->fields;
    return Py_BuildValue("(O(OOOOOOOOO))", Py_TYPE(self), fields[0], fields[1], fields[2],
                         fields[3], fields[4], fields[5], fields[6], fields[7], fields[8]);
}

PyDoc_STRVAR(response_doc,
             "RawResponse(data, status, headers, request_id, attempts, elapsed, answers=None, "
             "notes=None, instructions=None)\n--\n\n"
             "An answer with what HTTP said around it.\n\n"
             "Attributes\n----------\n"
             "data : dict\n"
             "    The answer, as without ``with_raw_response``.\n"
             "status : int\n"
             "    The HTTP status.\n"
             "headers : dict of str to str\n"
             "    Names in lower case, repeats joined by ``, ``.\n"
             "request_id : str or None\n"
             "    The service's name for the request.\n"
             "attempts : int\n"
             "    How many times the request was tried.\n"
             "elapsed : float\n"
             "    Seconds from the call's start to its end.\n"
             "answers : list of dict or None\n"
             "    With a model: its answers as they came, the last one last. Status, headers and\n"
             "    request_id are those of the last; attempts are those of all.\n"
             "notes : list of dict or None\n"
             "    With a model: what was dropped, renamed or kept, each with ``code`` and\n"
             "    ``message``; spans also with ``name`` and ``text``.\n"
             "instructions : str or None\n"
             "    With a model: the version of the instructions that it was given.\n");

#define MEMBER(i, name, doc)                                                                       \
    {                                                                                              \
        name, T_OBJECT_EX,                                                                         \
            (Py_ssize_t)(offsetof(response_object, fields) + (i) * sizeof(PyObject *)), READONLY,  \
            doc                                                                                    \
    }

static PyMemberDef response_members[] = {
    MEMBER(0, "data", "The answer."),
    MEMBER(1, "status", "The HTTP status."),
    MEMBER(2, "headers", "Names in lower case, repeats joined by a comma."),
    MEMBER(3, "request_id", "The service's name for the request, or None."),
    MEMBER(4, "attempts", "How many times the request was tried."),
    MEMBER(5, "elapsed", "Seconds from the call's start to its end."),
    MEMBER(6, "answers", "The model's answers as they came, or None."),
    MEMBER(7, "notes", "What was dropped, renamed or kept, or None."),
    MEMBER(8, "instructions", "The version of the model's instructions, or None."),
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(generic_doc, "__class_getitem__($type, item, /)\n--\n\nFor annotations.");

static PyMethodDef response_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, generic_doc},
    {"__reduce__", response_reduce, METH_NOARGS, reduce_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot response_slots[] = {
    {Py_tp_doc, (void *)response_doc},
    {Py_tp_new, response_new},
    {Py_tp_dealloc, response_dealloc},
    {Py_tp_traverse, response_traverse},
    {Py_tp_clear, response_clear},
    {Py_tp_repr, response_repr},
    {Py_tp_members, response_members},
    {Py_tp_methods, response_methods},
    {0, NULL},
};

PyType_Spec lathe_py_raw_response_spec = {
    .name = "promptlathe.RawResponse",
    .basicsize = sizeof(response_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = response_slots,
};

/* ---- ClientWithRawResponse ------------------------------------------------------------------- */

typedef struct calls_object {
    PyObject_HEAD PyObject *client;
} calls_object;

PyObject *lathe_py_raw_calls_new(lathe_py_state *state, PyObject *client)
{
    PyTypeObject *type = (PyTypeObject *)LATHE_TYPE(state, ClientWithRawResponse);
    allocfunc alloc = PyType_GetSlot(type, Py_tp_alloc);
    calls_object *self = (calls_object *)alloc(type, 0);
    if (self)
        self->client = Py_NewRef(client);
    return (PyObject *)self;
}

static int calls_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((calls_object *)self)->client);
    return 0;
}

static int calls_clear(PyObject *self)
{
    Py_CLEAR(((calls_object *)self)->client);
    return 0;
}

static void calls_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    calls_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(raw_generate_doc,
             GENERATE_SIGNATURE("$self") "As Client.generate, but returns a RawResponse.");
PyDoc_STRVAR(raw_improve_doc,
             IMPROVE_SIGNATURE("$self") "As Client.improve, but returns a RawResponse.");
PyDoc_STRVAR(raw_templatize_doc,
             TEMPLATIZE_SIGNATURE("$self") "As Client.templatize, but returns a RawResponse.");

#define VERB(name, verb)                                                                           \
    static PyObject *raw_##name(PyObject *self, PyObject *const *args, Py_ssize_t count,           \
                                PyObject *kwnames)                                                 \
    {                                                                                              \
        PyObject *client = ((calls_object *)self)->client;                                         \
        return lathe_py_client_call(client, verb, true, args, count, kwnames);                     \
    }

VERB(generate, LATHE_GENERATE)
VERB(improve, LATHE_IMPROVE)
VERB(templatize, LATHE_TEMPLATIZE)

#define METHOD(name)                                                                               \
    {                                                                                              \
#name, LATHE_FASTCALL(raw_##name), METH_FASTCALL | METH_KEYWORDS, raw_##name##_doc         \
    }

static PyMethodDef calls_methods[] = {
    METHOD(generate),
    METHOD(improve),
    METHOD(templatize),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot calls_slots[] = {
    {Py_tp_doc, "The calls of a client, with status and headers; from Client.with_raw_response."},
    {Py_tp_dealloc, calls_dealloc},
    {Py_tp_traverse, calls_traverse},
    {Py_tp_clear, calls_clear},
    {Py_tp_methods, calls_methods},
    {0, NULL},
};

PyType_Spec lathe_py_raw_calls_spec = {
    .name = "promptlathe.ClientWithRawResponse",
    .basicsize = sizeof(calls_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = calls_slots,
};
