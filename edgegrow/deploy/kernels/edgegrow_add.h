/* The sum of two tensors of different scales. */
#ifndef EDGEGROW_ADD_H
#define EDGEGROW_ADD_H

#include "edgegrow_scale.h"

/* The inputs are scaled by at most a half, which leaves 20 fractional bits room. */
struct add {
    int count;
    int32_t zero[2];
    int32_t fraction[2], shift[2]; /* to the common scale; the shift is to the right */
    struct scale scale;            /* to the output's */
    struct output output;
};

/* An input at the common scale, times 2^20. */
EDGEGROW_KERNEL int32_t add_term(const struct add *a, int which, int8_t value) {
    const int32_t centred = value - a->zero[which], shift = a->shift[which];
    if (a->fraction[which] == 1 << 30 && shift == 0) {
        return centred * (1 << 19); /* one half, exactly: so it is for the input of the greater scale */
    }
    const struct scale scale = {a->fraction[which], shift ? 1 << (shift - 1) : 0, shift};
    return scale_fast(centred * (1 << 21), scale, shift == 0);
}

EDGEGROW_KERNEL void add(const struct add *a, const int8_t *one, const int8_t *other, int8_t *out) {
    for (int i = 0; i < a->count; i++) {
        int32_t sum = add_term(a, 0, one[i]) + add_term(a, 1, other[i]);
        out[i] = to_output(sum * (1 << a->output.fast), a->scale, &a->output);
    }
}

#endif
