/* The inner loops of factorization machines over the non-zeros of a batch, Adam on the rows that they touch, and the
 * sweeps of variational.py over the columns of all rows.
 *
 * numpy needs a dozen passes over arrays of (columns that occur) x (factors) for what is one pass here. The module is
 * optional: fit.py has the same arithmetic in numpy for where no compiler was at hand. Arrays come through the buffer
 * protocol: float32 values, int64 indices, C order; every index is checked before it is used.
 */
#include "../common/_arrays.h"

#include <math.h>

#define AHEAD 16 /* rows of parameters between asking for memory and using it: they lie anywhere in large arrays */

/* Sweeps over columns ask for rows ahead where there are more than FAR_ROWS, whose numbers take some megabyte, and fewer
 * than one in FAR_SHARE has the column. Elsewhere asking takes a third more time than not asking: the loops are compiled
 * twice. */
#define FAR_ROWS (1 << 15)
#define FAR_SHARE 8
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    const float *values;     /* (nnz,) */
    const int64_t *columns;  /* (nnz,) feature numbers */
    const int64_t *starts;   /* (n + 1,) */
    int64_t rows, nonzeros, features, factors;
} Rows;

/* Those of the columns (n,) that differ, in the order in which they come first, and the number (n,) that each has among
 * them. Returns how many differ. position (d,) is scratch space, in which a column's number is where it has one. */
static int64_t number(const int64_t *columns, int64_t count, int32_t *position, int64_t *different, int64_t *numbers) {
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) fetch(position + columns[i + AHEAD], sizeof *position);
        const int64_t column = columns[i];
        int64_t place = position[column];
        if (place < 0 || place >= used || different[place] != column) {
            place = used++;
            position[column] = (int32_t)place;
            different[place] = column;
        }
        numbers[i] = place;
    }
    return used;
}

/* Loops over the factors of a row. Their arrays are parameters, so that the compiler knows that they do not overlap. Where
 * it has to look at run time, it makes a second loop, for arrays that lie next to each other, which rounds in another way:
 * the same job would end in other bits, by where its memory happens to lie. */

/* product (k,) += value v; returns |v|^2. */
static inline float add_factor(float *restrict product, const float *restrict factor, float value, int64_t k) {
    float length = 0;
    for (int64_t f = 0; f < k; f++) {
        product[f] += value * factor[f];
        length += factor[f] * factor[f];
    }
    return length;
}

/* gradient (k,) += step (product - value v) */
static inline void add_gradient(float *restrict gradient, const float *restrict product, const float *restrict factor,
                                float value, float step, int64_t k) {
    for (int64_t f = 0; f < k; f++) gradient[f] += step * (product[f] - value * factor[f]);
}

typedef struct {
    float beta_1, beta_2, rate, epsilon, decay, clip; /* rate holds the bias corrections */
} Adam;

/* A step on the parameters (k,) p of the moments m and v, by the gradient g. */
static inline void adam_row(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, Adam by,
                            int64_t k) {
    for (int64_t f = 0; f < k; f++) {
        float slope = g[f] > by.clip ? by.clip : g[f];
        slope = (slope < -by.clip ? -by.clip : slope) + by.decay * p[f];
        m[f] += (1 - by.beta_1) * (slope - m[f]);
        v[f] += (1 - by.beta_2) * (slope * slope - v[f]);
        p[f] -= by.rate * m[f] / (sqrtf(v[f]) + by.epsilon);
    }
}

