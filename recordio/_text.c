/* The fast path of recordio/csv_rows.py, libsvm.py and json_rows.py: a block of text to arrays of numbers.
 *
 * It knows the plainest spelling of each format: CSV of numbers, quoted or not, LIBSVM with rising indices, JSON of dense rows and
 * nothing else. Anything else (a word, a comment, nan, a header, a ragged row, another key) is not an error here but
 * "unusual": the functions return None, and the Python code reads the same block, or says what is wrong with it. So there is not one error message about data in
 * this file, and what it returns is to the last bit what the numpy code returns.
 *
 * A block is bytes and ends with a newline, which stops every loop over digits. The functions keep no state and touch
 * no Python object while they work, so the interpreter is released.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_float32.h"

#define LARGEST_INDEX 2147483646

static inline int is_blank(char byte) { return byte == ' ' || byte == '\t'; }

/* ---- CSV ------------------------------------------------------------------------------------------------------- */

typedef struct { Py_ssize_t values, width, missing; } Table;

/* Reads a field in quotation marks and moves past it; NaN where they are empty, 0 where something is unusual. */
SELDOM static int read_quoted(const char **at, float *value)
{
    const char *p = *at + 1;
    if (*p == '"')
        *value = NAN;
    else if (!read_number(&p, value))
        return 0;
    *at = p + 1;
    return *p == '"';
}

/* Reads rows of equal width; 0 where something is unusual, or there are more than `room` values. */
static int read_table(const char *p, const char *stop, float *values, Py_ssize_t room, Table *table)
{
    while (p < stop) {
        Py_ssize_t first = table->values;
        if (*p == '\n') { /* a blank line */
            p++;
            continue;
        }
        for (;;) {
            if (table->values == room) return 0;
            if (*p == ',' || *p == '\n') {
                values[table->values] = NAN;
                table->missing++;
            } else if (!read_number(&p, &values[table->values])) {
                if (*p != '"' || !read_quoted(&p, &values[table->values])) return 0;
                int empty = isnan(values[table->values]);
                if (empty && *p == '\n' && table->values == first) return 0; /* a blank line */
                table->missing += empty;
            }
            table->values++;
            if (*p == '\n') break;
            if (*p++ != ',') return 0;
        }
        p++;
        if (table->width < 0) table->width = table->values - first;
        if (table->values - first != table->width) return 0;
    }
    return 1;
}

PyDoc_STRVAR(csv_doc,
    "csv(text, values) -> (count, width, missing) or None\n\n"
    "Read a block of rows into `values`, float32, with NaN for each of the `missing` empty fields.");

static PyObject *csv(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer text, values;
    if (!PyArg_ParseTuple(args, "y*w*", &text, &values)) return NULL;
    const char *start = text.buf, *stop = start + text.len;
    Table table = {0, -1, 0};
    int plain = text.len > 0 && stop[-1] == '\n';
    Py_BEGIN_ALLOW_THREADS
    plain = plain && read_table(start, stop, values.buf, values.len / (Py_ssize_t)sizeof(float), &table);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    PyBuffer_Release(&values);
    if (!plain || table.values == 0) Py_RETURN_NONE;
    return Py_BuildValue("nnn", table.values, table.width, table.missing);
}

/* ---- LIBSVM ---------------------------------------------------------------------------------------------------- */

/* Arrays that are written to, and how much of them has been. */
typedef struct {
    float *labels, *weights, *values;
    int32_t *bounds, *indices;
    Py_ssize_t row_room, value_room, rows, count, weighted;
} Rows;

/* Reads an index and its colon and moves past them; -1 where it is unusual. */
static inline int64_t read_index(const char **at)
{
    const char *p = *at;
    int64_t index = 0;
    while (is_digit(*p) && index <= LARGEST_INDEX) index = index * 10 + (*p++ - '0');
    if (p == *at || *p != ':' || index > LARGEST_INDEX) return -1;
    *at = p + 1;
    return index;
}

