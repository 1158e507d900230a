/* A depthwise convolution, channel by channel.
 *
 * A band of rows of one input channel is widened to 16 bits, with its border, where two neighbours in a
 * row are one word; the weights of a row are pairs too. All outputs of the band come from there, for each
 * of the output channels that read this input channel.
 */
#ifndef EDGEGROW_DEPTHWISE_CONV2D_H
#define EDGEGROW_DEPTHWISE_CONV2D_H

#include "edgegrow_mve.h"

struct depthwise_conv2d {
    int in_height, in_width, in_channels;
    int multiplier;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int top, left; /* padding */
    int out_height, out_width;
    int band;       /* rows of outputs that are computed from one band of inputs */
    int band_width; /* columns of a band, border and one or two unused columns included; even */
    int16_t zero;   /* what the border is padded with: the zero point, which the biases take off again */
    struct output output;
};

/* Words of weights of one channel. */
EDGEGROW_KERNEL int depthwise_words(const struct depthwise_conv2d *d) {
    return d->kernel_height * ((d->kernel_width + 1) / 2);
}

/* Widen the rows of one channel that a band of outputs from row `first` on reads. */
EDGEGROW_KERNEL void depthwise_band(const struct depthwise_conv2d *d, const int8_t *in, int first, int rows,
                                    int16_t *band) {
    const int y = first * d->stride_y - d->top;
    const int height = (rows - 1) * d->stride_y + d->kernel_height;
    for (int row = y; row < y + height; row++, band += d->band_width) {
        const int inside = row >= 0 && row < d->in_height;
        const int8_t *from = in + (inside ? row * d->in_width * d->in_channels : 0);
        int16_t *to = band;
        for (int i = 0; i < d->left; i++) {
            *to++ = d->zero;
        }
        int x = 0;
#if EDGEGROW_MVE
        if (inside && d->in_channels <= MVE_GATHER_STRIDE) {
            const int room = (int)(band + d->band_width - to);
            const int count = room < d->in_width ? room : d->in_width;
            mve_gather(to, from, d->in_channels, count);
            to += count;
            x = d->in_width;
        }
#endif
        for (; inside && x < d->in_width && to < band + d->band_width; x++) {
            *to++ = *from;
            from += d->in_channels;
        }
        while (to < band + d->band_width) {
            *to++ = d->zero;
        }
    }
}

/* One output; the weights of each row are pairs, the last filled up with 0. */
EDGEGROW_KERNEL uint32_t depthwise_window(const struct depthwise_conv2d *d, const int16_t *window,
                                          const uint32_t *weights, uint32_t sum) {
    for (int row = 0; row < d->kernel_height; row++) {
        for (int x = 0; x < d->kernel_width; x += 2) {
            sum = dot_pair(load_word(window + x), *weights++, sum);
        }
        window += d->band_width;
    }
    return sum;
}

/* Two neighbouring outputs of a 3 x 3 kernel with weights u, v, w in a row, kept as the pairs (u, v) and
 * (v, w). Of the inputs (p, q) and (r, s), the left output takes pu + qv + rw and the right one qu + rv +
 * sw. */
EDGEGROW_KERNEL void depthwise_two_windows(const struct depthwise_conv2d *d, const int16_t *window,
                                           const uint32_t *weights, uint32_t *left, uint32_t *right) {
    for (int row = 0; row < 3; row++) {
        uint32_t pq = load_aligned(window);
        uint32_t rs = load_aligned(window + 2);
        uint32_t uv = weights[2 * row], vw = weights[2 * row + 1];
        *left = dot_low_high(rs, vw, dot_pair(pq, uv, *left));
        *right = dot_low_high(uv, pq, dot_pair(rs, vw, *right));
        window += d->band_width;
    }
}