/* products (n, k) = X V; scores (n,) = X w + (|X V|^2 - X^2 |V|^2) / 2 */
VECTORISED static void forward(const Rows *x, const float *linear, const float *factors, float *products,
                               float *scores) {
    const int64_t k = x->factors;
    for (int64_t row = 0; row < x->rows; row++) {
        float *product = products + row * k;
        for (int64_t f = 0; f < k; f++) product[f] = 0;
        float score = 0, squares = 0;
        for (int64_t i = x->starts[row]; i < x->starts[row + 1]; i++) {
            if (i + AHEAD < x->nonzeros) {
                fetch(factors + x->columns[i + AHEAD] * k, k * sizeof(float));
                fetch(linear + x->columns[i + AHEAD], sizeof(float));
            }
            const float value = x->values[i];
            const float length = add_factor(product, factors + x->columns[i] * k, value, k);
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
        const float *product = products + row * k;
        for (int64_t i = x->starts[row]; i < x->starts[row + 1]; i++) {
            const float value = x->values[i], step = value * slopes[row];
            add_gradient(factor_gradient + compact[i] * k, product, factors + x->columns[i] * k, value, step, k);
            linear_gradient[compact[i]] += step;
        }
    }
}

/* Adam on the given rows of (d, k) arrays. */
VECTORISED static void adam(float *parameters, float *first, float *second, const int64_t *touched, int64_t count,
                            int64_t k, const float *gradients, Adam by) {
    for (int64_t u = 0; u < count; u++) {
        if (u + AHEAD < count) {
            const int64_t next = touched[u + AHEAD] * k;
            fetch(parameters + next, k * sizeof(float));
            fetch(first + next, k * sizeof(float));
            fetch(second + next, k * sizeof(float));
        }
        const int64_t offset = touched[u] * k;
        adam_row(parameters + offset, first + offset, second + offset, gradients + u * k, by, k);
    }
}

typedef struct {
    const float *values;   /* (nnz,), column by column */
    const int32_t *rows;   /* (nnz,) row numbers */
    const int64_t *starts; /* (d + 1,) */
    int64_t height, width, nonzeros;
} Columns;

/* The precision of the prior of numbers, of which count occur, by what they show (weak: see variational.py). */
static double prior_of(int64_t width, const double *mean, const double *variance, double count, double weak) {
    double sum = weak;
    for (int64_t i = 0; i < width; i++) sum += mean[i] * mean[i] + variance[i];
    return (count + 1) / sum;
}

/* Linear weights: the posterior of each in turn, given the others' means. residual (n,) follows. */
VECTORISED static void sweep_linear(const Columns *x, const double *precision, double *residual, double *mean,
                                    double *variance, double prior) {
    for (int64_t i = 0; i < x->width; i++) {
        const int64_t start = x->starts[i], end = x->starts[i + 1];
        if (start == end) continue;
        double sharp = prior, slope = -prior * mean[i];
        for (int64_t j = start; j < end; j++) {
            const double weighed = precision[x->rows[j]] * x->values[j];
            sharp += weighed * x->values[j];
            slope += weighed * residual[x->rows[j]];
        }
        const double step = slope / sharp;
        mean[i] += step;
        variance[i] = 1 / sharp;
        for (int64_t j = start; j < end; j++) residual[x->rows[j]] -= step * x->values[j];
    }
}

/* What sweeps know of a row: its residual, and the sums over its columns of x m, x^2 s and x^3 s m. In float32, so that
 * four rows are in a line of the cache, which is what takes time; they are read anew in each call. */
typedef struct {
    float residual, product, spread, skew;
} Known;

INLINE void know(const Columns *x, const double *residual, const double *mean, const double *variance, Known *known,
                 const int is_far) {
    for (int64_t n = 0; n < x->height; n++) known[n] = (Known){(float)residual[n], 0, 0, 0};
    for (int64_t i = 0; i < x->width; i++) {
        const float of_mean = (float)mean[i], of_variance = (float)variance[i];
        for (int64_t j = x->starts[i]; j < x->starts[i + 1]; j++) {
            if (is_far && j + AHEAD < x->nonzeros) __builtin_prefetch(known + x->rows[j + AHEAD]);
            Known *row = known + x->rows[j];
            const float value = x->values[j], product = value * of_mean, spread = value * value * of_variance;
            row->product += product;
            row->spread += spread;
            row->skew += spread * product;
        }
    }
}

/* One factor of all features, of mean m and variance s: the same. A row's score is linear in m_i, with the slope
 * x_i a, where a is the sum of the other columns' x m; the mean of its square is x_i^2 (a^2 + the others' x^2 s).
 * Compiled for newer processors it is no faster: rows are far from each other in memory. */
INLINE void sweep_factor(const Columns *x, const double *precision, double *mean, double *variance, double prior,
                         Known *known, const int is_far) {
    for (int64_t i = 0; i < x->width; i++) {
        const int64_t start = x->starts[i], end = x->starts[i + 1];
        if (start == end) continue;
        const float before = (float)mean[i], spread_before = (float)variance[i];
        double sharp = prior, slope = -prior * mean[i];
        for (int64_t j = start; j < end; j++) {
            if (is_far && j + AHEAD < x->nonzeros) {
                __builtin_prefetch(known + x->rows[j + AHEAD]);
                __builtin_prefetch(precision + x->rows[j + AHEAD]);
            }
            const Known *row = known + x->rows[j];
            const float value = x->values[j], product = value * before, spread = value * value * spread_before;
            const float others = row->product - product, others_spread = row->spread - spread;
            const float others_skew = row->skew - spread * product;
            const double weighed = precision[x->rows[j]] * value;
            sharp += weighed * (value * (others * others + others_spread));
            /* the score's other pairs hold the other columns, too: less the covariance with the slope */
            slope += weighed * (others * row->residual - others_spread * (product + others) + others_skew);
        }
        const double step = slope / sharp, after = mean[i] + step;
        mean[i] = after;
        variance[i] = 1 / sharp;
        const float change = (float)step, wider = (float)variance[i] - spread_before;
        const float skewed = (float)(variance[i] * after) - spread_before * before;
        for (int64_t j = start; j < end; j++) {
            Known *row = known + x->rows[j];
            const float value = x->values[j];
            row->residual -= value * (row->product - value * before) * change;
            row->product += value * change;
            row->spread += value * value * wider;
            row->skew += value * value * value * skewed;
        }
    }
}

/* The variance (n,) of what the factor's pairs add to each row. */
INLINE void vary(const Columns *x, const double *mean, const double *variance, const Known *known, double *pairs,
                 const int is_far) {
    for (int64_t n = 0; n < x->height; n++) pairs[n] = 0.5 * (double)known[n].spread * known[n].spread;
    for (int64_t i = 0; i < x->width; i++)
        for (int64_t j = x->starts[i]; j < x->starts[i + 1]; j++) {
            if (is_far && j + AHEAD < x->nonzeros) {
                __builtin_prefetch(known + x->rows[j + AHEAD]);
                __builtin_prefetch(pairs + x->rows[j + AHEAD]);
            }
            const double product = x->values[j] * mean[i];
            const double spread = (double)x->values[j] * x->values[j] * variance[i];
            const double others = known[x->rows[j]].product - product;
            pairs[x->rows[j]] += spread * (others * others - 0.5 * spread);
        }
}

/* What is asked of sweeps of one factor, beside the numbers themselves; held: the prior stays as it is. */
typedef struct {
    double prior, count, weak;
    long long sweeps;
    int held;
} Asked;

/* The sweeps of a factor, and all that they change. Returns the prior. */
INLINE double sweep(const Columns *x, const double *precision, double *residual, double *mean, double *variance,
                    double *pairs, Known *known, Asked by, const int is_far) {
    know(x, residual, mean, variance, known, is_far);
    for (long long sweep = 0; sweep < by.sweeps; sweep++) {
        sweep_factor(x, precision, mean, variance, by.prior, known, is_far);
        if (!by.held) by.prior = prior_of(x->width, mean, variance, by.count, by.weak);
    }
    for (int64_t n = 0; n < x->height; n++) residual[n] = known[n].residual;
    vary(x, mean, variance, known, pairs, is_far);
    return by.prior;
}

/* Whether a column's next row is seldom in the cache already: rows take more than it holds, and columns skip most. */
static int is_far(const Columns *x) { return x->height > FAR_ROWS && x->nonzeros < x->height * x->width / FAR_SHARE; }

static int check_indices(const int64_t *indices, int64_t count, int64_t limit, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (indices[i] < 0 || indices[i] >= limit) {
            PyErr_Format(PyExc_ValueError, "%s: index %lld is not below %lld", name, (long long)indices[i],
                         (long long)limit);
            return -1;
        }
    return 0;
}

static int check_starts(const int64_t *starts, int64_t count, int64_t nonzeros) {
    if (starts[0] != 0 || starts[count] != nonzeros) {
        PyErr_SetString(PyExc_ValueError, "starts must go from 0 to the number of values");
        return -1;
    }
    for (int64_t i = 0; i < count; i++)
        if (starts[i] > starts[i + 1]) {
            PyErr_SetString(PyExc_ValueError, "starts must not fall");
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
    return check_starts(x->starts, x->rows, x->nonzeros) || check_indices(x->columns, x->nonzeros, x->features, "columns");
}

static void release(Py_buffer *buffers, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&buffers[i]);
}

static PyObject *py_number(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[4]; /* columns, position, different, numbers */
    if (!PyArg_ParseTuple(args, "y*w*w*w*", &b[0], &b[1], &b[2], &b[3])) return NULL;
    const int64_t count = b[0].len / (int64_t)sizeof(int64_t);
    int failed = count > INT32_MAX;
    if (failed) PyErr_SetString(PyExc_ValueError, "there are more columns than numbers of 32 bits");
    failed = failed || check_length(&b[2], count, sizeof(int64_t), "different") ||
             check_length(&b[3], count, sizeof(int64_t), "numbers") ||
             check_indices(b[0].buf, count, b[1].len / (int64_t)sizeof(int32_t), "columns");
    int64_t used = 0;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        used = number(b[0].buf, count, b[1].buf, b[2].buf, b[3].buf);
        Py_END_ALLOW_THREADS
    }
    release(b, 4);
    return failed ? NULL : PyLong_FromLongLong(used);
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
    Adam by;
    if (!PyArg_ParseTuple(args, "w*w*w*y*y*Lffffff", &b[0], &b[1], &b[2], &b[3], &b[4], &k, &by.beta_1, &by.beta_2,
                          &by.rate, &by.epsilon, &by.decay, &by.clip))
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
        adam(b[0].buf, b[1].buf, b[2].buf, b[3].buf, count, k, b[4].buf, by);
        Py_END_ALLOW_THREADS
    }
    release(b, 5);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static int check_rows(const int32_t *rows, int64_t count, int64_t limit) {
    for (int64_t i = 0; i < count; i++)
        if (rows[i] < 0 || rows[i] >= limit) {
            PyErr_Format(PyExc_ValueError, "rows: index %d is not below %lld", (int)rows[i], (long long)limit);
            return -1;
        }
    return 0;
}

