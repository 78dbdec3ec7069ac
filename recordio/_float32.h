/* Decimal text to the nearest float32, ties to even, as IEEE 754 asks: exact for any number of digits.
 *
 * A number is read in one pass: its first 19 significant digits as an integer, the power of ten that belongs to it.
 * Double arithmetic makes a float64 of these that is off by a few units in its last place; a float64 has 29 bits more
 * than a float32, so rounding it again is right unless those bits lie next to half a unit of the float32. Only then
 * (one number in ten million, and those that are made for it) the digits are compared with that half exactly, in
 * integers. The half between two float32 has at most 113 significant decimal digits, so no more than LONGEST of a
 * number are looked at; whether any of the rest is not zero decides what would be a tie (a "sticky" digit).
 *
 * After W. D. Clinger, "How to Read Floating Point Numbers Accurately" (PLDI 1990).
 *
 * The text must end with a byte that is neither a digit, a sign, a point nor an e, which stops every loop.
 */
#ifndef RECORDIO_FLOAT32_H
#define RECORDIO_FLOAT32_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define DIGITS 19                      /* decimal digits that always fit 64 bits */
#define LONGEST 120                    /* more than the significant digits of half a float32 */
#define LARGEST_POWER 22               /* 10**22 is the largest power of ten that a double holds exactly */
#define LARGEST_EXPONENT 1000000000000 /* beyond the length of any text, so that clipping an exponent changes nothing */
#define LIMBS 32                       /* 1024 bits: 10**LONGEST has 399, 10**166 has 552, 2**150 has 151 */

