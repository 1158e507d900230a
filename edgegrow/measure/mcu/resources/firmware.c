/* The firmware around a C package: memory is set up, then the model runs once on a zeroed input.
 * Unicorn stops at edgegrow_ready, and calls model_invoke itself; a board goes on. For QEMU another function takes
 * its place, in qemu_driver.c. */
#include <stdint.h>
#include "model.h"

#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)

/* Buffers aligned for any kernel's widest load. */
_Alignas(16) int8_t edgegrow_input[AT_LEAST_ONE(MODEL_INPUT_BYTES)];
_Alignas(16) int8_t edgegrow_output[AT_LEAST_ONE(MODEL_OUTPUT_BYTES)];
_Alignas(16) uint8_t edgegrow_arena[AT_LEAST_ONE(MODEL_ARENA_BYTES)];
volatile int edgegrow_status;

extern uint32_t edgegrow_data_load[], edgegrow_data_start[], edgegrow_data_end[];
extern uint32_t edgegrow_bss_start[], edgegrow_bss_end[], edgegrow_stack_top[];

__attribute__((noreturn, noinline, used)) void edgegrow_halt(void)
{
    for (;;)
        __asm__ volatile("wfi");
}

__attribute__((noreturn, noinline, used, weak)) void edgegrow_ready(void)
{
    edgegrow_status = model_invoke(edgegrow_input, edgegrow_output, edgegrow_arena);
    edgegrow_halt();
}

/* Vector and floating-point instructions fault until the coprocessors 10 and 11 are on (ARMv8-M ARM, CPACR). */
static inline void switch_coprocessors_on(void)
{
#if defined(__ARM_FEATURE_MVE) || (defined(__ARM_FP) && __ARM_ARCH_PROFILE == 'M')
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
}

__attribute__((noreturn, used)) void edgegrow_start(void)
{
    switch_coprocessors_on();
    const uint32_t *load = edgegrow_data_load;
    /* The barriers keep the loops from becoming calls of memcpy and memset. */
    for (uint32_t *word = edgegrow_data_start; word < edgegrow_data_end; word++) {
        *word = *load++;
        __asm__ volatile("" ::: "memory");
    }
    for (uint32_t *word = edgegrow_bss_start; word < edgegrow_bss_end; word++) {
        *word = 0;
        __asm__ volatile("" ::: "memory");
    }
    edgegrow_ready();
}

#ifdef __riscv
__attribute__((naked, used, section(".edgegrow_entry"))) void edgegrow_entry(void)
{
    __asm__ volatile(".option push\n"
                     ".option norelax\n"
                     "la gp, __global_pointer$\n"
                     ".option pop\n"
                     "la sp, edgegrow_stack_top\n"
                     "j edgegrow_start\n");
}
#else
/* Initial stack pointer, then the handlers of reset and of the 14 other exceptions of the core. */
__attribute__((used, section(".edgegrow_entry"))) const void *const edgegrow_vectors[16] = {
    edgegrow_stack_top, edgegrow_start, edgegrow_halt, edgegrow_halt, edgegrow_halt, edgegrow_halt,
    edgegrow_halt,      edgegrow_halt,  edgegrow_halt, edgegrow_halt, edgegrow_halt, edgegrow_halt,
    edgegrow_halt,      edgegrow_halt,  edgegrow_halt, edgegrow_halt,
};
#endif
