/* A convolution: windows are widened into columns, two at a time, and multiplied with all the weights. */
#ifndef EDGEGROW_CONV2D_H
#define EDGEGROW_CONV2D_H

#include "edgegrow_product.h"

struct conv2d {
    int in_height, in_width, in_channels;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int top, left; /* padding */
    int padded;    /* any side is */
    int out_height, out_width;
    int16_t zero; /* what the border is padded with: the zero point, which the biases take off again */
    struct product product;
};

EDGEGROW_KERNEL int16_t *fill(int16_t *to, int16_t value, int count) {
    for (int i = 0; i < count; i++) {
        to[i] = value;
    }
    return to + count;
}

/* Widen the window of one output position into a column. */
EDGEGROW_KERNEL void conv2d_window(const struct conv2d *c, const int8_t *in, int position, int16_t *column) {
    const int y = position / c->out_width * c->stride_y - c->top;
    const int x = position % c->out_width * c->stride_x - c->left;
    const int channels = c->in_channels, width = c->kernel_width;
    int before = 0, after = 0; /* columns of the window beyond the left and the right border */
    if (c->padded) {
        before = x < 0 ? -x : 0;
        after = x + width > c->in_width ? x + width - c->in_width : 0;
    }
    for (int row = y; row < y + c->kernel_height; row++) {
        if (!c->padded) {
            widen(column, in + (row * c->in_width + x) * channels, width * channels);
            column += width * channels;
        } else if (row < 0 || row >= c->in_height) {
            column = fill(column, c->zero, width * channels);
        } else {
            const int inside = (width - before - after) * channels;
            column = fill(column, c->zero, before * channels);
            widen(column, in + (row * c->in_width + x + before) * channels, inside);
            column = fill(column + inside, c->zero, after * channels);
        }
    }
}

/* `columns` has room for two columns of the product's depth. */
EDGEGROW_KERNEL void conv2d(const struct conv2d *c, const int8_t *in, int8_t *out, int16_t *columns,
                            const uint32_t *weights, const int32_t *bias, const struct scale *scales) {
    const int positions = c->out_height * c->out_width;
    if (positions == 1) {
        conv2d_window(c, in, 0, columns);
        product(&c->product, columns, weights, bias, scales, out, 1);
        return;
    }
    for (int i = 0; i < positions; i += 2) {
        int position = i;
        if (i + 1 < positions) {
            conv2d_window(c, in, i, columns);
        } else {
            /* An odd last position goes with the one before it once more, whose inputs may be gone. */
            __builtin_memcpy(columns, columns + c->product.depth, (unsigned)c->product.depth * 2);
            position = i - 1;
        }
        conv2d_window(c, in, position + 1, columns + c->product.depth);
        product(&c->product, columns, weights, bias, scales, out + position * c->product.channels, 2);
    }
}

#endif
