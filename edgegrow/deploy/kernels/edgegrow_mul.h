/* The product of two tensors, each repeated along the axes where it has one element. */
#ifndef EDGEGROW_MUL_H
#define EDGEGROW_MUL_H

#include "edgegrow_scale.h"

struct mul {
    int size[3];          /* of the output */
    int one[3], other[3]; /* elements from an index of each axis to the next; 0 repeats */
    int32_t zero[2];
    struct scale scale;
    struct output output;
};

EDGEGROW_KERNEL void mul(const struct mul *m, const int8_t *one, const int8_t *other, int8_t *out) {
    for (int i = 0; i < m->size[0]; i++) {
        for (int j = 0; j < m->size[1]; j++) {
            const int8_t *a = one + i * m->one[0] + j * m->one[1];
            const int8_t *b = other + i * m->other[0] + j * m->other[1];
            for (int k = 0; k < m->size[2]; k++) {
                const int32_t product = (*a - m->zero[0]) * (*b - m->zero[1]);
                *out++ = to_output(product * (1 << m->output.fast), m->scale, &m->output);
                a += m->one[2];
                b += m->other[2];
            }
        }
    }
}

#endif
