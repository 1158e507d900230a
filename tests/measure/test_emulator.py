import contextlib
import importlib.util
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from edgegrow.errors import InputError
from edgegrow.measure import compiling
from edgegrow.measure.mcu import toolchain
from edgegrow.measure.mcu.cores import CORES, find_core
from edgegrow.measure.mcu.emulator import emulate
from edgegrow.measure.mcu.figures import profile_measurements
from edgegrow.measure.protocol import Artifact, Profile, TargetRef

for package in ("ziglang", "unicorn", "capstone"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

HEADER = """
#include <stdint.h>
#define MODEL_INPUT_BYTES 16
#define MODEL_OUTPUT_BYTES 4
#define MODEL_ARENA_BYTES 64
int model_invoke(const int8_t *in, int8_t *out, void *arena);
"""

PROLOGUE = """
#include <string.h>
#include "model.h"
#define INVOKE int model_invoke(const int8_t *in, int8_t *out, void *arena)
#define APART __attribute__((noinline)) static
"""

DENSE = """
static const int8_t weights[4][16] = {
    {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16}, {127, -128}, {1, 1, 1, 1}, {-3},
};
static int32_t bias[4] = {10, -20, 30, -40}; /* in .data: start-up code must have copied it */
static int32_t calls;                        /* in .bss: it must have been cleared */
APART void op_00_fully_connected(const int8_t *in, int32_t *sums)
{
    for (int o = 0; o < 4; o++) {
        int32_t sum = bias[o];
        for (int i = 0; i < 16; i++)
            sum += weights[o][i] * in[i];
        sums[o] = sum;
    }
}
APART void op_01_requantize(const int32_t *sums, int8_t *out)
{
    for (int o = 0; o < 4; o++) {
        const int64_t product = (int64_t)sums[o] * 1518500250 + (1 << 30);
        const int32_t value = (int32_t)(product >> 37);
        out[o] = (int8_t)(value > 127 ? 127 : value < -128 ? -128 : value);
    }
}
INVOKE
{
    int32_t *sums = arena;
    op_00_fully_connected(in, sums);
    op_01_requantize(sums, out);
    calls++;
    return calls < 1;
}
"""


@pytest.fixture
def write(tmp_path):
    def write(source, header=HEADER):
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        (folder / "model.h").write_text(header)
        (folder / "model.c").write_text(PROLOGUE + source)
        return folder

    return write


def samples(n):
    return np.random.default_rng(7).integers(-128, 128, (n, 16), np.int8)


def fails(folder, core="cortex-m4", **options):
    with pytest.raises(InputError) as caught:
        emulate(folder, core, np.ones((1, 16), np.int8), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def dense(x):
    weights = np.zeros((4, 16), np.int64)
    weights[0] = np.arange(1, 17) * np.resize([1, -1], 16)
    weights[1, :2] = 127, -128
    weights[2, :4] = 1
    weights[3, 0] = -3
    sums = x.astype(np.int64) @ weights.T + [10, -20, 30, -40]
    return np.clip((sums * 1518500250 + (1 << 30)) >> 37, -128, 127).astype(np.int8)


@pytest.mark.parametrize("core", [core.name for core in CORES.values() if core.model])
def test_every_core_computes_and_counts(write, core):
    folder = write(DENSE)
    x = samples(6)
    first, again = emulate(folder, core, x), emulate(folder, core, x)
    np.testing.assert_array_equal(first.outputs, dense(x))
    assert (first.total, first.operators) == (again.total, again.operators)
    assert [work.name for work in first.operators] == [
        "op_00_fully_connected",
        "op_01_requantize",
        "model_invoke",
    ]
    assert tuple(np.sum([work.instructions for work in first.operators], 0)) == first.total.instructions
    assert first.operators[0].instructions[0] > 64
    assert 8 <= first.stack_bytes <= 256
    assert first.arena_bytes == 64
    assert 64 + 16 + 4 + 20 + first.stack_bytes <= first.ram_bytes <= 256 + first.stack_bytes
    assert 200 <= first.flash_bytes <= 4000
    assert first.identity.cpu == CORES[core].cpu
    assert re.match(r"zig \d+\.\d+\.\d+ .*-O2", first.identity.compiler)
    has_cycles = core not in ("cortex-m7", "rv32imc")
    assert (first.total.cycles is not None) == has_cycles
    if has_cycles:
        ratio = np.array(first.total.cycles) / first.total.instructions
        assert (ratio > 1).all()
        assert (ratio < 2.5).all()


def test_counts_and_cycles_of_assembly_equal_those_by_hand(write):
    folder = write(
        """
        __attribute__((naked)) void op_00_loop(void)
        {
            __asm__ volatile("movs r3, #100\\n"      /* 1 */
                             "1: ldr r0, [sp]\\n"    /* 2: a load ... */
                             "ldr r1, [sp, #4]\\n"   /* 1: ... that another follows */
                             "smlabb r0, r0, r1, r0\\n"
                             "str r0, [sp, #-4]\\n"
                             "subs r3, #1\\n"
                             "bne 1b\\n"             /* 3, and 1 the last time */
                             "cmp r3, #0\\n"
                             "it ne\\n"
                             "movne r0, #1\\n"       /* counted, though it is skipped */
                             "bx lr\\n");            /* 3 */
        }
        INVOKE
        {
            op_00_loop();
            return 0;
        }
        """
    )
    result = emulate(folder, "cortex-m4", samples(3))
    loop = result.operators[0]
    assert loop.instructions == (1 + 100 * 6 + 4,) * 3
    assert loop.cycles == (1 + 100 * (2 + 1 + 1 + 1 + 1 + 3) - 2 + 3 + 3,) * 3


@pytest.mark.parametrize(
    ("core", "code", "instructions", "cycles"),
    [
        # POP takes 3 + 2 with the program counter, 1 + 2 without; loads do not overlap; BX is not reached.
        ("cortex-m0plus", "push {r4, lr}; push {r0, r1}; pop {r0, r1}; pop {r4, pc}", 4, 3 + 3 + 3 + 5),
        (
            "cortex-m0plus",
            "ldr r0, [sp]; ldr r1, [sp, #4]; muls r0, r1; mrs r0, control; bx lr",
            5,
            2 + 2 + 1 + 3 + 2,
        ),
        ("cortex-m0plus", "cmp r0, r0; beq 1f; nop; 1: bne 1b; b 2f; nop; 2: bx lr", 5, 1 + 2 + 1 + 2 + 2),
        (
            "cortex-m3",
            "umull r0, r1, r2, r3; mla r0, r1, r2, r3; smlal r0, r1, r2, r3; bx lr",
            4,
            4 + 2 + 5 + 3,
        ),
        (
            "cortex-m4",
            "umull r0, r1, r2, r3; mla r0, r1, r2, r3; smlal r0, r1, r2, r3; bx lr",
            4,
            1 + 1 + 1 + 3,
        ),
        (
            "cortex-m4",
            "push {r4, lr}; ldr r0, [sp, #4]; mov r1, sp; ldm r1, {r2, r3}; pop {r4, pc}",
            5,
            3 + 2 + 1 + 3 + 5,
        ),
        # The second load needs the address that the first one loads.
        (
            "cortex-m4",
            "mov r1, sp; str r1, [sp, #-4]; ldr r0, [sp, #-4]; ldr r0, [r0]; ldrd r2, r3, [sp, #-8]; bx lr",
            6,
            1 + 1 + 2 + 2 + 3 + 3,
        ),
    ],
)
def test_cycles_by_the_cores_tables(write, core, code, instructions, cycles):
    body = "".join(f'"{line.strip()}\\n"' for line in code.replace(": ", ":; ").split(";"))
    folder = write(
        f"""
        __attribute__((naked)) void op_00_code(void) {{ __asm__ volatile({body}); }}
        INVOKE {{ op_00_code(); return 0; }}
        """
    )
    work = emulate(folder, core, samples(1)).operators[0]
    assert (work.instructions, work.cycles) == ((instructions,), (cycles,))


def test_work_called_by_an_operator_is_its_own(write):
    folder = write(
        """
        APART int shared(int n) { for (volatile int i = 0; i < 50; i++) n += i; return n; }
        APART int op_00_first(int n) { return shared(n) + 1; }
        APART int op_01_second(int n) { return shared(n) + shared(n + 1); }
        INVOKE { out[0] = op_00_first(in[0]); out[1] = op_01_second(in[1]); return 0; }
        """
    )
    first, second, rest = emulate(folder, "cortex-m33", samples(1)).operators
    assert 1.9 < second.instructions[0] / first.instructions[0] < 2.1
    assert rest.instructions[0] < 30


def test_counts_follow_the_input(write):
    folder = write("INVOKE { for (volatile int i = 0; i < in[0]; i++) {} return 0; }")
    x = np.zeros((3, 16), np.int8)
    x[:, 0] = 16, 32, 48  # whole numbers of rounds, however the loop is unrolled
    result = emulate(folder, "cortex-m0plus", x)
    a, b, c = result.total.instructions
    assert c - b == b - a > 0
    measurements, unavailable = profile_measurements(result)
    found = {(m.metric, m.aggregation): m for m in measurements}
    assert found["instructions", "median"].value == b
    assert found["instructions", "median"].samples == (a, b, c)
    assert found["instructions", "max"].value == c
    assert found["instructions", "max"].evidence == "emulated"
    assert found["cycles", "median"].evidence == "predicted"
    assert found["flash", "exact"].identity.runtime == "unicorn"
    assert not unavailable
    artifact = Artifact(path="c", sha256="0" * 64, format="c", bytes=1)
    target = TargetRef(name="board", sha256="0" * 64)
    Profile(artifact=artifact, target=target, measurements=measurements)  # each figure is there once


def test_a_core_without_timings_says_so(write):
    _, unavailable = profile_measurements(emulate(write(DENSE), "rv32imc", samples(1)))
    assert [u.metric for u in unavailable] == ["cycles"]


def test_stack_is_measured(write):
    folder = write(
        """
        INVOKE { volatile int8_t room[1000]; for (int i = 0; i < 1000; i++) room[i] = 1; return room[5] - 1; }
        """
    )
    assert 1000 <= emulate(folder, "cortex-m3", samples(1)).stack_bytes <= 1050


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_a_stack_that_overflows(write, core):
    folder = write(
        """
        APART int deeper(volatile int8_t *p, int n)
        {
            volatile int8_t room[64];
            room[0] = p[0] + 1;
            return n ? deeper(room, n - 1) + room[0] : 0;
        }
        INVOKE { volatile int8_t a[1] = {in[0]}; out[0] = deeper(a, 1000); return 0; }
        """
    )
    assert "its stack overflowed in deeper: it needs more than 8192 bytes" in fails(folder, core)
    assert emulate(folder, core, samples(1), stack_bytes=2**17).stack_bytes > 64 * 1000


@pytest.mark.parametrize("core", ["cortex-m4", "rv32imc"])
def test_an_endless_loop(write, core):
    folder = write('INVOKE { for (;;) __asm__ volatile(""); }')
    message = fails(folder, core, max_instructions=100_000)
    assert "it took more than 100000 instructions, in model_invoke: it may loop" in message
    assert "took longer than 1 s" in fails(folder, core, max_instructions=10**18, seconds=1)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("*(volatile int *)0xdeadbee0 = 1;", "wrote to 0xdeadbee0 in model_invoke"),
        # In RAM that the firmware does not say it takes.
        ("*(volatile int *)0x20010000 = 1;", "wrote to 0x20010000 in model_invoke"),
        ("return *(volatile int *)0x70000000;", "read from 0x70000000 in model_invoke"),
        ("*(volatile int8_t *)(uintptr_t)model_invoke = 1;", r"wrote to 0x\w+ in model_invoke"),
        ("((void (*)(void))0x40000001)();", "jumped to 0x4000000[01] "),
        ("((void (*)(void))((uintptr_t)arena | 1))();", r"jumped to 0x\w+"),
        ("__builtin_trap();", "raised an exception|jumped|read|wrote"),
    ],
)
def test_a_program_that_goes_astray(write, core, body, said):
    assert re.search(said, fails(write(f"INVOKE {{ {body} return 0; }}"), core))


