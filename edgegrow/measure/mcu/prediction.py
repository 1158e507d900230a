"""What a C package takes on a board: emulated on the board's core, its time and energy predicted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.emulator import MAX_MEMORY_BYTES, Emulation, emulate
from edgegrow.measure.mcu.figures import profile_measurements
from edgegrow.measure.mcu.toolchain import package_sources
from edgegrow.measure.protocol import Measurement, Unavailable

EMULATED_BYTES = 2**23
"""Flash and RAM of the emulated machine: what exceeds a board is counted whole before it is refused."""

SELFTEST = "model_selftest"
"""The function of a package that returns 0 where the model computes what it was trained to."""


@dataclass(frozen=True, eq=False)
class BoardFigures:
    """What `emulate_on` has found: the emulation with its outputs, and the figures of a profile."""

    emulation: Emulation
    measurements: tuple[Measurement, ...]
    unavailable: tuple[Unavailable, ...]


def emulate_on(board: Board, package: Path, inputs: np.ndarray) -> BoardFigures:
    """Emulate a package on a board's core, and predict its time and energy on the board.

    Parameters
    ----------
    board : Board
    package : Path
        Folder with ``model.h`` and C files.
    inputs : ndarray
        int8 ``(n, input_bytes)``, n >= 1.

    Raises
    ------
    InputError
        If the package does not compile, its program fails, or it exceeds the board's flash or RAM.
    """
    emulation = emulate(
        package,
        board.core.name,
        inputs,
        compiler=board.compiler,
        emulator=board.emulator,
        flash_bytes=EMULATED_BYTES,
        ram_bytes=EMULATED_BYTES,
    )
    for name, needed, there in (
        ("flash", emulation.flash_bytes, board.flash_bytes),
        ("RAM", emulation.ram_bytes, board.ram_bytes),
    ):
        if there is not None and needed > there:
            raise InputError(
                f"package {package}: it needs {needed:,} bytes of {name}, {board.name} has {there:,}: "
                "choose a larger board or a smaller network"
            )
    return BoardFigures(emulation, *profile_measurements(emulation, board))


def check_selftest(board: Board, package: Path) -> bool:
    """Run a package's self-test on a board's core; False where it has none.

    Raises
    ------
    InputError
        If it fails.
    """
    _, sources = package_sources(package)
    if not any(path.name == f"{SELFTEST}.c" for path in sources):
        return False
    nothing = np.zeros((1, input_bytes(package)), np.int8)
    emulate(
        package,
        board.core.name,
        nothing,
        compiler=board.compiler,
        emulator=board.emulator,
        flash_bytes=EMULATED_BYTES,
        ram_bytes=EMULATED_BYTES,
        function=SELFTEST,
    )
    return True


def input_bytes(package: Path) -> int:
    """Read the size of a package's input from its ``model.h``.

    Raises
    ------
    InputError
        If the header does not say it as a number that a microcontroller could hold.
    """
    folder, _ = package_sources(package)
    try:
        header = (folder / "model.h").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"package {package}: cannot read its model.h: {error.strerror}") from error
    match = re.search(r"^\s*#define\s+MODEL_INPUT_BYTES\s+(\d{1,9})\s*$", header, re.MULTILINE)
    size = int(match[1]) if match else 0
    if not 0 < size <= MAX_MEMORY_BYTES:
        raise InputError(f"package {package}: its model.h has no line #define MODEL_INPUT_BYTES NUMBER")
    return size
