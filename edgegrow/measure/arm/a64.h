/* Kinds of A64 instructions, after the tables of "A64 instruction set encoding", Arm ARM (DDI 0487), C4.1.
 *
 * Atomic read-modify-writes are stores; prefetches, barriers and system registers are other. SVE and SME are
 * simd, also what of them loads: no core here has them. */
#ifndef EDGEGROW_A64_H
#define EDGEGROW_A64_H
#include "classes.h"

static struct decoded a64_load_store(uint32_t w)
{
    const uint32_t vector = bits(w, 26, 26), opc = bits(w, 23, 22), group = bits(w, 29, 27);
    const enum kind by_bit_22 = bits(w, 22, 22) ? LOAD : STORE;
    if (group == 1 && !vector) { /* exclusive, ordered, compare and swap */
        const int swaps = bits(w, 21, 21) && (bits(w, 23, 23) || !bits(w, 31, 31));
        return is(swaps ? STORE : by_bit_22);
    }
    if (group == 1 || group == 5) /* structures of vectors; pairs */
        return is(by_bit_22);
    if (group == 3 && bits(w, 25, 24) == 0) /* relative to the program counter */
        return is(bits(w, 31, 30) == 3 && !vector ? OTHER : LOAD);
    if (group == 3) /* LDAPR and STLR with an offset; memory tags */
        return is(opc ? LOAD : STORE);
    if (bits(w, 25, 24) == 0 && bits(w, 21, 21) && bits(w, 11, 10) == 0 && !vector)
        return is(bits(w, 14, 12) == 4 && bits(w, 15, 15) ? LOAD : STORE); /* LDAPR; atomics */
    if (!vector && bits(w, 31, 30) == 3 && opc == 2)
        return is(OTHER); /* PRFM */
    return is(vector ? by_bit_22 : opc ? LOAD : STORE);
}

static struct decoded a64_register(uint32_t w)
{
    if (bits(w, 28, 24) == 0x1b)
        return is(MULTIPLY);
    if (bits(w, 30, 30) == 0 && bits(w, 28, 21) == 0xd6) /* two sources: divisions, shifts, CRC */
        return is(bits(w, 15, 11) == 1 ? MULTIPLY : INTEGER);
    return is(INTEGER);
}

static struct decoded a64_three_same(uint32_t w, uint32_t whole, uint32_t u)
{
    const uint32_t size = bits(w, 23, 22), opcode = bits(w, 15, 11);
    if (opcode == 0x12)
        return lanes(SIMD, elements(whole, size)); /* MLA, MLS */
    if (opcode == 0x19 && !u)
        return lanes(SIMD, elements(whole, 2 + (size & 1))); /* FMLA, FMLS */
    if ((opcode == 0x1d && !u && !(size & 1)) || (opcode == 0x19 && u && !(size & 1)))
        return lanes(SIMD, elements(whole, 2)); /* FMLAL, FMLSL and the upper halves' */
    return is(SIMD);
}

static struct decoded a64_three_extra(uint32_t w, uint32_t whole)
{
    const uint32_t size = bits(w, 23, 22), opcode = bits(w, 14, 11);
    if ((opcode == 2 || opcode == 3) && size == 2)
        return lanes(SIMD, elements(whole, 0)); /* SDOT, UDOT, USDOT */
    if ((opcode == 4 || opcode == 5) && size == 2)
        return lanes(SIMD, 32); /* SMMLA, UMMLA, USMMLA */
    if (opcode == 15 && size == 1)
        return lanes(SIMD, elements(whole, 1)); /* BFDOT */
    if (opcode == 13 && size == 1)
        return lanes(SIMD, 16); /* BFMMLA */
    return is(SIMD);
}

static struct decoded a64_by_element(uint32_t w, uint32_t whole, uint32_t u)
{
    const uint32_t size = bits(w, 23, 22), opcode = bits(w, 15, 12);
    if ((opcode & 0xb) == 1 && !u)
        return lanes(SIMD, elements(whole, size ? size : 1)); /* FMLA, FMLS; 0 is half precision */
    if ((opcode & 0xb) == 0 && u)
        return lanes(SIMD, elements(whole, size)); /* MLA, MLS */
    if ((opcode & 3) == 0 && size == 2 && (opcode >> 3) == u)
        return lanes(SIMD, elements(whole, 2)); /* FMLAL, FMLSL */
    if ((opcode & 0xb) == 2 || ((opcode & 0xb) == 3 && !u) || opcode == 10)
        return lanes(SIMD, elements(0, size)); /* SMLAL, SMLSL, UMLAL, UMLSL, SQDMLAL, SQDMLSL, SMULL, UMULL */
    if ((opcode == 14 && size == 2) || (opcode == 15 && (size == 0 || size == 2) && !u))
        return lanes(SIMD, elements(whole, 0)); /* SDOT, UDOT, SUDOT, USDOT */
    if (opcode == 15 && size == 1 && !u)
        return lanes(SIMD, elements(whole, 1)); /* BFDOT */
    return is(SIMD);
}

static struct decoded a64_float_simd(uint32_t w)
{
    const uint32_t whole = bits(w, 30, 30), u = bits(w, 29, 29), op = bits(w, 28, 24);
    if (op == 0x1f && !whole)
        return lanes(FLOAT, 1); /* FMADD and its relatives */
    if (op == 0x1e && !whole)
        return is(FLOAT);
    if (op == 0x1f && bits(w, 10, 10) == 0) { /* one element */
        const struct decoded vector = a64_by_element(w, 1, u);
        return lanes(SIMD, vector.lanes ? 1 : 0);
    }
    if (op == 0x0e) {
        if (bits(w, 21, 21) && bits(w, 10, 10))
            return a64_three_same(w, whole, u);
        if (bits(w, 21, 21) && bits(w, 11, 10) == 0) /* the result is twice as wide: SMLAL, SQDMLAL, SMULL, ... */
            return bits(w, 15, 14) == 2 || bits(w, 15, 12) == 12 ? lanes(SIMD, elements(0, bits(w, 23, 22)))
                                                                  : is(SIMD);
        if (bits(w, 21, 21) == 0 && bits(w, 15, 15) && bits(w, 10, 10))
            return a64_three_extra(w, whole);
        if (bits(w, 22, 21) == 2 && bits(w, 15, 11) == 1 && !u)
            return lanes(SIMD, elements(whole, 1)); /* FMLA, FMLS of half precision */
    }
    if (op == 0x0f && bits(w, 10, 10) == 0)
        return a64_by_element(w, whole, u);
    return is(SIMD);
}

static struct decoded a64_decode(uint32_t w)
{
    const uint32_t op0 = bits(w, 28, 25);
    if ((op0 & 0xe) == 8)
        return is(INTEGER); /* with an immediate */
    if ((op0 & 0xe) == 10)
        return is(bits(w, 30, 26) == 0x15 && bits(w, 31, 31) && !bits(w, 25, 25) ? OTHER : BRANCH);
    if ((op0 & 5) == 4)
        return a64_load_store(w);
    if ((op0 & 7) == 5)
        return a64_register(w);
    if ((op0 & 7) == 7)
        return a64_float_simd(w);
    return is(op0 == 2 || (op0 == 0 && bits(w, 31, 31)) ? SIMD : OTHER);
}

#endif
