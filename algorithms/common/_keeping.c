/* What a host has changed by steps of its own: what stood in the rows of parameters before, and what is exchanged.
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

/* What is known of a column; see local_steps.py. */
typedef struct {
    int32_t place; /* of what is kept of it, from 1; 0 for none */
    uint16_t count, last;
} Known;

typedef struct {
    char *now;    /* (d, width) */
    char *before; /* (capacity, width) */
    int64_t size; /* bytes of a row */
} Parameter;

typedef struct {
    Py_buffer buffers[2 * MOST];
    Parameter arrays[MOST];
    int number, held;
} Parameters;

typedef struct {
    int32_t *columns;
    int64_t capacity, used;
} List;

/* Rows are mostly of one number, or of few: a call for each would take longer than the copy. */
static inline void copy(char *to, const char *from, int64_t size) {
    if (size == sizeof(float))
        memcpy(to, from, sizeof(float));
    else
        memcpy(to, from, (size_t)size);
}

static inline void fetch_rows(const Parameters *parameters, int64_t column) {
    for (int p = 0; p < parameters->number; p++)
        fetch(parameters->arrays[p].now + column * parameters->arrays[p].size, parameters->arrays[p].size);
}

static inline void fetch_before(const Parameters *parameters, const Known *known) {
    for (int p = 0; known->count && p < parameters->number; p++)
        fetch(parameters->arrays[p].before + (known->place - 1) * parameters->arrays[p].size,
              parameters->arrays[p].size);
}

/* Count a step on each of the columns, and keep the rows of those that it is the first one on; list those on which it is
 * the one of number least. Columns that have no place yet get the next ones, from kept->used on. -1 where a list has no
 * room or a place is beyond it. */
static int keep(const int64_t *columns, int64_t count, Known *known, List *kept, List *due, int least,
                const Parameters *parameters) {
    for (int64_t u = 0; u < count; u++) {
        if (u + 2 * AHEAD < count) fetch(known + columns[u + 2 * AHEAD], sizeof *known);
        if (u + AHEAD < count && !known[columns[u + AHEAD]].count) fetch_rows(parameters, columns[u + AHEAD]);
        const int64_t column = columns[u];
        Known *of = known + column;
        if (++of->count == least) {
            if (due->used >= due->capacity) return -1;
            due->columns[due->used++] = (int32_t)column;
        }
        if (of->count != 1) continue;
        if (of->place <= 0) {
            if (kept->used >= kept->capacity) return -1;
            kept->columns[kept->used++] = (int32_t)column;
            of->place = (int32_t)kept->used;
        }
        if (of->place > kept->capacity) return -1;
        for (int p = 0; p < parameters->number; p++) {
            const Parameter *one = &parameters->arrays[p];
            copy(one->before + (of->place - 1) * one->size, one->now + column * one->size, one->size);
        }
    }
    return 0;
}

/* What the steps since their last exchange have added to the columns, moved (n, width); how many these are, and which
 * exchange that was. */
static void difference(const int64_t *columns, int64_t count, const Known *known, const Parameters *parameters,
                       float *moved, uint16_t *counts, uint16_t *last) {
    for (int64_t u = 0; u < count; u++) {
        if (u + 2 * AHEAD < count) {
            fetch(known + columns[u + 2 * AHEAD], sizeof *known);
            fetch_rows(parameters, columns[u + 2 * AHEAD]);
        }
        if (u + AHEAD < count) fetch_before(parameters, known + columns[u + AHEAD]);
        const Known *of = known + columns[u];
        counts[u] = of->count;
        last[u] = of->last;
        for (int p = 0; p < parameters->number; p++) {
            const Parameter *one = &parameters->arrays[p];
            const int64_t width = one->size / (int64_t)sizeof(float);
            if (of->count) {
                const float *restrict now = (const float *)(one->now + columns[u] * one->size);
                const float *restrict before = (const float *)(one->before + (of->place - 1) * one->size);
                for (int64_t f = 0; f < width; f++) moved[f] = now[f] - before[f];
            } else {
                memset(moved, 0, (size_t)one->size);
            }
            moved += width;
        }
    }
}