static const double POWERS[LARGEST_POWER + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

static inline int is_digit(char byte) { return (unsigned char)(byte - '0') < 10; }

/* Significant digits of a number, `count` of them as an integer, at most DIGITS; the others only move the power. */
typedef struct { uint64_t digits; int64_t power; int count, seen; } Decimal;

static inline void add_digit(Decimal *number, int digit, int fraction)
{
    number->seen = 1;
    if (number->count < DIGITS) {
        number->digits = number->digits * 10 + (uint64_t)digit;
        number->count += number->digits != 0;
        number->power -= fraction;
    } else {
        number->power += !fraction;
    }
}

/* Reads the exponent after the letter e and moves past it; 0 where there is none. */
static inline int read_exponent(const char **at, int64_t *power)
{
    const char *p = *at;
    int negative = *p == '-';
    int64_t value = 0;
    p += *p == '-' || *p == '+';
    if (!is_digit(*p)) return 0;
    for (; is_digit(*p); p++)
        if (value < LARGEST_EXPONENT) value = value * 10 + (*p - '0');
    *power += negative ? -value : value;
    *at = p;
    return 1;
}

/* ---- exact comparison -------------------------------------------------------------------------------------------- */

typedef struct { uint32_t limb[LIMBS]; int count; } Whole; /* a natural number, lowest limb first */

static void multiply_add(Whole *number, uint32_t factor, uint32_t term)
{
    uint64_t carry = term;
    for (int i = 0; i < number->count; i++) {
        carry += (uint64_t)number->limb[i] * factor;
        number->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && number->count < LIMBS) number->limb[number->count++] = (uint32_t)carry;
}

static void multiply_by_ten(Whole *number, int64_t times)
{
    for (; times >= 9; times -= 9) multiply_add(number, 1000000000u, 0);
    for (; times > 0; times--) multiply_add(number, 10, 0);
}

static void multiply_by_two(Whole *number, int times)
{
    for (; times >= 31; times -= 31) multiply_add(number, 1u << 31, 0);
    multiply_add(number, 1u << times, 0);
}

static int compare(const Whole *a, const Whole *b)
{
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    for (int i = a->count - 1; i >= 0; i--)
        if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* Compares the number whose digits begin at `p` with middle * 2**exponent: -1, 0 or 1. `power` is that of the whole. */
static int compare_with_half(const char *p, int64_t power, uint32_t middle, int exponent)
{
    Whole number = {{0}, 0}, half = {{middle}, 1};
    int count = 0, sticky = 0, fraction = 0;
    for (;; p++) {
        if (*p == '.' && !fraction) {
            fraction = 1;
            continue;
        }
        if (!is_digit(*p)) break;
        if (count < LONGEST) {
            multiply_add(&number, 10, (uint32_t)(*p - '0'));
            count += number.count > 0;
            power -= fraction;
        } else {
            sticky |= *p != '0';
            power += !fraction;
        }
    }
    multiply_by_ten(power < 0 ? &half : &number, power < 0 ? -power : power);
    multiply_by_two(exponent < 0 ? &number : &half, exponent < 0 ? -exponent : exponent);
    int order = compare(&number, &half);
    return order ? order : sticky;
}

/* ---- rounding ---------------------------------------------------------------------------------------------------- */

/* The float32 nearest to the number whose digits begin at `p` and that is about `wide`, which is not 0: what `nearest`
 * leaves. `exponent` is the number's own. */
static float nearest_exactly(const char *p, int64_t exponent, double wide)
{
    int size;
    frexp(wide, &size);                    /* 2**(size - 1) <= wide < 2**size */
    int unit = size - 24 < -149 ? -149 : size - 24;
    double below = floor(ldexp(wide, -unit)); /* in units of the float32, an integer of at most 24 bits */
    int order = compare_with_half(p, exponent, 2 * (uint32_t)below + 1, unit - 1);
    if (order > 0 || (order == 0 && fmod(below, 2) != 0)) below += 1;
    double found = ldexp(below, unit);
    return found > 3.4028234663852886e38 ? INFINITY : (float)found;
}

#if defined(__GNUC__)
#define SELDOM __attribute__((noinline, cold))
#else
#define SELDOM
#endif

/* The float32 nearest to a number that is not 0, where the power of ten or the size is beyond the usual, or double
 * arithmetic cannot tell. */
SELDOM static float nearest_of_any(Decimal number, const char *p, int64_t exponent)
{
    if (number.count + number.power < -45) return 0; /* below 1e-46, less than half of the smallest */
    if (number.count + number.power > 40) return INFINITY;
    int64_t power = number.power;
    double wide = (double)number.digits;
    for (; power > LARGEST_POWER; power -= LARGEST_POWER) wide *= POWERS[LARGEST_POWER];
    for (; power < -LARGEST_POWER; power += LARGEST_POWER) wide /= POWERS[LARGEST_POWER];
    return nearest_exactly(p, exponent, power < 0 ? wide / POWERS[-power] : wide * POWERS[power]);
}

/* The float32 nearest to a number; `p` is where its digits begin, `exponent` what stands after its e. */
static inline float nearest(Decimal number, const char *p, int64_t exponent)
{
    if (number.digits == 0) return 0;
    if (number.power >= -LARGEST_POWER && number.power <= LARGEST_POWER) {
        double whole = (double)number.digits;
        double wide = number.power < 0 ? whole / POWERS[-number.power] : whole * POWERS[number.power];
        uint64_t bits;
        memcpy(&bits, &wide, sizeof bits);
        /* Two roundings: eight units of the last place are more than they can come to. */
        int exact = number.power == 0 && number.digits < (1ull << 53);
        if (((bits & 0x1FFFFFFF) - 0x0FFFFFF8 > 16 || exact) && wide < 3.4e38) return (float)wide;
    }
    return nearest_of_any(number, p, exponent);
}

/* Reads a number and moves past it; 0 where there is none. Words (nan, inf) are none. */
static inline int read_number(const char **at, float *value)
{
    const char *p = *at;
    Decimal number = {0, 0, 0, 0};
    int negative = *p == '-';
    p += *p == '-' || *p == '+';
    const char *start = p;
    for (; is_digit(*p); p++) add_digit(&number, *p - '0', 0);
    if (*p == '.')
        for (p++; is_digit(*p); p++) add_digit(&number, *p - '0', 1);
    if (!number.seen) return 0;
    int64_t exponent = 0;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (!read_exponent(&p, &exponent)) return 0;
        number.power += exponent;
    }
    *value = nearest(number, start, exponent);
    if (negative) *value = -*value;
    *at = p;
    return 1;
}

#endif
