/* Reading of protobuf's wire format: numbers and lengths, each checked against what is left. */
#ifndef RECORDIO_WIRE_H
#define RECORDIO_WIRE_H

#include <stdint.h>

typedef struct { const uint8_t *at, *stop; } Span;

/* Reads a varint and moves past it; 0 where it is cut off or does not fit 64 bits. */
static int read_long_varint(Span *span, uint64_t *value)
{
    uint64_t result = 0;
    for (int shift = 0; shift < 64 && span->at < span->stop; shift += 7) {
        uint8_t byte = *span->at++;
        if (shift == 63 && byte > 1)
            return 0;
        result |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = result;
            return 1;
        }
    }
    return 0;
}

/* The same; nearly all varints here have one or two bytes. */
static inline int read_varint(Span *span, uint64_t *value)
{
    const uint8_t *at = span->at;
    Py_ssize_t left = span->stop - at;
    if (left > 0 && at[0] < 0x80) {
        *value = at[0];
        span->at = at + 1;
        return 1;
    }
    if (left > 1 && at[1] < 0x80) {
        *value = (uint64_t)(at[0] & 0x7F) | (uint64_t)at[1] << 7;
        span->at = at + 2;
        return 1;
    }
    return read_long_varint(span, value);
}

/* Reads `length, bytes` into *field and moves past it. */
static inline int read_bytes(Span *span, Span *field)
{
    uint64_t length;
    if (!read_varint(span, &length) || length > (uint64_t)(span->stop - span->at))
        return 0;
    field->at = span->at;
    field->stop = span->at += length;
    return 1;
}

/* The same for an optional field: 1 where it is there and well-formed or where another tag or the end comes next. */
static inline int read_optional(Span *span, uint8_t tag, Span *field)
{
    field->at = field->stop = span->at;
    if (span->at == span->stop || *span->at != tag)
        return 1;
    span->at++;
    return read_bytes(span, field);
}

#endif
