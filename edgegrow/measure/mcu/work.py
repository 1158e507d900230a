"""Which operator takes how many instructions and cycles: blocks' counts, summed by what they ran for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edgegrow.measure.mcu.cycles import BlockCycles, CycleModel, has_model
from edgegrow.measure.mcu.elf import Elf
from edgegrow.measure.mcu.toolchain import Firmware

# Gcc appends to the name of a function that it has made for particular arguments.
OPERATOR = re.compile(r"(op_(\d{1,9})_\w+)(?:\.(?:isra|constprop)\.\d+)*")
"""Names of the functions whose work is counted apart, with all that they call."""

REST = "model_invoke"
"""What is counted for no operator."""


@dataclass(frozen=True)
class Work:
    """What an operator, or all of the model, takes: one value an inference.

    Attributes
    ----------
    name : str
    instructions : tuple of int
    cycles : tuple of int or None
        Predicted; None where the core has no model.
    """

    name: str
    instructions: tuple[int, ...]
    cycles: tuple[int, ...] | None


def find_operators(elf: Elf) -> list[tuple[str, int]]:
    """Find names and addresses of the operators' functions, in order of their numbers."""
    found = []
    for symbol in elf.symbols.values():
        match = OPERATOR.fullmatch(symbol.name) if symbol.is_function else None
        if match:
            found.append((int(match[2]), match[1], symbol.address))
    return [(name, address) for _, name, address in sorted(found)]


def find_strict(firmware: Firmware) -> list[int]:
    """Find the instructions whose accesses must be aligned on every core: LDM, LDRD, and their relatives.

    Data among the code may look like one; what stands at an address that runs is one.
    """
    found = []
    for symbol in firmware.elf.symbols.values():
        for segment in firmware.elf.segments:
            at = symbol.address - segment.load_address
            if symbol.is_function and 0 <= at < len(segment.content):
                halves = np.frombuffer(segment.content[at : at + symbol.size_bytes // 2 * 2], "<u2")
                strict = (halves >> 12 == 0xC) | (halves >> 9 == 0x74)
                found += (symbol.address + 2 * np.flatnonzero(strict)).tolist()
    return sorted(set(found))


def attribute(
    firmware: Firmware, names: list[str], blocks: np.ndarray, rows: np.ndarray, n: int
) -> tuple[Work, tuple[Work, ...]]:
    """Sum the blocks' instructions and cycles for each inference and operator.

    Parameters
    ----------
    firmware : Firmware
    names : list of str
        Operators of the functions that were counted apart, the first of them as number 1.
    blocks : ndarray
        ``machine.BLOCK`` ``(blocks,)``.
    rows : ndarray
        Counts, int64 ``(rows, 5)``, as ``machine.answer`` gives them.
    n : int
        Inferences.

    Returns
    -------
    total : Work
    parts : tuple of Work
        The operators, and `REST` at the end.
    """
    inference, function, block, runs, fallen = rows.T
    # Function 0 is what runs outside of operators; several functions of one name are one operator.
    order = list(dict.fromkeys((REST, *names)))
    operator = np.array([order.index(name) for name in (REST, *names)])[function]
    shape = (n, len(order))
    instructions = np.zeros(shape, np.int64)
    np.add.at(instructions, (inference, operator), runs * blocks["instructions"][block].astype(np.int64))
    cycles = None
    if has_model(firmware.core):
        timings = _time_blocks(firmware, blocks)
        always = np.array([t.always for t in timings], np.int64)[block]
        taken = np.array([t.taken for t in timings], np.int64)[block]
        cycles = np.zeros(shape, np.int64)
        # A run that did not go on with the following instruction has branched.
        np.add.at(cycles, (inference, operator), runs * always + (runs - fallen) * taken)

    def work(name: str, columns: slice) -> Work:
        return Work(
            name,
            tuple(instructions[:, columns].sum(1).tolist()),
            None if cycles is None else tuple(cycles[:, columns].sum(1).tolist()),
        )

    parts = [work(name, slice(i, i + 1)) for i, name in enumerate(order)]
    return work(REST, slice(None)), (*parts[1:], parts[0])


def _time_blocks(firmware: Firmware, blocks: np.ndarray) -> list[BlockCycles]:
    model = CycleModel(firmware.core)
    flash = bytearray(firmware.flash_bytes)
    for segment in firmware.elf.segments:
        at = segment.load_address - firmware.core.flash_base
        flash[at : at + len(segment.content)] = segment.content
    timings = []
    for address, size in zip(blocks["address"].tolist(), blocks["size_bytes"].tolist(), strict=True):
        at = address - firmware.core.flash_base
        # The first entry stands for none: it has no bytes.
        timings.append(model.block(bytes(flash[at : at + size]), address) if size else BlockCycles(0, 0))
    return timings
