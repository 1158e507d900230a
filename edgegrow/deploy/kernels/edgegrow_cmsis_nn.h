/* What all calls of CMSIS-NN share: its declarations, and the scratch memory that was planned for a call. */
#ifndef EDGEGROW_CMSIS_NN_H
#define EDGEGROW_CMSIS_NN_H

#include "cmsis_nn/arm_nnfunctions.h"

/* Arm's vector extension (MVE) needs other sizes, so both are planned; the DSP extension's suffices without it. */
#if defined(__ARM_FEATURE_MVE) && __ARM_FEATURE_MVE
#define CMSIS_SCRATCH(dsp, mve) (mve)
#else
#define CMSIS_SCRATCH(dsp, mve) (dsp)
#endif

struct cmsis_scratch {
    int32_t dsp, mve; /* bytes */
};

/* Returns 1 where CMSIS-NN wants more than was planned: without it, outputs would be wrong silently. */
static inline int cmsis_context(cmsis_nn_context *context, struct cmsis_scratch planned, void *scratch,
                                int32_t needed_bytes) {
    context->buf = scratch;
    context->size = CMSIS_SCRATCH(planned.dsp, planned.mve);
    return needed_bytes > context->size;
}

#endif
