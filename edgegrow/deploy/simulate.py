"""Run the quantized graph in numpy, bit for bit as TensorFlow Lite for Microcontrollers (TFLM) does.

Its arithmetic is gemmlowp's: a real multiplier is an int32 fraction of 2^31 and a power of two, and rounds
twice, once to 32 bits and once by the shift. Other runtimes round otherwise, see `edgegrow.deploy.rounding`.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgegrow.deploy.elementwise import FUNCTIONS
from edgegrow.deploy.fixed_point import clamp_limits
from edgegrow.deploy.graph import (
    Add,
    Array,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Mul,
    Operator,
    Reshape,
    Tensor,
    UpsampleNearest2D,
    Window,
)
from edgegrow.deploy.rounding import TFLM, Rounding
from edgegrow.deploy.simulate_elementwise import lookup_table, multiply_tensors
from edgegrow.deploy.simulate_foreign import run_foreign
from edgegrow.errors import InputError

_CACHED = 2**18  # elements of the largest map computed at a time: the passes over it stay in the cache


def simulate(graph: Graph, x_int8: Array, rounding: Rounding = TFLM) -> Array:
    """Compute what the device computes.

    Parameters
    ----------
    graph : Graph
    x_int8 : ndarray
        int8 ``(n, h, w, c)`` or ``(n, features)``, as `Graph.quantize_input` gives them.
    rounding : Rounding
        By default firmware's. Of others only convolutions, linear layers, sums and averages round so.

    Returns
    -------
    ndarray
        int8 ``(n, classes)``.

    Raises
    ------
    InputError
        If the inputs are not int8 or have another shape than the graph's input.
    """
    if x_int8.dtype != np.int8 or x_int8.shape[1:] != graph.input.shape[1:]:
        raise InputError(
            f"simulate: it takes int8 inputs {graph.input.shape[1:]}, not {x_int8.dtype} {x_int8.shape[1:]}: "
            "use quantize_input"
        )
    batch = max(1, _CACHED // max(prod(tensor.shape) for tensor in graph.tensors))
    outputs = np.empty((len(x_int8), prod(graph.output.shape)), np.int8)
    for start in range(0, len(x_int8), batch):
        values = {graph.input.name: x_int8[start : start + batch]}
        for op in graph.operators:
            values[op.output.name] = _run(op, [values[tensor.name] for tensor in op.inputs], rounding)
        outputs[start : start + batch] = values[graph.output.name].reshape(-1, outputs.shape[1])
    return outputs


def _run(op: Operator, inputs: list[Array], rounding: Rounding) -> Array:
    x = inputs[0]
    match op:
        case Conv2D():
            patches = _windows(x, op.window, op.inputs[0].zero_point)  # (n, oh, ow, c, kh, kw)
            rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(prod(patches.shape[:3]), -1)
            sums = _product(rows, op.weight.reshape(len(op.bias), -1), op.inputs[0])
            return rounding.rescale(sums, op).reshape(*patches.shape[:3], -1)
        case DepthwiseConv2D():
            patches = _windows(x, op.window, op.inputs[0].zero_point)
            sums = np.zeros((*patches.shape[:3], op.bias.size), np.int32)
            for i, j in np.ndindex(*op.window.size):
                tap = patches[..., i, j].astype(np.int32) - op.inputs[0].zero_point
                sums += np.repeat(tap, op.multiplier, axis=3) * op.weight[0, i, j]
            return rounding.rescale(sums, op)
        case FullyConnected():
            return rounding.rescale(_product(x.reshape(len(x), -1), op.weight, op.inputs[0]), op)
        case Add():
            return rounding.add(op, inputs)
        case MaxPool2D(window=window):
            return _windows(x, window, -128).max(axis=(4, 5)).clip(*clamp_limits(op))
        case AveragePool2D(window=window):
            sums = _windows(x.astype(np.int32), window, 0).sum(axis=(4, 5))
            counts = _windows(np.ones((1, *x.shape[1:3], 1), np.int32), window, 0).sum(axis=(4, 5))
            return rounding.average(sums, counts, op)
        case Concatenation(axis=axis):
            return np.concatenate(inputs, axis)
        case Reshape():
            return x.reshape(len(x), *op.output.shape[1:])
        case UpsampleNearest2D(factor=(vertical, horizontal)):
            return x.repeat(vertical, axis=1).repeat(horizontal, axis=2)
        case Mul():
            return multiply_tensors(op, inputs)
        case _ if isinstance(op, FUNCTIONS):
            return lookup_table(op)[x.astype(np.int64) + 128]
        case _:
            return run_foreign(op, inputs)


def _windows(x: Array, window: Window, around: int) -> Array:
    """View ``(n, oh, ow, c, kh, kw)`` of the windows of a map, with `around` where it is padded."""
    top_bottom, left_right = window.pads(x.shape[1:3])
    padded = np.pad(x, ((0, 0), top_bottom, left_right, (0, 0)), constant_values=around)
    every = sliding_window_view(padded, window.size, axis=(1, 2))
    return every[:, :: window.stride[0], :: window.stride[1]]


def _product(rows: Array, weight: Array, source: Tensor) -> Array:
    """Multiply to accumulators ``(rows, out)``, in floats: BLAS is fast, and adds integers exactly.

    It does in whatever order, as long as the sum of all magnitudes is below ``2**24`` (float32) or ``2**53``.
    """
    exact = np.dtype(np.float32 if rows.shape[1] * 255 * 128 < 2**24 else np.float64)
    return (rows.astype(exact) - np.array(source.zero_point, exact)) @ weight.T.astype(exact)
