/* The fast path of recordio/record_reader.py and record_writer.py: many SageMaker records at once, between bytes and arrays.
 *
 * It knows the one layout that every protobuf library writes: fields in the order of their numbers, repeated numbers
 * packed, one entry named "values" in the feature map and at most one, of that name too, in the label map. Each byte
 * of framing and each tag is checked. Anything else is not an error here but "unusual": the functions stop before that
 * record, and the caller hands it to google's protobuf library, which decides what it means or what is wrong with it.
 * So there is not one error message about data in this file.
 *
 * first() tells of one record how large it is, so that the caller can make arrays for the rows that may follow; fill()
 * writes as many as fit. It trusts nothing that first() found: it checks all again, and every write against the size of
 * the array, for the bytes may have changed meanwhile (a file mapped into memory).
 *
 * Neither function keeps state or touches a Python object while it works, so the interpreter is released. sparse()
 * writes; it keeps the interpreter, so that the arrays stay as it has measured them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_wire.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "values are copied as they stand in the file, which is little-endian"
#endif

#define MAGIC 0xCED7230Au
#define HEADER 8           /* magic word, length word */
#define WHOLE_RECORD 29    /* length < 1 << 29: continuation flag 0 */

/* Tags: field number << 3 | wire type. */
enum {
    RECORD_FEATURES = 0x0A, RECORD_LABEL = 0x12, RECORD_UID = 0x1A, RECORD_CONFIGURATION = 0x2A,
    ENTRY_VALUE = 0x12,
    VALUE_FLOAT32 = 0x12, VALUE_FLOAT64 = 0x1A, VALUE_INT32 = 0x3A,
    TENSOR_VALUES = 0x0A, TENSOR_KEYS = 0x12, TENSOR_SHAPE = 0x1A
};
static const uint8_t ENTRY_KEY[8] = {0x0A, 6, 'v', 'a', 'l', 'u', 'e', 's'};

/* One tensor as it stands in the record; nothing is copied. */
typedef struct {
    int kind;          /* VALUE_FLOAT32, VALUE_FLOAT64 or VALUE_INT32 */
    Span values, keys; /* packed; empty where absent */
    Py_ssize_t count;  /* of values */
    int64_t shape;     /* -1 where absent */
} Tensor;

/* What all records of a run have in common. */
typedef struct {
    int64_t width;  /* features of a row; -1 until the first record tells */
    int64_t labels; /* labels of a record; -1 until the first record tells, 0 where labels are left out */
} Layout;

/* ---- reading one record ---------------------------------------------------------------------------------------- */

static int read_tensor(Span span, Tensor *tensor)
{
    Span shape;
    if (!read_optional(&span, TENSOR_VALUES, &tensor->values) || !read_optional(&span, TENSOR_KEYS, &tensor->keys) ||
        !read_optional(&span, TENSOR_SHAPE, &shape) || span.at != span.stop)
        return 0;

    tensor->shape = -1;
    if (shape.at != shape.stop) {
        uint64_t size;
        if (!read_varint(&shape, &size) || shape.at != shape.stop || size > INT32_MAX)
            return 0; /* two dimensions and more are unusual */
        tensor->shape = (int64_t)size;
    }

    Py_ssize_t bytes = tensor->values.stop - tensor->values.at;
    if (tensor->kind == VALUE_INT32) {
        Span values = tensor->values;
        uint64_t value;
        for (tensor->count = 0; values.at < values.stop; tensor->count++)
            if (!read_varint(&values, &value))
                return 0;
        return 1;
    }
    Py_ssize_t item = tensor->kind == VALUE_FLOAT32 ? 4 : 8;
    tensor->count = bytes / item;
    return bytes % item == 0;
}

/* A map entry named "values" that holds a tensor of numbers. */
static int read_entry(Span entry, Tensor *tensor)
{
    Span value, inner;
    if (entry.stop - entry.at < (Py_ssize_t)sizeof ENTRY_KEY || memcmp(entry.at, ENTRY_KEY, sizeof ENTRY_KEY))
        return 0;
    entry.at += sizeof ENTRY_KEY;
    if (entry.at == entry.stop || *entry.at++ != ENTRY_VALUE || !read_bytes(&entry, &value) || entry.at != entry.stop)
        return 0;
    if (value.at == value.stop)
        return 0;
    tensor->kind = *value.at++;
    if (tensor->kind != VALUE_FLOAT32 && tensor->kind != VALUE_FLOAT64 && tensor->kind != VALUE_INT32)
        return 0;
    return read_bytes(&value, &inner) && value.at == value.stop && read_tensor(inner, tensor);
}

