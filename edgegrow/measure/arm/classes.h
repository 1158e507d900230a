/* Kinds of instructions, and how many multiply-accumulate lanes one of them has. */
#ifndef EDGEGROW_CLASSES_H
#define EDGEGROW_CLASSES_H
#include <stdint.h>

/* In the order of the names in counter.c. */
enum kind { INTEGER, MULTIPLY, LOAD, STORE, BRANCH, FLOAT, SIMD, OTHER, KINDS };

struct decoded {
    enum kind kind;
    uint32_t lanes; /* products that it adds to a sum or begins one with: 4 of fmla v0.4s, 16 of sdot v0.4s */
};

static inline uint32_t bits(uint32_t word, int high, int low)
{
    return word >> low & (0xffffffffu >> (31 - high + low));
}

static inline struct decoded is(enum kind kind)
{
    return (struct decoded){kind, 0};
}

static inline struct decoded lanes(enum kind kind, uint32_t n)
{
    return (struct decoded){kind, n};
}

/* Elements of 8 << size bits in a vector register, of 128 bits if it is a whole one. */
static inline uint32_t elements(uint32_t whole, uint32_t size)
{
    return (whole ? 16u : 8u) >> size;
}

#endif
