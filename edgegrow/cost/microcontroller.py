"""What a network takes on a microcontroller: predicted at any width, and checked in the emulator.

Networks of the same structure and some widths are compiled and emulated once, and kept as a calibration: the
prices of the kernels' loops are fitted to them, and what code takes beside the constants is seen. A check
emulates the network of some widths, and corrects the model so that it agrees there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from edgegrow import deploy
from edgegrow.cost.calibration import digest
from edgegrow.cost.cycles import CyclePrices
from edgegrow.cost.layers import LayerShape
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.c import write_c
from edgegrow.deploy.c_memory import constant_bytes, operator_memory
from edgegrow.deploy.graph import Array, FloatGraph
from edgegrow.errors import InputError
from edgegrow.measure import mcu
from edgegrow.measure.mcu.board import Board
from edgegrow.measure.mcu.emulator import Emulation, emulate, find_emulator
from edgegrow.measure.mcu.toolchain import find_compiler
from edgegrow.measure.protocol import Identity

_MEMORY_BYTES = 2**23
"""Flash and RAM of the machine that networks are tried on: what does not fit the board can be priced too."""

_SEED = 0  # of the weights that networks are tried with

_SOURCES = (Path(deploy.__file__).parent, Path(mcu.__file__).parent)
"""What decides the code of a package, and how it is counted."""

SLACK_CYCLES, SLACK_FLASH_BYTES, SLACK_RAM_BYTES = 0.02, 128, 16
"""What networks of the same widths were seen to differ by with their weights: share of the cycles, and bytes.
Zero points are other immediates, and few channels' sums decide how a whole layer is rounded."""


@dataclass(frozen=True)
class Emulated:
    """What an emulated network took.

    Attributes
    ----------
    cycles : tuple of int
        Of its operators; empty where the core has no cycle model.
    rest_cycles, flash_bytes, ram_bytes : int
        Cycles outside of operators, and memory.
    """

    cycles: tuple[int, ...]
    rest_cycles: int
    flash_bytes: int
    ram_bytes: int


@dataclass
class Corrections:
    """What the last check has taught a cost model; none before the first.

    Attributes
    ----------
    cycles : list of float
        For each operator, emulated cycles for one predicted.
    rest_cycles, flash_bytes, ram_bytes : int
        Emulated minus predicted: cycles outside of operators, and memory.
    """

    cycles: list[float] = field(default_factory=list)
    rest_cycles: int = 0
    flash_bytes: int = 0
    ram_bytes: int = 0


