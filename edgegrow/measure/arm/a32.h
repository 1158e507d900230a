/* Kinds of A32 and T32 instructions, after the tables of "A32/T32 instruction set encoding", Arm ARM (DDI 0487),
 * F3 and F4. A plugin is not told which of the two a block is: see `is_thumb`. */
#ifndef EDGEGROW_A32_H
#define EDGEGROW_A32_H
#include "classes.h"

/* Advanced SIMD data processing, in A32's form. */
static struct decoded neon_decode(uint32_t w)
{
    const uint32_t u = bits(w, 24, 24), opcode = bits(w, 11, 8), size = bits(w, 21, 20), whole = bits(w, 6, 6);
    if (!bits(w, 23, 23)) { /* three registers of one length */
        if (opcode == 9 && !bits(w, 4, 4))
            return lanes(SIMD, elements(whole, size)); /* VMLA, VMLS */
        if ((opcode == 12 || opcode == 13) && bits(w, 4, 4) && !u)
            return lanes(SIMD, elements(whole, size & 1 ? 1 : 2)); /* VFMA, VMLA of floats */
        return is(SIMD);
    }
    if (size == 3 || bits(w, 4, 4))
        return is(SIMD);
    if (!whole) /* of two lengths */
        return opcode >> 2 == 2 || opcode == 12 ? lanes(SIMD, elements(0, size)) : is(SIMD); /* VMLAL, VMULL, ... */
    if (opcode >= 8 && opcode != 10)
        return is(SIMD);
    return lanes(SIMD, elements(opcode & 2 ? 0 : u, size)); /* by a scalar: VMLA, VMLS, the long ones and VMULL */
}

/* Coprocessors: floats and transfers from and to vectors; the same bits in A32 and T32. */
static struct decoded coprocessor_decode(uint32_t w)
{
    if (bits(w, 11, 9) != 5)
        return is(OTHER);
    if (bits(w, 25, 24) < 2) { /* 110x */
        if (bits(w, 24, 21) == 2)
            return is(FLOAT); /* two core registers */
        return is(bits(w, 20, 20) ? LOAD : STORE);
    }
    if (bits(w, 4, 4))
        return is(FLOAT); /* one core register */
    const uint32_t opcode = bits(w, 23, 23) << 2 | bits(w, 21, 20);
    const int adds = opcode == 0 || opcode == 1 || opcode == 5 || opcode == 6; /* VMLA, VNMLA, VFNMA, VFMA */
    return lanes(FLOAT, adds && bits(w, 31, 28) != 15 ? 1 : 0);
}

static struct decoded a32_unconditional(uint32_t w)
{
    if (bits(w, 27, 25) == 1)
        return neon_decode(w);
    if (bits(w, 27, 24) == 4 && !bits(w, 20, 20))
        return is(bits(w, 21, 21) ? LOAD : STORE);
    if (bits(w, 27, 25) == 5)
        return is(BRANCH); /* BLX */
    if (bits(w, 27, 26) == 3 && bits(w, 11, 9) == 4)
        return is(SIMD); /* VSEL and conversions have 5; dot products and complex numbers 4 */
    return bits(w, 27, 26) == 3 ? coprocessor_decode(w) : is(OTHER);
}

static struct decoded a32_data(uint32_t w)
{
    const uint32_t op = bits(w, 24, 20);
    const int is_register = !bits(w, 25, 25), without_flags = (op & 0x19) == 0x10;
    if (is_register && bits(w, 7, 7) && bits(w, 4, 4)) {
        if (bits(w, 6, 5) == 0)
            return is(op < 16 ? MULTIPLY : op & 1 ? LOAD : STORE);
        return is(op & 1 || bits(w, 6, 5) == 2 ? LOAD : STORE);
    }
    if (is_register && without_flags) {
        if (bits(w, 7, 7))
            return is(MULTIPLY); /* of halfwords */
        const uint32_t which = bits(w, 6, 4);
        if ((which == 1 || which == 2 || which == 3) && (op & 6) == 2)
            return is(BRANCH); /* BX, BXJ, BLX */
        return is(which == 1 || which == 4 || which == 5 ? INTEGER : OTHER); /* CLZ, CRC, saturating; the rest */
    }
    if (without_flags && (op & 2))
        return is(OTHER); /* hints; status registers */
    return is(bits(w, 15, 12) == 15 && (op & 0x18) != 0x10 ? BRANCH : INTEGER); /* into the program counter */
}