/* uid, metadata and configuration, each at most once and in this order. Their bytes must be ASCII: what a protobuf
 * library does with other text is for it to say. */
static int read_texts(Span record)
{
    for (uint8_t tag = RECORD_UID; tag <= RECORD_CONFIGURATION; tag += 8) {
        Span text;
        if (!read_optional(&record, tag, &text))
            return 0;
        for (; text.at < text.stop; text.at++)
            if (*text.at >= 0x80)
                return 0;
    }
    return record.at == record.stop;
}

static int is_sparse(const Tensor *tensor) { return tensor->keys.at < tensor->keys.stop || tensor->count == 0; }

/* Reads the record that fills `record`, and checks it against the layout, or completes the layout by it. */
static int read_record(Span record, Layout *layout, Tensor *features, Tensor *label)
{
    Span entry;
    if (record.at == record.stop || *record.at++ != RECORD_FEATURES || !read_bytes(&record, &entry) ||
        !read_entry(entry, features))
        return 0;

    int64_t width = is_sparse(features) ? (features->shape < 0 ? layout->width : features->shape) : features->count;
    if (width <= 0 || width > INT32_MAX || (layout->width >= 0 && width != layout->width))
        return 0;
    if (is_sparse(features) ? features->count == 0 && (features->shape < 0 || features->keys.at < features->keys.stop)
                            : features->shape >= 0 && features->shape != width)
        return 0;

    *label = (Tensor){0};
    if (record.at < record.stop && *record.at == RECORD_LABEL) {
        record.at++;
        if (!read_bytes(&record, &entry) || !read_entry(entry, label) || is_sparse(label) ||
            (label->shape >= 0 && label->shape != label->count))
            return 0;
    }
    if (layout->labels && (label->count == 0 || (layout->labels > 0 && layout->labels != label->count)))
        return 0;
    if (record.at < record.stop && !read_texts(record))
        return 0;

    layout->width = width;
    if (layout->labels)
        layout->labels = label->count;
    return 1;
}

/* The bytes of the record whose frame starts at frame->at, and frame->at moved past it; 0 where the frame is unusual or
 * does not end before frame->stop. */
static int read_frame(Span *frame, Span *record)
{
    uint32_t words[2];
    if (frame->stop - frame->at < HEADER)
        return 0;
    memcpy(words, frame->at, HEADER);
    if (words[0] != MAGIC || words[1] >> WHOLE_RECORD)
        return 0;
    Py_ssize_t padded = ((Py_ssize_t)words[1] + 3) & ~(Py_ssize_t)3;
    if (frame->stop - frame->at - HEADER < padded)
        return 0;
    record->at = frame->at + HEADER;
    record->stop = record->at + words[1];
    frame->at = record->at + padded;
    return 1;
}

/* ---- many records alike ---------------------------------------------------------------------------------------- */

/* The record that was read last. Most of those that follow are its like: the same bytes but for those of values, keys
 * and labels, which tell nothing of the layout. */
typedef struct {
    Tensor features, label;
    const uint8_t *frame; /* NULL where none is to be like it */
    Py_ssize_t size;      /* of the frame, with its padding */
} Row;

static inline int same_bytes(const uint8_t *left, const uint8_t *right, Py_ssize_t count)
{
    uint64_t a, b;
    if (count < 8) {
        while (count-- > 0)
            if (left[count] != right[count])
                return 0;
        return 1;
    }
    for (Py_ssize_t at = 0;; at = at + 8 < count - 8 ? at + 8 : count - 8) { /* the last 8 may be compared in part again */
        memcpy(&a, left + at, 8);
        memcpy(&b, right + at, 8);
        if (a != b)
            return 0;
        if (at == count - 8)
            return 1;
    }
}

/* Whether all bytes from *at to those of `field` are the same `by` bytes on; *at moves behind it. */
static inline int same_before(Span field, const uint8_t **at, Py_ssize_t by)
{
    const uint8_t *from = *at;
    if (field.at == field.stop)
        return 1;
    *at = field.stop;
    return same_bytes(from, from + by, field.at - from);
}

static inline void move(Span *field, Py_ssize_t by)
{
    field->at += by;
    field->stop += by;
}