/* Fill columns from buffers of values, rows, starts, precision, residual, mean and variance, and check them. */
static int read_columns(Columns *x, Py_buffer *b) {
    x->values = b[0].buf;
    x->rows = b[1].buf;
    x->starts = b[2].buf;
    x->nonzeros = b[0].len / (int64_t)sizeof(float);
    x->width = b[2].len / (int64_t)sizeof(int64_t) - 1;
    x->height = b[3].len / (int64_t)sizeof(double);
    if (x->width < 1) {
        PyErr_SetString(PyExc_ValueError, "starts must not be empty");
        return -1;
    }
    if (check_length(&b[1], x->nonzeros, sizeof(int32_t), "rows") ||
        check_length(&b[4], x->height, sizeof(double), "residual") ||
        check_length(&b[5], x->width, sizeof(double), "mean") ||
        check_length(&b[6], x->width, sizeof(double), "variance"))
        return -1;
    return check_starts(x->starts, x->width, x->nonzeros) || check_rows(x->rows, x->nonzeros, x->height);
}

static PyObject *py_sweep_linear(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[7];
    double prior, count, weak;
    Columns x;
    if (!PyArg_ParseTuple(args, "y*y*y*y*w*w*w*ddd", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &prior, &count,
                          &weak))
        return NULL;
    int failed = read_columns(&x, b);
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        sweep_linear(&x, b[3].buf, b[4].buf, b[5].buf, b[6].buf, prior);
        prior = prior_of(x.width, b[5].buf, b[6].buf, count, weak);
        Py_END_ALLOW_THREADS
    }
    release(b, 7);
    return failed ? NULL : PyFloat_FromDouble(prior);
}

