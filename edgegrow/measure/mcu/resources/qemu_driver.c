/* What stands in QEMU's board beside the firmware: it starts it, and infers one sample after another.
 *
 * It lies beyond the firmware's flash, and so do the samples, after their number; the results lie beyond its RAM:
 * the status of each inference in a word, then its output in whole words. It has no stack: all of it is the
 * model's, and is painted before. Instructions are those of ARMv6-M. */
#include <stdint.h>
#include "model.h"

#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)
#define TEXT(name) #name
#define NAME(macro) TEXT(macro)
#define DRIVER __attribute__((naked, used, section(".edgegrow_driver")))

/* Exceptions lead to the firmware's handlers, wherever the board expects them; then as after a reset. */
DRIVER void edgegrow_drive(void)
{
    __asm__ volatile("ldr r0, =0xe000ed08\n" /* VTOR; there is none in ARMv6-M, whose vectors stand at 0 */
                     "ldr r1, =edgegrow_vectors\n"
                     "str r1, [r0]\n"
                     "ldr r0, =edgegrow_stack_top\n"
                     "mov sp, r0\n"
                     "ldr r0, =edgegrow_start\n"
                     "bx r0\n"
                     ".ltorg\n");
}

DRIVER void edgegrow_ready(void)
{
    __asm__ volatile("ldr r0, =edgegrow_stack_bottom\n"
                     "ldr r1, =edgegrow_stack_top\n"
                     "ldr r2, =0xa5a5a5a5\n"
                     "0: stmia r0!, {r2}\n"
                     "cmp r0, r1\n"
                     "blo 0b\n"
                     "mov sp, r1\n"
                     "ldr r4, =edgegrow_samples\n"
                     "ldmia r4!, {r6}\n"
                     "ldr r5, =edgegrow_results\n"
                     "1: ldr r0, =edgegrow_input\n"
                     "ldr r1, =%c0\n"
                     "2: ldrb r2, [r4]\n"
                     "strb r2, [r0]\n"
                     "adds r4, #1\n"
                     "adds r0, #1\n"
                     "subs r1, #1\n"
                     "bne 2b\n"
                     "ldr r0, =edgegrow_input\n"
                     "ldr r1, =edgegrow_output\n"
                     "ldr r2, =edgegrow_arena\n"
                     "bl " NAME(EDGEGROW_FUNCTION) "\n"
                     "stmia r5!, {r0}\n"
                     "ldr r0, =edgegrow_output\n"
                     "ldr r1, =%c1\n"
                     "3: ldrb r2, [r0]\n"
                     "strb r2, [r5]\n"
                     "adds r0, #1\n"
                     "adds r5, #1\n"
                     "subs r1, #1\n"
                     "bne 3b\n"
                     "adds r5, #3\n"
                     "lsrs r5, r5, #2\n"
                     "lsls r5, r5, #2\n"
                     "subs r6, #1\n"
                     "bne 1b\n"
                     "bl edgegrow_halt\n"
                     ".ltorg\n"
                     :
                     : "i"(AT_LEAST_ONE(MODEL_INPUT_BYTES)), "i"(AT_LEAST_ONE(MODEL_OUTPUT_BYTES)));
}