static struct decoded a32_decode(uint32_t w)
{
    if (bits(w, 31, 28) == 15)
        return a32_unconditional(w);
    switch (bits(w, 27, 25)) {
    case 0:
    case 1:
        return a32_data(w);
    case 3:
        if (bits(w, 4, 4))
            return is(bits(w, 24, 23) == 2 ? MULTIPLY : INTEGER); /* media */
        /* fall through */
    case 2:
    case 4:
        return is(bits(w, 20, 20) ? LOAD : STORE);
    case 5:
        return is(BRANCH);
    default:
        return bits(w, 27, 24) == 15 ? is(OTHER) : coprocessor_decode(w);
    }
}

static struct decoded t16_decode(uint32_t h)
{
    if (h < 0x4000)
        return is(INTEGER);
    if (h < 0x4400)
        return is(bits(h, 9, 6) == 13 ? MULTIPLY : INTEGER);
    if (h < 0x4800) /* high registers: register 15 is the program counter */
        return is(bits(h, 9, 8) == 3 || (bits(h, 9, 8) != 1 && (h & 0x87) == 0x87) ? BRANCH : INTEGER);
    if (h < 0x5000)
        return is(LOAD);
    if (h < 0x6000)
        return is(bits(h, 11, 9) < 3 ? STORE : LOAD);
    if (h < 0xa000)
        return is(bits(h, 11, 11) ? LOAD : STORE);
    if (h < 0xb000)
        return is(INTEGER);
    if (h < 0xc000) {
        if ((h & 0xf500) == 0xb100)
            return is(BRANCH); /* CBZ, CBNZ */
        if ((h & 0xf600) == 0xb400)
            return is(bits(h, 11, 11) ? LOAD : STORE); /* POP, PUSH */
        return is(h >= 0xbe00 || bits(h, 11, 8) == 6 ? OTHER : INTEGER); /* BKPT, IT and hints; CPS, SETEND */
    }
    if (h < 0xd000)
        return is(bits(h, 11, 11) ? LOAD : STORE);
    return is(h < 0xe000 && bits(h, 11, 8) >= 14 ? OTHER : BRANCH);
}

static struct decoded t32_decode(uint32_t first, uint32_t second)
{
    const uint32_t op = bits(first, 10, 4), word = first << 16 | second;
    if (op & 0x40 && bits(first, 12, 11) != 2) { /* coprocessors and vectors */
        if (bits(first, 11, 8) == 15) /* A32 has the "U" of T32's bit 28 at bit 24 */
            return neon_decode(0xf2000000 | bits(first, 12, 12) << 24 | (word & 0xffffff));
        return bits(first, 12, 12) ? a32_unconditional(word) : coprocessor_decode(word);
    }
    switch (bits(first, 12, 11)) {
    case 1:
        if (op & 0x20)
            return is(INTEGER);
        if ((first & 0xfff0) == 0xe8d0 && bits(second, 7, 5) == 0)
            return is(BRANCH); /* TBB, TBH */
        return is(bits(first, 4, 4) ? LOAD : STORE);
    case 2:
        if (!bits(second, 15, 15))
            return is(INTEGER);
        return is((second & 0x5000) == 0 && (op & 0x38) == 0x38 ? OTHER : BRANCH);
    default:
        if ((op & 0x71) == 0x10)
            return is(bits(first, 5, 5) ? LOAD : STORE); /* structures of vectors */
        if (op < 0x20)
            return is(!(op & 1) ? STORE : (op & 6) != 4 && bits(second, 15, 12) == 15 ? OTHER : LOAD); /* PLD */
        return is(op < 0x30 ? INTEGER : MULTIPLY);
    }
}

/* The first halfword of a 32-bit T32 instruction begins with 11101, 11110 or 11111. */
static inline int begins_t32(uint32_t halfword)
{
    return halfword >> 11 > 0x1c;
}

#endif
