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
    int32_t left;    /* the node for values below it, before that for all others; -1 in a leaf */
    int32_t missing; /* the node for rows without the value */
    int32_t feature;
} Node;

typedef struct {
    const Node *nodes;
    const int32_t *roots, *groups; /* of each tree: its first node, and the output that it adds to */
    const float *starts;           /* of each output, what rows have without trees */
    int64_t size, trees, outputs, width;
} Forest;

/* What is made of the sums of leaves. */
enum { SUM, LOGISTIC, EXPONENTIAL, SOFTMAX };

/* The number of the leaf that a row comes to from a node. -1 where a node is not sound. */
static int64_t leaf(const Forest *x, const float *row, int64_t at) {
    while (x->nodes[at].left != -1) {
        const Node node = x->nodes[at];
        const int64_t left = node.left, right = left + 1, missing = node.missing;
        /* children lie behind their parent, so that the walk ends */
        if (left <= at || right >= x->size || missing <= at || missing >= x->size) return -1;
        if (node.feature < 0 || node.feature >= x->width) return -1;
        const float value = row[node.feature];
        at = isnan(value) ? missing : value < node.value ? left : right;
    }
    return at;
}

/* Sums (n, outputs): what they start from and the rows' leaves in each tree, added in XGBoost's order and precision. All
 * rows go through a tree while it is in the cache. -1 where a node is not sound. */
static int add_leaves(const Forest *x, const float *rows, int64_t n, float *sums) {
    for (int64_t i = 0; i < n * x->outputs; i++) sums[i] = x->starts[i % x->outputs];
    for (int64_t tree = 0; tree < x->trees; tree++) {
        const int64_t root = x->roots[tree], group = x->groups[tree];
        if (root < 0 || root >= x->size || group < 0 || group >= x->outputs) return -1;
        for (int64_t row = 0; row < n; row++) {
            const int64_t at = leaf(x, rows + row * x->width, root);
            if (at < 0) return -1;
            sums[row * x->outputs + group] += x->nodes[at].value;
        }
    }
    return 0;
}

/* XGBoost's functions in its own precision (src/common/math.h, src/objective/regression_loss.h). */
static float logistic(float sum) { return (float)(1.0f / (expf(fminf(-sum, 88.7f)) + 1.0f + 1e-16)); }

static void softmax(float *sums, int64_t outputs) {
    float most = sums[0];
    double total = 0;
    for (int64_t output = 1; output < outputs; output++) most = fmaxf(sums[output], most);
    for (int64_t output = 0; output < outputs; output++) total += sums[output] = expf(sums[output] - most);
    for (int64_t output = 0; output < outputs; output++) sums[output] /= (float)total;
}

/* The scores (n, outputs) of n rows. -1 where a node is not sound. */
static int predict(const Forest *x, const float *rows, int64_t n, int kind, float *scores) {
    if (add_leaves(x, rows, n, scores)) return -1;
    for (int64_t row = 0; row < n; row++, scores += x->outputs) {
        if (kind == LOGISTIC) scores[0] = logistic(scores[0]);
        if (kind == EXPONENTIAL) scores[0] = expf(scores[0]);
        if (kind == SOFTMAX) softmax(scores, x->outputs);
    }
    return 0;
}

static PyObject *py_predict(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer b[6]; /* nodes, roots, groups, starts, rows, scores */
    long long n;
    int kind;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*Li", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &n, &kind)) return NULL;
    const Forest x = {
        .nodes = b[0].buf,
        .roots = b[1].buf,
        .groups = b[2].buf,
        .starts = b[3].buf,
        .size = b[0].len / (int64_t)sizeof(Node),
        .trees = b[1].len / (int64_t)sizeof(int32_t),
        .outputs = b[3].len / (int64_t)sizeof(float),
        .width = n > 0 ? b[4].len / (int64_t)sizeof(float) / n : 0,
    };
    int failed = n < 0 || x.outputs < 1;
    if (failed) PyErr_SetString(PyExc_ValueError, "there must be an output, and no fewer than 0 rows");
    failed = failed || check_length(&b[2], x.trees, sizeof(int32_t), "groups") ||
             check_length(&b[4], n * x.width, sizeof(float), "rows") ||
             check_length(&b[5], n * x.outputs, sizeof(float), "scores");
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = predict(&x, b[4].buf, n, kind, b[5].buf);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_SetString(PyExc_ValueError, "a node's child or feature, or a tree's output does not exist");
    }
    for (int i = 0; i < 6; i++) PyBuffer_Release(&b[i]);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

/* What sums start from, by base_score: a score, of which the functions above are undone. */
static PyObject *py_start(PyObject *self, PyObject *args) {
    (void)self;
    float base;
    int kind;
    if (!PyArg_ParseTuple(args, "fi", &base, &kind)) return NULL;
    if (kind == LOGISTIC) base = -logf(1.0f / fminf(fmaxf(base, 1e-6f), 1.0f - 1e-6f) - 1.0f);
    if (kind == EXPONENTIAL) base = logf(base);
    return PyFloat_FromDouble(base);
}

static PyMethodDef methods[] = {
    {"predict", py_predict, METH_VARARGS, "predict(nodes, roots, groups, starts, rows, scores, n, kind)"},
    {"start", py_start, METH_VARARGS, "start(base_score, kind)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_walk", "Predicting for few rows.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__walk(void) { return PyModule_Create(&module); }
