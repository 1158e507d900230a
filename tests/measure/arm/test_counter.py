"""The counter against programs of known instructions, in QEMU itself."""

import shutil
import subprocess

import pytest
from guests import CPU, QEMU, build, build_loop
from instructions import A32, A64, T32

from edgegrow.measure.arm.counter import prepare_counter
from edgegrow.measure.arm.counts import KINDS, read_counts
from edgegrow.measure.runner.marked import MARK_SYSCALL


def count(isa, program, cpu=None, options=""):
    if shutil.which(QEMU[isa]) is None:
        pytest.skip(f"{QEMU[isa]} is not installed")
    plugin = f"{prepare_counter()},syscall={MARK_SYSCALL}{options}"
    command = [QEMU[isa], "-cpu", cpu or CPU[isa], "-plugin", plugin, str(program)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    counts, rest = read_counts(done.stderr, "emulator")
    assert rest == b""
    return counts


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize(("isa", "table"), [("a64", A64), ("a32", A32), ("t32", A32 + T32)])
def test_each_instruction_is_of_its_kind(isa, table, tmp_path):
    cases = [[field.strip() for field in line.split("|")] for line in table.splitlines() if line]
    program = build(tmp_path, isa, ["", *(case[0] for case in cases)])
    # Instructions that no core of ours has are decoded too: QEMU's "max" runs them.
    empty, *counts = count(isa, program, "max" if isa == "a64" else None)
    assert (empty.instructions, empty.mac_lanes) == (2, 0), "a mark's end: its argument and the call"
    assert len(counts) == len(cases)
    for (text, expected, *_), one in zip(cases, counts, strict=True):
        kind, *lanes = expected.split()
        found = {name: getattr(one, name) - getattr(empty, name) for name in KINDS}
        assert found == {name: int(name == kind) for name in KINDS}, text
        assert one.mac_lanes == int(lanes[0] if lanes else 0), text


@pytest.mark.parametrize("isa", ["a64", "a32", "t32"])
def test_loops_are_counted_to_the_instruction(isa, tmp_path):
    (one,) = count(isa, build_loop(tmp_path, isa, times=1000))
    # The counter's start; three a turn; the mark's end.
    assert (one.instructions, one.branch, one.simd, one.mac_lanes) == (1 + 3000 + 2, 1000, 1000, 4000)


def test_what_is_outside_of_marks_does_not_count(tmp_path):
    counts = count("a64", build(tmp_path, "a64", ["", "svc #0", "mov x0, #1\nsvc #0"]))
    # Another mark inside takes the count away; a second beginning starts it anew.
    assert [(one.inference, one.instructions) for one in counts] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("arguments", ["", ",syscall=", ",syscall=60000,other=1"])
def test_wrong_arguments_are_refused(arguments, tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed")
    program = build(tmp_path, "a64", [""])
    command = ["qemu-aarch64", "-plugin", f"{prepare_counter()}{arguments}", str(program)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode != 0
