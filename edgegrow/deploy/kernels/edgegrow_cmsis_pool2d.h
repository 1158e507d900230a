/* What pooling by CMSIS-NN takes. */
#ifndef EDGEGROW_CMSIS_POOL2D_H
#define EDGEGROW_CMSIS_POOL2D_H

#include "edgegrow_cmsis_nn.h"

struct cmsis_pool2d {
    cmsis_nn_pool_params parameters;
    cmsis_nn_dims input, filter, output;
    struct cmsis_scratch scratch;
};

#endif
