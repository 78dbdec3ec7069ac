/* The fast path of recordio/sequences.py: many pairs of token sequences at once, from the bytes of records to arrays.
 *
 * It knows the one layout that every protobuf library writes: two entries in the feature map, one named "source" and one
 * named "target", each an int32_tensor of packed numbers, or empty. Any other record is not an error here but "unusual":
 * nothing of it is written, and the caller hands it to google's protobuf library, which decides what it means or what is
 * wrong with it. So there is not one error message about data in this file.
 *
 * The bytes are read once, and each write is checked against the size of the array. No state is kept, no Python object is
 * touched on the way, so the interpreter is released.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_wire.h"

/* Tags: field number << 3 | wire type. */
enum { RECORD_FEATURES = 0x0A, VALUE_INT32 = 0x3A, TENSOR_VALUES = 0x0A };

#define KEY 9   /* bytes of an entry's key with its tag and length, and of the tag of its value */
static const uint8_t KEYS[2][KEY] = {
    {0x0A, 6, 's', 'o', 'u', 'r', 'c', 'e', 0x12},
    {0x0A, 6, 't', 'a', 'r', 'g', 'e', 't', 0x12},
};

typedef struct {
    Py_buffer buffer;
    Py_ssize_t room, written;
} Ids;

/* Reads all that a span holds as `length, bytes`, after `tag` where that is not 0. An empty span holds nothing. */
static int read_only(Span *span, uint8_t tag, Span *field)
{
    if (tag && span->at == span->stop) {
        *field = *span;
        return 1;
    }
    if (tag && *span->at++ != tag)
        return 0;
    return read_bytes(span, field) && span->at == span->stop;
}

/* Appends packed numbers; 0 where one is cut off, negative, larger than an int32 or written in more than five bytes. */
static int read_ids(Span packed, Ids *ids)
{
    int32_t *out = ids->buffer.buf;
    while (packed.at < packed.stop) {
        const uint8_t *start = packed.at;
        uint64_t value;
        if (!read_varint(&packed, &value) || value > INT32_MAX || packed.at - start > 5 || ids->written == ids->room)
            return 0;
        out[ids->written++] = (int32_t)value;
    }
    return 1;
}

/* Appends the numbers of one record; 0 where it is unusual. */
static int read_pair(Span record, Ids ids[2])
{
    int seen[2] = {0, 0};
    for (int entries = 0; entries < 2; entries++) {
        Span entry, value, tensor, packed;
        if (record.at == record.stop || *record.at++ != RECORD_FEATURES || !read_bytes(&record, &entry) ||
            entry.stop - entry.at < KEY)
            return 0;
        int which = !memcmp(entry.at, KEYS[1], KEY);
        if (seen[which]++ || (!which && memcmp(entry.at, KEYS[0], KEY)))
            return 0;
        entry.at += KEY;
        if (!read_only(&entry, 0, &value) || !read_only(&value, VALUE_INT32, &tensor) ||
            !read_only(&tensor, TENSOR_VALUES, &packed) || !read_ids(packed, &ids[which]))
            return 0;
    }
    return record.at == record.stop;
}

PyDoc_STRVAR(pairs_doc,
"pairs(data, stops, usual, source, target, counts) -> (sources, targets)\n\n"
"Read the records of which stops, int64 (n,), says where each ends in data. usual, uint8 (n,), gets 1 for each that was\n"
"read; counts, int64 (2, n), the numbers of ids of its source and target, 0 for others; source and target, int32, the\n"
"ids, one record after the other. The result says how many were written.");

static PyObject *pairs(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data, stops = {0}, usual = {0}, counts = {0};
    Ids ids[2] = {{{0}, 0, 0}, {{0}, 0, 0}};
    PyObject *objects[5], *result = NULL;
    Py_buffer *buffers[5] = {&stops, &usual, &ids[0].buffer, &ids[1].buffer, &counts};
    if (!PyArg_ParseTuple(args, "y*OOOOO", &data, &objects[0], &objects[1], &objects[2], &objects[3], &objects[4]))
        return NULL;
    for (int i = 0; i < 5; i++)
        if (PyObject_GetBuffer(objects[i], buffers[i], i ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
            goto done;
    Py_ssize_t n = usual.len;
    if (stops.len != n * 8 || counts.len != n * 16) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto done;
    }
    const uint8_t *base = data.buf;
    const int64_t *stop = stops.buf;
    uint8_t *flags = usual.buf;
    int64_t *count = counts.buf, start = 0;
    int in_order = 1;
    for (int side = 0; side < 2; side++)
        ids[side].room = ids[side].buffer.len / 4;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n && in_order; i++) {
        int64_t end = stop[i];
        in_order = start <= end && end <= data.len;
        if (!in_order)
            break;
        Py_ssize_t before[2] = {ids[0].written, ids[1].written};
        flags[i] = (uint8_t)read_pair((Span){base + start, base + end}, ids);
        for (int side = 0; side < 2; side++) {
            if (!flags[i])
                ids[side].written = before[side];
            count[side * n + i] = ids[side].written - before[side];
        }
        start = end;
    }
    Py_END_ALLOW_THREADS
    if (in_order)
        result = Py_BuildValue("(nn)", ids[0].written, ids[1].written);
    else
        PyErr_SetString(PyExc_ValueError, "the records do not follow each other within the data");
done:
    for (int i = 0; i < 5; i++)
        if (buffers[i]->obj)
            PyBuffer_Release(buffers[i]);
    PyBuffer_Release(&data);
    return result;
}

static PyMethodDef methods[] = {
    {"pairs", pairs, METH_VARARGS, pairs_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "recordio._sequences", "Many pairs of sequences at once, from bytes to arrays.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__sequences(void) { return PyModuleDef_Init(&module); }
