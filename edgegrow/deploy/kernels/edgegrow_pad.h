/* Real zeros around a tensor. */
#ifndef EDGEGROW_PAD_H
#define EDGEGROW_PAD_H

#include "edgegrow_simd.h"

struct pad {
    int in_size[3];
    int before[3];
    int out_size[3];
    int zero; /* the zero point */
};

EDGEGROW_KERNEL void pad(const struct pad *p, const int8_t *in, int8_t *out) {
    const int row = p->in_size[2];
    __builtin_memset(out, p->zero, (unsigned)(p->out_size[0] * p->out_size[1] * p->out_size[2]));
    for (int i = 0; i < p->in_size[0]; i++) {
        for (int j = 0; j < p->in_size[1]; j++) {
            const int place = (i + p->before[0]) * p->out_size[1] + j + p->before[1];
            __builtin_memcpy(out + place * p->out_size[2] + p->before[2], in, (unsigned)row);
            in += row;
        }
    }
}

#endif
