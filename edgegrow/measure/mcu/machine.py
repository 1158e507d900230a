"""The program that emulates a firmware, in a process of its own.

What it runs may be wrong in any way; here it has its own memory, which is bounded, and a clock that ends it.
The emulated program has flash, which it cannot write, RAM, which it cannot execute, and nothing else.

It needs nothing of edgegrow: numpy and unicorn suffice. It reads one request on stdin and writes one answer
on stdout; each is a line of JSON, then the arrays that its ``arrays`` lists as ``[dtype, shape]``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_BLOCKS = 65536
"""Blocks of code that are counted at most."""

EXTRA_BYTES = 2**29
"""Memory that the emulator may take beyond that of the machine and the counters."""

TRANSLATION_BYTES = 2**25
"""Memory for translated code; it is emptied when it is full."""

STOPPED = {1: "instructions", 2: "blocks", 3: "fetch", 4: "unaligned", 5: "exception"}
"""Why the block counter has stopped an inference: ``enum`` of counting.h."""

PAINT = 0xA5A5A5A5
"""What unused stack holds."""

NOWHERE = 2**64 - 1


class Counts(ctypes.Structure):
    """``struct counts`` of counting.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("blocks", "first", "runs", "starts")),
        *((name, ctypes.c_uint64) for name in ("code_base", "code_bytes", "limit")),
        *((name, ctypes.c_uint32) for name in ("max_blocks", "operators", "blocks_used", "operator")),
        *((name, ctypes.c_uint64) for name in ("instructions", "back", "end")),
        ("fallen", ctypes.c_void_p),
    )


class Counter(ctypes.Structure):
    """``struct counter`` of counter.c."""

    _fields_ = (
        ("counts", Counts),
        *((name, ctypes.c_void_p) for name in ("read", "read_register", "stop")),
        ("halt", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("link_register", "first_register", "riscv")),
        ("address", ctypes.c_uint64),
        ("failed", ctypes.c_uint32),
    )


_COUNTS = ("size_bytes", "instructions", "operator", "next")
BLOCK = np.dtype([("address", "<u8"), *((name, "<u4") for name in _COUNTS)])
"""``struct block`` of counting.h."""


class Fault(Exception):
    """The program went astray; `facts` say how."""

    def __init__(self, kind: str, **facts: int) -> None:
        super().__init__(kind)
        self.facts = {"kind": kind, **facts}


