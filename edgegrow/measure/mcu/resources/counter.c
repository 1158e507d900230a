/* Counts how often each block of the emulated program runs: the emulator's block callback, compiled.
 *
 * A block is a run of instructions that is entered at its start and left at its end; how many
 * instructions it has is in their encodings. Counts are kept for each operator (a function of the
 * program, with all it calls); 0 stands for what runs outside them. All memory is the caller's. */
#include <stdint.h>

#define NOWHERE UINT64_MAX

struct block {
    uint64_t address;
    uint32_t size_bytes;
    uint32_t instructions;
    uint32_t operator; /* that starts here, or 0 */
    uint32_t next;     /* another block that starts here, or 0 */
};

struct counter {
    int (*read)(void *engine, uint64_t address, void *bytes, uint64_t n);
    int (*read_register)(void *engine, int id, void *value);
    int (*stop)(void *engine);
    struct block *blocks;   /* (max_blocks,), the first one unused */
    uint32_t *first;        /* (code_bytes / 2,): the first block at each address */
    uint64_t *counts;       /* (max_blocks, operators + 1, 2): runs, and those that fell through */
    uint64_t *starts;       /* (operators,) addresses */
    uint64_t code_base, code_bytes, halt, limit;
    uint32_t max_blocks, operators, link_register, riscv;
    uint32_t general[16]; /* the engine's numbers of r0 to r15 */
    /* What changes. */
    uint64_t instructions, back, end, address;
    uint64_t *fallen;
    uint32_t blocks_used, operator, failed;
};

enum { TOO_LONG = 1, TOO_MANY_BLOCKS = 2, OUTSIDE = 3, UNALIGNED = 4 };

static void give_up(struct counter *c, void *engine, uint32_t why)
{
    if (!c->failed)
        c->failed = why;
    c->stop(engine);
}

/* Thumb: a first halfword of 0b11101... and above starts a 32-bit instruction (ARMv7-M ARM, A5.1);
 * RISC-V: a 16-bit instruction's lowest two bits are not both set (Unprivileged ISA, 1.5). */
static uint32_t count_instructions(struct counter *c, void *engine, uint64_t address, uint32_t size)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < size; n++) {
        uint8_t b[2] = {0, 0};
        c->read(engine, address + at, b, 2);
        const uint32_t half = b[0] | (uint32_t)b[1] << 8;
        const int wide = c->riscv ? (half & 3) == 3 : half >> 11 >= 0x1d;
        at += wide ? 4 : 2;
    }
    return n;
}

static struct block *find(struct counter *c, void *engine, uint64_t address, uint32_t size)
{
    if (address < c->code_base || address - c->code_base >= c->code_bytes) {
        give_up(c, engine, OUTSIDE);
        return 0;
    }
    uint32_t *slot = &c->first[(address - c->code_base) / 2];
    for (uint32_t i = *slot; i; i = c->blocks[i].next)
        if (c->blocks[i].size_bytes == size)
            return &c->blocks[i];
    if (c->blocks_used + 1 >= c->max_blocks) {
        give_up(c, engine, TOO_MANY_BLOCKS);
        return 0;
    }
    struct block *b = &c->blocks[++c->blocks_used];
    b->address = address;
    b->size_bytes = size;
    b->instructions = count_instructions(c, engine, address, size);
    b->operator = 0;
    for (uint32_t i = 0; i < c->operators; i++)
        if (c->starts[i] == address)
            b->operator = i + 1;
    b->next = *slot;
    *slot = (uint32_t)(b - c->blocks);
    return b;
}

void edgegrow_on_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    struct counter *c = user;
    if (c->failed || address == c->halt)
        return;
    struct block *b = find(c, engine, address, size);
    if (!b)
        return;
    if (address == c->back) {
        c->operator = 0;
        c->back = NOWHERE;
    }
    if (c->operator == 0 && b->operator) {
        uint32_t link = 0;
        c->read_register(engine, (int)c->link_register, &link);
        c->operator = b->operator;
        c->back = link & ~1u;
    }
    if (address == c->end)
        ++*c->fallen;
    uint64_t *count = c->counts + ((uint64_t)(b - c->blocks) * (c->operators + 1) + c->operator) * 2;
    ++count[0];
    c->fallen = count + 1;
    c->end = address + size;
    c->instructions += b->instructions;
    if (c->instructions > c->limit)
        give_up(c, engine, TOO_LONG);
}

/* Unaligned accesses that the emulator lets pass and ARMv6-M does not: all of them. */
void edgegrow_on_access(void *engine, int kind, uint64_t address, int size, int64_t value, void *user)
{
    struct counter *c = user;
    (void)kind, (void)value;
    if (!(address & (uint64_t)(size - 1)) || c->failed)
        return;
    c->address = address;
    give_up(c, engine, UNALIGNED);
}

/* Those that later cores do not let pass: of LDM, STM, LDRD and STRD (ARMv7-M ARM, A3.2.1). They are found
 * by the instructions' base registers, whose offsets are multiples of 4: with a callback at every access the
 * engine forgets the conditions of an IT block that accesses memory (unicorn issue 2309). */
void edgegrow_on_instruction(void *engine, uint64_t address, uint32_t size, void *user)
{
    struct counter *c = user;
    uint8_t b[2] = {0, 0};
    uint32_t base, value = 0;
    (void)size;
    if (c->failed)
        return;
    c->read(engine, address, b, 2);
    const uint32_t half = b[0] | (uint32_t)b[1] << 8;
    if (half >> 12 == 0xc)
        base = half >> 8 & 7;
    else if ((half & 0xfe40) == 0xe800 || ((half & 0xfe40) == 0xe840 && half & 0x0120))
        base = half & 15;
    else
        return;
    if (base == 15) /* literals: the program counter is aligned first */
        return;
    c->read_register(engine, (int)c->general[base], &value);
    if (value & 3) {
        c->address = value;
        give_up(c, engine, UNALIGNED);
    }
}