@pytest.mark.parametrize(
    ("core", "code"),
    [
        ("cortex-m0plus", "ldr r3, [%0]"),
        ("cortex-m4", "ldrd r3, r2, [%0]"),
        ("cortex-m33", "stm %0, {r2, r3}"),
        ("cortex-m3", "ldrex r2, [%0]"),
        ("cortex-m4", "ldmdb %0!, {r2, r3}"),
    ],
)
def test_an_access_that_only_the_emulator_would_forgive(write, core, code):
    body = f'__asm__ volatile("{code}" : : "r"((uint8_t *)arena + 2) : "r2", "r3", "memory");'
    message = fails(write(f"INVOKE {{ {body} return 0; }}"), core)
    assert re.search(r"access of 0x\w+ in model_invoke is not aligned", message)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33"])
def test_conditional_accesses(write, core):
    """An LDRD that is not aligned, and skipped; then a store and a comparison under one condition."""
    code = (
        "movs r3, #0; it ne; ldrdne r0, r1, [%0]; "
        "1: adds r3, #4; cmp r3, #12; itt lo; strlo r3, [%1]; cmplo r3, #8; blo 1b; mov %0, r3"
    )
    body = f"""uint32_t value = (uint32_t)(uintptr_t)arena + 2;
        __asm__ volatile("{code}" : "+r"(value) : "r"(arena) : "r0", "r1", "r3", "cc", "memory");
        out[0] = (int8_t)value;
        return out[0] - 8;"""
    # What conditions unicorn forgets shows in the code that follows: the status that is returned.
    result = emulate(write(f"INVOKE {{ {body} }}"), core, np.zeros((1, 16), np.int8))
    assert result.outputs[0, 0] == 8


