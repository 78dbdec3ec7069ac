/* The inner loops of factorization machines over the non-zeros of a batch, and Adam on the rows that they touch.
 *
 * numpy needs a dozen passes over arrays of (columns that occur) x (factors) for what is one pass here. The module is
 * optional: fit.py has the same arithmetic in numpy for where no compiler was at hand. Arrays come through the buffer
 * protocol: float32 values, int64 indices, C order; every index is checked before it is used.
 */
#include "../common/_arrays.h"

#include <math.h>

typedef struct {
    const float *values;     /* (nnz,) */
    const int64_t *columns;  /* (nnz,) feature numbers */
    const int64_t *starts;   /* (n + 1,) */
    int64_t rows, nonzeros, features, factors;
} Rows;

/* products (n, k) = X V; scores (n,) = X w + (|X V|^2 - X^2 |V|^2) / 2 */
VECTORISED static void forward(const Rows *x, const float *linear, const float *factors, float *products,
                               float *scores) {
    const int64_t k = x->factors;
    for (int64_t row = 0; row < x->rows; row++) {
        float *restrict product = products + row * k;
        for (int64_t f = 0; f < k; f++) product[f] = 0;
        float score = 0, squares = 0;
        for (int64_t i = x->starts[row]; i < x->starts[row + 1]; i++) {
            const float value = x->values[i];
            const float *restrict factor = factors + x->columns[i] * k;
            float length = 0;
            for (int64_t f = 0; f < k; f++) {
                product[f] += value * factor[f];
                length += factor[f] * factor[f];
            }
            score += value * linear[x->columns[i]];
            squares += value * value * length;
        }
        float pairs = 0;
        for (int64_t f = 0; f < k; f++) pairs += product[f] * product[f];
        scores[row] = score + 0.5f * (pairs - squares);
    }
}

/* Over the columns that occur, numbered by compact: linear gradient X^T g and factor gradient
 * X^T (g P) - diag(X^2^T g) V. Both gradients must be zero on entry. */
VECTORISED static void backward(const Rows *x, const int64_t *compact, const float *factors, const float *products,
                                const float *slopes, float *linear_gradient, float *factor_gradient) {
    const int64_t k = x->factors;
    for (int64_t row = 0; row < x->rows; row++) {
        const float *restrict product = products + row * k;
        for (int64_t i = x->starts[row]; i < x->starts[row + 1]; i++) {
            const float step = x->values[i] * slopes[row];
            const float value = x->values[i];
            const float *restrict factor = factors + x->columns[i] * k;
            float *restrict gradient = factor_gradient + compact[i] * k;
            for (int64_t f = 0; f < k; f++) gradient[f] += step * (product[f] - value * factor[f]);
            linear_gradient[compact[i]] += step;
        }
    }
}

/* Adam on the given rows of (d, k) arrays; rate holds the bias corrections. */
VECTORISED static void adam(float *parameters, float *first, float *second, const int64_t *touched, int64_t count,
                            int64_t k, const float *gradients, float beta_1, float beta_2, float rate, float epsilon,
                            float decay, float clip) {
    for (int64_t u = 0; u < count; u++) {
        const int64_t offset = touched[u] * k;
        float *restrict p = parameters + offset;
        float *restrict m = first + offset;
        float *restrict v = second + offset;
        const float *restrict g = gradients + u * k;
        for (int64_t f = 0; f < k; f++) {
            float slope = g[f] > clip ? clip : g[f];
            slope = (slope < -clip ? -clip : slope) + decay * p[f];
            m[f] += (1 - beta_1) * (slope - m[f]);
            v[f] += (1 - beta_2) * (slope * slope - v[f]);
            p[f] -= rate * m[f] / (sqrtf(v[f]) + epsilon);
        }
    }
}

static int check_indices(const int64_t *indices, int64_t count, int64_t limit, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (indices[i] < 0 || indices[i] >= limit) {
            PyErr_Format(PyExc_ValueError, "%s: index %lld is not below %lld", name, (long long)indices[i],
                         (long long)limit);
            return -1;
        }
    return 0;
}

