/* Functions of one number, from a table of all 256. */
#ifndef EDGEGROW_LOOKUP_H
#define EDGEGROW_LOOKUP_H

#include "edgegrow_flat.h"

EDGEGROW_KERNEL void lookup(const struct flat *p, const int8_t *in, int8_t *out, const int8_t *table) {
    for (int i = 0; i < p->count; i++) {
        out[i] = table[in[i] + 128];
    }
}

#endif