def test_words_need_no_alignment_where_the_core_says_so(write):
    folder = write("INVOKE { volatile uint32_t *p = (void *)((uint8_t *)arena + 2); *p = 3; return *p - 3; }")
    emulate(folder, "cortex-m4", samples(1))


def test_a_package_with_its_sources_below(write):
    folder = write(DENSE)
    (folder / "src").mkdir()
    for path in folder.glob("model.*"):
        path.rename(folder / "src" / path.name)
    (folder / "selftest.c").write_text("int main(void) { return 0; }")
    np.testing.assert_array_equal(emulate(folder, "cortex-m4", samples(2)).outputs, dense(samples(2)))


def test_a_model_that_fails(write):
    assert "model_invoke returned -3 for input 0" in fails(write("INVOKE { return -3; }"))


def test_names_that_only_look_like_an_operators(write):
    name = f"op_{'9' * 5000}_x"
    package = write(f"APART void {name}(int8_t *o) {{ *o = 1; }} INVOKE {{ {name}(out); return 0; }}")
    emulation = emulate(package, "cortex-m4", samples(1))
    assert [work.name for work in emulation.operators] == ["model_invoke"]


def test_what_is_no_file_is_not_compiled(write):
    package = write("INVOKE { return 0; }")
    (package / "folder.c").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(package / "pipe.c")
    assert emulate(package, "cortex-m4", samples(1)).total.instructions


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_compiler_that_takes_too_long_leaves_nothing_running(write, monkeypatch):
    levels = "".join(f"#define A{i} {f'A{i - 1} ' * 10}\n" for i in range(1, 10))
    package = write(f"#define A0 +1\n{levels}INVOKE {{ return 0 A9; }}")
    toolchain.find_compiler("zig")  # asks for its version, within the usual time
    monkeypatch.setattr(compiling, "COMPILE_SECONDS", 3)
    assert "the compiler took longer than 3 s" in fails(package)
    source = str(package / "model.c").encode()
    deadline = time.monotonic() + 60
    while any(source in command for command in _commands()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _commands():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def test_packages_that_cannot_be_built(write, tmp_path):
    assert re.search(
        r"does not compile: model.c:\d+:\d+: error: .*nix", fails(write("INVOKE { return nix; }"))
    )
    assert "undefined symbol: missing" in fails(write("int missing(void); INVOKE { return missing(); }"))
    big = "static volatile int8_t room[300000]; INVOKE { room[in[0]] = 1; return room[3]; }"
    assert re.search("does not compile: .*RAM.*overflow", fails(write(big)))
    table = "static const volatile int8_t room[9000] = {1}; INVOKE { return room[in[0]] - 1; }"
    assert re.search("does not compile: .*FLASH.*overflow", fails(write(table), flash_bytes=8192))
    assert "model.h" in fails(tmp_path)
    (tmp_path / "model.h").write_text(HEADER)
    shutil.rmtree(tmp_path / "package")
    assert "no .c files" in fails(tmp_path)


def test_arguments_that_make_no_sense(write):
    folder = write(DENSE)
    assert "cortex-m4" in fails(folder, "cortex-m44")
    assert find_core("Cortex-M0+").name == "cortex-m0plus"
    assert find_core("cortex_m33+dsp").name == "cortex-m33"
    assert "choose unicorn or qemu" in fails(folder, emulator="simulator")
    assert "unicorn has no Cortex-M55: use --emulator qemu" in fails(folder, "cortex_m55+mve")
    assert "no board of QEMU's is known: use emulator unicorn" in fails(folder, "rv32imc", emulator="qemu")
    assert "choose zig or gcc" in fails(folder, compiler="cc")
    assert "stack of 7 bytes" in fails(folder, stack_bytes=7)
    assert "RAM of" in fails(folder, ram_bytes=2**40)
    for wrong in (np.ones((1, 15), np.int8), np.ones((0, 16), np.int8), np.ones((1, 16), np.uint8)):
        with pytest.raises(InputError, match=r"int8 inputs \(n, 16\)"):
            emulate(folder, "cortex-m4", wrong)


def test_gcc_gives_the_same_outputs(write):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    x = samples(4)
    for core in ("cortex-m0plus", "cortex-m4"):
        result = emulate(write(DENSE), core, x, compiler="gcc")
        np.testing.assert_array_equal(result.outputs, dense(x))
        assert result.identity.compiler.startswith("arm-none-eabi-gcc")
