/* Products of a weight matrix with one or two columns of inputs, the heart of convolutions and linear
 * layers.
 *
 * Inputs are widened to 16 bits. Weights stay 8 bits: a word has those of output channels a and b for the
 * inputs k and k + 1, in the order a[k], b[k], a[k + 1], b[k + 1]; after it comes the word of the channels
 * c and d.
 *
 * Packed weights save the extraction of b: a half word taken as it is is 256 b + a, so that its products
 * sum to 256 times those of b plus those of a, and the latter are summed anyway.
 */
#ifndef EDGEGROW_PRODUCT_H
#define EDGEGROW_PRODUCT_H

#include "edgegrow_mve.h"

struct product {
    int depth;    /* inputs of an output, even */
    int channels; /* outputs; the weights are filled up to a multiple of 4 with zeros */
    int packed;
    int per_channel; /* each channel has a scale of its own */
    struct output output;
};

EDGEGROW_KERNEL void widen(int16_t *to, const int8_t *from, int count) {
    int i = mve_widen(to, from, count);
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

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#define EDGEGROW_PRODUCT_ASSEMBLY 1

/* Two inputs of both columns, AT bytes on, times four channels' packed weights, WEIGHTS_AT bytes on. */
#define EDGEGROW_PRODUCT_PAIR(AT, WEIGHTS_AT) \
    "ldr r2, [r1, #" AT "]\n\t" \
    "ldr r3, [r12, #" AT "]\n\t" \
    "ldr lr, [r0, #" WEIGHTS_AT "]\n\t" \
    "smlad r5, lr, r2, r5\n\t" \
    "smlad r7, lr, r3, r7\n\t" \
    "sxtb16 lr, lr\n\t" \
    "smlad r4, lr, r2, r4\n\t" \
    "smlad r6, lr, r3, r6\n\t" \
    "ldr lr, [r0, #" WEIGHTS_AT " + 4]\n\t" \
    "smlad r9, lr, r2, r9\n\t" \
    "smlad r11, lr, r3, r11\n\t" \
    "sxtb16 lr, lr\n\t" \
    "smlad r8, lr, r2, r8\n\t" \
    "smlad r10, lr, r3, r10\n\t"

/* Sum the products of both columns, eight inputs at a time up to `end` (and at least once), with packed
 * weights.
 *
 * In assembly because compilers order this so that the eight sums do not stay in registers. It takes all
 * of them: r4 to r11 for the sums, r2 and r3 for inputs, lr for weights, r0, r1 and r12 for the pointers;
 * the end waits on the stack. */
EDGEGROW_KERNEL void product_eights(const uint32_t *weights, const int16_t *first, const int16_t *second,
                                    const int16_t *end, struct pair sums[2][2]) {
    register const uint32_t *r0 __asm__("r0") = weights;
    register const int16_t *r1 __asm__("r1") = first;
    register const int16_t *r12 __asm__("r12") = second;
    register const int16_t *r2 __asm__("r2") = end;
    register struct pair *r3 __asm__("r3") = &sums[0][0];
    __asm__ volatile("push {r2-r11, lr}\n\t"
                     "movs r4, #0\n\t"
                     "movs r5, #0\n\t"
                     "movs r6, #0\n\t"
                     "movs r7, #0\n\t"
                     "mov r8, #0\n\t"
                     "mov r9, #0\n\t"
                     "mov r10, #0\n\t"
                     "mov r11, #0\n\t"
                     "0:\n\t"
                     EDGEGROW_PRODUCT_PAIR("0", "0") EDGEGROW_PRODUCT_PAIR("4", "8")
                         EDGEGROW_PRODUCT_PAIR("8", "16") EDGEGROW_PRODUCT_PAIR("12", "24")
                     "ldr r2, [sp]\n\t"
                     "adds r1, r1, #16\n\t"
                     "add r12, r12, #16\n\t"
                     "adds r0, r0, #32\n\t"
                     "cmp r1, r2\n\t"
                     "bne 0b\n\t"
                     "ldr r3, [sp, #4]\n\t"
                     "stm r3, {r4-r11}\n\t"
                     "pop {r2-r11, lr}"
                     : "+r"(r0), "+r"(r1), "+r"(r12)
                     : "r"(r2), "r"(r3)
                     : "cc", "memory");
}
#else
#define EDGEGROW_PRODUCT_ASSEMBLY 0

EDGEGROW_KERNEL void product_eights(const uint32_t *weights, const int16_t *first, const int16_t *second,
                                    const int16_t *end, struct pair sums[2][2]) {
    (void)weights, (void)first, (void)second, (void)end, (void)sums;
}
#endif

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

/* Write the outputs of one channel, of each of `columns` columns. */
EDGEGROW_KERNEL void product_channel(const struct product *p, uint32_t first, uint32_t second, int channel,
                                     const int32_t *bias, const struct scale *scales, int8_t *out,
                                     int columns) {
    if (p->channels % 4 != 0 && channel >= p->channels) {
        return;
    }
    const uint32_t start = (uint32_t)bias[channel];
    const struct scale scale = scales[p->per_channel ? channel : 0];
    out[channel] = to_output((int32_t)(first + start), scale, &p->output);
    if (columns > 1) {
        out[p->channels + channel] = to_output((int32_t)(second + start), scale, &p->output);
    }
}

/* Write the outputs of four channels, from `channel` on. */
EDGEGROW_KERNEL void product_outputs(const struct product *p, struct pair sums[2][2], int channel,
                                     const int32_t *bias, const struct scale *scales, int8_t *out,
                                     int columns) {
    const struct pair ab = sums[0][0], ab_second = sums[0][1], cd = sums[1][0], cd_second = sums[1][1];
    const int fast = p->output.fast;
#if EDGEGROW_MVE
    if (fast) {
        const struct scale *own = scales + (p->per_channel ? channel : 0);
        for (int i = 0; i < columns; i++) {
            mve_channels(p->packed, p->per_channel, sums[0][i], sums[1][i], p->channels - channel,
                         bias + channel, own, &p->output, out + i * p->channels + channel);
        }
        return;
    }
#endif
    product_channel(p, ab.a << fast, ab_second.a << fast, channel, bias, scales, out, columns);
    product_channel(p, product_unmix(p, ab), product_unmix(p, ab_second), channel + 1, bias, scales, out,
                    columns);
    product_channel(p, cd.a << fast, cd_second.a << fast, channel + 2, bias, scales, out, columns);
    product_channel(p, product_unmix(p, cd), product_unmix(p, cd_second), channel + 3, bias, scales, out,
                    columns);
}

/* `columns` (1 or 2) columns of `depth` inputs, one after the other; so are their outputs. */
EDGEGROW_KERNEL void product(const struct product *p, const int16_t *inputs, const uint32_t *weights,
                             const int32_t *bias, const struct scale *scales, int8_t *out, int columns) {
    const int pairs = p->depth / 2;
    const int assembly = !EDGEGROW_MVE && EDGEGROW_PRODUCT_ASSEMBLY && p->packed && columns == 2 && pairs >= 4;
    for (int channel = 0; channel < p->channels; channel += 4) {
        struct pair sums[2][2];
        const int16_t *input = inputs;
        const int16_t *const end = inputs + pairs / 4 * 8;
#if EDGEGROW_MVE
        __builtin_memset(sums, 0, sizeof sums);
        for (int i = 0; i < columns; i++) {
            mve_column(p->packed, weights, input + i * p->depth, pairs / 4, &sums[0][i], &sums[1][i]);
        }
        weights += pairs / 4 * 8;
        input = end;
#else
        if (assembly) {
            product_eights(weights, input, input + p->depth, end, sums);
            weights += pairs / 4 * 8;
            input = end;
        } else {
            __builtin_memset(sums, 0, sizeof sums);
        }
        while (input != end) {
            for (int i = 0; i < 4; i++) {
                product_columns(p, weights + 2 * i, input + 2 * i, sums, columns);
            }
            weights += 8;
            input += 8;
        }
#endif
        for (int i = 0; i < pairs % 4; i++) {
            product_columns(p, weights, input + 2 * i, sums, columns);
            weights += 2;
        }
        product_outputs(p, sums, channel, bias, scales, out, columns);
    }
}

#endif
