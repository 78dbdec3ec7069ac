/* Before a step of a host by itself: what stands in the rows of parameters that it is going to change is kept.
 *
 * The rows lie anywhere in arrays of hundreds of megabytes, so the time goes by in waiting for memory: here each is asked
 * for a while before it is needed, and all that is to be done with it is done at once. The module is optional:
 * local_steps.py has the same in numpy for where no compiler was at hand. Arrays come through the buffer protocol, in C
 * order; every index is checked before it is used.
 */
#include "_arrays.h"

#include <string.h>

#define AHEAD 16 /* columns between asking for memory and using it */
#define MOST 8   /* arrays of parameters */

typedef struct {
    const char *from; /* (d, width) */
    char *to;         /* (capacity, width) */
    int64_t size;     /* bytes of a row */
} Parameter;

/* Count a step on each of the columns, and keep the rows of those that it is the first one on. Columns that have no place
 * yet get the next ones, from used on. Returns how many places are used then; -1 where a place is beyond the last one. */
static int64_t keep(const int64_t *columns, int64_t count, uint16_t *counts, int32_t *places, int32_t *kept,
                    int64_t capacity, int64_t used, const Parameter *parameters, int number) {
    for (int64_t u = 0; u < count; u++) {
        if (u + AHEAD < count) {
            const int64_t next = columns[u + AHEAD];
            fetch(counts + next, sizeof *counts);
            fetch(places + next, sizeof *places);
            for (int p = 0; p < number; p++)
                fetch(parameters[p].from + next * parameters[p].size, parameters[p].size);
        }
        const int64_t column = columns[u];
        if (counts[column]++) continue;
        int64_t place = (int64_t)places[column] - 1;
        if (place < 0) {
            place = used++;
            if (place >= capacity) return -1;
            kept[place] = (int32_t)column;
            places[column] = (int32_t)place + 1;
        }
        if (place >= capacity) return -1;
        for (int p = 0; p < number; p++) {
            const int64_t size = parameters[p].size;
            char *to = parameters[p].to + place * size;
            const char *from = parameters[p].from + column * size;
            if (size == sizeof(float))
                memcpy(to, from, sizeof(float));
            else
                memcpy(to, from, (size_t)size);
        }
    }
    return used;
}

/* Whether every column is one of (d,). */
static int check_columns(const int64_t *columns, int64_t count, int64_t limit) {
    for (int64_t u = 0; u < count; u++)
        if (columns[u] < 0 || columns[u] >= limit) {
            PyErr_Format(PyExc_ValueError, "columns: index %lld is not below %lld", (long long)columns[u],
                         (long long)limit);
            return -1;
        }
    return 0;
}

static PyObject *py_keep(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[4 + 2 * MOST]; /* columns, counts, places, kept, then arrays of parameters and where they are kept */
    PyObject *from, *to;
    long long used;
    if (!PyArg_ParseTuple(args, "y*w*w*w*LO!O!", &b[0], &b[1], &b[2], &b[3], &used, &PyTuple_Type, &from, &PyTuple_Type,
                          &to))
        return NULL;
    int held = 4;
    const int64_t count = b[0].len / (int64_t)sizeof(int64_t), rows = b[1].len / (int64_t)sizeof(uint16_t);
    const int64_t capacity = b[3].len / (int64_t)sizeof(int32_t);
    const Py_ssize_t number = PyTuple_GET_SIZE(from);
    Parameter parameters[MOST];
    int failed = rows < 1 || used < 0 || used > capacity || number > MOST || PyTuple_GET_SIZE(to) != number;
    if (failed) PyErr_SetString(PyExc_ValueError, "there must be rows, and up to 8 parameters with their places");
    failed = failed || check_length(&b[2], rows, sizeof(int32_t), "places") || check_columns(b[0].buf, count, rows);
    for (Py_ssize_t p = 0; !failed && p < number; p++) {
        failed = PyObject_GetBuffer(PyTuple_GET_ITEM(from, p), &b[held], PyBUF_SIMPLE);
        if (failed) break;
        held++;
        failed = PyObject_GetBuffer(PyTuple_GET_ITEM(to, p), &b[held], PyBUF_WRITABLE);
        if (failed) break;
        held++;
        const int64_t size = b[held - 2].len / rows;
        parameters[p] = (Parameter){b[held - 2].buf, b[held - 1].buf, size};
        failed = check_length(&b[held - 2], rows, size, "parameter") ||
                 check_length(&b[held - 1], capacity, size, "before");
    }
    int64_t end = 0;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        end = keep(b[0].buf, count, b[1].buf, b[2].buf, b[3].buf, capacity, used, parameters, (int)number);
        Py_END_ALLOW_THREADS
        failed = end < 0;
        if (failed) PyErr_SetString(PyExc_ValueError, "places: there are too few");
    }
    while (held) PyBuffer_Release(&b[--held]);
    return failed ? NULL : PyLong_FromLongLong(end);
}

static PyMethodDef methods[] = {
    {"keep", py_keep, METH_VARARGS,
     "keep(columns, counts, places, kept, used, parameters, before) -> places that are used"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_keeping", "What a host keeps before its own steps.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__keeping(void) { return PyModule_Create(&module); }
