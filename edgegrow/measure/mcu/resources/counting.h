/* How often each block of an emulated program runs: what both emulators' callbacks share.
 *
 * A block is a run of instructions that is entered at its start and left at its end. Counts are kept for each
 * operator (a function of the program, with all it calls); 0 stands for what runs outside them. All memory is
 * the caller's. */
#ifndef EDGEGROW_COUNTING_H
#define EDGEGROW_COUNTING_H

#include <stdint.h>

#define NOWHERE UINT64_MAX

struct block {
    uint64_t address;
    uint32_t size_bytes;
    uint32_t instructions;
    uint32_t operator; /* that starts here, or 0 */
    uint32_t next;     /* another block that starts here, or 0 */
};

struct counts {
    struct block *blocks;   /* (max_blocks,), the first one unused */
    uint32_t *first;        /* (code_bytes / 2,): the first block at each address */
    uint64_t *runs;         /* (max_blocks, operators + 1, 2): runs, and those that fell through */
    const uint64_t *starts; /* (operators,) addresses */
    uint64_t code_base, code_bytes, limit;
    uint32_t max_blocks, operators;
    /* What changes. */
    uint32_t blocks_used, operator;
    uint64_t instructions, back, end;
    uint64_t *fallen;
};

enum { TOO_LONG = 1, TOO_MANY_BLOCKS = 2, OUTSIDE = 3, UNALIGNED = 4, EXCEPTION = 5 };

/* Thumb: a first halfword of 0b11101... and above starts a 32-bit instruction (ARMv7-M ARM, A5.1). */
static inline uint32_t thumb_bytes(uint32_t halfword)
{
    return halfword >> 11 >= 0x1d ? 4 : 2;
}

static inline int is_code(const struct counts *c, uint64_t address)
{
    return address >= c->code_base && address - c->code_base < c->code_bytes;
}

/* The block of code at an address that is `size` bytes long, or none yet. */
static inline struct block *find_block(const struct counts *c, uint64_t address, uint32_t size)
{
    for (uint32_t i = c->first[(address - c->code_base) / 2]; i; i = c->blocks[i].next)
        if (c->blocks[i].size_bytes == size)
            return &c->blocks[i];
    return 0;
}

/* A block not seen before; none where there is no more room. */
static inline struct block *add_block(struct counts *c, uint64_t address, uint32_t size, uint32_t instructions)
{
    if (c->blocks_used + 1 >= c->max_blocks)
        return 0;
    uint32_t *slot = &c->first[(address - c->code_base) / 2];
    struct block *b = &c->blocks[++c->blocks_used];
    *b = (struct block){address, size, instructions, 0, *slot};
    for (uint32_t i = 0; i < c->operators; i++)
        if (c->starts[i] == address)
            b->operator = i + 1;
    *slot = c->blocks_used;
    return b;
}

/* Whether an operator starts with a block, after the one that ran has ended where this block returns to. */
static inline int starts_operator(struct counts *c, const struct block *b)
{
    if (b->address == c->back) {
        c->operator = 0;
        c->back = NOWHERE;
    }
    return c->operator == 0 && b->operator;
}

static inline void enter_operator(struct counts *c, const struct block *b, uint64_t back)
{
    c->operator = b->operator;
    c->back = back;
}

/* Count one run; whether it was one too many. */
static inline int count_run(struct counts *c, const struct block *b)
{
    if (b->address == c->end)
        ++*c->fallen;
    uint64_t *run = c->runs + ((uint64_t)(b - c->blocks) * (c->operators + 1) + c->operator) * 2;
    ++run[0];
    c->fallen = run + 1;
    c->end = b->address + b->size_bytes;
    c->instructions += b->instructions;
    return c->instructions > c->limit;
}

#endif
