/* Products of a weight matrix with one or two columns of inputs, the heart of convolutions and linear layers.
 *
 * Inputs are widened to 16 bits. Weights stay 8 bits: a word has those of output channels a and b for the inputs
 * k and k + 1, in the order a[k], b[k], a[k + 1], b[k + 1]; after it comes the word of the channels c and d.
 *
 * Packed weights save the extraction of b: a half word taken as it is is 256 b + a, so that its products sum to
 * 256 times those of b plus those of a, and the latter are summed anyway.
 */
#ifndef EDGEGROW_PRODUCT_H
#define EDGEGROW_PRODUCT_H

#include "edgegrow_scale.h"

struct product {
    int depth;    /* inputs of an output, even */
    int channels; /* outputs; the weights are filled up to a multiple of 4 with zeros */
    int packed;
    int per_channel; /* each channel has a scale of its own */
    struct output output;
};

/* Sums of a pair of channels over one column; `b` is mixed with `a` where the weights are packed. */
struct pair {
    uint32_t a, b;
};

EDGEGROW_KERNEL void widen(int16_t *to, const int8_t *from, int count) {
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        uint32_t word = load_word(from + i);
        uint32_t even = widen_even(word), odd = widen_odd(word);
        store_word(to + i, (even & 0xffff) | odd << 16);
        store_word(to + i + 2, even >> 16 | (odd & 0xffff0000));
    }
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

/* Add the products of two inputs, of each of `columns` columns, with the weights of four channels. */
EDGEGROW_KERNEL void product_step(const struct product *p, const uint32_t *weights, uint32_t first,
                                  uint32_t second, struct pair sums[2][2], int columns) {
    for (int i = 0; i < 2; i++) {
        uint32_t a = widen_even(weights[i]), b = p->packed ? weights[i] : widen_odd(weights[i]);
        sums[i][0].a = dot_pair(a, first, sums[i][0].a);
        sums[i][0].b = dot_pair(b, first, sums[i][0].b);
        if (columns > 1) {
            sums[i][1].a = dot_pair(a, second, sums[i][1].a);
            sums[i][1].b = dot_pair(b, second, sums[i][1].b);
        }
    }
}

EDGEGROW_KERNEL void product_columns(const struct product *p, const uint32_t *weights, const int16_t *inputs,
                                     struct pair sums[2][2], int columns) {
    const uint32_t second = columns > 1 ? load_aligned(inputs + p->depth) : 0;
    product_step(p, weights, load_aligned(inputs), second, sums, columns);
}

/* The sum of b alone, doubled where the outputs are scaled fast. */
EDGEGROW_KERNEL uint32_t product_unmix(const struct product *p, struct pair sums) {
    if (!p->packed) {
        return sums.b << p->output.fast;
    }
    return (uint32_t)((int32_t)(sums.b - sums.a) >> (8 - p->output.fast));
}

/* Write the outputs of four channels, from `channel` on, of each of `columns` columns. */
EDGEGROW_KERNEL void product_outputs(const struct product *p, struct pair sums[2][2], int channel,
                                     const int32_t *bias, const struct scale *scales, int8_t *out,
                                     int columns) {
    for (int i = 0; i < 4; i++) {
        const int own = channel + i;
        if (p->channels % 4 != 0 && own >= p->channels) {
            return;
        }
        const struct scale scale = scales[p->per_channel ? own : 0];
        for (int column = 0; column < columns; column++) {
            const struct pair pair = sums[i / 2][column];
            const uint32_t sum = i % 2 ? product_unmix(p, pair) : pair.a << p->output.fast;
            const int32_t with_bias = (int32_t)(sum + (uint32_t)bias[own]);
            out[column * p->channels + own] = to_output(with_bias, scale, &p->output);
        }
    }
}

/* `columns` (1 or 2) columns of `depth` inputs, one after the other; so are their outputs. */
EDGEGROW_KERNEL void product(const struct product *p, const int16_t *inputs, const uint32_t *weights,
                             const int32_t *bias, const struct scale *scales, int8_t *out, int columns) {
    const int pairs = p->depth / 2;
    for (int channel = 0; channel < p->channels; channel += 4) {
        struct pair sums[2][2] = {{{0, 0}, {0, 0}}, {{0, 0}, {0, 0}}};
        const int16_t *input = inputs;
        const int16_t *const end = inputs + pairs / 4 * 8;
        while (input != end) {
            for (int i = 0; i < 4; i++) {
                product_columns(p, weights + 2 * i, input + 2 * i, sums, columns);
            }
            weights += 8;
            input += 8;
        }
        for (int i = 0; i < pairs % 4; i++) {
            product_columns(p, weights, input + 2 * i, sums, columns);
            weights += 2;
        }
        product_outputs(p, sums, channel, bias, scales, out, columns);
    }
}

#endif
