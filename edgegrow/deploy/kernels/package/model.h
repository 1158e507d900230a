/* A quantized network, written by edgegrow.
 *
 * A real value is scale * (q - zero point). The input and the output may lie anywhere, but not over each other;
 * to save memory they can lie in the arena itself, at MODEL_INPUT_OFFSET and MODEL_OUTPUT_OFFSET.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

/* Start of the SHA-256 of this header and of the network's other sources: a board tells by it what it runs. */
#define MODEL_ID "@ID@"

@ENDS@
@ARENA@
/* What computes the operators. */
#define MODEL_KERNELS "@KERNELS@"

#ifdef __cplusplus
extern "C" {
#endif

/* Compute one inference. The arena has MODEL_ARENA_BYTES from an address that is a multiple of 16; nothing in it
 * needs to be kept between calls. Returns 0; 1 where the arena is not aligned; 2 where a kernel has failed. */
int model_invoke(const int8_t *in, int8_t *out, void *arena);

#ifdef __cplusplus
}
#endif

#endif
