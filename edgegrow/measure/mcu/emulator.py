"""Emulating a C package on a microcontroller core: exact instruction counts, outputs, memory, and cycles."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.mcu import machine
from edgegrow.measure.mcu.cores import Core, find_core
from edgegrow.measure.mcu.qemu import board_of, board_sizes, qemu_version, run_on_board
from edgegrow.measure.mcu.toolchain import (
    Firmware,
    compile_counter,
    compile_firmware,
    find_compiler,
    package_kernels,
)
from edgegrow.measure.mcu.work import Work, attribute, find_operators, find_strict
from edgegrow.measure.protocol import Identity

MAX_MEMORY_BYTES = 2**26
"""Flash or RAM that a machine may have at most."""

OVERFLOW_BYTES = 2**20
"""How far below the stack an access is taken for the stack's overflow."""


ARMV6M = "cortex-m0plus"
"""The core on which every access must be aligned."""


@dataclass(frozen=True, eq=False)
class Emulation:
    """Result of `emulate`, for n inferences.

    Attributes
    ----------
    core : Core
    outputs : ndarray
        int8 ``(n, output_bytes)``.
    total : Work
        From the call of ``model_invoke`` to its return.
    operators : tuple of Work
        Each operator in order of its number; what runs outside of them is ``model_invoke``, the last.
    stack_bytes : int
        High-water mark of the stack below the caller of ``model_invoke``.
    flash_bytes : int
        Code, constants and initial values of the whole firmware, start-up code included.
    arena_bytes : int
    ram_bytes : int
        Variables, arena, input and output, and the stack's high-water mark.
    identity : Identity
        Emulator, compiler with its flags, kernels, and core.
    """

    core: Core
    outputs: np.ndarray
    total: Work
    operators: tuple[Work, ...]
    stack_bytes: int
    flash_bytes: int
    arena_bytes: int
    ram_bytes: int
    identity: Identity


def emulate(
    package: str | Path,
    core: str,
    inputs: np.ndarray,
    *,
    compiler: str = "zig",
    flags: Sequence[str] = (),
    emulator: str = "unicorn",
    flash_bytes: int = 2**20,
    ram_bytes: int = 2**18,
    stack_bytes: int = 2**13,
    max_instructions: int = 10**9,
    seconds: int = 120,
    function: str = "model_invoke",
) -> Emulation:
    """Compile a C package, and run it on an emulated core, in a process of its own.

    Counts are exact: the same package, compiler and input give the same numbers every time.

    Parameters
    ----------
    package : str or Path
        Folder with ``model.h`` and C files.
    core : str
        One of ``CORES``.
    inputs : ndarray
        int8 ``(n, input_bytes)``, n >= 1.
    compiler : str
        ``zig`` or ``gcc``.
    flags : sequence of str
        Further flags of the compiler; the last of its kind holds, ``-O3`` instead of ``-O2``.
    emulator : str
        ``unicorn``, or ``qemu``: a board of QEMU's, which may have less memory.
    flash_bytes, ram_bytes, stack_bytes : int
        Sizes of the memories; the stack is a part of RAM.
    max_instructions : int
        Instructions that one inference may take.
    seconds : int
        Time that all of them may take together, in seconds.
    function : str
        What is called for an inference; it returns 0 where all is well.

    Raises
    ------
    InputError
        If the package does not compile or fit, or its program fails, goes astray or takes too long.
    """
    package = Path(package).resolve()
    chosen = find_core(core)
    program = find_emulator(emulator, chosen)
    _check_sizes(flash_bytes, ram_bytes, stack_bytes, max_instructions, seconds)
    if emulator == "qemu":
        flash_bytes, ram_bytes = board_sizes(board_of(chosen), flash_bytes, ram_bytes)
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as name:
        folder = Path(name)
        firmware = compile_firmware(
            package,
            chosen,
            folder,
            compiler=find_compiler(compiler),
            flash_bytes=flash_bytes,
            ram_bytes=ram_bytes,
            stack_bytes=stack_bytes,
            flags=flags,
            driven=emulator == "qemu",
            function=function,
        )
        functions = find_operators(firmware.elf)
        addresses = [address for _, address in functions]
        samples = _check_inputs(package, firmware, inputs)
        if emulator == "qemu":
            what = f"package {package}"
            header, arrays = run_on_board(
                what, firmware, addresses, samples, folder, max_instructions, seconds
            )
        else:
            request = {
                **_request(firmware, addresses),
                "library": str(compile_counter(folder)),
                "limit": max_instructions,
                "seconds": seconds,
            }
            header, arrays = _run(package, request, [*_segments(firmware), samples])
    if "error" in header:
        raise InputError(f"package {package}: the emulator failed: {header['error']}")
    if "fault" in header:
        raise InputError(f"package {package}: {_explain(header['fault'], firmware, max_instructions)}")
    outputs, blocks, rows = arrays
    names = [name for name, _ in functions]
    total, operators = attribute(firmware, names, blocks.view(machine.BLOCK).reshape(-1), rows, len(samples))
    stack = header["stack_bytes"]
    elf = firmware.elf
    return Emulation(
        core=chosen,
        outputs=outputs,
        total=total,
        operators=operators,
        stack_bytes=stack,
        flash_bytes=elf.flash_bytes(chosen.flash_base, flash_bytes),
        arena_bytes=elf.symbols["edgegrow_arena"].size_bytes,
        ram_bytes=elf.static_ram_bytes(chosen.ram_base, ram_bytes) + stack,
        identity=Identity(
            runtime=emulator,
            version=program,
            compiler=firmware.compiler,
            kernels=package_kernels(package),
            cpu=chosen.cpu,
        ),
    )


