/* Maxima of windows. */
#ifndef EDGEGROW_MAX_POOL2D_H
#define EDGEGROW_MAX_POOL2D_H

#include "edgegrow_window.h"

EDGEGROW_KERNEL void max_pool2d(const struct pool *p, const int8_t *in, int8_t *out) {
    for (int row = 0; row < p->out_height; row++) {
        for (int column = 0; column < p->out_width; column++) {
            const struct area area = pool_area(p, row, column);
            for (int channel = 0; channel < p->channels; channel++) {
                int8_t greatest = -128;
                for (int y = area.y0; y < area.y1; y++) {
                    const int8_t *from = in + (y * p->in_width + area.x0) * p->channels + channel;
                    for (int x = area.x0; x < area.x1; x++) {
                        greatest = *from > greatest ? *from : greatest;
                        from += p->channels;
                    }
                }
                *out++ = (int8_t)clamp(greatest, p->low, p->high);
            }
        }
    }
}

#endif
