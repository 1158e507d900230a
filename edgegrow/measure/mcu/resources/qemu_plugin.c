/* Counts how often each block of the emulated program runs: a plugin of QEMU's translator, API version 1.
 *
 * Each call of model_invoke is an inference. Records go to a pipe: a header, then as many rows as it says.
 * It ends with the blocks, once the program has come to its end, or with how the program went astray; QEMU
 * goes on, and is ended by who reads. */
#include "counting.h"

#define MAX_DEPTH 4096 /* of calls that are followed to find where an operator returns to */

/* Of QEMU's plugin API, and of the C library in QEMU's process. */
typedef uint64_t plugin_id;
struct plugin_info;
struct plugin_block;
struct plugin_instruction;
enum { NO_REGISTERS = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct plugin_block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct plugin_block *, void (*)(unsigned, void *), int, void *);
extern unsigned long qemu_plugin_tb_n_insns(const struct plugin_block *);
extern uint64_t qemu_plugin_tb_vaddr(const struct plugin_block *);
extern struct plugin_instruction *qemu_plugin_tb_get_insn(const struct plugin_block *, unsigned long);
extern const void *qemu_plugin_insn_data(const struct plugin_instruction *);
extern void *calloc(unsigned long, unsigned long);
extern unsigned long long strtoull(const char *, char **, int);
extern long write(int, const void *, unsigned long);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ROWS = 1, BLOCKS = 2, FAULT = 3 };

struct header {
    uint32_t kind, count; /* of rows or blocks; why, for a fault */
    uint64_t address;     /* of a fault */
};

struct row {
    uint64_t operator, block, runs, fallen;
};

static struct {
    struct counts counts;
    uint8_t *calls; /* (max_blocks,): whether it ends with a call */
    struct row *rows;
    uint64_t invoke, halt, finish; /* where an inference begins, the program ends, and model_invoke returns to */
    uint64_t returns[MAX_DEPTH];   /* of the calls outside of operators */
    const struct block *before;
    uint32_t depth;
    int pipe, inferring, over;
} plugin;

static void send(const void *from, uint64_t size)
{
    const char *at = from;
    while (size) {
        const long sent = write(plugin.pipe, at, size);
        if (sent <= 0)
            return; /* nobody reads any more: QEMU is about to be ended */
        at += sent;
        size -= (uint64_t)sent;
    }
}

static void give_up(uint32_t why, uint64_t address)
{
    const struct header header = {FAULT, why, address};
    send(&header, sizeof header);
    plugin.over = 1;
}

static void send_rows(void)
{
    const struct counts *c = &plugin.counts;
    const uint32_t operators = c->operators + 1;
    uint32_t n = 0;
    struct header header = {ROWS, 0, 0};
    for (uint32_t i = 0; i <= c->blocks_used; i++)
        for (uint32_t j = 0; j < operators; j++)
            header.count += c->runs[((uint64_t)i * operators + j) * 2] != 0;
    send(&header, sizeof header);
    for (uint32_t i = 0; i <= c->blocks_used; i++) {
        for (uint32_t j = 0; j < operators; j++) {
            uint64_t *run = c->runs + ((uint64_t)i * operators + j) * 2;
            if (run[0])
                plugin.rows[n++] = (struct row){j, i, run[0], run[1]};
            run[0] = run[1] = 0;
        }
        send(plugin.rows, n * sizeof *plugin.rows);
        n = 0;
    }
}

static void send_blocks(void)
{
    const struct header header = {BLOCKS, plugin.counts.blocks_used + 1, 0};
    send(&header, sizeof header);
    send(plugin.counts.blocks, header.count * sizeof(struct block));
    plugin.over = 1;
}

/* Follow the calls outside of operators; returns where the code that runs will return to. */
static uint64_t follow(const struct block *b)
{
    if (plugin.calls[plugin.before - plugin.counts.blocks] && plugin.depth < MAX_DEPTH)
        plugin.returns[plugin.depth++] = plugin.counts.end;
    if (plugin.depth && plugin.returns[plugin.depth - 1] == b->address)
        plugin.depth--;
    return plugin.depth ? plugin.returns[plugin.depth - 1] : plugin.finish;
}

static void begin(void)
{
    struct counts *c = &plugin.counts;
    plugin.finish = plugin.before->address + plugin.before->size_bytes;
    plugin.before = c->blocks;
    plugin.depth = 0;
    plugin.inferring = 1;
    c->instructions = 0;
    c->operator = 0;
    c->back = c->end = NOWHERE;
}

