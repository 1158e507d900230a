/* Unicorn's callbacks, compiled: they count blocks, and find accesses that are not aligned. */
#include "counting.h"

struct counter {
    struct counts counts;
    int (*read)(void *engine, uint64_t address, void *bytes, uint64_t n);
    int (*read_register)(void *engine, int id, void *value);
    int (*stop)(void *engine);
    uint64_t halt;
    uint32_t link_register, first_register, riscv;
    /* What changes. */
    uint64_t address;
    uint32_t failed;
};

static void give_up(struct counter *c, void *engine, uint32_t why)
{
    if (!c->failed)
        c->failed = why;
    c->stop(engine);
}

/* RISC-V: a 16-bit instruction's lowest two bits are not both set (Unprivileged ISA, 1.5). */
static uint32_t count_instructions(struct counter *c, void *engine, uint64_t address, uint32_t size)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < size; n++) {
        uint8_t b[2] = {0, 0};
        c->read(engine, address + at, b, 2);
        const uint32_t half = b[0] | (uint32_t)b[1] << 8;
        at += !c->riscv ? thumb_bytes(half) : (half & 3) == 3 ? 4 : 2;
    }
    return n;
}

static const struct block *find(struct counter *c, void *engine, uint64_t address, uint32_t size)
{
    if (!is_code(&c->counts, address)) {
        give_up(c, engine, OUTSIDE);
        return 0;
    }
    const struct block *b = find_block(&c->counts, address, size);
    if (!b)
        b = add_block(&c->counts, address, size, count_instructions(c, engine, address, size));
    if (!b)
        give_up(c, engine, TOO_MANY_BLOCKS);
    return b;
}

void edgegrow_on_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    struct counter *c = user;
    if (c->failed || address == c->halt)
        return;
    const struct block *b = find(c, engine, address, size);
    if (!b)
        return;
    if (starts_operator(&c->counts, b)) {
        uint32_t link = 0;
        c->read_register(engine, (int)c->link_register, &link);
        enter_operator(&c->counts, b, link & ~1u);
    }
    if (count_run(&c->counts, b))
        give_up(c, engine, TOO_LONG);
}

/* Unaligned accesses that the emulator lets pass and a core does not: all of them in ARMv6-M, ... */
void edgegrow_on_access(void *engine, int kind, uint64_t address, int size, int64_t value, void *user)
{
    struct counter *c = user;
    (void)kind, (void)value;
    if (!(address & (uint64_t)(size - 1)) || c->failed)
        return;
    c->address = address;
    give_up(c, engine, UNALIGNED);
}

/* ... and elsewhere those of LDM, STM, LDRD and STRD, and of exclusive and ordered loads and stores (ARMv7-M ARM,
 * A3.2.1 and A5.3). Their offsets are whole words: it is the base that says. */
void edgegrow_on_strict(void *engine, uint64_t address, uint32_t size, void *user)
{
    struct counter *c = user;
    uint8_t b[4] = {0, 0, 0, 0};
    uint32_t base = 0, unaligned = 3;
    (void)size;
    c->read(engine, address, b, sizeof b);
    const uint32_t half = b[0] | (uint32_t)b[1] << 8;
    const uint32_t n = half >> 12 == 0xc ? half >> 8 & 7 : half & 15;
    if ((half & 0xffe0) == 0xe8c0) { /* by the size of the access; the first two branch by tables */
        const uint32_t kind = b[2] >> 4;
        unaligned = kind < 2 || (kind & 3) == 0 ? 0 : (kind & 3) == 1 ? 1 : 3;
    }
    /* The stack pointer and the program counter are aligned; TT asks about an address, and reads nothing. */
    if (c->failed || n == 13 || n == 15 || ((half & 0xfff0) == 0xe840 && b[3] >> 4 == 15))
        return;
    c->read_register(engine, (int)(n == 14 ? c->link_register : c->first_register + n), &base);
    if (!(base & unaligned))
        return;
    c->address = base;
    give_up(c, engine, UNALIGNED);
}
