/* Counts the instructions of an ARM Linux program between two marks: a plugin of QEMU's user mode, API version 1.
 *
 * A program marks with a system call that no kernel has, whose first argument is BEGIN or END. After each END a
 * line goes to a file descriptor, by default standard error: PREFIX, and JSON. An instruction counts when its
 * block is entered: the call that marks the beginning does not count, the one that marks the end does.
 *
 * Arguments are NAME=NUMBER: syscall; fd, by default 2. */
#include "a32.h"
#include "a64.h"

#define PREFIX "edgegrow-count "

/* Of QEMU's plugin API, and of the C library in QEMU's process. */
typedef uint64_t plugin_id;
struct plugin_block;
struct plugin_instruction;
struct plugin_info { /* its first field is all that is used */
    const char *target_name;
};
enum { NO_REGISTERS = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct plugin_block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct plugin_block *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t));
extern unsigned long qemu_plugin_tb_n_insns(const struct plugin_block *);
extern struct plugin_instruction *qemu_plugin_tb_get_insn(const struct plugin_block *, unsigned long);
extern const void *qemu_plugin_insn_data(const struct plugin_instruction *);
extern unsigned long qemu_plugin_insn_size(const struct plugin_instruction *);
extern uint64_t qemu_plugin_insn_vaddr(const struct plugin_instruction *);
extern void *calloc(unsigned long, unsigned long);
extern int strcmp(const char *, const char *);
extern int strncmp(const char *, const char *, unsigned long);
extern unsigned long long strtoull(const char *, char **, int);
extern int snprintf(char *, unsigned long, const char *, ...);
extern long write(int, const void *, unsigned long);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static const char *const NAMES[KINDS] = {"integer", "multiply", "load", "store", "branch", "float", "simd", "other"};

/* A block that was translated. Those that ran since the mark are chained, and only those are summed. */
struct block {
    uint64_t runs;
    struct block *next;
    uint32_t lanes;
    uint16_t kinds[KINDS];
};

static struct {
    struct block *ran;
    int64_t number;
    uint64_t inference;
    int fd, counting, is_a64, thumb;
} plugin;

enum { END = 0, BEGIN = 1 };

static void on_run(unsigned cpu, void *user)
{
    struct block *b = user;
    (void)cpu;
    if (!plugin.counting)
        return;
    /* Threads share blocks. */
    if (__atomic_fetch_add(&b->runs, 1, __ATOMIC_RELAXED) == 0) {
        b->next = __atomic_load_n(&plugin.ran, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&plugin.ran, &b->next, b, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            ;
    }
}

static uint32_t halfword(const struct plugin_instruction *instruction, int which)
{
    const uint8_t *b = (const uint8_t *)qemu_plugin_insn_data(instruction) + 2 * which;
    return b[0] | (uint32_t)b[1] << 8;
}

/* Whether a block is T32. It is if an instruction has two bytes or such an address; it is not if one cannot be a
 * T32 one of four. What could be either is as the block that was translated before: code seldom changes over. */
static int is_thumb(const struct plugin_block *translated, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) {
        const struct plugin_instruction *instruction = qemu_plugin_tb_get_insn(translated, i);
        if (qemu_plugin_insn_size(instruction) == 2 || qemu_plugin_insn_vaddr(instruction) & 2)
            return 1;
        if (!begins_t32(halfword(instruction, 0)))
            return 0;
    }
    return plugin.thumb;
}

static struct decoded decode(const struct plugin_instruction *instruction)
{
    const uint32_t first = halfword(instruction, 0);
    if (plugin.thumb && !begins_t32(first))
        return t16_decode(first);
    const uint32_t second = halfword(instruction, 1);
    if (plugin.thumb)
        return t32_decode(first, second);
    return plugin.is_a64 ? a64_decode(second << 16 | first) : a32_decode(second << 16 | first);
}

static void on_translation(plugin_id id, struct plugin_block *translated)
{
    const unsigned long n = qemu_plugin_tb_n_insns(translated);
    struct block *b = calloc(1, sizeof *b); /* kept: QEMU may translate a block again, but does not tell */
    (void)id;
    if (!b)
        return;
    plugin.thumb = !plugin.is_a64 && is_thumb(translated, n);
    for (unsigned long i = 0; i < n; i++) {
        const struct decoded d = decode(qemu_plugin_tb_get_insn(translated, i));
        b->kinds[d.kind]++;
        b->lanes += d.lanes;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_run, NO_REGISTERS, b);
}

struct sum {
    uint64_t kinds[KINDS], all, lanes;
};

/* Sum what ran since the mark, and forget it. */
static struct sum take(void)
{
    struct sum sum = {0};
    for (struct block *b = __atomic_exchange_n(&plugin.ran, 0, __ATOMIC_ACQUIRE); b;) {
        struct block *next = b->next; /* before `runs` is 0: another thread may chain it again then */
        const uint64_t runs = __atomic_exchange_n(&b->runs, 0, __ATOMIC_ACQ_REL);
        for (int k = 0; k < KINDS; k++) {
            sum.kinds[k] += runs * b->kinds[k];
            sum.all += runs * b->kinds[k];
        }
        sum.lanes += runs * b->lanes;
        b = next;
    }
    return sum;
}

static void report(struct sum sum)
{
    char line[640]; /* shorter than what a pipe takes at once: lines of others do not come in between */
    int used;
    /* The program may have written half a line: this one begins a new one. */
    used = snprintf(line, sizeof line, "\n" PREFIX "{\"inference\": %llu, \"instructions\": %llu, \"mac_lanes\": %llu",
                    (unsigned long long)plugin.inference++, (unsigned long long)sum.all, (unsigned long long)sum.lanes);
    for (int k = 0; k < KINDS; k++)
        used += snprintf(line + used, sizeof line - (unsigned long)used, ", \"%s\": %llu", NAMES[k],
                         (unsigned long long)sum.kinds[k]);
    used += snprintf(line + used, sizeof line - (unsigned long)used, "}\n");
    write(plugin.fd, line, (unsigned long)used);
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t mark, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != plugin.number)
        return;
    const int ends = mark == END && plugin.counting;
    plugin.counting = 0;
    const struct sum sum = take();
    if (ends)
        report(sum);
    plugin.counting = mark == BEGIN;
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const struct plugin_info *info,
                                                               int argc, char **argv)
{
    plugin.fd = 2;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "syscall=", 8) == 0)
            plugin.number = (int64_t)strtoull(argv[i] + 8, 0, 10);
        else if (strncmp(argv[i], "fd=", 3) == 0)
            plugin.fd = (int)strtoull(argv[i] + 3, 0, 10);
        else
            return 1;
    }
    plugin.is_a64 = strcmp(info->target_name, "aarch64") == 0;
    if (!plugin.number || (!plugin.is_a64 && strcmp(info->target_name, "arm") != 0))
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
