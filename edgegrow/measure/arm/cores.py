"""ARM's application cores, as an emulated program meets them: QEMU's model, and ``/proc/cpuinfo``.

Runtimes choose their kernels by the part number in ``/proc/cpuinfo``, and may run an instruction where the
processor has it: a core is the pair of both. QEMU 7.2 shows a program the file of the machine that it runs
on, which makes the runtimes crash.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from edgegrow.errors import InputError

Architecture = Literal["aarch64", "armv7"]

EMULATED_CORES = 4
"""Processors that an emulated machine seems to have; all are alike, and inferences run on one."""

_V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
_V8 = "fp asimd evtstrm crc32 cpuid"
_V8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_BLOCK = """\
processor\t: {number}
{model}BogoMIPS\t: 100.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: {version}
CPU variant\t: {variant:#x}
CPU part\t: {part:#05x}
CPU revision\t: {revision}

"""


@dataclass(frozen=True)
class Core:
    """A core.

    Attributes
    ----------
    name : str
        ARM's, e.g. ``Cortex-A72``.
    part : int
        Its number in the main identification register (MIDR), from the core's reference manual.
    architecture : {"aarch64", "armv7"}
        What its programs are compiled for.
    cpu : str
        QEMU's model: the core's own, or one with the same instructions.
    variant, revision : int
        Of a widespread revision, e.g. r0p3.
    features : str
        As Linux lists them (``Documentation/arch/arm64/elf_hwcaps.rst``), those that the model has.
    """

    name: str
    part: int
    architecture: Architecture
    cpu: str
    variant: int
    revision: int
    features: str

    def cpuinfo(self) -> str:
        """Text of ``/proc/cpuinfo``."""
        version, model = 8, ""
        if self.architecture == "armv7":
            version, model = 7, f"model name\t: ARMv7 Processor rev {self.revision} (v7l)\n"
        return "".join(
            _BLOCK.format(
                number=number,
                model=model,
                features=self.features,
                version=version,
                variant=self.variant,
                part=self.part,
                revision=self.revision,
            )
            for number in range(EMULATED_CORES)
        )


CORES = {
    core.name: core
    for core in (
        Core("Cortex-A7", 0xC07, "armv7", "cortex-a7", 0, 5, _V7),
        Core("Cortex-A53", 0xD03, "aarch64", "cortex-a53", 0, 4, _V8),
        Core("Cortex-A55", 0xD05, "aarch64", "cortex-a76", 2, 0, _V8_2),
        Core("Cortex-A57", 0xD07, "aarch64", "cortex-a57", 1, 2, _V8),
        Core("Cortex-A72", 0xD08, "aarch64", "cortex-a72", 0, 3, _V8),
        Core("Cortex-A73", 0xD09, "aarch64", "cortex-a72", 0, 2, _V8),
        Core("Cortex-A75", 0xD0A, "aarch64", "cortex-a76", 3, 1, _V8_2),
        Core("Cortex-A76", 0xD0B, "aarch64", "cortex-a76", 4, 1, _V8_2),
        Core("Cortex-A77", 0xD0D, "aarch64", "cortex-a76", 1, 0, _V8_2),
        Core("Cortex-A78", 0xD41, "aarch64", "cortex-a76", 1, 1, _V8_2),
        Core("Cortex-X1", 0xD44, "aarch64", "cortex-a76", 1, 1, _V8_2),
    )
}
"""Cores by name. Those of Armv9 have vectors (SVE2) that no model of QEMU 7.2 has without much more."""


def find_core(name: str) -> Core:
    """Find a core by its name, in any case.

    Raises
    ------
    InputError
        If it is not one of `CORES`.
    """
    known = {core.lower(): core for core in CORES}
    if name.lower() in known:
        return CORES[known[name.lower()]]
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {known[near[0]]}?" if near else f"choose {', '.join(CORES)}"
    raise InputError(f"core {name}: it cannot be emulated: {hint}")
