/* The part of a pooling window that lies on the map. */
#ifndef EDGEGROW_WINDOW_H
#define EDGEGROW_WINDOW_H

#include "edgegrow_simd.h"

struct pool {
    int in_height, in_width, channels;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int top, left; /* padding */
    int out_height, out_width;
    int low, high; /* of the activation */
};

/* Rows from y0 to before y1, columns from x0 to before x1. */
struct area {
    int y0, y1, x0, x1;
};

EDGEGROW_KERNEL struct area pool_area(const struct pool *p, int row, int column) {
    const int y = row * p->stride_y - p->top, x = column * p->stride_x - p->left;
    return (struct area){clamp(y, 0, p->in_height), clamp(y + p->kernel_height, 0, p->in_height),
                         clamp(x, 0, p->in_width), clamp(x + p->kernel_width, 0, p->in_width)};
}

#endif
