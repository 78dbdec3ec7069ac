/* What the optional kernels of algorithms share: several builds of a function, memory that is asked for ahead, and the
 * lengths of arrays.
 *
 * To be included first: it includes Python.h.
 */
#ifndef ALGORITHMS_COMMON_ARRAYS_H
#define ALGORITHMS_COMMON_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A function that is compiled for several generations of processors, of which the loader takes the best. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define VECTORISED __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define VECTORISED
#endif

#define LINE 64 /* bytes that memory sends to the cache at once */

/* Ask for so many bytes some time before they are needed. Where they lie anywhere in large arrays, loops mostly wait. */
static inline void fetch(const void *address, int64_t size) {
#if defined(__GNUC__)
    for (int64_t byte = 0; byte < size; byte += LINE) __builtin_prefetch((const char *)address + byte);
    __builtin_prefetch((const char *)address + size - 1); /* they may begin within a line */
#else
    (void)address, (void)size;
#endif
}

/* 0 where a buffer has so many items of so many bytes; else -1, with a ValueError that names it. */
static int check_length(const Py_buffer *buffer, int64_t items, int64_t size, const char *name) {
    if (buffer->len == items * size) return 0;
    PyErr_Format(PyExc_ValueError, "%s has %zd bytes, not %lld", name, buffer->len, (long long)(items * size));
    return -1;
}

#endif