#if EDGEGROW_MVE
/* A row of outputs of one channel, four at a time. */
EDGEGROW_KERNEL void depthwise_row(const struct depthwise_conv2d *d, const int16_t *window,
                                   const uint32_t *weights, int32_t start, const struct scale *scale, int by_two,
                                   int8_t *to, int channels) {
    const uint32x4_t four = vidupq_n_u32(0, 1);
    const uint32x4_t inputs = vmulq_n_u32(four, (uint32_t)d->stride_x);
    const uint32x4_t outputs = vmulq_n_u32(four, (uint32_t)channels);
    const int pairs = (d->kernel_width + 1) / 2;
    for (int x = 0; x < d->out_width; x += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(d->out_width - x));
        int32x4_t sums = vdupq_n_s32(0);
        for (int row = 0; row < d->kernel_height; row++) {
            for (int tap = 0; tap < d->kernel_width; tap++) {
                const int16_t *from = window + row * d->band_width + x * d->stride_x + tap;
                const int place = by_two && tap == 2 ? 3 : tap; /* u, v, v, w */
                const uint32_t pair = weights[row * pairs + place / 2];
                const int32x4_t values = d->stride_x == 1
                                             ? vldrhq_z_s32(from, lanes)
                                             : vldrhq_gather_shifted_offset_z_s32(from, inputs, lanes);
                sums = vmlaq_n_s32(sums, values, (int16_t)(place % 2 ? pair >> 16 : pair));
            }
        }
        sums = vaddq_n_s32(vshlq_r_s32(sums, d->output.fast), start);
        sums = mve_outputs(sums, mve_scales(scale, 0, lanes), &d->output);
        vstrbq_scatter_offset_p_s32(to + x * channels, outputs, sums, lanes);
    }
}
#endif

/* `band` has room for band_width columns of the rows that a band of outputs reads. */
EDGEGROW_KERNEL void depthwise_conv2d(const struct depthwise_conv2d *d, const int8_t *in, int8_t *out,
                                      int16_t *band, const uint32_t *weights, const int32_t *bias,
                                      const struct scale *scales) {
    const int channels = d->in_channels * d->multiplier, fast = d->output.fast;
    const int by_two = d->kernel_height == 3 && d->kernel_width == 3 && d->stride_x == 1;
    for (int first = 0; first < d->out_height; first += d->band) {
        const int rest = d->out_height - first, rows = rest < d->band ? rest : d->band;
        for (int channel = 0; channel < channels; channel++) {
            const uint32_t *own = weights + channel * depthwise_words(d);
            const struct scale scale = scales[channel];
            const uint32_t start = (uint32_t)bias[channel];
            int8_t *to = out + first * d->out_width * channels + channel;
            if (channel % d->multiplier == 0) {
                depthwise_band(d, in + channel / d->multiplier, first, rows, band);
            }
            for (int row = 0; row < rows; row++) {
                const int16_t *window = band + row * d->stride_y * d->band_width;
                int x = 0;
#if EDGEGROW_MVE
                if (fast) {
                    depthwise_row(d, window, own, (int32_t)start, &scales[channel], by_two, to, channels);
                    to += d->out_width * channels;
                    continue;
                }
#endif
                for (; by_two && x + 2 <= d->out_width; x += 2) {
                    uint32_t left = 0, right = 0;
                    depthwise_two_windows(d, window, own, &left, &right);
                    to[0] = to_output((int32_t)((left << fast) + start), scale, &d->output);
                    to[channels] = to_output((int32_t)((right << fast) + start), scale, &d->output);
                    to += 2 * channels;
                    window += 2;
                }
                for (; x < d->out_width; x++) {
                    uint32_t sum = 0;
                    if (by_two) {
                        uint32_t unused = 0;
                        depthwise_two_windows(d, window, own, &sum, &unused);
                    } else {
                        sum = depthwise_window(d, window, own, sum);
                    }
                    *to = to_output((int32_t)((sum << fast) + start), scale, &d->output);
                    to += channels;
                    window += d->stride_x;
                }
            }
        }
    }
}

#endif
