"""The microcontroller cores that can be emulated: how to compile for them, and what stands for them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from edgegrow.errors import InputError


@dataclass(frozen=True)
class Board:
    """A board of QEMU's: its name there, and the memory that the core's addresses begin, in bytes."""

    machine: str
    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True)
class Core:
    """A processor core.

    Attributes
    ----------
    name : str
        As targets and the command line name it.
    cpu : str
        What the core is called by its maker.
    isa : str
        ``thumb`` or ``riscv``.
    zig, gcc : tuple of str
        Flags that select it in zig's clang and in gcc; no flags of gcc: no such compiler is supported.
    model : str or None
        Unicorn's constant that stands for it; None where it has none.
    board : Board or None
        QEMU's board that has it; None where we run none.
    flash_base, ram_base : int
        Addresses; those of QEMU's board, so that the same firmware runs in both.
    """

    name: str
    cpu: str
    isa: Literal["thumb", "riscv"]
    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    model: str | None
    board: Board | None
    flash_base: int = 0
    ram_base: int = 0x20000000


MPS2 = 2**22
"""Bytes of each of the two memories of Arm's MPS2 boards."""


def _thumb(name: str, cpu: str, zig: str, model: str, board: Board, **bases: int) -> Core:
    zig_flags = ("-target", "thumb-freestanding-eabi", f"-mcpu={zig}")
    gcc_flags = ("-mthumb", f"-mcpu={name}", "-mfloat-abi=soft")
    return Core(name, cpu, "thumb", zig_flags, gcc_flags, model, board, **bases)


CORES = {
    core.name: core
    for core in (
        _thumb(
            *("cortex-m0plus", "Cortex-M0+", "cortex_m0plus", "UC_CPU_ARM_CORTEX_M0"),
            Board("microbit", 2**18, 2**14),
        ),
        _thumb(
            *("cortex-m3", "Cortex-M3", "cortex_m3", "UC_CPU_ARM_CORTEX_M3"),
            Board("mps2-an385", MPS2, MPS2),
        ),
        _thumb(
            *("cortex-m4", "Cortex-M4", "cortex_m4", "UC_CPU_ARM_CORTEX_M4"),
            Board("mps2-an386", MPS2, MPS2),
        ),
        _thumb(
            *("cortex-m7", "Cortex-M7", "cortex_m7", "UC_CPU_ARM_CORTEX_M7"),
            Board("mps2-an500", MPS2, MPS2),
        ),
        # Its board starts in the Secure state: bit 28 of an address says that it is.
        _thumb(
            *("cortex-m33", "Cortex-M33", "cortex_m33+dsp", "UC_CPU_ARM_CORTEX_M33"),
            Board("mps2-an505", MPS2, MPS2),
            flash_base=0x10000000,
            ram_base=0x38000000,
        ),
        Core(
            "cortex-m55",
            "Cortex-M55",
            "thumb",
            ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m55+mve"),
            ("-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
            None,
            Board("mps3-an547", 2**21, 2**21),
            flash_base=0x11000000,
            ram_base=0x31000000,
        ),
        Core(
            "rv32imc",
            "RV32IMC",
            "riscv",
            ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c", "-mcmodel=medany"),
            (),
            "UC_CPU_RISCV32_ANY",
            None,
            flash_base=0x20000000,
            ram_base=0x80000000,
        ),
    )
}
"""The cores by their names."""


def find_core(name: str) -> Core:
    """Return the core of a name; ``cortex_m4`` and ``Cortex-M0+`` are understood as well.

    Raises
    ------
    InputError
        If there is none.
    """
    plain = name.lower().replace("_", "-").replace("m0+", "m0plus").removesuffix("+dsp").removesuffix("+mve")
    if plain not in CORES:
        near = difflib.get_close_matches(plain, CORES, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(CORES)}"
        raise InputError(f"core {name}: it cannot be emulated: {hint}")
    return CORES[plain]
