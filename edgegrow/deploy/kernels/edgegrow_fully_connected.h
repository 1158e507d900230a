/* A linear layer: the product with one column, which is widened on the way. */
#ifndef EDGEGROW_FULLY_CONNECTED_H
#define EDGEGROW_FULLY_CONNECTED_H

#include "edgegrow_product.h"

struct fully_connected {
    int features;
    struct product product;
};

/* Four inputs: 0 and 2 come out of their word together, then 1 and 3; so the weights are ordered. */
EDGEGROW_KERNEL void fully_connected_step(const struct product *p, const uint32_t *weights, uint32_t inputs,
                                          struct pair sums[2][2]) {
    product_step(p, weights, widen_even(inputs), 0, sums, 1);
    product_step(p, weights + 2, widen_odd(inputs), 0, sums, 1);
}

EDGEGROW_KERNEL void fully_connected(const struct fully_connected *f, const int8_t *in, int8_t *out,
                                     const uint32_t *weights, const int32_t *bias,
                                     const struct scale *scales) {
    for (int channel = 0; channel < f->product.channels; channel += 4) {
        struct pair sums[2][2] = {{{0, 0}, {0, 0}}, {{0, 0}, {0, 0}}};
        const int8_t *input = in;
        const int8_t *const end = in + f->features / 4 * 4;
#if EDGEGROW_MVE
        mve_row(f->product.packed, weights, input, f->features / 8, &sums[0][0], &sums[1][0]);
        weights += f->features / 8 * 8;
        input += f->features / 8 * 8;
#endif
        while (input != end) {
            fully_connected_step(&f->product, weights, load_word(input), sums);
            weights += 4;
            input += 4;
        }
        if (f->features % 4 != 0) {
            uint32_t rest = 0;
            __builtin_memcpy(&rest, input, (unsigned)f->features % 4);
            fully_connected_step(&f->product, weights, rest, sums);
            weights += 4;
        }
        product_outputs(&f->product, sums, channel, bias, scales, out, 1);
    }
}

#endif
