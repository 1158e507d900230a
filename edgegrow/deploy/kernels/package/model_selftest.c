/* One input with the output that edgegrow's simulator, and TensorFlow Lite for Microcontrollers, give for it. */
#include "model_selftest.h"

#include "model.h"

@INPUT@

@EXPECTED@

int model_selftest(void) {
    static _Alignas(16) int8_t arena[MODEL_ARENA_BYTES];
    int8_t output[MODEL_OUTPUT_BYTES];
    int failed = model_invoke(input, output, arena);
    for (int i = 0; i < MODEL_OUTPUT_BYTES; i++) {
        failed |= output[i] != expected[i];
    }
    return failed;
}