class MicrocontrollerCosts:
    """Costs of a network on a board, in the metrics of a budget.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give: ``macs``, ``params``, ``latency_ms``, ``energy_mj``, ``ram_bytes``, ``flash_bytes``.
    board : Board
        What it runs on.
    graph : FloatGraph
        The network at any widths.
    trials : sequence of tuple
        ``(layers, emulated)`` at the widths that prices are fitted at, as `emulate_network` gives them.
    samples : ndarray
        A few, for the ranges of activations; as `edgegrow.deploy.quantize.quantize` takes them.

    Attributes
    ----------
    corrections : Corrections
        All that changes after construction.

    Raises
    ------
    InputError
        If a metric cannot be predicted for the board.
    """

    def __init__(
        self,
        metrics: Iterable[str],
        board: Board,
        graph: FloatGraph,
        trials: Sequence[tuple[Sequence[LayerShape], Emulated]],
        samples: Array,
    ) -> None:
        self.metrics = tuple(metrics)
        check_predictable(self.metrics, board)
        self.board, self.graph, self.samples = board, graph, samples
        self.corrections = Corrections()
        self._fit([(resize_graph(graph, layers), emulated) for layers, emulated in trials])

    def _fit(self, trials: Sequence[tuple[FloatGraph, Emulated]]) -> None:
        self._prices = None
        if all(emulated.cycles for _, emulated in trials):
            self._prices = CyclePrices(
                [pair for graph, e in trials for pair in zip(graph.operators, e.cycles, strict=True)]
            )
            self._ratios = [
                exp(float(np.mean([log(e.cycles[i] / self._prices(g.operators[i])) for g, e in trials])))
                for i in range(len(self.graph.operators))
            ]
            self._rest_cycles = max(emulated.rest_cycles for _, emulated in trials)
        # Code of few channels is a little smaller; the greatest is on the safe side.
        self._code_bytes = max(e.flash_bytes - constant_bytes(graph) for graph, e in trials)
        self._fixed_ram_bytes = max(e.ram_bytes - _arena_bytes(graph) for graph, e in trials)

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Predict ``{metric: value}`` of a network of these layers, whatever its weights: upper estimates."""
        graph = resize_graph(self.graph, layers)
        flash = constant_bytes(graph) + self._code_bytes + self.corrections.flash_bytes
        ram = _arena_bytes(graph) + self._fixed_ram_bytes + self.corrections.ram_bytes
        return self._costs(graph, self._cycles(graph), flash, ram)

    def check(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Emulate a network of these layers and correct the model there.

        Returns
        -------
        dict
            ``{metric: value}``, upper estimates too: the same widths with other weights may take more.
        """
        graph = resize_graph(self.graph, layers)
        trial = emulate_network(self.board, graph, self.samples)
        self.corrections = Corrections()
        flash_bytes = trial.flash_bytes - constant_bytes(graph) - self._code_bytes
        ram_bytes = trial.ram_bytes - _arena_bytes(graph) - self._fixed_ram_bytes
        ratios, rest_cycles = [], 0
        if self._prices is not None:
            predicted = self._operator_cycles(graph)
            ratios = [emulated / p for emulated, p in zip(trial.cycles, predicted, strict=True)]
            rest_cycles = trial.rest_cycles - self._rest_cycles
        self.corrections = Corrections(ratios, rest_cycles, flash_bytes, ram_bytes)
        cycles = sum(trial.cycles) + trial.rest_cycles if trial.cycles else None
        return self._costs(graph, cycles, trial.flash_bytes, trial.ram_bytes)

    def learnt(self) -> dict[str, Any]:
        """Return the corrections as plain values."""
        return asdict(self.corrections)

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Take corrections that `learnt` has returned; none of them where it is empty."""
        self.corrections = Corrections(**learnt)

    def _operator_cycles(self, graph: FloatGraph) -> list[float]:
        assert self._prices is not None
        factors = self.corrections.cycles or [1.0] * len(graph.operators)
        return [
            self._prices(op) * ratio * factor
            for op, ratio, factor in zip(graph.operators, self._ratios, factors, strict=True)
        ]

    def _cycles(self, graph: FloatGraph) -> float | None:
        if self._prices is None:
            return None
        return sum(self._operator_cycles(graph)) + self._rest_cycles + self.corrections.rest_cycles

    def _costs(
        self, graph: FloatGraph, cycles: float | None, flash_bytes: float, ram_bytes: float
    ) -> dict[str, float]:
        latency_ms = None if cycles is None else self.board.latency_ms((1 + SLACK_CYCLES) * cycles)
        power = self.board.power
        every = {
            "macs": graph.macs,
            "params": graph.params,
            "latency_ms": latency_ms,
            "energy_mj": None if latency_ms is None or power is None else power.energy_mj(latency_ms),
            "ram_bytes": ram_bytes + SLACK_RAM_BYTES,
            "flash_bytes": flash_bytes + SLACK_FLASH_BYTES,
        }
        return {metric: float(value) for metric in self.metrics if (value := every[metric]) is not None}


def emulate_network(board: Board, graph: FloatGraph, samples: Array) -> Emulated:
    """Compile and emulate a network of a graph's widths, its weights random.

    Parameters
    ----------
    board : Board
        Its core, compiler and emulator; memory is not limited to its own.
    graph : FloatGraph
        Of any weights.
    samples : ndarray
        A few, for the ranges of activations.

    Raises
    ------
    InputError
        If the compiler or the emulator is not there, or fails.
    """
    quantized = random_graph(graph, samples, _SEED)
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as folder:
        write_c(quantized, Path(folder))
        inputs = quantized.quantize_input(samples[:1]).reshape(1, -1)
        emulation = emulate(
            folder,
            board.core.name,
            inputs,
            compiler=board.compiler,
            emulator=board.emulator,
            flash_bytes=_MEMORY_BYTES,
            ram_bytes=_MEMORY_BYTES,
        )
    cycles = _first_cycles(emulation)
    rest_cycles = cycles[-1] if cycles else 0
    return Emulated(cycles[:-1], rest_cycles, emulation.flash_bytes, emulation.ram_bytes)


def emulation_identity(board: Board) -> Identity:
    """Tell what emulated figures depend on: the core, the compiler, and all that writes and emulates code.

    Raises
    ------
    InputError
        If the compiler or the emulator is not installed.
    """
    sources = digest(*(path.read_bytes() for folder in _SOURCES for path in sorted(_files(folder))))
    return Identity(
        runtime=board.emulator,
        version=find_emulator(board.emulator, board.core),
        compiler=find_compiler(board.compiler).version,
        kernels=f"edgegrow {sources[:16]}",
        cpu=board.core.cpu,
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h", ".ld"))


def check_predictable(metrics: Iterable[str], board: Board) -> None:
    """Refuse metrics that cannot be predicted for a board.

    Raises
    ------
    InputError
        Where its target has no scale for cycles, or no power.
    """
    for metric in metrics:
        if metric in ("latency_ms", "energy_mj") and board.latency_ms(1) is None:
            raise InputError(
                f"budget {metric}: target '{board.name}' has no calibrated cycle model: "
                "budget macs, ram and flash there"
            )
        if metric == "energy_mj" and board.power is None:
            raise InputError(
                f"budget {metric}: target '{board.name}' has no power figure: budget latency there"
            )


def _arena_bytes(graph: FloatGraph) -> int:
    memory = {op.output.name: operator_memory(op) for op in graph.operators}
    scratch = {name: m.scratch_bytes for name, m in memory.items()}
    return plan_arena(graph, scratch, {name for name, m in memory.items() if m.in_place}).peak_bytes


def _first_cycles(emulation: Emulation) -> tuple[int, ...]:
    """Cycles of the operators and of what runs outside of them, or nothing where the core has no model."""
    return tuple(work.cycles[0] for work in emulation.operators if work.cycles is not None)