static PyObject *py_sweep_factor(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[8]; /* the eighth: variance of pairs */
    Asked by;
    Columns x;
    if (!PyArg_ParseTuple(args, "y*y*y*y*w*w*w*dddLpw*", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &by.prior,
                          &by.count, &by.weak, &by.sweeps, &by.held, &b[7]))
        return NULL;
    int failed = read_columns(&x, b) || check_length(&b[7], x.height, sizeof(double), "variance of pairs");
    Known *known = NULL;
    if (!failed) {
        known = PyMem_Malloc((size_t)(x.height + 1) * sizeof(Known));
        failed = known == NULL;
        if (failed) PyErr_NoMemory();
    }
    if (!failed) {
        double *residual = b[4].buf, *mean = b[5].buf, *variance = b[6].buf, *pairs = b[7].buf;
        Py_BEGIN_ALLOW_THREADS
        by.prior = is_far(&x) ? sweep(&x, b[3].buf, residual, mean, variance, pairs, known, by, 1)
                              : sweep(&x, b[3].buf, residual, mean, variance, pairs, known, by, 0);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(known);
    release(b, 8);
    return failed ? NULL : PyFloat_FromDouble(by.prior);
}

static PyMethodDef methods[] = {
    {"number", py_number, METH_VARARGS, "number(columns, position, different, numbers) -> how many differ"},
    {"forward", py_forward, METH_VARARGS, "forward(values, columns, starts, linear, factors, products, scores)"},
    {"backward", py_backward, METH_VARARGS,
     "backward(values, columns, starts, linear, factors, compact, products, slopes, linear_gradient, factor_gradient)"},
    {"adam", py_adam, METH_VARARGS,
     "adam(parameters, first, second, touched, gradients, k, beta_1, beta_2, rate, epsilon, decay, clip)"},
    {"sweep_linear", py_sweep_linear, METH_VARARGS,
     "sweep_linear(values, rows, starts, precision, residual, mean, variance, prior, count, weak) -> prior"},
    {"sweep_factor", py_sweep_factor, METH_VARARGS,
     "sweep_factor(values, rows, starts, precision, residual, mean, variance, prior, count, weak, sweeps, held, "
     "variance_of_pairs) -> prior"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "Inner loops of factorization machines.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