/* Reads the frame at frame->at where it is like the last one, and moves past it. */
static inline int read_alike(Row *row, Span *frame)
{
    const uint8_t *at = row->frame;
    if (!at || frame->stop - frame->at < row->size)
        return 0;
    Py_ssize_t by = frame->at - at;
    if (!same_before(row->features.values, &at, by) || !same_before(row->features.keys, &at, by) ||
        !same_before(row->label.values, &at, by) || !same_bytes(at, at + by, row->frame + row->size - at))
        return 0;
    move(&row->features.values, by);
    move(&row->features.keys, by);
    if (row->label.count)
        move(&row->label.values, by);
    row->frame = frame->at;
    frame->at += row->size;
    return 1;
}

/* Bytes before they are read that memory is asked for them: a record's few bytes of framing lie too far apart for the
 * processor to see that they are read in order. */
#define AHEAD 2048

/* Reads the record at frame->at and moves past it; 0 where it is unusual or not whole. Another can be told to be like it
 * unless its numbers are varints, whose bytes tell how many they are. */
static inline int read_next(Row *row, Span *frame, Layout *layout)
{
    if (read_alike(row, frame))
        return 1;
    Span next = *frame, record;
    if (!read_frame(&next, &record))
        return 0;
    for (Py_ssize_t at = 0; at < next.at - frame->at && at < next.stop - frame->at - AHEAD; at += 64)
        __builtin_prefetch(frame->at + AHEAD + at);
    if (!read_record(record, layout, &row->features, &row->label))
        return 0;
    row->frame = row->features.kind == VALUE_INT32 || row->label.kind == VALUE_INT32 ? NULL : frame->at;
    row->size = next.at - frame->at;
    *frame = next;
    return 1;
}

/* ---- writing into arrays --------------------------------------------------------------------------------------- */

/* Bit 31 is set where the exponent is all ones, as in NaN and infinity, and only there. */
#define NOT_FINITE 0x80000000u
static inline uint32_t not_finite(uint32_t bits) { return (bits & 0x7F800000u) + 0x00800000u; }

static uint32_t copy_float32(const uint8_t *restrict in, Py_ssize_t count, uint8_t *restrict out)
{
    uint32_t bad = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, in + 4 * i, 4);
        memcpy(out + 4 * i, &bits, 4);
        bad |= not_finite(bits);
    }
    return bad & NOT_FINITE;
}

static uint32_t copy_float64(const uint8_t *restrict in, Py_ssize_t count, uint8_t *restrict out)
{
    uint32_t bad = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        double number;
        uint32_t bits;
        memcpy(&number, in + 8 * i, 8);
        float value = (float)number;
        memcpy(&bits, &value, 4);
        memcpy(out + 4 * i, &bits, 4);
        bad |= not_finite(bits);
    }
    return bad & NOT_FINITE;
}

/* read_tensor has checked the varints; should the bytes have changed since, zeros are written. */
static void copy_int32(Span values, Py_ssize_t count, uint8_t *out)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        uint64_t word = 0;
        read_varint(&values, &word);
        float value = (float)(int32_t)(uint32_t)word;
        memcpy(out + 4 * i, &value, 4);
    }
}

/* Writes the values as float32; 0 where one is NaN or infinite. */
static int copy_values(const Tensor *tensor, uint8_t *out)
{
    if (tensor->kind == VALUE_FLOAT32)
        return !copy_float32(tensor->values.at, tensor->count, out);
    if (tensor->kind == VALUE_FLOAT64)
        return !copy_float64(tensor->values.at, tensor->count, out);
    copy_int32(tensor->values, tensor->count, out);
    return 1;
}

/* Of 8 bytes: set in none where each is a varint, and in every other where each pair is one. */
#define HIGH_BITS 0x8080808080808080u
#define HIGH_BITS_OF_PAIRS 0x0080008000800080u
#define LOW_BITS_OF_PAIRS 0x007F007F007F007Fu

/* Writes the keys; 0 where there are not as many as values, or one is not below width. Sets *unsorted where they do
 * not rise. */
