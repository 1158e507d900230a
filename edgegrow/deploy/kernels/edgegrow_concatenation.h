/* Tensors one after the other along an axis: of each in turn, what lies below an index of the axes before. */
#ifndef EDGEGROW_CONCATENATION_H
#define EDGEGROW_CONCATENATION_H

#include "edgegrow_simd.h"

struct concatenation {
    int inputs;
    int rows; /* indices of the axes before */
};

/* Of each input, `runs` has the bytes of a row. */
EDGEGROW_KERNEL void concatenation(const struct concatenation *c, const int8_t *const *in, int8_t *out,
                                   const int32_t *runs) {
    for (int row = 0; row < c->rows; row++) {
        for (int i = 0; i < c->inputs; i++) {
            __builtin_memcpy(out, in[i] + row * runs[i], (unsigned)runs[i]);
            out += runs[i];
        }
    }
}

#endif