/* Move the columns by so much, (n, width), from where they were at their last exchange; that is now. */
static void move(const int64_t *columns, int64_t count, Known *known, const Parameters *parameters, const float *moved,
                 uint16_t now) {
    for (int64_t u = 0; u < count; u++) {
        if (u + 2 * AHEAD < count) {
            fetch(known + columns[u + 2 * AHEAD], sizeof *known);
            fetch_rows(parameters, columns[u + 2 * AHEAD]);
        }
        if (u + AHEAD < count) fetch_before(parameters, known + columns[u + AHEAD]);
        Known *of = known + columns[u];
        for (int p = 0; p < parameters->number; p++) {
            const Parameter *one = &parameters->arrays[p];
            const int64_t width = one->size / (int64_t)sizeof(float);
            float *to = (float *)(one->now + columns[u] * one->size);
            const float *from = of->count ? (const float *)(one->before + (of->place - 1) * one->size) : to;
            for (int64_t f = 0; f < width; f++) to[f] = from[f] + moved[f];
            moved += width;
        }
        of->count = 0;
        of->last = now;
    }
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

/* Whether every column on which steps were taken has a place, of which so many are used. */
static int check_places(const int64_t *columns, int64_t count, const Known *known, int64_t used) {
    for (int64_t u = 0; u < count; u++) {
        if (u + AHEAD < count) fetch(known + columns[u + AHEAD], sizeof *known);
        const Known *of = known + columns[u];
        if (of->count && (of->place < 1 || of->place > used)) {
            PyErr_Format(PyExc_ValueError, "place %lld of column %lld is not one of %lld", (long long)of->place,
                         (long long)columns[u], (long long)used);
            return -1;
        }
    }
    return 0;
}

/* Parameters from tuples of arrays of so many rows, and of where up to capacity rows of them are kept. -1 where they are
 * not these, with an error; those that are held are to be released even then. */
static int hold(Parameters *parameters, PyObject *now, PyObject *before, int64_t rows, int64_t capacity) {
    parameters->held = 0;
    parameters->number = (int)PyTuple_GET_SIZE(now);
    if (rows < 1 || PyTuple_GET_SIZE(now) > MOST || PyTuple_GET_SIZE(before) != PyTuple_GET_SIZE(now)) {
        PyErr_SetString(PyExc_ValueError, "there must be rows, and up to 8 parameters with their places");
        return -1;
    }
    for (int p = 0; p < parameters->number; p++) {
        Py_buffer *buffers = &parameters->buffers[2 * p];
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(now, p), &buffers[0], PyBUF_WRITABLE)) return -1;
        parameters->held++;
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(before, p), &buffers[1], PyBUF_WRITABLE)) return -1;
        parameters->held++;
        const int64_t size = buffers[0].len / rows / (int64_t)sizeof(float) * (int64_t)sizeof(float);
        parameters->arrays[p] = (Parameter){buffers[0].buf, buffers[1].buf, size};
        if (check_length(&buffers[0], rows, size, "parameter") || check_length(&buffers[1], capacity, size, "before"))
            return -1;
    }
    return 0;
}

static void release(Py_buffer *buffers, int number, Parameters *parameters) {
    while (number) PyBuffer_Release(&buffers[--number]);
    while (parameters->held) PyBuffer_Release(&parameters->buffers[--parameters->held]);
}

static int64_t width_of(const Parameters *parameters) {
    int64_t size = 0;
    for (int p = 0; p < parameters->number; p++) size += parameters->arrays[p].size;
    return size / (int64_t)sizeof(float);
}