/* Fill rows from buffers and check that every index and every start is in bounds. */
static int read_rows(Rows *x, Py_buffer *values, Py_buffer *columns, Py_buffer *starts, Py_buffer *linear,
                     Py_buffer *factors) {
    x->values = values->buf;
    x->columns = columns->buf;
    x->starts = starts->buf;
    x->rows = starts->len / (int64_t)sizeof(int64_t) - 1;
    x->nonzeros = values->len / (int64_t)sizeof(float);
    x->features = linear->len / (int64_t)sizeof(float);
    if (x->rows < 0 || x->features < 1) {
        PyErr_SetString(PyExc_ValueError, "starts and linear must not be empty");
        return -1;
    }
    x->factors = factors->len / (int64_t)sizeof(float) / x->features;
    if (check_length(columns, x->nonzeros, sizeof(int64_t), "columns") ||
        check_length(factors, x->features * x->factors, sizeof(float), "factors"))
        return -1;
    if (x->starts[0] != 0 || x->starts[x->rows] != x->nonzeros) {
        PyErr_SetString(PyExc_ValueError, "starts must go from 0 to the number of values");
        return -1;
    }
    for (int64_t row = 0; row < x->rows; row++)
        if (x->starts[row] > x->starts[row + 1]) {
            PyErr_SetString(PyExc_ValueError, "starts must not fall");
            return -1;
        }
    return check_indices(x->columns, x->nonzeros, x->features, "columns");
}

static void release(Py_buffer *buffers, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&buffers[i]);
}

static PyObject *py_forward(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[7]; /* values, columns, starts, linear, factors, products, scores */
    Rows x;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*w*", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6])) return NULL;
    int failed = read_rows(&x, &b[0], &b[1], &b[2], &b[3], &b[4]) ||
                 check_length(&b[5], x.rows * x.factors, sizeof(float), "products") ||
                 check_length(&b[6], x.rows, sizeof(float), "scores");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        forward(&x, b[3].buf, b[4].buf, b[5].buf, b[6].buf);
        Py_END_ALLOW_THREADS
    }
    release(b, 7);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_backward(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[10]; /* values, columns, starts, linear, factors, compact, products, slopes, two gradients */
    Rows x;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*w*w*", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &b[7], &b[8],
                          &b[9]))
        return NULL;
    const int64_t touched = b[8].len / (int64_t)sizeof(float);
    int failed = read_rows(&x, &b[0], &b[1], &b[2], &b[3], &b[4]) ||
                 check_length(&b[5], x.nonzeros, sizeof(int64_t), "compact") ||
                 check_indices(b[5].buf, x.nonzeros, touched, "compact") ||
                 check_length(&b[6], x.rows * x.factors, sizeof(float), "products") ||
                 check_length(&b[7], x.rows, sizeof(float), "slopes") ||
                 check_length(&b[9], touched * x.factors, sizeof(float), "factor gradient");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        backward(&x, b[5].buf, b[4].buf, b[6].buf, b[7].buf, b[8].buf, b[9].buf);
        Py_END_ALLOW_THREADS
    }
    release(b, 10);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_adam(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[5]; /* parameters, first, second, touched, gradients */
    long long k;
    float beta_1, beta_2, rate, epsilon, decay, clip;
    if (!PyArg_ParseTuple(args, "w*w*w*y*y*Lffffff", &b[0], &b[1], &b[2], &b[3], &b[4], &k, &beta_1, &beta_2, &rate,
                          &epsilon, &decay, &clip))
        return NULL;
    const int64_t count = b[3].len / (int64_t)sizeof(int64_t);
    int failed = k < 1;
    if (failed) PyErr_SetString(PyExc_ValueError, "rows must have at least one number");
    const int64_t rows = failed ? 0 : b[0].len / (int64_t)sizeof(float) / k;
    failed = failed || check_length(&b[0], rows * k, sizeof(float), "parameters") ||
             check_length(&b[1], rows * k, sizeof(float), "first") ||
             check_length(&b[2], rows * k, sizeof(float), "second") ||
             check_length(&b[4], count * k, sizeof(float), "gradients") ||
             check_indices(b[3].buf, count, rows, "touched");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        adam(b[0].buf, b[1].buf, b[2].buf, b[3].buf, count, k, b[4].buf, beta_1, beta_2, rate, epsilon, decay, clip);
        Py_END_ALLOW_THREADS
    }
    release(b, 5);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"forward", py_forward, METH_VARARGS, "forward(values, columns, starts, linear, factors, products, scores)"},
    {"backward", py_backward, METH_VARARGS,
     "backward(values, columns, starts, linear, factors, compact, products, slopes, linear_gradient, factor_gradient)"},
    {"adam", py_adam, METH_VARARGS,
     "adam(parameters, first, second, touched, gradients, k, beta_1, beta_2, rate, epsilon, decay, clip)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "Inner loops of factorization machines.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
