"""Cycles of operators at any width: what the kernels' loops do, priced by counts from the emulator.

Each kernel's time is a sum over its nested loops (`loops`), whose prices are fitted by non-negative least
squares to emulated networks. The loops know what makes latency a staircase: four output channels go together,
inputs go in pairs and groups of eight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from scipy.optimize import nnls

from edgegrow.deploy.elementwise import FUNCTIONS
from edgegrow.deploy.graph import (
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mul,
    Operator,
    Pool,
    UpsampleNearest2D,
)

Group = tuple[object, ...]
"""Operators that share their prices: one kernel, compiled in the same way."""


def group(op: Operator) -> Group:
    """Tell which operators an operator shares its prices with."""
    match op:
        case Conv2D():
            height, width = op.inputs[0].shape[1:3]
            padded = bool(np.any(op.window.pads((height, width))))
            return ("conv2d", op.window.size, padded, prod(op.output.shape[1:3]) > 1)
        case DepthwiseConv2D() | Pool():
            # Of a map of fixed size, only the channels vary.
            return (type(op).__name__, op.window, op.inputs[0].shape[1:3])
        case Concatenation():
            return ("concatenation", len(op.inputs))
        case UpsampleNearest2D():
            return ("upsample2d", op.factor, op.inputs[0].shape[1:3])
        case Mul():
            return ("mul", *(tensor.shape == op.output.shape for tensor in op.inputs))
        case _ if isinstance(op, FUNCTIONS):
            return ("lookup",)
    return (type(op).__name__,)


def loops(op: Operator) -> tuple[float, ...]:
    """Count how often the loops of an operator's kernel run, from the outermost, which runs once."""
    match op:
        case Conv2D():
            # They go in pairs, an odd last one with the one before it once more.
            positions = -(-prod(op.output.shape[1:3]) // 2) * 2
            height, width, channels = op.weight.shape[1:]
            depth, row = height * width * channels, width * channels
            product = _product(op.bias.size, depth + depth % 2)
            return (1, *(positions * n for n in (1, height * (row // 4), height * (row % 4), *product)))
        case FullyConnected():
            depth = -(-op.weight.shape[1] // 4) * 4
            return (1, *_product(op.bias.size, depth))
        case DepthwiseConv2D() | Pool() | UpsampleNearest2D():
            return (1, op.output.shape[3])
        case Concatenation():
            # Each input in turn, below each index of the axes before.
            return (1, prod(op.output.shape[: op.axis]), prod(op.output.shape))
        case Mul():
            # Rows whose products have one gate, or one row.
            rows = prod(op.output.shape) // max(1, min(prod(tensor.shape) for tensor in op.inputs))
            return (1, rows, prod(op.output.shape))
    return (1, prod(op.output.shape))


def _product(channels: int, depth: int) -> tuple[int, ...]:
    """Blocks of four channels; those that take eights of inputs, and how many; pairs left; channels."""
    blocks, pairs = -(-channels // 4), depth // 2
    return blocks, blocks * (pairs >= 4), blocks * (pairs // 4), blocks * (pairs % 4), channels


class CyclePrices:
    """Prices of the kernels' loops on one core, in cycles.

    Parameters
    ----------
    observations : sequence of tuple
        ``(operator, cycles)`` of emulated operators; of every group that will be priced, at several widths.
    """

    def __init__(self, observations: Sequence[tuple[Operator, float]]) -> None:
        gathered: dict[Group, list[tuple[tuple[float, ...], float]]] = {}
        for op, cycles in observations:
            gathered.setdefault(group(op), []).append((loops(op), cycles))
        self._prices: Mapping[Group, np.ndarray] = {key: _fit(rows) for key, rows in gathered.items()}

    def __call__(self, op: Operator) -> float:
        """Predict the cycles of an operator."""
        return float(np.dot(loops(op), self._prices[group(op)]))


def _fit(rows: Sequence[tuple[tuple[float, ...], float]]) -> np.ndarray:
    """Fit prices ``(loops,)`` so that relative errors are small."""
    counts = np.array([row for row, _ in rows], float)
    cycles = np.array([value for _, value in rows], float)
    weighted = counts / cycles[:, None]
    scale = weighted.max(axis=0)
    scale[scale == 0] = 1
    prices, _ = nnls(weighted / scale, np.ones(len(rows)))
    return np.asarray(prices / scale)