static inline int ends_token(char byte) { return is_blank(byte) || byte == '\n'; }

/* Reads the label of a row, and its weight; moves past them; 0 where they are unusual. */
static int read_label(const char **at, Rows *rows)
{
    if (!read_number(at, &rows->labels[rows->rows])) return 0;
    if (**at == ':') {
        ++*at;
        if (!read_number(at, &rows->weights[rows->rows])) return 0;
        rows->weighted++;
    }
    return ends_token(**at);
}

/* Reads the pairs up to the end of the line and moves there; 0 where one is unusual, or they are not in order. */
static int read_pairs(const char **at, Rows *rows)
{
    const char *p = *at;
    int64_t last = -1;
    for (;;) {
        while (is_blank(*p)) p++;
        if (*p == '\n') break;
        int64_t index = read_index(&p);
        if (index <= last || rows->count == rows->value_room) return 0;
        if (!read_number(&p, &rows->values[rows->count]) || !ends_token(*p)) return 0;
        rows->indices[rows->count++] = (int32_t)(last = index);
    }
    *at = p;
    return 1;
}

/* Reads rows; 0 where something is unusual. Rows without a label have a pair or a label (to be left out) at the front. */
static int read_rows(const char *p, const char *stop, int labelled, Rows *rows)
{
    for (; p < stop; p++) {
        while (is_blank(*p)) p++;
        if (*p == '\n') continue;
        if (rows->rows == rows->row_room) return 0;
        const char *front = p;
        int has_label = labelled || read_index(&front) < 0;
        if (has_label && !read_label(&p, rows)) return 0;
        if (!labelled && rows->weighted) return 0;
        if (!read_pairs(&p, rows)) return 0;
        rows->bounds[++rows->rows] = (int32_t)rows->count;
    }
    return rows->weighted == 0 || rows->weighted == rows->rows;
}

PyDoc_STRVAR(libsvm_doc,
    "libsvm(text, labelled, labels, weights, bounds, indices, values) -> (rows, count, weighted) or None\n\n"
    "Read a block of rows into labels, weights and values (float32), bounds and indices (int32).\n"
    "`weighted` is the number of rows with a weight: all or none.");

