"""Memory that an operator takes in C, told from its shapes alone: scratch, and constants in flash."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgegrow.deploy.arena import ALIGNMENT
from edgegrow.deploy.elementwise import FUNCTIONS
from edgegrow.deploy.graph import (
    Add,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FloatGraph,
    FullyConnected,
    Graph,
    Mul,
    Operator,
    Reshape,
    Weighted,
)

_BAND_BYTES = 2048
"""What a depthwise convolution may widen at a time, where one row of outputs needs no more."""

_SCALE_BYTES = 12  # struct scale of edgegrow_scale.h
_TABLE_BYTES = 256  # an output for every int8
_WORD_BYTES = 4


@dataclass(frozen=True)
class OperatorMemory:
    """Memory of an operator.

    Attributes
    ----------
    weight_bytes : int
        Weights, as they are packed for the kernels; calls of a layer that share them have them once.
    constant_bytes : int
        Biases, scales and tables.
    scratch_bytes : int
        Working memory while it runs.
    in_place : bool
        Its output may lie over any of its inputs.
    """

    weight_bytes: int = 0
    constant_bytes: int = 0
    scratch_bytes: int = 0
    in_place: bool = False


@dataclass(frozen=True)
class Band:
    """Rows of outputs that a depthwise convolution computes at a time, and columns of what they read."""

    rows: int
    width: int


def depthwise_band(op: DepthwiseConv2D) -> Band:
    """Choose the rows that a depthwise convolution widens at a time."""
    out_height, out_width = op.output.shape[1:3]
    (kernel_height, kernel_width), (stride_y, stride_x) = op.window.size, op.window.stride
    # The last window reads whole pairs, and two windows at a time read a column more.
    width = (out_width - 1) * stride_x + kernel_width + kernel_width % 2
    width += width % 2
    rows = max(1, min(out_height, (_BAND_BYTES // (2 * width) - kernel_height) // stride_y + 1))
    return Band(rows, width)


def operator_memory(op: Operator) -> OperatorMemory:
    """Tell what an operator of a trained network takes; its weights are not looked at.

    The constants of operators that only files from elsewhere have are not known here: they are given none.
    """
    match op:
        case Conv2D():
            depth = _even(prod(op.weight.shape[1:]))
            columns = min(2, prod(op.output.shape[1:3]))
            # Both columns are read before their outputs are written, and no later one lies where those go.
            pointwise = op.window.size == op.window.stride == (1, 1)
            in_place = pointwise and op.output.shape[3] <= op.inputs[0].shape[3]
            weight_bytes, constants = _product_bytes(op.bias.size, depth, op.bias.size)
            return OperatorMemory(weight_bytes, constants, columns * depth * 2, in_place)
        case FullyConnected():
            depth = -(-op.weight.shape[1] // 4) * 4
            return OperatorMemory(*_product_bytes(op.bias.size, depth, 1))
        case DepthwiseConv2D():
            (height, width), channels, band = op.window.size, op.bias.size, depthwise_band(op)
            scratch = ((band.rows - 1) * op.window.stride[0] + height) * band.width * 2
            # A channel is read before its outputs are written, where it is one band, and no other lies there.
            in_place = op.multiplier == 1 and band.rows == op.output.shape[1]
            weight_bytes = channels * height * -(-width // 2) * _WORD_BYTES
            return OperatorMemory(weight_bytes, channels * (_WORD_BYTES + _SCALE_BYTES), scratch, in_place)
        case Add() | Reshape():
            return OperatorMemory(in_place=True)
        case Mul():
            # A tensor that is repeated is read again after outputs were written: it must have no room for
            # them. In the place of the other one, an element is read before its output is written.
            repeated = [tensor for tensor in op.inputs if tensor.shape != op.output.shape]
            room = prod(op.output.shape) - ALIGNMENT
            return OperatorMemory(in_place=all(prod(tensor.shape) <= room for tensor in repeated))
        case Concatenation():
            return OperatorMemory(constant_bytes=_WORD_BYTES * len(op.inputs))
        case _ if isinstance(op, FUNCTIONS):
            return OperatorMemory(constant_bytes=_TABLE_BYTES, in_place=True)
    return OperatorMemory()


def constant_bytes(graph: FloatGraph | Graph) -> int:
    """Bytes of flash that the constants of a trained network's operators take."""
    memory = [(op, operator_memory(op)) for op in graph.operators]
    weights = {op.stored_as: m.weight_bytes for op, m in memory if isinstance(op, Weighted)}
    return sum(weights.values()) + sum(m.constant_bytes for _, m in memory)


def _product_bytes(channels: int, depth: int, scales: int) -> tuple[int, int]:
    """Bytes of a product's weights, four channels a block, whose last may be filled up; and of the rest."""
    return -(-channels // 4) * 4 * depth, channels * _WORD_BYTES + scales * _SCALE_BYTES


def _even(count: int) -> int:
    return count + count % 2
