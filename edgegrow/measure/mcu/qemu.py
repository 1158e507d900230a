"""QEMU as an emulator: the same firmware on one of its boards, counted by a plugin of its translator.

It checks what Unicorn counts, and it has the Cortex-M55. Two things differ. A board has the memory it has,
and no rights: a program that reads or writes beyond what the firmware was linked for is found only where
there is no memory at all. And accesses that are not aligned are found where QEMU finds them.

The program reaches nothing of this machine: no semihosting, no network, no disk, no serial line. Samples are
loaded into memory before it starts, and results are read from there by the monitor after it has ended.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.mcu.cores import Board, Core
from edgegrow.measure.mcu.machine import BLOCK, MAX_BLOCKS, STOPPED, Fault, used_bytes
from edgegrow.measure.mcu.toolchain import DRIVER_BYTES, Firmware, compile_counter

COMMAND = "qemu-system-arm"

ADDRESS_BYTES = 2**33
"""Addresses that QEMU may take: the board's memory, of which mps3-an547 has 2 GiB, and translated code."""

MAX_FILE_BYTES = 2**27
"""Size of a file that QEMU may write: what is read from memory."""

RESULTS_BYTES = 1024
"""RAM of the board that is kept for results at least."""

HEADER = struct.Struct("<IIQ")
"""``struct header`` of qemu_plugin.c: what follows, how many, and the address of a fault."""

ROWS, BLOCKS = 1, 2
"""Kinds of records; a row has `COLUMNS` numbers: operator, block, how often it ran, and fell through."""

COLUMNS = 4


