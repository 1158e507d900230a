/* The few instructions that the kernels are written in.
 *
 * With Arm's DSP extension (Cortex-M4, M7, M33) each is one instruction, elsewhere portable C that
 * computes the same. Words are little-endian. Sums are unsigned, for they may wrap around on the way to a
 * result that fits.
 */
#ifndef EDGEGROW_SIMD_H
#define EDGEGROW_SIMD_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "edgegrow: the weights are packed for little-endian processors"
#endif

/* A kernel is compiled into each operator that uses it, where the operator's shape is constant. */
#define EDGEGROW_KERNEL static inline __attribute__((always_inline))

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#include <arm_acle.h>
#endif

/* Four bytes from anywhere. */
EDGEGROW_KERNEL uint32_t load_word(const void *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

/* Four bytes from a multiple of 4, of whatever type: a plain pointer to words may not read what was not
 * written as words. */
EDGEGROW_KERNEL uint32_t load_aligned(const void *from) {
    return load_word(__builtin_assume_aligned(from, 4));
}

EDGEGROW_KERNEL void store_word(void *to, uint32_t word) {
    __builtin_memcpy(to, &word, sizeof word);
}

/* The bytes 0 and 2 of a word, each widened to 16 bits with its sign. */
EDGEGROW_KERNEL uint32_t widen_even(uint32_t word) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    return (uint32_t)__sxtb16((int8x4_t)word);
#else
    return (uint32_t)(uint16_t)(int8_t)word | (uint32_t)(int8_t)(word >> 16) << 16;
#endif
}

/* The bytes 1 and 3 of a word, each widened to 16 bits with its sign. */
EDGEGROW_KERNEL uint32_t widen_odd(uint32_t word) {
    return widen_even(word >> 8 | word << 24);
}

/* `sum` plus the products of the low and of the high halves. */
EDGEGROW_KERNEL uint32_t dot_pair(uint32_t a, uint32_t b, uint32_t sum) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    return (uint32_t)__smlad((int16x2_t)a, (int16x2_t)b, (int32_t)sum);
#else
    return sum + (uint32_t)((int16_t)a * (int16_t)b) + (uint32_t)((int16_t)(a >> 16) * (int16_t)(b >> 16));
#endif
}

/* `sum` plus the low half of `a` times the high half of `b`. */
EDGEGROW_KERNEL uint32_t dot_low_high(uint32_t a, uint32_t b, uint32_t sum) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    return (uint32_t)__smlabt((int32_t)a, (int32_t)b, (int32_t)sum);
#else
    return sum + (uint32_t)((int16_t)a * (int16_t)(b >> 16));
#endif
}

/* The upper 32 bits of a product, half rounded up. */
EDGEGROW_KERNEL int32_t multiply_high(int32_t a, int32_t b) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
#elif defined(__ARM_ARCH_6M__)
    /* No instruction multiplies to 64 bits: by halves, each intermediate fits 32 bits. */
    const int32_t a_low = a & 0xffff, a_high = a >> 16, b_low = b & 0xffff, b_high = b >> 16;
    const int32_t one = a_high * b_low + (int32_t)((uint32_t)a_low * (uint32_t)b_low >> 16);
    const int32_t other = a_low * b_high + (one & 0xffff);
    return a_high * b_high + (one >> 16) + (other >> 16) + (other >> 15 & 1);
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

EDGEGROW_KERNEL int32_t clamp(int32_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : value;
}

#endif
