"""Graphs of single layers, and C packages compiled for the host and for a Cortex-M4."""

from __future__ import annotations

import ctypes
import importlib.util
import struct
import subprocess
import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest

from edgegrow.deploy.arena import ALIGNMENT
from edgegrow.deploy.graph import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Tensor,
    Window,
)
from edgegrow.measure.mcu.cores import find_core
from edgegrow.measure.mcu.toolchain import FLAGS

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no ziglang: pip install edgegrow[mcu]"
)
CANARY = 0x55
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
STRICT = ["-O2", "-std=c11", *WARNINGS]
TRAPS = ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
"""Undefined behaviour ends the process; what says where, zig would have to build first, for half a minute."""


class Layers:
    """A graph that grows by layers of random weights."""

    def __init__(self, *shape: int, seed: int = 0, zero_point: int = 7) -> None:
        self.rng = np.random.default_rng(seed)
        self.input = self.output = Tensor("input", (1, *shape), float(np.float32(0.05)), zero_point)
        self.operators: list = []

    def graph(self) -> Graph:
        return Graph(self.input, self.output, tuple(self.operators))

    def conv(self, channels: int, size, stride=(1, 1), padding="SAME", *, depthwise=False, **more) -> Layers:
        source = self.output
        window = Window(size, stride, padding)
        shape = (1, *size, channels) if depthwise else (channels, *size, source.shape[3])
        kind = DepthwiseConv2D if depthwise else Conv2D
        return self._weighted(
            kind, shape, channels, (1, *window.output_size(source.shape[1:3]), channels), more, window=window
        )

    def linear(self, features: int, **more) -> Layers:
        shape = (features, prod(self.output.shape))
        return self._weighted(FullyConnected, shape, features, (1, features), more)

    def _weighted(self, kind, shape, channels, output, more, **fields) -> Layers:
        activation: Activation = more.get("activation", "none")
        weight = np.clip(self.rng.normal(size=shape) * more.get("spread", 40), -127, 127).astype(np.int8)
        weight.flat[:: weight.size] = more.get("extreme", 127)
        bias = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        inputs = weight.size // channels
        # Sums of about 60 * 40 * sqrt(inputs) fill the outputs.
        scales = np.full(channels, more.get("gain", 1.0) * 40 / (60 * 40 * inputs**0.5), np.float32)
        if kind is FullyConnected:
            scales = scales[:1]
        else:
            scales *= self.rng.uniform(0.5, 1.5, channels).astype(np.float32)
        zero_point = more.get("zero_point", -128 if activation != "none" else 11)
        tensor = self._tensor(output, float(np.float32(self.output.scale)), zero_point)
        self._append(
            kind(tensor.name, (self.output,), tensor, weight, bias, activation, scales, **fields), tensor
        )
        return self

    def pool(self, kind: type[AveragePool2D] | type[MaxPool2D], size, stride, padding="VALID") -> Layers:
        window, source = Window(size, stride, padding), self.output
        shape = (1, *window.output_size(source.shape[1:3]), source.shape[3])
        tensor = self._tensor(shape, source.scale, source.zero_point)
        self._append(kind(tensor.name, (source,), tensor, window), tensor)
        return self

    def add_input(self, scale: float, activation: Activation = "none") -> Layers:
        tensor = self._tensor(self.input.shape, float(np.float32(scale)), -20)
        self._append(Add(tensor.name, (self.output, self.input), tensor, activation), tensor)
        return self

    def _tensor(self, shape: tuple[int, ...], scale: float, zero_point: int) -> Tensor:
        return Tensor(f"layer {len(self.operators)}", shape, scale, zero_point)

    def _append(self, op, tensor: Tensor) -> None:
        self.operators.append(op)
        self.output = tensor


def constant(package: Path, name: str) -> int:
    """Value of a whole number that ``model.h`` defines."""
    return int((package / "src/model.h").read_text().split(f"#define {name} ")[1].split()[0])