static void on_run(unsigned cpu, void *user)
{
    struct counts *c = &plugin.counts;
    const struct block *b = user;
    (void)cpu;
    if (plugin.over)
        return;
    if (b->address == plugin.halt) {
        if (plugin.inferring)
            give_up(EXCEPTION, plugin.before->address);
        else
            send_blocks();
        return;
    }
    if (plugin.inferring && b->address == plugin.finish) {
        send_rows();
        plugin.inferring = 0;
    } else if (b->address == plugin.invoke && !plugin.inferring) {
        begin();
    }
    if (plugin.inferring) {
        const uint64_t back = c->operator && b->address != c->back ? NOWHERE : follow(b);
        if (starts_operator(c, b))
            enter_operator(c, b, back);
        if (count_run(c, b))
            give_up(TOO_LONG, b->address);
    }
    plugin.before = b;
}

static void on_stray(unsigned cpu, void *user)
{
    (void)cpu;
    if (!plugin.over && plugin.inferring)
        give_up(OUTSIDE, (uint64_t)(uintptr_t)user);
}

/* Not by the API's size: it is too great for an instruction before one that crosses a page (QEMU 7.2). */
static uint32_t first_halfword(const struct plugin_instruction *instruction)
{
    const uint8_t *b = qemu_plugin_insn_data(instruction);
    return b[0] | (uint32_t)b[1] << 8;
}

/* BL, or BLX with a register (ARMv7-M ARM, A7.7.18 and A7.7.19). */
static int is_call(const struct plugin_instruction *last)
{
    const uint8_t *b = qemu_plugin_insn_data(last);
    const uint32_t half = first_halfword(last);
    return thumb_bytes(half) == 2 ? (half & 0xff87) == 0x4780 : half >> 11 == 0x1e && (b[3] & 0xd0) == 0xd0;
}

static void on_translation(plugin_id id, struct plugin_block *translated)
{
    struct counts *c = &plugin.counts;
    const uint64_t address = qemu_plugin_tb_vaddr(translated);
    const unsigned long n = qemu_plugin_tb_n_insns(translated);
    uint32_t size = 0;
    (void)id;
    if (!n)
        return;
    if (!is_code(c, address)) {
        qemu_plugin_register_vcpu_tb_exec_cb(translated, on_stray, NO_REGISTERS, (void *)(uintptr_t)address);
        return;
    }
    for (unsigned long i = 0; i < n; i++)
        size += thumb_bytes(first_halfword(qemu_plugin_tb_get_insn(translated, i)));
    struct block *b = find_block(c, address, size);
    if (!b)
        b = add_block(c, address, size, (uint32_t)n);
    if (!b) {
        if (!plugin.over)
            give_up(TOO_MANY_BLOCKS, address);
        return;
    }
    plugin.calls[b - c->blocks] = (uint8_t)is_call(qemu_plugin_tb_get_insn(translated, n - 1));
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_run, NO_REGISTERS, b);
}

/* Arguments are NAME=NUMBER, in this order: pipe, code, bytes, blocks, invoke, halt, limit; then the operators. */
__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const struct plugin_info *info,
                                                               int argc, char **argv)
{
    enum { PIPE, CODE, BYTES, BLOCKS_AT_MOST, INVOKE, HALT, LIMIT, FIXED };
    struct counts *c = &plugin.counts;
    uint64_t *values = calloc((unsigned long)argc + 1, sizeof *values);
    (void)info;
    if (!values || argc < FIXED)
        return 1;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        while (*text && *text != '=')
            text++;
        values[i] = *text ? strtoull(text + 1, 0, 10) : 0;
    }
    plugin.pipe = (int)values[PIPE];
    plugin.invoke = values[INVOKE];
    plugin.halt = values[HALT];
    c->code_base = values[CODE];
    c->code_bytes = values[BYTES];
    c->limit = values[LIMIT];
    c->max_blocks = (uint32_t)values[BLOCKS_AT_MOST];
    c->operators = (uint32_t)(argc - FIXED);
    c->starts = values + FIXED;
    c->blocks = calloc(c->max_blocks, sizeof *c->blocks);
    c->first = calloc(c->code_bytes / 2 + 1, sizeof *c->first);
    c->runs = calloc(c->max_blocks, (c->operators + 1) * 2 * sizeof *c->runs);
    plugin.calls = calloc(c->max_blocks, 1);
    plugin.rows = calloc(c->operators + 1, sizeof *plugin.rows);
    plugin.before = c->blocks;
    if (!c->blocks || !c->first || !c->runs || !plugin.calls || !plugin.rows)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
