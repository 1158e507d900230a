/* Shares of exponentials, in the fixed point of TensorFlow Lite for Microcontrollers.
 *
 * powers[d] is the exponential of what is d below the greatest of its row, a fraction of 2^31, or 0 where
 * its share is.
 */
#ifndef EDGEGROW_SOFTMAX_H
#define EDGEGROW_SOFTMAX_H

#include "edgegrow_simd.h"

#define SOFTMAX_SUM_BITS 12 /* integer bits of a sum of exponentials */

struct softmax {
    int rows, depth;
};

/* a * b / 2^31, half up. */
EDGEGROW_KERNEL int64_t softmax_product(int64_t a, int64_t b) {
    return (a * b + ((int64_t)1 << 30)) >> 31;
}

/* 1 / (1 + x) of a fraction x of 2^31, by three steps of Newton's method. */
EDGEGROW_KERNEL int64_t softmax_reciprocal(int64_t x) {
    const int64_t half_denominator = (x + ((int64_t)1 << 31)) >> 1;
    int64_t y = 1515870810 + softmax_product(half_denominator, -1010580540); /* 48/17 - 32/17 d */
    for (int step = 0; step < 3; step++) {
        const int64_t error = ((int64_t)1 << 29) - softmax_product(half_denominator, y);
        y += softmax_product(y, error) * 4;
    }
    return 2 * y < 2147483647 ? 2 * y : 2147483647;
}

EDGEGROW_KERNEL void softmax(const struct softmax *p, const int8_t *in, int8_t *out, const int32_t *powers) {
    for (int row = 0; row < p->rows; row++) {
        int greatest = -128;
        for (int i = 0; i < p->depth; i++) {
            greatest = in[i] > greatest ? in[i] : greatest;
        }
        uint32_t sum = 0;
        for (int i = 0; i < p->depth; i++) {
            const uint32_t power = (uint32_t)powers[greatest - in[i]];
            sum += (power + (1u << (SOFTMAX_SUM_BITS - 1))) >> SOFTMAX_SUM_BITS;
        }
        const int headroom = __builtin_clz(sum);
        const int64_t reciprocal = softmax_reciprocal((int64_t)(sum << headroom) - ((int64_t)1 << 31));
        const int shift = SOFTMAX_SUM_BITS - headroom + 31 - 8;
        const int64_t half = (int64_t)1 << (shift - 1);
        for (int i = 0; i < p->depth; i++) {
            const int64_t share = (softmax_product(powers[greatest - in[i]], reciprocal) + half) >> shift;
            out[i] = (int8_t)(share < 255 ? share - 128 : 127);
        }
        in += p->depth;
        out += p->depth;
    }
}

#endif