static int copy_keys(const Tensor *tensor, int32_t width, int32_t *out, int *unsorted)
{
    Span keys = tensor->keys;
    Py_ssize_t count = tensor->count, i = 0;
    while (i < count) {
        uint64_t key, word = HIGH_BITS;
        if (count - i >= 8 && keys.stop - keys.at >= 8)
            memcpy(&word, keys.at, 8);
        if ((word & HIGH_BITS) == 0) {
            uint8_t bytes[8];
            memcpy(bytes, &word, 8);
            for (int at = 0; at < 8; at++)
                out[i + at] = bytes[at];
            i += 8;
            keys.at += 8;
        } else if ((word & HIGH_BITS) == HIGH_BITS_OF_PAIRS) {
            word = (word & LOW_BITS_OF_PAIRS) | (word >> 1 & LOW_BITS_OF_PAIRS << 7);
            uint16_t pairs[4];
            memcpy(pairs, &word, 8);
            for (int at = 0; at < 4; at++)
                out[i + at] = pairs[at];
            i += 4;
            keys.at += 8;
        } else if (!read_varint(&keys, &key) || key > INT32_MAX) {
            return 0;
        } else {
            out[i++] = (int32_t)key;
        }
    }
    int falls = 0, beyond = count > 0 && out[count - 1] >= width; /* where keys rise, the last is the largest */
    for (i = 1; i < count; i++)
        falls |= out[i] <= out[i - 1];
    for (i = 0; falls && i < count; i++)
        beyond |= out[i] >= width;
    if (beyond)
        return 0;
    *unsorted |= falls;
    return keys.at == keys.stop;
}

/* ---- Python ---------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(first_doc,
"first(data, start, width, labels) -> (stop, values, sparse, width, labels) or None\n\n"
"The record at data[start]: the position after it, the number of its feature values, whether it is sparse, its width\n"
"and number of labels; None where its layout is not the usual one, or it is not whole. width and labels are what is\n"
"expected, -1 where this record decides; labels is 0 where they are left out.");

static PyObject *first(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    Py_ssize_t start;
    long long width, labels;
    if (!PyArg_ParseTuple(args, "y*nLL", &data, &start, &width, &labels))
        return NULL;
    if (start < 0 || start > data.len) {
        PyBuffer_Release(&data);
        return PyErr_Format(PyExc_ValueError, "start %zd is outside of the data", start);
    }
    const uint8_t *base = data.buf;
    Span frame = {base + start, base + data.len};
    Layout layout = {width, labels};
    Row row = {0};
    PyObject *result;
    if (read_next(&row, &frame, &layout))
        result = Py_BuildValue("(nnNLL)", (Py_ssize_t)(frame.at - base), row.features.count,
                               PyBool_FromLong(is_sparse(&row.features)), (long long)layout.width,
                               (long long)layout.labels);
    else
        result = Py_NewRef(Py_None);
    PyBuffer_Release(&data);
    return result;
}

/* The arrays of fill(), and how much of them is written. */
typedef struct {
    Py_buffer values, indices, indptr, labels;
    Py_ssize_t written, labelled;
    int unsorted;
} Arrays;

/* Writes one row; 0 where it is unusual, a label or (where finite) a feature is NaN or infinite, or there is no room. */
static int fill_row(Arrays *arrays, Layout layout, const Tensor *features, const Tensor *label, int finite)
{
    uint8_t *values = (uint8_t *)arrays->values.buf + 4 * arrays->written;
    if (features->count > arrays->values.len / 4 - arrays->written)
        return 0;
    if (!copy_values(features, values) && finite)
        return 0;
    if (arrays->indices.obj) {
        if (features->count > arrays->indices.len / 4 - arrays->written ||
            features->count > INT32_MAX - arrays->written)
            return 0;
        int32_t *indices = (int32_t *)arrays->indices.buf + arrays->written;
        if (!is_sparse(features)) {
            for (Py_ssize_t i = 0; i < features->count; i++)
                indices[i] = (int32_t)i;
        } else if (!copy_keys(features, (int32_t)layout.width, indices, &arrays->unsorted)) {
            return 0;
        }
    } else if (is_sparse(features)) {
        return 0;
    }
    if (layout.labels) {
        if (label->count > arrays->labels.len / 4 - arrays->labelled)
            return 0;
        if (!copy_values(label, (uint8_t *)arrays->labels.buf + 4 * arrays->labelled))
            return 0;
        arrays->labelled += label->count;
    }
    arrays->written += features->count;
    return 1;
}

PyDoc_STRVAR(fill_doc,
"fill(data, start, limit, records, width, labels, finite, values, indices, indptr, label_values)\n"
"    -> (filled, stop, unsorted)\n\n"
"Write the records that start at data[start] and before data[start + limit], at most so many, into arrays: float32\n"
"values; int32 indices and indptr for CSR, else None; float32 label_values, None where labels is 0. It stops before a\n"
"record that is unusual or not whole, or has another width or number of labels; before one with a key that is not below\n"
"width, not as many keys as values, a label that is NaN or infinite or, where finite, such a feature; and where an array\n"
"is full. unsorted tells whether the keys of some row do not rise.");

