/* Maxima of windows by CMSIS-NN. */
#ifndef EDGEGROW_CMSIS_MAX_POOL2D_H
#define EDGEGROW_CMSIS_MAX_POOL2D_H

#include "edgegrow_cmsis_pool2d.h"

static inline int cmsis_max_pool2d(const struct cmsis_pool2d *p, const int8_t *in, int8_t *out) {
    cmsis_nn_context context;
    if (cmsis_context(&context, p->scratch, 0, 0)) {
        return 1;
    }
    return arm_max_pool_s8(&context, &p->parameters, &p->input, in, &p->filter, &p->output, out) !=
           ARM_CMSIS_NN_SUCCESS;
}

#endif