def find_emulator(emulator: str, core: Core) -> str:
    """Return the version of an emulator that has a core.

    Raises
    ------
    InputError
        If it is unknown, not installed, or has no such core.
    """
    if emulator == "qemu":
        board_of(core)
        return qemu_version()
    if emulator != "unicorn":
        raise InputError(f"emulator {emulator}: unknown: choose unicorn or qemu")
    if core.model is None:
        raise InputError(f"core {core.name}: unicorn has no {core.cpu}: use --emulator qemu")
    if importlib.util.find_spec("unicorn") is None:
        raise InputError("unicorn is not installed: pip install 'edgegrow[mcu]'")
    return version("unicorn")


def _check_sizes(
    flash_bytes: int, ram_bytes: int, stack_bytes: int, max_instructions: int, seconds: int
) -> None:
    for name, value in (("flash", flash_bytes), ("RAM", ram_bytes)):
        if not 1024 <= value <= MAX_MEMORY_BYTES:
            raise InputError(f"emulator: {name} of {value} bytes: give 1024 to {MAX_MEMORY_BYTES}")
    if not 64 <= stack_bytes <= ram_bytes or stack_bytes % 16:
        raise InputError(f"emulator: stack of {stack_bytes} bytes: give 64 to {ram_bytes}, a multiple of 16")
    if not 1 <= max_instructions < 2**63 or seconds < 1:
        raise InputError("emulator: it takes 1 instruction or more, and 1 s or more")


def _check_inputs(package: Path, firmware: Firmware, inputs: np.ndarray) -> np.ndarray:
    size = firmware.elf.symbols["edgegrow_input"].size_bytes
    if inputs.dtype != np.int8 or inputs.ndim != 2 or inputs.shape[1] != size or not len(inputs):
        given = f"{inputs.dtype} {inputs.shape}"
        raise InputError(f"package {package}: it takes int8 inputs (n, {size}) with n >= 1, not {given}")
    return np.ascontiguousarray(inputs)