/* A record is a hundred nanoseconds: calls within it would be a twentieth of them. */
__attribute__((flatten)) static PyObject *fill(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    Arrays arrays = {0};
    PyObject *outputs[4];
    Py_buffer *buffers[4] = {&arrays.values, &arrays.indices, &arrays.indptr, &arrays.labels};
    PyObject *result = NULL;
    Py_ssize_t start, limit, records, filled = 0;
    long long width, labels;
    int finite;
    if (!PyArg_ParseTuple(args, "y*nnnLLpOOOO", &data, &start, &limit, &records, &width, &labels, &finite,
                          &outputs[0], &outputs[1], &outputs[2], &outputs[3]))
        return NULL;
    for (int i = 0; i < 4; i++)
        if (outputs[i] != Py_None && PyObject_GetBuffer(outputs[i], buffers[i], PyBUF_WRITABLE) < 0)
            goto done;
    if (start < 0 || start > data.len || records < 0 || !arrays.values.obj ||
        !arrays.indices.obj != !arrays.indptr.obj || (labels && !arrays.labels.obj) ||
        (arrays.indptr.obj && arrays.indptr.len / 4 <= records)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto done;
    }
    const uint8_t *base = data.buf;
    Span frame = {base + start, base + data.len};
    Layout layout = {width, labels};
    Row row = {0};
    int32_t *indptr = arrays.indptr.buf;
    Py_BEGIN_ALLOW_THREADS
    if (indptr)
        indptr[0] = 0;
    for (; filled < records && frame.at - base - start < limit; filled++) {
        Span next = frame;
        if (!read_next(&row, &next, &layout) ||
            !fill_row(&arrays, layout, &row.features, &row.label, finite))
            break;
        frame = next;
        if (indptr)
            indptr[filled + 1] = (int32_t)arrays.written;
    }
    Py_END_ALLOW_THREADS
    result = Py_BuildValue("(nnN)", filled, (Py_ssize_t)(frame.at - base), PyBool_FromLong(arrays.unsorted));
done:
    for (int i = 0; i < 4; i++)
        if (buffers[i]->obj)
            PyBuffer_Release(buffers[i]);
    PyBuffer_Release(&data);
    return result;
}

/* ---- writing sparse rows ---------------------------------------------------------------------------------------- */

/* Sparse rows to write, and for each its labels, which stand ready to be copied after `label_head`. */
typedef struct {
    Py_buffer data, indices, indptr, label_head, labels;
    Py_ssize_t rows, value_size;
    uint64_t width;
    uint8_t kind; /* VALUE_FLOAT32 or VALUE_FLOAT64 */
} Sparse;

/* The lengths within a record, from the innermost to its own. */
typedef struct { uint64_t values, keys, tensor, value, entry, body; } Lengths;

static inline int varint_size(uint64_t number)
{
    int size = 1;
    for (; number >= 0x80; number >>= 7) size++;
    return size;
}

static inline uint8_t *write_varint(uint8_t *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) *at++ = (uint8_t)(number | 0x80);
    *at++ = (uint8_t)number;
    return at;
}

static inline uint8_t *write_bytes(uint8_t *at, const void *from, size_t size)
{
    memcpy(at, from, size);
    return at + size;
}

/* A tag and the length of what follows. */
static inline uint8_t *write_head(uint8_t *at, uint8_t tag, uint64_t length)
{
    *at++ = tag;
    return write_varint(at, length);
}

static Lengths lengths_of(const Sparse *rows, Py_ssize_t row, Py_ssize_t label_size)
{
    const int64_t *bounds = rows->indptr.buf;
    const int32_t *indices = rows->indices.buf;
    Lengths found = {(uint64_t)((bounds[row + 1] - bounds[row]) * rows->value_size), 0, 0, 0, 0, 0};
    for (int64_t i = bounds[row]; i < bounds[row + 1]; i++) found.keys += varint_size((uint32_t)indices[i]);
    uint64_t shape = varint_size(rows->width);
    found.tensor = 1 + varint_size(shape) + shape;
    if (found.values)
        found.tensor += 2 + varint_size(found.values) + found.values + varint_size(found.keys) + found.keys;
    found.value = 1 + varint_size(found.tensor) + found.tensor;
    found.entry = sizeof ENTRY_KEY + 1 + varint_size(found.value) + found.value;
    found.body = 1 + varint_size(found.entry) + found.entry + rows->label_head.len + label_size;
    return found;
}

