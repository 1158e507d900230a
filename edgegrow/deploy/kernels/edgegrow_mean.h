/* The mean over the positions of a map, with a scale of its own. */
#ifndef EDGEGROW_MEAN_H
#define EDGEGROW_MEAN_H

#include "edgegrow_scale.h"

struct mean {
    int positions, channels;
    int32_t start;      /* what the zero points take off a sum */
    struct scale scale; /* divides by the number of positions too */
    struct output output;
};

EDGEGROW_KERNEL void mean(const struct mean *m, const int8_t *in, int8_t *out) {
    for (int channel = 0; channel < m->channels; channel++) {
        const int8_t *from = in + channel;
        int32_t sum = m->start;
        for (int i = 0; i < m->positions; i++) {
            sum += *from;
            from += m->channels;
        }
        out[channel] = to_output(sum * (1 << m->output.fast), m->scale, &m->output);
    }
}

#endif