static PyObject *libsvm(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer text, labels, weights, bounds, indices, values;
    int labelled;
    if (!PyArg_ParseTuple(args, "y*pw*w*w*w*w*", &text, &labelled, &labels, &weights, &bounds, &indices, &values))
        return NULL;
    const char *start = text.buf, *stop = start + text.len;
    Py_ssize_t row_room = Py_MIN(Py_MIN(labels.len, weights.len), bounds.len - 4) / 4;
    Rows rows = {labels.buf, weights.buf, values.buf, bounds.buf, indices.buf, row_room,
                 Py_MIN(indices.len, values.len) / 4, 0, 0, 0};
    int plain = text.len > 0 && stop[-1] == '\n' && bounds.len >= 4;
    Py_BEGIN_ALLOW_THREADS
    if (plain) {
        rows.bounds[0] = 0;
        plain = read_rows(start, stop, labelled, &rows);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    PyBuffer_Release(&labels);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&bounds);
    PyBuffer_Release(&indices);
    PyBuffer_Release(&values);
    if (!plain || rows.rows == 0) Py_RETURN_NONE;
    return Py_BuildValue("nnn", rows.rows, rows.count, rows.weighted);
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* Reads an integer of at most 18 digits after its leading zeros and moves past it; 0 where it is unusual. */
static int read_integer(const char **at, int64_t *value)
{
    const char *p = *at;
    int negative = *p == '-', count = 0;
    p += negative;
    const char *first = p;
    while (*p == '0') p++;
    for (*value = 0; is_digit(*p) && count < 18; p++, count++) *value = *value * 10 + (*p - '0');
    if (negative) *value = -*value;
    *at = p;
    return p > first;
}

/* Reads token `i` of a block into the values of a kind ('f', 'i' or 'l'); 0 where it is unusual. */
static int read_token(const char *p, const char *stop, char kind, void *values, Py_ssize_t i)
{
    int64_t whole;
    if (kind == 'f') return read_number(&p, (float *)values + i) && p == stop;
    if (!read_integer(&p, &whole) || p != stop) return 0;
    if (kind == 'l')
        ((int64_t *)values)[i] = whole;
    else if (whole < INT32_MIN || whole > INT32_MAX)
        return 0;
    else
        ((int32_t *)values)[i] = (int32_t)whole;
    return 1;
}

PyDoc_STRVAR(tokens_doc,
    "tokens(text, starts, ends, kind, values, first) -> count\n\n"
    "Read the tokens text[starts[i]:ends[i]] from number `first` on into `values`, of kind 'f' (float32), 'i' (int32)\n"
    "or 'l' (int64). Returns the number of the first that is unusual, or how many there are.");

static PyObject *tokens(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer text, starts, ends, values;
    int kind;
    Py_ssize_t i;
    if (!PyArg_ParseTuple(args, "y*y*y*Cw*n", &text, &starts, &ends, &kind, &values, &i)) return NULL;
    const char *block = text.buf;
    const int64_t *from = starts.buf, *to = ends.buf;
    Py_ssize_t count = Py_MIN(starts.len, ends.len) / (Py_ssize_t)sizeof(int64_t);
    count = Py_MIN(count, values.len / (kind == 'l' ? 8 : 4));
    if (text.len == 0 || block[text.len - 1] != '\n') count = 0;
    Py_BEGIN_ALLOW_THREADS
    /* The byte after a token, a separator or the newline at the end of the block, stops every loop over digits. */
    for (; i >= 0 && i < count; i++) {
        if (from[i] < 0 || from[i] >= to[i] || to[i] >= text.len) break;
        if (!read_token(block + from[i], block + to[i], (char)kind, values.buf, i)) break;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&values);
    return PyLong_FromSsize_t(i);
}

/* ---- numbers of JSON --------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(real_doc,
    "real(text) -> float or None\n\n"
    "The float32 nearest to a number that is a str, as a Python float; None where it is not a number, or not ASCII.");

static PyObject *real(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_Check(text)) return PyErr_Format(PyExc_TypeError, "expected a str");
    if (!PyUnicode_IS_ASCII(text)) Py_RETURN_NONE;
    const char *start = (const char *)PyUnicode_1BYTE_DATA(text), *p = start; /* ends with a zero byte */
    float value;
    if (!read_number(&p, &value) || p - start != PyUnicode_GET_LENGTH(text)) Py_RETURN_NONE;
    return PyFloat_FromDouble(value);
}

/* ---- rows of JSON ------------------------------------------------------------------------------------------------ */

/* Moves past white space; in JSON Lines a newline is none, since it ends the row. */
static inline const char *past_space(const char *p, int lines)
{
    while (*p == ' ' || *p == '\t' || *p == '\r' || (*p == '\n' && !lines)) p++;
    return p;
}

/* Moves past white space and then `text`, which has none within; 0 where something else is there. */
static inline int skip(const char **at, const char *text, int lines)
{
    const char *p = past_space(*at, lines);
    for (; *text; text++, p++)
        if (*p != *text) return 0;
    *at = p;
    return 1;
}

/* Moves past `{"name":`; 0, and nothing moved, where something else is there. */
static inline int open_object(const char **at, const char *name, int lines)
{
    const char *p = *at;
    if (!skip(&p, "{", lines) || !skip(&p, name, lines) || !skip(&p, ":", lines)) return 0;
    *at = p;
    return 1;
}