class Machine:
    """One core with its memories and a firmware.

    Parameters
    ----------
    request : dict
    segments : list of ndarray
        uint8, what stands in flash at the request's ``segments``.
    checked : bool
        Whether to look at the alignment of every access; it takes several times as long.
    """

    def __init__(self, request: dict[str, Any], segments: list[np.ndarray], checked: bool = False) -> None:
        import unicorn
        from unicorn import arm_const, riscv_const

        self.request = request
        self.riscv = request["isa"] == "riscv"
        self.engine: Any  # declared without its control calls
        constants: Any
        if self.riscv:
            isa, names, constants = "RISCV", ("A0", "A1", "A2", "SP", "RA", "PC"), riscv_const
            self.engine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        else:
            isa, names, constants = "ARM", ("R0", "R1", "R2", "SP", "LR", "PC"), arm_const
            self.engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.registers = [getattr(constants, f"UC_{isa}_REG_{name}") for name in names]
        self.engine.ctl_set_cpu_model(getattr(constants, request["model"]))
        self.engine.ctl_set_tcg_buffer_size(TRANSLATION_BYTES)
        self._map(request["flash"], unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self._map(request["ram"], unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        for address, content in zip(request["segments"], segments, strict=True):
            self.engine.mem_write(address, content.tobytes())
        self.fault: Fault | None = None
        self.engine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        self.kinds = {
            getattr(unicorn, f"UC_MEM_{kind.upper()}_{why}"): kind
            for kind in ("read", "write", "fetch")
            for why in ("UNMAPPED", "PROT")
        }
        self._count_blocks(unicorn.UC_HOOK_BLOCK)
        if checked:
            self._hook(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, "edgegrow_on_access")
        for address in request["strict"]:
            self._hook(unicorn.UC_HOOK_CODE, "edgegrow_on_strict", address, address)

    def _map(self, memory: dict[str, int], rights: int) -> None:
        # Unicorn maps whole pages of 4 kB: a program may touch up to 4095 bytes more than there are.
        self.engine.mem_map(memory["base"], -(-memory["bytes"] // 4096) * 4096, rights)

    def _invalid(self, engine: Any, access: int, address: int, size: int, value: int, data: Any) -> bool:
        self.fault = self._astray(self.kinds[access], address=address)
        return False

    def _astray(self, kind: str, **facts: int) -> Fault:
        pc, sp = (self.engine.reg_read(self.registers[i]) for i in (5, 3))
        return Fault(kind, pc=pc & ~1, sp=sp, **facts)

    def _count_blocks(self, kind: int) -> None:
        from unicorn.unicorn_py3 import unicorn as binding

        # Prototypes of our own: those of the binding belong to it.
        self.unicorn = ctypes.CDLL(binding.uclib._name)
        self.callbacks = ctypes.CDLL(self.request["library"])
        flash, operators = self.request["flash"], self.request["operators"]
        self.blocks = np.zeros(MAX_BLOCKS, BLOCK)
        self.first = np.zeros(flash["bytes"] // 2 + 1, np.uint32)
        self.runs = np.zeros((MAX_BLOCKS, len(operators) + 1, 2), np.uint64)
        self.starts = np.array([*operators, 0], np.uint64)
        functions = {"read": "uc_mem_read", "read_register": "uc_reg_read", "stop": "uc_emu_stop"}
        pointers = {k: ctypes.cast(getattr(self.unicorn, v), ctypes.c_void_p) for k, v in functions.items()}
        arrays = {name: getattr(self, name).ctypes.data for name in ("blocks", "first", "runs", "starts")}
        self.counter = Counter(
            counts=Counts(
                **arrays,
                code_base=flash["base"],
                code_bytes=flash["bytes"],
                limit=self.request["limit"],
                max_blocks=MAX_BLOCKS,
                operators=len(operators),
            ),
            **pointers,
            halt=self.request["halt"],
            link_register=self.registers[4],
            first_register=self.registers[0],
            riscv=self.riscv,
        )
        self._hook(kind, "edgegrow_on_block")

    def _hook(self, kind: int, name: str, first: int = 1, last: int = 0) -> None:
        """Have a compiled callback called between two addresses; everywhere, where the last is below."""
        add = self.unicorn.uc_hook_add
        pointer, address = ctypes.c_void_p, ctypes.c_uint64
        add.argtypes = (pointer, pointer, ctypes.c_int, pointer, pointer, address, address)
        hook, callback = ctypes.c_size_t(), ctypes.cast(getattr(self.callbacks, name), pointer)
        counter = ctypes.addressof(self.counter)
        if add(self.engine._uch, ctypes.byref(hook), kind, callback, counter, first, last):
            raise RuntimeError("uc_hook_add failed")

    def _run(self, start: int, until: int) -> None:
        """Run from one address until another, or raise how the program went astray."""
        import unicorn

        counter, counts = self.counter, self.counter.counts
        counts.instructions = counts.operator = counter.failed = 0
        counts.back = counts.end = NOWHERE
        self.fault = None
        try:
            self.engine.emu_start(start if self.riscv else start | 1, until)
        except unicorn.UcError as error:
            raise self.fault or self._astray("exception", code=error.errno) from None
        if counter.failed:
            raise self._astray(STOPPED[counter.failed], address=counter.address)
        if self.engine.reg_read(self.registers[5]) & ~1 != until:
            raise self._astray("exception")

    def start_up(self) -> None:
        """Run the firmware's start-up code, then paint the stack."""
        request = self.request
        self.engine.reg_write(self.registers[3], request["stack_top"])
        self._run(request["entry"], request["ready"])
        paint = np.full(request["stack_bytes"] // 4, PAINT, "<u4")
        self.engine.mem_write(request["ram"]["base"], paint.tobytes())

    def infer(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run one inference on int8 ``(input_bytes,)``; returns its output and its rows of counts."""
        request = self.request
        self.engine.mem_write(request["input"], x.tobytes())
        # A call of model_invoke(input, output, arena) that returns to edgegrow_halt.
        link = request["halt"] if self.riscv else request["halt"] | 1
        call = (request["input"], request["output"], request["arena"], request["stack_top"], link)
        for register, value in zip(self.registers[:5], call, strict=True):
            self.engine.reg_write(register, value)
        self.runs[: self.counter.counts.blocks_used + 1] = 0
        self._run(request["invoke"], request["halt"])
        status = self.engine.reg_read(self.registers[0])
        if status:
            raise Fault("status", status=int(np.int32(np.uint32(status))))
        output = np.frombuffer(self.engine.mem_read(request["output"], request["output_bytes"]), np.int8)
        runs = self.runs[: self.counter.counts.blocks_used + 1]
        block, operator = np.nonzero(runs[:, :, 0])
        times, fallen = runs[block, operator].astype(np.int64).T
        return output, np.stack([operator, block, times, fallen], 1)

    def stack_used(self) -> int:
        """Return the bytes of the stack that have been written, its high-water mark."""
        request = self.request
        stack = self.engine.mem_read(request["ram"]["base"], request["stack_bytes"])
        return used_bytes(np.frombuffer(stack, "<u4"))


def used_bytes(stack: np.ndarray) -> int:
    """High-water mark of a stack, uint32 from its lowest address on, which has been painted."""
    touched = np.flatnonzero(stack != PAINT)
    return 4 * (len(stack) - int(touched[0])) if len(touched) else 0


def started(request: dict[str, Any], segments: list[np.ndarray], checked: bool = False) -> Machine:
    """Make a machine that has run its start-up code."""
    machine = Machine(request, segments, checked)
    machine.start_up()
    return machine


def limit_process(request: dict[str, Any]) -> None:
    """Bound this process's time and memory; it may write no file."""
    if hasattr(signal, "alarm"):
        signal.alarm(request["seconds"])
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        counters = MAX_BLOCKS * (len(request["operators"]) + 1) * 16 + MAX_BLOCKS * BLOCK.itemsize
        machine = 3 * request["flash"]["bytes"] + request["ram"]["bytes"] + TRANSLATION_BYTES
        # Twice: the machine that checks alignment may still be there.
        limit = 2 * (counters + machine) + EXTRA_BYTES + pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(nothing, (0, 0))


def answer(request: dict[str, Any], arrays: list[np.ndarray]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Emulate what a request asks for.

    Its arrays are the segments, and the inputs, int8 ``(n, input_bytes)``. The answer's are the outputs,
    int8 ``(n, output_bytes)``; the blocks (`BLOCK`); and the counts, int64 ``(rows, 5)``:
    inference, operator, block, how often it ran, and how often it then fell through.
    """
    limit_process(request)
    *segments, inputs = arrays
    outputs, rows, inference = [], [], 0
    try:
        if request["aligned"]:
            started(request, segments, checked=True).infer(inputs[0])
        machine = started(request, segments)
        for inference, x in enumerate(inputs):
            output, counts = machine.infer(x)
            outputs.append(output)
            rows.append(np.insert(counts, 0, inference, 1))
    except Fault as fault:
        return {"fault": {**fault.facts, "inference": inference}}, []
    blocks = machine.blocks[: machine.counter.counts.blocks_used + 1]
    header = {"stack_bytes": machine.stack_used()}
    return header, [np.stack(outputs), blocks.view(np.uint8), np.concatenate(rows)]


def send(stream: BinaryIO, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Write a header and arrays."""
    header = {**header, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read a header and arrays; an EOFError where the stream ends before."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    arrays = []
    for dtype, shape in header["arrays"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        content = stream.read(size)
        if len(content) < size:
            raise EOFError
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    return header, arrays


def main() -> None:
    """Answer the request on stdin."""
    request, arrays = receive(sys.stdin.buffer)
    try:
        header, results = answer(request, arrays)
    except Exception as error:  # one line to the caller, whatever unicorn or memory had to say
        header, results = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]}, []
    send(sys.stdout.buffer, header, results)
    os._exit(0)  # taking the machine apart would take as long as an inference


if __name__ == "__main__":
    main()