static uint8_t *write_row(uint8_t *at, const Sparse *rows, Py_ssize_t row, Lengths sizes, Py_ssize_t label_size)
{
    const int64_t *bounds = rows->indptr.buf;
    const int32_t *indices = rows->indices.buf;
    uint32_t header[2] = {MAGIC, (uint32_t)sizes.body};
    at = write_bytes(at, header, HEADER);
    at = write_head(at, RECORD_FEATURES, sizes.entry);
    at = write_bytes(at, ENTRY_KEY, sizeof ENTRY_KEY);
    at = write_head(at, ENTRY_VALUE, sizes.value);
    at = write_head(at, rows->kind, sizes.tensor);
    if (sizes.values) {
        at = write_head(at, TENSOR_VALUES, sizes.values);
        at = write_bytes(at, (const uint8_t *)rows->data.buf + bounds[row] * rows->value_size, sizes.values);
        at = write_head(at, TENSOR_KEYS, sizes.keys);
        for (int64_t i = bounds[row]; i < bounds[row + 1]; i++) at = write_varint(at, (uint32_t)indices[i]);
    }
    at = write_head(at, TENSOR_SHAPE, varint_size(rows->width));
    at = write_varint(at, rows->width);
    at = write_bytes(at, rows->label_head.buf, rows->label_head.len);
    at = write_bytes(at, (const uint8_t *)rows->labels.buf + row * label_size, label_size);
    int padding = -(int)sizes.body & 3;
    memset(at, 0, padding);
    return at + padding;
}

/* The bytes of all frames; 0 where a record is longer than `longest`, or the arrays do not fit each other. */
static uint64_t size_of(const Sparse *rows, Py_ssize_t label_size, uint64_t longest)
{
    const int64_t *bounds = rows->indptr.buf;
    int64_t entries = rows->indices.len / 4;
    uint64_t total = 0;
    if (bounds[0] < 0 || rows->data.len / rows->value_size < entries) return 0;
    for (Py_ssize_t row = 0; row < rows->rows; row++) {
        if (bounds[row + 1] < bounds[row] || bounds[row + 1] > entries) return 0;
        uint64_t body = lengths_of(rows, row, label_size).body;
        if (body > longest || body >> WHOLE_RECORD) return 0;
        total += HEADER + ((body + 3) & ~(uint64_t)3);
    }
    return total;
}

PyDoc_STRVAR(sparse_doc,
    "sparse(data, value_size, indices, indptr, width, label_head, labels, longest) -> bytes or None\n\n"
    "A frame for each CSR row: `data` of float32 or float64 (4 or 8 bytes), `indices` int32, `indptr` int64. `labels`\n"
    "are as many bytes for each row, which follow `label_head`. None where a row needs more than `longest` bytes.");

static PyObject *sparse(PyObject *Py_UNUSED(module), PyObject *args)
{
    Sparse rows = {0};
    PyObject *result = NULL;
    unsigned long long width, longest;
    if (!PyArg_ParseTuple(args, "y*ny*y*Ky*y*K", &rows.data, &rows.value_size, &rows.indices, &rows.indptr, &width,
                          &rows.label_head, &rows.labels, &longest))
        return NULL;
    rows.rows = rows.indptr.len / 8 - 1;
    rows.width = width;
    if (rows.rows < 1 || (rows.value_size != 4 && rows.value_size != 8) || rows.labels.len % rows.rows) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto done;
    }
    rows.kind = rows.value_size == 4 ? VALUE_FLOAT32 : VALUE_FLOAT64;
    Py_ssize_t label_size = rows.labels.len / rows.rows;
    uint64_t size = size_of(&rows, label_size, longest);
    if (size == 0) {
        result = Py_NewRef(Py_None);
        goto done;
    }
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (result) {
        uint8_t *at = (uint8_t *)PyBytes_AS_STRING(result);
        for (Py_ssize_t row = 0; row < rows.rows; row++)
            at = write_row(at, &rows, row, lengths_of(&rows, row, label_size), label_size);
    }
done:
    PyBuffer_Release(&rows.data);
    PyBuffer_Release(&rows.indices);
    PyBuffer_Release(&rows.indptr);
    PyBuffer_Release(&rows.label_head);
    PyBuffer_Release(&rows.labels);
    return result;
}

static PyMethodDef methods[] = {
    {"sparse", sparse, METH_VARARGS, sparse_doc},
    {"first", first, METH_VARARGS, first_doc},
    {"fill", fill, METH_VARARGS, fill_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "recordio._kernel", "Many SageMaker records at once, from bytes to arrays.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&module); }
