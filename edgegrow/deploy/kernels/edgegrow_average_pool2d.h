/* Averages of windows, padding left out, half rounded away from zero. */
#ifndef EDGEGROW_AVERAGE_POOL2D_H
#define EDGEGROW_AVERAGE_POOL2D_H

#include "edgegrow_window.h"

EDGEGROW_KERNEL void average_pool2d(const struct pool *p, const int8_t *in, int8_t *out) {
    for (int row = 0; row < p->out_height; row++) {
        for (int column = 0; column < p->out_width; column++) {
            const struct area area = pool_area(p, row, column);
            const int32_t count = (area.y1 - area.y0) * (area.x1 - area.x0);
            for (int channel = 0; channel < p->channels; channel++) {
                int32_t sum = 0;
                for (int y = area.y0; y < area.y1; y++) {
                    const int8_t *from = in + (y * p->in_width + area.x0) * p->channels + channel;
                    for (int x = area.x0; x < area.x1; x++) {
                        sum += *from;
                        from += p->channels;
                    }
                }
                const int32_t average = (sum + (sum > 0 ? count / 2 : -(count / 2))) / count;
                *out++ = (int8_t)clamp(average, p->low, p->high);
            }
        }
    }
}

#endif
