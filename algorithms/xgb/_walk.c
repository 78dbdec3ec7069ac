/* Predicting for few rows: from the root of each tree to a leaf, and the sum of the leaves.
 *
 * XGBoost needs some microseconds for it, too, and ten times as many before it begins: it reads its arguments from JSON,
 * compiles a regular expression, and looks how deep each tree is. The module is optional: without it XGBoost predicts.
 * Arrays come through the buffer protocol, in C order; every index is checked before it is used.
 */
#include "../common/_arrays.h"

#include <math.h>

typedef struct {
    float value;     /* of a leaf; else what a row's value is compared with */
    int32_t left;    /* the node for values below it, right before that for all others; -1 in a leaf */
    int32_t missing; /* the node for rows without the value */
    int32_t feature;
} Node;

typedef struct {
    const Node *nodes;
    const int32_t *roots;
    int64_t size, trees, width;
} Forest;

/* Add to sum the row's leaf in each tree, in XGBoost's order and precision. -1 where a node is not sound. */
static int add_leaves(const Forest *x, const float *row, float *sum) {
    float total = *sum;
    for (int64_t tree = 0; tree < x->trees; tree++) {
        int64_t at = x->roots[tree];
        if (at < 0 || at >= x->size) return -1;
        while (x->nodes[at].left != -1) {
            const Node node = x->nodes[at];
            const int64_t left = node.left, right = left + 1, missing = node.missing;
            /* children lie behind their parent, so that the walk ends */
            if (left <= at || right >= x->size || missing <= at || missing >= x->size) return -1;
            if (node.feature < 0 || node.feature >= x->width) return -1;
            const float value = row[node.feature];
            at = isnan(value) ? missing : value < node.value ? left : right;
        }
        total += x->nodes[at].value;
    }
    *sum = total;
    return 0;
}

/* The logistic function and its inverse in XGBoost's own precision (src/common/math.h, src/objective/regression_loss.h). */
static float logistic(float sum) { return (float)(1.0f / (expf(fminf(-sum, 88.7f)) + 1.0f + 1e-16)); }
static float logit(float share) { return -logf(1.0f / fminf(fmaxf(share, 1e-6f), 1.0f - 1e-6f) - 1.0f); }

/* The scores (n,) of n rows, each from the same base. -1 where a node is not sound. */
static int predict(const Forest *x, const float *rows, int64_t n, float base, int is_logistic, float *scores) {
    const float start = is_logistic ? logit(base) : base;
    for (int64_t row = 0; row < n; row++) {
        scores[row] = start;
        if (add_leaves(x, rows + row * x->width, scores + row)) return -1;
        if (is_logistic) scores[row] = logistic(scores[row]);
    }
    return 0;
}

static PyObject *py_predict(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[4]; /* nodes, roots, rows, scores */
    float base;
    int is_logistic;
    if (!PyArg_ParseTuple(args, "y*y*y*w*fp", &b[0], &b[1], &b[2], &b[3], &base, &is_logistic)) return NULL;
    const int64_t n = b[3].len / (int64_t)sizeof(float);
    const Forest x = {
        .nodes = b[0].buf,
        .roots = b[1].buf,
        .size = b[0].len / (int64_t)sizeof(Node),
        .trees = b[1].len / (int64_t)sizeof(int32_t),
        .width = n ? b[2].len / (int64_t)sizeof(float) / n : 0,
    };
    int failed = check_length(&b[2], n * x.width, sizeof(float), "rows");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = predict(&x, b[2].buf, n, base, is_logistic, b[3].buf);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_SetString(PyExc_ValueError, "a node's child or feature does not exist");
    }
    for (int i = 0; i < 4; i++) PyBuffer_Release(&b[i]);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"predict", py_predict, METH_VARARGS, "predict(nodes, roots, rows, scores, base, is_logistic)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_walk", "Predicting for few rows.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__walk(void) { return PyModule_Create(&module); }
