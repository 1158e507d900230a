/* The network: constants and a function for each operator, and their calls in order. Written by edgegrow. */
#include "model.h"

@INCLUDES@

/* Built with MODEL_PROFILE, operators stay functions, whose symbols a profiler or an emulator finds. */
#ifdef MODEL_PROFILE
#define MODEL_OPERATOR static __attribute__((noinline))
#else
#define MODEL_OPERATOR static
#endif

@OPERATORS@

int model_invoke(const int8_t *in, int8_t *out, void *arena) {
    int8_t *memory = arena;
    if ((uintptr_t)arena % @ALIGNMENT@ != 0) {
        return 1;
    }
@CALLS@
    (void)memory; /* a network of one operator may need none */
    return 0;
}
