/* From 32-bit sums to int8 outputs, rounded twice, as TensorFlow Lite for Microcontrollers does it.
 *
 * A real factor is fraction * 2^(shift - 31): the product is rounded to an integer, half up, before the
 * shift, and again by the shift to the right, half away from zero.
 */
#ifndef EDGEGROW_SCALE_H
#define EDGEGROW_SCALE_H

#include "edgegrow_simd.h"

struct scale {
    int32_t fraction; /* 2^30 .. 2^31 - 1, or 0 */
    int32_t addend;   /* fast: half plus the zero point, both before the shift; otherwise the zero point */
    int32_t shift;    /* fast: bits to the right; otherwise bits to the left, negative to the right */
};

/* What is the same for all channels of an operator. */
struct output {
    int fast;     /* the sums come doubled, no shift goes to the left, and nothing overflows 32 bits */
    int one_sign; /* fast: results below the zero point are clamped away, and need no exact rounding */
    int low;
    int high;
};

/* Any factor, and any sum that the shift to the left leaves in 32 bits. */
EDGEGROW_KERNEL int64_t scale_exactly(int32_t sum, int32_t fraction, int32_t shift) {
    const int64_t shifted = shift > 0 ? (int64_t)sum * ((int64_t)1 << shift) : sum;
    const int64_t high = (shifted * fraction + ((int64_t)1 << 30)) >> 31;
    if (shift >= 0) {
        return high;
    }
    return (high + (high >> 63) + ((int64_t)1 << (-shift - 1))) >> -shift;
}

/* Half away from zero is half up, after one is taken from what is negative. */
EDGEGROW_KERNEL int32_t scale_fast(int32_t doubled, struct scale scale, int one_sign) {
    int32_t high = multiply_high(doubled, scale.fraction);
    return (high + (one_sign ? 0 : high >> 31) + scale.addend) >> scale.shift;
}

EDGEGROW_KERNEL int8_t to_output(int32_t sum, struct scale scale, const struct output *output) {
    if (output->fast) {
        return (int8_t)clamp(scale_fast(sum, scale, output->one_sign), output->low, output->high);
    }
    const int64_t value = scale_exactly(sum, scale.fraction, scale.shift) + scale.addend;
    return (int8_t)(value < output->low ? output->low : value > output->high ? output->high : value);
}

#endif