@cache
def qemu_version() -> str:
    """Return the installed version, e.g. ``7.2.22``.

    Raises
    ------
    InputError
        If it is not installed, or cannot load plugins.
    """
    if shutil.which(COMMAND) is None:
        raise InputError(f"{COMMAND} is not installed: apt install qemu-system-arm, or use emulator unicorn")
    texts = []
    for option in ("--version", "--help"):
        done = subprocess.run(
            (COMMAND, option),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        texts.append(done.stdout)
    if "\n-plugin " not in texts[1]:
        raise InputError(f"{COMMAND} was built without plugins, which count instructions: use another build")
    return texts[0].partition("version ")[2].split()[0]


def board_of(core: Core) -> Board:
    """Return the board that has a core.

    Raises
    ------
    InputError
        If there is none.
    """
    if core.board is None:
        raise InputError(f"core {core.name}: no board of QEMU's is known: use emulator unicorn")
    return core.board


def board_sizes(board: Board, flash_bytes: int, ram_bytes: int) -> tuple[int, int]:
    """Reduce flash and RAM, in bytes, to what a board has beside the driver and the results."""
    half = board.flash_bytes // 2  # the other half is for samples
    return min(flash_bytes, half), min(ram_bytes, board.ram_bytes - RESULTS_BYTES)


def run_on_board(
    what: str,
    firmware: Firmware,
    operators: list[int],
    samples: np.ndarray,
    folder: Path,
    max_instructions: int,
    seconds: int,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Infer samples on the core's board.

    Parameters
    ----------
    what : str
        What messages begin with.
    firmware : Firmware
        Driven, and linked in the `folder` as ``firmware.elf``.
    operators : list of int
        Addresses of the functions that are counted apart.
    samples : ndarray
        int8 ``(n, input_bytes)``.
    folder : Path
        For files in between.
    max_instructions, seconds : int
        Limits of one inference, and of all together.

    Returns
    -------
    header, arrays
        As `edgegrow.measure.mcu.machine.answer` gives them.

    Raises
    ------
    InputError
        If the samples or results do not fit, QEMU fails, or it takes too long.
    """
    board, symbols = board_of(firmware.core), firmware.elf.symbols
    output_bytes = symbols["edgegrow_output"].size_bytes
    stride = 4 + -(-output_bytes // 4) * 4
    room = board.flash_bytes - firmware.flash_bytes - DRIVER_BYTES - 4
    most = min(room // samples.shape[1], (board.ram_bytes - firmware.ram_bytes) // stride)
    if len(samples) > most:
        raise InputError(f"{what}: {len(samples)} inputs at once: QEMU's {board.machine} has room for {most}")
    (folder / "samples.bin").write_bytes(struct.pack("<I", len(samples)) + samples.tobytes())
    plugin = compile_counter(folder, "qemu_plugin.c")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as counts, os.fdopen(writing, "wb") as pipe:
        command = _command(firmware, board, plugin, writing, operators, max_instructions)
        with _Qemu(what, command, pipe, folder, seconds) as qemu:
            try:
                blocks, rows = _receive(counts)
            except Fault as fault:
                return {"fault": fault.facts}, []
            except EOFError:
                qemu.fail("it has ended")
            results = qemu.memory(symbols["edgegrow_results"].address, len(samples) * stride)
            stack = qemu.memory(firmware.core.ram_base, firmware.stack_bytes)
    table = np.frombuffer(results, np.uint8).reshape(len(samples), stride)
    statuses = np.ascontiguousarray(table[:, :4]).view("<i4").reshape(-1)
    failed = np.flatnonzero(statuses)
    if len(failed):
        astray = Fault("status", status=int(statuses[failed[0]]), inference=int(failed[0]))
        return {"fault": astray.facts}, []
    outputs = np.ascontiguousarray(table[:, 4 : 4 + output_bytes]).view(np.int8)
    return {"stack_bytes": used_bytes(np.frombuffer(stack, "<u4"))}, [outputs, blocks.view(np.uint8), rows]


def _command(
    firmware: Firmware,
    board: Board,
    plugin: Path,
    pipe: int,
    operators: list[int],
    max_instructions: int,
) -> tuple[str, ...]:
    symbols, folder = firmware.elf.symbols, plugin.parent
    numbers = {
        "pipe": pipe,
        "code": firmware.core.flash_base,
        "bytes": firmware.flash_bytes + DRIVER_BYTES,
        "blocks": MAX_BLOCKS,
        "invoke": symbols[firmware.function].address,
        "halt": symbols["edgegrow_halt"].address,
        "limit": max_instructions,
    }
    arguments = [f"{name}={value}" for name, value in numbers.items()]
    arguments += [f"operator={address}" for address in operators]
    samples = symbols["edgegrow_samples"].address
    return (
        *(COMMAND, "-M", board.machine, "-S", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-nic", "none", "-serial", "none", "-monitor", "none", "-qmp", "stdio"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-device", f"loader,file={folder / 'firmware.elf'}"),
        *("-device", f"loader,addr={symbols['edgegrow_drive'].address | 1:#x},cpu-num=0"),
        *("-device", f"loader,file={folder / 'samples.bin'},addr={samples:#x},force-raw=on"),
        *("-plugin", ",".join((f"file={plugin}", *arguments))),
    )


class _Qemu:
    """A process of QEMU's that runs until it is left, but not longer than it may.

    Its monitor (QMP) is on its standard input and output; the program cannot reach it.
    """

    def __init__(
        self, what: str, command: tuple[str, ...], pipe: BinaryIO, folder: Path, seconds: int
    ) -> None:
        self._what, self._folder, self._seconds = what, folder, seconds
        self._messages = folder / "messages.txt"
        with self._messages.open("wb") as messages:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                pass_fds=(pipe.fileno(),),
            )
        pipe.close()  # so that reading its other end stops when QEMU does
        self._late = threading.Event()
        self._clock = threading.Timer(seconds, self._end_late)
        self._clock.start()

    def __enter__(self) -> _Qemu:
        try:
            self._limit()
            self._reply()
            self._call("qmp_capabilities")
            self._call("cont")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._process.kill()
        self._process.communicate()

    def memory(self, address: int, size: int) -> bytes:
        """Read memory as the core sees it."""
        path = self._folder / "memory.bin"
        arguments: dict[str, str | int] = {"val": address, "size": size, "filename": str(path)}
        self._call("memsave", **arguments, **{"cpu-index": 0})
        content = path.read_bytes()
        if len(content) != size:
            self.fail(f"it gave {len(content)} of {size} bytes of memory")
        return content

    def fail(self, how: str) -> NoReturn:
        """Raise what went wrong, in its own words where it has some."""
        self._process.kill()
        self._process.wait()
        if self._late.is_set():
            raise InputError(f"{self._what}: emulating it took longer than {self._seconds} s: it may loop")
        said = [line for line in self._messages.read_text(errors="replace").splitlines() if line.strip()]
        if any("Lockup" in line for line in said):
            raise InputError(f"{self._what}: it raised an exception whose handler raised another one")
        raise InputError(f"{self._what}: QEMU failed: {said[0].strip()[:200] if said else how}")

    def _end_late(self) -> None:
        self._late.set()
        self._process.kill()

    def _limit(self) -> None:
        """Bound its memory, and the files it writes."""
        if sys.platform != "linux":
            return
        import resource

        limits = {
            resource.RLIMIT_AS: ADDRESS_BYTES,
            resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
            resource.RLIMIT_CORE: 0,
        }
        for kind, value in limits.items():
            resource.prlimit(self._process.pid, kind, (value, value))

    def _call(self, command: str, **arguments: str | int) -> None:
        assert self._process.stdin is not None
        message = {"execute": command, "arguments": arguments}
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.fail("it has ended")
        while "return" not in (reply := self._reply()):  # events come in between
            if "error" in reply:
                self.fail(f"{command}: {reply['error']}")

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self.fail("it has ended")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _receive(counts: BinaryIO) -> tuple[np.ndarray, np.ndarray]:
    """Read the plugin's records; an EOFError where they end before the program does."""
    found: list[np.ndarray] = []
    while True:
        kind, count, address = HEADER.unpack(_read(counts, HEADER.size))
        if kind == ROWS:
            rows = np.frombuffer(_read(counts, count * 8 * COLUMNS), "<i8").reshape(count, COLUMNS)
            found.append(np.insert(rows, 0, len(found), 1))
        elif kind == BLOCKS and not found:
            raise Fault("exception", inference=0, pc=0, sp=0)  # the start-up code did not come to its end
        elif kind == BLOCKS:
            blocks = np.frombuffer(_read(counts, count * BLOCK.itemsize), BLOCK)
            return blocks, np.concatenate(found)
        else:
            raise Fault(STOPPED[count], inference=len(found), pc=address, address=address, sp=0)


def _read(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
