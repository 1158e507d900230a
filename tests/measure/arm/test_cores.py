import re

import pytest

from edgegrow.errors import InputError
from edgegrow.measure.arm.cores import CORES, EMULATED_CORES, find_core
from edgegrow.targets import list_targets


def test_cpuinfo_is_as_linux_writes_it():
    text = find_core("cortex-a76").cpuinfo()
    blocks = text.strip().split("\n\n")
    assert len(blocks) == EMULATED_CORES
    facts = dict(re.split(r"\s*: ", line, maxsplit=1) for line in blocks[1].splitlines())
    assert facts["processor"] == "1"
    assert (facts["CPU implementer"], facts["CPU part"], facts["CPU architecture"]) == ("0x41", "0xd0b", "8")
    assert "asimddp" in facts["Features"].split()
    assert "asimddp" not in find_core("Cortex-A72").cpuinfo(), "a Raspberry Pi 4 has no dot product"


def test_parts_are_their_own():
    assert len({core.part for core in CORES.values()}) == len(CORES)


def test_unknown_cores_are_named_with_what_is_near():
    with pytest.raises(InputError, match=r"^core Cortex-A73x: .*: did you mean Cortex-A73\?$"):
        find_core("Cortex-A73x")
    with pytest.raises(InputError, match=r"choose Cortex-A7, Cortex-A53"):
        find_core("Pentium")


def test_shipped_targets_agree_with_the_cores():
    emulated = [
        target for target in list_targets() if target.kind in ("linux", "android") and target.emulator
    ]
    assert len(emulated) >= 6
    for target in emulated:
        core = find_core(target.soc.core)
        assert target.emulator.part == f"{core.part:#05x}", target.name
        assert target.emulator.cpu == core.cpu, target.name
        runtimes = ["tflite-runtime"] if core.architecture == "armv7" else ["litert", "onnxruntime"]
        assert list(target.runtime.names) == runtimes, target.name
