/* The inner loop of LDA: the words of documents, divided among the topics.
 *
 * numpy needs arrays of (non-zeros) x (topics) and a dozen passes over them for what is one pass here, in the cache. The
 * module is optional: belonging.py has the same arithmetic in numpy for where no compiler was at hand. Arrays come
 * through the buffer protocol, in C order; every index is checked before it is used.
 */
#include "../common/_arrays.h"

#include <math.h>

#define TINY 1e-30f

typedef struct {
    const float *values;    /* (nnz,) counts */
    const int32_t *columns; /* (nnz,) numbers of words */
    const int64_t *starts;  /* (n + 1,) */
    int64_t rows, nonzeros, words, topics;
} Counts;

/* belonging (n, K) = the words of each document that belong to each topic: a word in proportion to theta_k beta_k, or,
 * where sizes (n,) is given, to what is left of size theta_k without one such word, times beta_k. expected (V, K),
 * where given, is added the same by words. part (K,) is scratch. Returns the log likelihood of all words. */
VECTORISED static double divide(const Counts *x, const float *mixtures, const float *words, const float *sizes,
                                float *restrict belonging, float *restrict expected, float *restrict part) {
    const int64_t topics = x->topics;
    double likelihood = 0;
    for (int64_t row = 0; row < x->rows; row++) {
        const float *restrict theta = mixtures + row * topics;
        float *restrict mine = belonging + row * topics;
        for (int64_t k = 0; k < topics; k++) mine[k] = 0;
        for (int64_t i = x->starts[row]; i < x->starts[row + 1]; i++) {
            const float *restrict word = words + x->columns[i] * topics;
            if (i + 1 < x->nonzeros) { /* the topics of the word that comes next, while this one is worked on */
                const int64_t next = x->columns[i + 1] * topics;
                fetch(words + next, topics * sizeof(float));
                if (expected) fetch(expected + next, topics * sizeof(float));
            }
            float total = 0;
            for (int64_t k = 0; k < topics; k++) {
                part[k] = theta[k] * word[k];
                total += part[k];
            }
            if (!(total > TINY)) total = TINY;
            likelihood += (double)x->values[i] * log((double)total);
            if (sizes) {
                const float size = sizes[row], one = 1 / total;
                total = 0;
                for (int64_t k = 0; k < topics; k++) {
                    const float left = size * theta[k] - part[k] * one;
                    part[k] = (left > 0 ? left : 0) * word[k];
                    total += part[k];
                }
                if (!(total > TINY)) total = TINY;
            }
            const float share = x->values[i] / total;
            if (expected) {
                float *restrict of_word = expected + x->columns[i] * topics;
                for (int64_t k = 0; k < topics; k++) {
                    const float many = share * part[k];
                    mine[k] += many;
                    of_word[k] += many;
                }
            } else {
                for (int64_t k = 0; k < topics; k++) mine[k] += share * part[k];
            }
        }
    }
    return likelihood;
}

/* Fill counts from buffers and check that every index and every start is in bounds. */
static int read_counts(Counts *x, const Py_buffer *values, const Py_buffer *columns, const Py_buffer *starts,
                       const Py_buffer *words, long long topics) {
    x->values = values->buf;
    x->columns = columns->buf;
    x->starts = starts->buf;
    x->rows = starts->len / (int64_t)sizeof(int64_t) - 1;
    x->nonzeros = values->len / (int64_t)sizeof(float);
    x->topics = topics;
    if (topics < 1 || x->rows < 0) {
        PyErr_SetString(PyExc_ValueError, "there must be a topic, and starts must not be empty");
        return -1;
    }
    x->words = words->len / (int64_t)sizeof(float) / topics;
    if (check_length(columns, x->nonzeros, sizeof(int32_t), "columns") ||
        check_length(words, x->words * topics, sizeof(float), "words"))
        return -1;
    int sound = x->starts[0] == 0 && x->starts[x->rows] == x->nonzeros;
    for (int64_t row = 0; row < x->rows; row++) sound &= x->starts[row] <= x->starts[row + 1];
    if (!sound) {
        PyErr_SetString(PyExc_ValueError, "starts must rise from 0 to the number of values");
        return -1;
    }
    for (int64_t i = 0; i < x->nonzeros; i++) sound &= x->columns[i] >= 0 && x->columns[i] < x->words;
    if (!sound) {
        PyErr_Format(PyExc_ValueError, "columns must be from 0 to %lld", (long long)x->words - 1);
        return -1;
    }
    return 0;
}

static PyObject *py_divide(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[8]; /* values, columns, starts, mixtures, words, sizes, belonging, expected */
    long long topics;
    Counts x;
    double likelihood = 0;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*w*w*L", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &b[7], &topics))
        return NULL;
    int failed = read_counts(&x, &b[0], &b[1], &b[2], &b[4], topics) ||
                 check_length(&b[3], x.rows * topics, sizeof(float), "mixtures") ||
                 (b[5].len && check_length(&b[5], x.rows, sizeof(float), "sizes")) ||
                 check_length(&b[6], x.rows * topics, sizeof(float), "belonging") ||
                 (b[7].len && check_length(&b[7], x.words * topics, sizeof(float), "expected"));
    float *part = failed ? NULL : PyMem_RawMalloc((size_t)topics * sizeof(float));
    if (!failed && !part) {
        PyErr_NoMemory();
        failed = 1;
    }
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        likelihood =
            divide(&x, b[3].buf, b[4].buf, b[5].len ? b[5].buf : NULL, b[6].buf, b[7].len ? b[7].buf : NULL, part);
        Py_END_ALLOW_THREADS
    }
    PyMem_RawFree(part);
    for (int i = 0; i < 8; i++) PyBuffer_Release(&b[i]);
    return failed ? NULL : PyFloat_FromDouble(likelihood);
}

static PyMethodDef methods[] = {
    {"divide", py_divide, METH_VARARGS,
     "divide(values, columns, starts, mixtures, words, sizes, belonging, expected, topics); sizes and expected may be "
     "empty"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "The inner loop of LDA.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