/* The same, of columns of which moved (n, width) is what has been added to each, or is to be; where used rows are kept. */
static int hold_moved(Parameters *parameters, PyObject *now, PyObject *before, const Py_buffer *columns,
                      const Py_buffer *known, int64_t used, const Py_buffer *moved) {
    const int64_t count = columns->len / (int64_t)sizeof(int64_t), rows = known->len / (int64_t)sizeof(Known);
    return hold(parameters, now, before, rows, rows) || check_length(known, rows, sizeof(Known), "known") ||
           check_columns(columns->buf, count, rows) ||
           check_places(columns->buf, count, known->buf, used < rows ? used : rows) ||
           check_length(moved, count * width_of(parameters), sizeof(float), "moved");
}

static PyObject *py_keep(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[4]; /* columns, known, kept, due */
    PyObject *now, *before;
    long long used, came;
    int least;
    if (!PyArg_ParseTuple(args, "y*w*w*Lw*LiO!O!", &b[0], &b[1], &b[2], &used, &b[3], &came, &least, &PyTuple_Type, &now,
                          &PyTuple_Type, &before))
        return NULL;
    const int64_t count = b[0].len / (int64_t)sizeof(int64_t), rows = b[1].len / (int64_t)sizeof(Known);
    List kept = {b[2].buf, b[2].len / (int64_t)sizeof(int32_t), used};
    List due = {b[3].buf, b[3].len / (int64_t)sizeof(int32_t), came};
    Parameters parameters;
    int failed = hold(&parameters, now, before, rows, kept.capacity) ||
                 check_length(&b[1], rows, sizeof(Known), "known") || check_columns(b[0].buf, count, rows);
    if (!failed && (used < 0 || used > kept.capacity || came < 0 || came > due.capacity)) {
        PyErr_SetString(PyExc_ValueError, "lists must have what they have");
        failed = 1;
    }
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = keep(b[0].buf, count, b[1].buf, &kept, &due, least, &parameters);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_SetString(PyExc_ValueError, "there are too few places");
    }
    release(b, 4, &parameters);
    return failed ? NULL : Py_BuildValue("LL", (long long)kept.used, (long long)due.used);
}

static PyObject *py_moved(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[5]; /* columns, known, moved, counts, last */
    PyObject *now, *before;
    long long used;
    if (!PyArg_ParseTuple(args, "y*y*LO!O!w*w*w*", &b[0], &b[1], &used, &PyTuple_Type, &now, &PyTuple_Type, &before,
                          &b[2], &b[3], &b[4]))
        return NULL;
    const int64_t count = b[0].len / (int64_t)sizeof(int64_t);
    Parameters parameters;
    int failed = hold_moved(&parameters, now, before, &b[0], &b[1], used, &b[2]) ||
                 check_length(&b[3], count, sizeof(uint16_t), "counts") ||
                 check_length(&b[4], count, sizeof(uint16_t), "last");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        difference(b[0].buf, count, b[1].buf, &parameters, b[2].buf, b[3].buf, b[4].buf);
        Py_END_ALLOW_THREADS
    }
    release(b, 5, &parameters);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_move(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[3]; /* columns, known, moved */
    PyObject *now, *before;
    long long used;
    unsigned short number;
    if (!PyArg_ParseTuple(args, "y*w*LO!O!y*H", &b[0], &b[1], &used, &PyTuple_Type, &now, &PyTuple_Type, &before, &b[2],
                          &number))
        return NULL;
    const int64_t count = b[0].len / (int64_t)sizeof(int64_t);
    Parameters parameters;
    int failed = hold_moved(&parameters, now, before, &b[0], &b[1], used, &b[2]);
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        move(b[0].buf, count, b[1].buf, &parameters, b[2].buf, number);
        Py_END_ALLOW_THREADS
    }
    release(b, 3, &parameters);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"keep", py_keep, METH_VARARGS, "keep(columns, known, kept, used, due, came, least, parameters, before) -> used, came"},
    {"moved", py_moved, METH_VARARGS, "moved(columns, known, used, parameters, before, moved, counts, last)"},
    {"move", py_move, METH_VARARGS, "move(columns, known, used, parameters, before, moved, now)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_keeping", "What a host keeps before its own steps.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__keeping(void) { return PyModule_Create(&module); }
