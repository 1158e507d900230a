/* The same numbers in another shape. */
#ifndef EDGEGROW_RESHAPE_H
#define EDGEGROW_RESHAPE_H

#include "edgegrow_flat.h"

EDGEGROW_KERNEL void reshape(const struct flat *p, const int8_t *in, int8_t *out) {
    if (in != out) {
        __builtin_memcpy(out, in, (unsigned)p->count);
    }
}

#endif