/* Reads a number in the grammar of RFC 8259 and moves past it; 0 where it is unusual, or not finite. */
static inline int read_json_number(const char **at, float *value)
{
    const char *p = *at + (**at == '-');
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1]))) return 0;
    while (is_digit(*p)) p++;
    if (*p == '.' && !is_digit(p[1])) return 0;
    if (!read_number(at, value) || !isfinite(*value)) return 0;
    if (*at == p && *value == 0) *value = 0; /* -0, an integer, has no sign */
    return 1;
}

/* Reads `[number, ...]`, at least one, and moves past it. */
static int read_list(const char **at, int lines, float *values, Py_ssize_t room, Table *table)
{
    const char *p = *at;
    if (!skip(&p, "[", lines)) return 0;
    for (;;) {
        p = past_space(p, lines);
        if (table->values == room || !read_json_number(&p, &values[table->values])) return 0;
        table->values++;
        p = past_space(p, lines);
        if (*p == ']') break;
        if (*p++ != ',') return 0;
    }
    *at = p + 1;
    return 1;
}

/* Reads {"features": [...]} or {"data": {"features": {"values": [...]}}} and moves past it. */
static int read_instance(const char **at, int lines, float *values, Py_ssize_t room, Table *table)
{
    Py_ssize_t first = table->values;
    int closing = 1;
    if (!open_object(at, "\"features\"", lines)) {
        if (!open_object(at, "\"data\"", lines) || !open_object(at, "\"features\"", lines) ||
            !open_object(at, "\"values\"", lines))
            return 0;
        closing = 3;
    }
    if (!read_list(at, lines, values, room, table)) return 0;
    for (; closing; closing--)
        if (!skip(at, "}", lines)) return 0;
    if (table->width < 0) table->width = table->values - first;
    return table->values - first == table->width;
}

/* Reads all instances of a JSON text, or of JSON Lines; 0 where something is unusual. */
static int read_instances(const char *p, const char *stop, int lines, float *values, Py_ssize_t room, Table *table)
{
    if (lines) {
        for (;; p++) {
            p = past_space(p, 1);
            if (*p != '\n' && (!read_instance(&p, 1, values, room, table) || *(p = past_space(p, 1)) != '\n')) return 0;
            if (p + 1 == stop) return 1;
        }
    }
    if (!open_object(&p, "\"instances\"", 0) || !skip(&p, "[", 0)) return 0;
    do {
        if (!read_instance(&p, 0, values, room, table)) return 0;
    } while (skip(&p, ",", 0));
    if (!skip(&p, "]", 0) || !skip(&p, "}", 0)) return 0;
    while (p < stop && past_space(p, 0) > p) p++;
    return p == stop;
}

PyDoc_STRVAR(json_doc,
    "json(text, lines, values) -> (count, width) or None\n\n"
    "Read the dense rows of a request, JSON or JSON Lines, into `values`, float32.");

static PyObject *json(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer text, values;
    int lines;
    if (!PyArg_ParseTuple(args, "y*pw*", &text, &lines, &values)) return NULL;
    const char *start = text.buf, *stop = start + text.len;
    Table table = {0, -1, 0};
    int plain = text.len > 1 && stop[-1] == '\0';
    Py_BEGIN_ALLOW_THREADS
    /* The zero byte at the end is part of no JSON text, and stops every loop. */
    plain = plain &&
            read_instances(start, stop - 1, lines, values.buf, values.len / (Py_ssize_t)sizeof(float), &table);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    PyBuffer_Release(&values);
    if (!plain || table.values == 0) Py_RETURN_NONE;
    return Py_BuildValue("nn", table.values, table.width);
}

static PyMethodDef methods[] = {
    {"json", json, METH_VARARGS, json_doc},
    {"real", real, METH_O, real_doc},
    {"tokens", tokens, METH_VARARGS, tokens_doc},
    {"csv", csv, METH_VARARGS, csv_doc},
    {"libsvm", libsvm, METH_VARARGS, libsvm_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "recordio._text", "Blocks of text to arrays of numbers.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__text(void) { return PyModuleDef_Init(&module); }
