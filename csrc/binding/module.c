#include "module.h"

#include <string.h>

_Static_assert(sizeof(lathe_py_state) % sizeof(PyObject *) == 0, "the state holds references only");

enum { STATE_SIZE = sizeof(lathe_py_state) / sizeof(PyObject *) };

/* ---- What is kept ---------------------------------------------------------------------------- */

static const struct {
    const char *data;
    size_t size;
} names[] = {
#define ROW(name) {#name, sizeof #name - 1},
    LATHE_NAMES(ROW)
#undef ROW
};

PyObject *lathe_py_name(const lathe_py_state *state, const char *data, size_t size)
{
    for (size_t i = 0; i < LATHE_NAME_COUNT; i++)
        if (names[i].size == size && names[i].data[0] == data[0] &&
            memcmp(names[i].data, data, size) == 0)
            return state->names[i];
    return NULL;
}

PyObject *lathe_py_attribute(PyObject *object, const char *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *attribute = interned ? PyObject_GetAttr(object, interned) : NULL;
    Py_XDECREF(interned);
    return attribute;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    PyObject **objects = PyModule_GetState(module);
    for (size_t i = 0; objects && i < STATE_SIZE; i++)
        Py_VISIT(objects[i]);
    return 0;
}

static int clear(PyObject *module)
{
    PyObject **objects = PyModule_GetState(module);
    for (size_t i = 0; objects && i < STATE_SIZE; i++)
        Py_CLEAR(objects[i]);
    return 0;
}

static void free_module(void *module)
{
    clear(module);
}

/* ---- Making the module ----------------------------------------------------------------------- */

static int add_names(lathe_py_state *state)
{
    for (size_t i = 0; i < LATHE_NAME_COUNT; i++)
        if (!(state->names[i] = PyUnicode_InternFromString(names[i].data)))
            return -1;
    return 0;
}

/* A dict of two members, the second still None. */
static PyObject *make_model(PyObject *const *name, int key, int value, int open)
{
    return Py_BuildValue("{OOOO}", name[key], name[value], name[open], Py_None);
}

static int add_models(lathe_py_state *state)
{
    enum { ROLE = LATHE_NAME_role, CONTENT = LATHE_NAME_content, TEXT = LATHE_NAME_text };
    PyObject *const *name = state->names;
    if (!(state->user_model = make_model(name, ROLE, LATHE_NAME_user, CONTENT)) ||
        !(state->assistant_model = make_model(name, ROLE, LATHE_NAME_assistant, CONTENT)) ||
        !(state->block_model = make_model(name, LATHE_NAME_type, TEXT, TEXT)))
        return -1;
    return 0;
}

static int add_types(PyObject *module, lathe_py_state *state)
{
    static PyType_Spec *const specs[] = {
#define ROW(name, spec) &(spec),
        LATHE_TYPES(ROW)
#undef ROW
    };
    for (size_t i = 0; i < LATHE_TYPE_COUNT; i++) {
        state->types[i] = PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (!state->types[i] || PyModule_AddType(module, (PyTypeObject *)state->types[i]))
            return -1;
    }
    return 0;
}

static int exec_module(PyObject *module)
{
    lathe_py_state *state = PyModule_GetState(module);
    if (add_names(state) || add_models(state) || lathe_py_add_exceptions(module, state) ||
        add_types(module, state))
        return -1;
    if (PyModule_AddFunctions(module, lathe_py_rules) ||
        PyModule_AddFunctions(module, lathe_py_functions))
        return -1;
    return PyModule_AddStringConstant(module, "__version__", LATHE_VERSION);
}

PyDoc_STRVAR(module_doc, "Prompt tools over HTTP: the compiled part of promptlathe.");

/* Slots that the headers of Python 3.11 do not name. */
enum { SLOT_MULTIPLE_INTERPRETERS = 3, SLOT_GIL = 4 };
#define PER_INTERPRETER_GIL ((void *)2)
#define GIL_NOT_USED        ((void *)1)

static PyModuleDef_Slot slots_3_11[] = {
    {Py_mod_exec, exec_module},
    {0, NULL},
};

static PyModuleDef_Slot slots_3_12[] = {
    {Py_mod_exec, exec_module},
    {SLOT_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL},
#ifdef Py_GIL_DISABLED
    {SLOT_GIL, GIL_NOT_USED},
#endif
    {0, NULL},
};

#define DEFINITION(slots)                                                                          \
    {                                                                                              \
        PyModuleDef_HEAD_INIT, "promptlathe._core", module_doc, sizeof(lathe_py_state), NULL,      \
            slots, traverse, clear, free_module                                                    \
    }

/* Python 3.11 refuses a slot that it does not know; 3.12 refuses subinterpreters without it. */
static PyModuleDef definition_3_11 = DEFINITION(slots_3_11);
static PyModuleDef definition_3_12 = DEFINITION(slots_3_12);

static PyModuleDef *definition(void)
{
    return Py_Version >= 0x030C0000 ? &definition_3_12 : &definition_3_11;
}

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(definition());
}

lathe_py_state *lathe_py_state_of(PyTypeObject *type)
{
    for (; type; type = PyType_GetSlot(type, Py_tp_base)) {
        if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
            break;
        PyObject *module = PyType_GetModule(type);
        if (module && PyModule_GetDef(module) == definition())
            return PyModule_GetState(module);
        PyErr_Clear();
    }
    PyErr_SetString(PyExc_TypeError, "not a type of promptlathe");
    return NULL;
}