def _request(firmware: Firmware, operators: list[int]) -> dict[str, Any]:
    symbols, core = firmware.elf.symbols, firmware.core
    return {
        "isa": core.isa,
        "aligned": core.name == ARMV6M,
        "strict": find_strict(firmware) if core.isa == "thumb" and core.name != ARMV6M else [],
        "model": core.model,
        "flash": {"base": core.flash_base, "bytes": firmware.flash_bytes},
        # No more than it was linked with: what it takes besides is seen, not left out of its figure.
        "ram": {"base": core.ram_base, "bytes": _ram_end(firmware) - core.ram_base},
        "segments": [s.load_address for s in firmware.elf.segments if s.content],
        "entry": symbols["edgegrow_entry" if core.isa == "riscv" else "edgegrow_start"].address,
        "ready": symbols["edgegrow_ready"].address,
        "halt": symbols["edgegrow_halt"].address,
        "invoke": symbols[firmware.function].address,
        "input": symbols["edgegrow_input"].address,
        "output": symbols["edgegrow_output"].address,
        "output_bytes": symbols["edgegrow_output"].size_bytes,
        "arena": symbols["edgegrow_arena"].address,
        "stack_top": core.ram_base + firmware.stack_bytes,
        "stack_bytes": firmware.stack_bytes,
        "operators": operators,
    }


def _ram_end(firmware: Firmware) -> int:
    """Where the stack and the variables of a firmware end."""
    ram = range(firmware.core.ram_base, firmware.core.ram_base + firmware.ram_bytes)
    ends = (s.address + s.size_bytes for s in firmware.elf.segments if s.address in ram)
    return max(ends, default=ram.start + firmware.stack_bytes)


def _segments(firmware: Firmware) -> list[np.ndarray]:
    return [np.frombuffer(s.content, np.uint8) for s in firmware.elf.segments if s.content]


def _run(
    package: Path, request: dict[str, Any], arrays: list[np.ndarray]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Let a child process emulate; it ends by itself, or is ended a little later."""
    stream = BytesIO()
    machine.send(stream, request, arrays)
    late = f"package {package}: emulating it took longer than {request['seconds']} s: it may loop"
    try:
        done = subprocess.run(
            (sys.executable, "-P", machine.__file__),
            input=stream.getvalue(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=request["seconds"] + 10,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(late) from error
    if -done.returncode == getattr(signal, "SIGALRM", None):
        raise InputError(late)
    try:
        return machine.receive(BytesIO(done.stdout))
    except EOFError as error:
        how = f"the emulator's process ended (exit code {done.returncode})"
        raise InputError(f"package {package}: {how}: see edgegrow doctor") from error


def _explain(fault: dict[str, Any], firmware: Firmware, max_instructions: int) -> str:
    """Say in one line how a program went astray."""
    kind, core = fault["kind"], firmware.core
    if kind == "status":
        return f"{firmware.function} returned {fault['status']} for input {fault['inference']}, not 0"
    astray = firmware.elf.function_at(fault["pc"])
    where = f"in {astray}" if astray else f"at {fault['pc']:#x}"
    if kind == "instructions":
        return f"it took more than {max_instructions} instructions, {where}: it may loop"
    if kind == "blocks":
        return f"it has more than {machine.MAX_BLOCKS} blocks of code that run"
    if kind == "unaligned":
        return f"its access of {fault['address']:#x} {where} is not aligned, as {core.cpu} needs it"
    bottom = core.ram_base - fault.get("address", 0)
    if kind in ("read", "write") and 0 < bottom <= OVERFLOW_BYTES and fault["sp"] <= core.ram_base + 256:
        return f"its stack overflowed {where}: it needs more than {firmware.stack_bytes} bytes"
    # Where an address can never hold code, the core raises an exception instead of reading it.
    if kind == "exception" and 0 <= fault["pc"] - core.flash_base < firmware.flash_bytes:
        return f"it raised an exception {where}: an instruction that {core.cpu} lacks, a trap, or its data"
    done = {"read": "read from", "write": "wrote to"}.get(kind, "jumped to")
    return f"it {done} {fault.get('address', fault['pc']):#x} {where}: there it may not"
