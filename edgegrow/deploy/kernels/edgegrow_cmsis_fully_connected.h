/* A linear layer by CMSIS-NN. */
#ifndef EDGEGROW_CMSIS_FULLY_CONNECTED_H
#define EDGEGROW_CMSIS_FULLY_CONNECTED_H

#include "edgegrow_cmsis_nn.h"

struct cmsis_fully_connected {
    cmsis_nn_fc_params parameters;
    cmsis_nn_per_tensor_quant_params scale;
    cmsis_nn_dims input, filter, output;
    struct cmsis_scratch scratch;
};

static inline int cmsis_fully_connected(const struct cmsis_fully_connected *f, const int8_t *in, int8_t *out,
                                        const int8_t *weights, const int32_t *bias) {
    const cmsis_nn_dims biases = {1, 1, 1, f->output.c};
    cmsis_nn_context context;
    if (cmsis_context(&context, f->scratch, 0, arm_fully_connected_s8_get_buffer_size(&f->filter))) {
        return 1;
    }
    return arm_fully_connected_s8(&context, &f->parameters, &f->scale, &f->input, in, &f->filter, weights,
                                  &biases, bias, &f->output, out) != ARM_CMSIS_NN_SUCCESS;
}

#endif
