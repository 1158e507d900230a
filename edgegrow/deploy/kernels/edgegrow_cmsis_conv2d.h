/* A convolution by CMSIS-NN. */
#ifndef EDGEGROW_CMSIS_CONV2D_H
#define EDGEGROW_CMSIS_CONV2D_H

#include "edgegrow_cmsis_nn.h"

struct cmsis_conv2d {
    cmsis_nn_conv_params parameters;
    cmsis_nn_dims input, filter, output;
    struct cmsis_scratch scratch;
};

static inline int cmsis_conv2d(const struct cmsis_conv2d *c, const int8_t *in, int8_t *out, void *scratch,
                               const int8_t *weights, const int32_t *bias, const int32_t *multipliers,
                               const int32_t *shifts) {
    /* CMSIS-NN only reads them, but does not say so. */
    const cmsis_nn_per_channel_quant_params scales = {(int32_t *)multipliers, (int32_t *)shifts};
    const cmsis_nn_dims biases = {1, 1, 1, c->output.c};
    cmsis_nn_context context;
    if (cmsis_context(
            &context, c->scratch, scratch,
            arm_convolve_wrapper_s8_get_buffer_size(&c->parameters, &c->input, &c->filter, &c->output))) {
        return 1;
    }
    return arm_convolve_wrapper_s8(&context, &c->parameters, &scales, &c->input, in, &c->filter, weights, &biases,
                                   bias, &c->output, out) != ARM_CMSIS_NN_SUCCESS;
}

#endif