def zig(*arguments: object) -> None:
    """Compile with zig; what it says is in the failure."""
    command = [sys.executable, "-m", "ziglang", "cc", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Library:
    """A package on the host; every call runs in an arena full of rubbish between canaries."""

    def __init__(self, package: Path, graph: Graph, *flags: str) -> None:
        path = package / f"model{len(flags)}.so"
        zig(*STRICT, *flags, "-shared", "-fPIC", "-o", path, package / "src/model.c")
        self.library = ctypes.CDLL(str(path))
        self.outputs = prod(graph.output.shape)
        self.arena_bytes = constant(package, "MODEL_ARENA_BYTES")

    def run(self, q: np.ndarray) -> np.ndarray:
        """Outputs int8 ``(n, classes)`` of samples ``(n, ...)``."""
        outputs = np.empty((len(q), self.outputs), np.int8)
        for sample, output in zip(np.ascontiguousarray(q), outputs, strict=True):
            room = np.full(self.arena_bytes + 4 * ALIGNMENT, CANARY, np.int8)
            start = 2 * ALIGNMENT - room.ctypes.data % ALIGNMENT
            assert self.invoke(sample, output, room, start) == 0
            outside = np.r_[room[:start], room[start + self.arena_bytes :]]
            assert (outside == CANARY).all(), "the arena was overrun"
        return outputs

    def invoke(self, sample: np.ndarray, output: np.ndarray, room: np.ndarray, start: int) -> int:
        addresses = (sample.ctypes.data, output.ctypes.data, room.ctypes.data + start)
        return self.library.model_invoke(*map(ctypes.c_void_p, addresses))


def selftest(package: Path) -> int:
    """Exit code of the self-test on the host."""
    program = package / "selftest"
    sources = [package / "selftest.c", package / "src/model.c", package / "src/model_selftest.c"]
    zig(*STRICT, "-I", package / "src", "-o", program, *sources)
    return subprocess.run([program], check=False).returncode


def selftest_on(core: str, package: Path, *flags: str) -> int:
    """Result of the self-test on an emulated Cortex-M."""
    unicorn = pytest.importorskip("unicorn", reason="no unicorn: pip install edgegrow[mcu]")
    from unicorn import arm_const

    program = package / "selftest.elf"
    sources = [package / "selftest.c", package / "src/model.c", package / "src/model_selftest.c"]
    # Compiled as packages are: for other flags, zig would build its run-time library anew.
    target = [*find_core(core).zig, *FLAGS, *WARNINGS, "-fno-sanitize=undefined", "-Wl,-e,main"]
    zig(*target, *flags, "-I", package / "src", "-o", program, *sources)
    elf = program.read_bytes()
    entry, headers = struct.unpack_from("<II", elf, 24)
    (count,) = struct.unpack_from("<H", elf, 44)
    machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    models = {
        "cortex_m0plus": arm_const.UC_CPU_ARM_CORTEX_M0,
        "cortex_m3": arm_const.UC_CPU_ARM_CORTEX_M3,
        "cortex_m4": arm_const.UC_CPU_ARM_CORTEX_M4,
        "cortex_m7": arm_const.UC_CPU_ARM_CORTEX_M7,
        "cortex_m33+dsp": arm_const.UC_CPU_ARM_CORTEX_M33,
    }
    machine.ctl_set_cpu_model(models[core])
    stop, stack = 0x3F0000, 0x20010000
    machine.mem_map(0, 0x400000)
    machine.mem_map(stack - 0x10000, 0x10000)
    for i in range(count):
        kind, offset, address, _, size = struct.unpack_from("<5I", elf, headers + 32 * i)
        if kind == 1:  # loaded
            machine.mem_write(address, elf[offset : offset + size])
    machine.reg_write(arm_const.UC_ARM_REG_SP, stack)
    machine.reg_write(arm_const.UC_ARM_REG_LR, stop | 1)
    machine.emu_start(entry | 1, stop, timeout=60_000_000)
    assert machine.reg_read(arm_const.UC_ARM_REG_PC) == stop, "it did not end"
    return machine.reg_read(arm_const.UC_ARM_REG_R0)
