/* A map, every element repeated. */
#ifndef EDGEGROW_UPSAMPLE2D_H
#define EDGEGROW_UPSAMPLE2D_H

#include "edgegrow_simd.h"

struct upsample2d {
    int in_height, in_width, channels;
    int vertical, horizontal; /* times */
};

EDGEGROW_KERNEL void upsample2d(const struct upsample2d *u, const int8_t *in, int8_t *out) {
    const int row = u->in_width * u->horizontal * u->channels;
    for (int y = 0; y < u->in_height; y++) {
        const int8_t *first = out;
        for (int x = 0; x < u->in_width; x++) {
            for (int i = 0; i < u->horizontal; i++) {
                __builtin_memcpy(out, in, (unsigned)u->channels);
                out += u->channels;
            }
            in += u->channels;
        }
        for (int i = 1; i < u->vertical; i++) {
            __builtin_memcpy(out, first, (unsigned)row);
            out += row;
        }
    }
}

#endif
