"""Operators as a table of latencies sees them: of which kind, how wide, and alone in a graph of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from math import prod

import numpy as np

from edgegrow.cost.staircase import Sizes
from edgegrow.cost.structure import random_graph
from edgegrow.deploy.graph import Conv2D, FloatGraph, FullyConnected, Graph, Operator, Window
from edgegrow.deploy.operators import DepthwiseConv2D, Tensor

_SAMPLES = 4  # of noise, for the ranges of activations


def kind(op: Operator) -> str:
    """Describe everything of an operator that its latency depends on besides its widths.

    Two operators of one kind and equal `sizes` take the same time.

    Examples
    --------
    ``Conv2D 3x3/2x2 SAME relu 14x14``
    """
    words = [type(op).__name__]
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Window):
            words.append(f"{_by(value.size)}/{_by(value.stride)} {value.padding}")
        elif field.name not in ("name", "inputs", "output") and isinstance(value, str | int | tuple):
            words.append(f"{value}".replace(" ", ""))
    shape = op.inputs[0].shape
    if len(shape) == 4 and not isinstance(op, FullyConnected):
        words.append(_by(shape[1:3]))
    return " ".join(words)


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def sizes(op: Operator) -> Sizes:
    """Widths of an operator: what it reads and makes of each position, once where both are the same."""
    match op:
        case FullyConnected():
            return prod(op.inputs[0].shape), op.bias.size
        case Conv2D():
            return op.inputs[0].shape[3], op.bias.size
    return (op.output.shape[-1],)


def can_stand_alone(op: Operator) -> bool:
    """Whether a file of this operator alone tells what it takes: what it reads is as wide as its output."""
    return isinstance(op, Conv2D | FullyConnected) or all(
        tensor.shape[-1] == op.output.shape[-1] and len(tensor.shape) == len(op.output.shape)
        for tensor in op.inputs
    )


def alone(op: Operator, widths: Sizes, seed: int = 0) -> Graph:
    """Put an operator into a quantized graph of its own, its weights random.

    Parameters
    ----------
    op : Operator
        Of a float graph; what it reads is one tensor here, be it several times.
    widths : tuple of int
        As `sizes` gives them.
    seed : int
        Of the weights, and of the noise that ranges are calibrated on.
    """
    read = op.inputs[0].shape
    shape = (1, widths[0]) if isinstance(op, FullyConnected) or len(read) == 2 else (*read[:3], widths[0])
    source = Tensor("input", shape)
    op = replace(op, name="operator", inputs=(source,) * len(op.inputs))
    match op:
        case FullyConnected():
            op = replace(op, weight=_zeros(widths[1], widths[0]), bias=_zeros(widths[1]))
        case Conv2D():
            op = replace(op, weight=_zeros(widths[1], *op.window.size, widths[0]), bias=_zeros(widths[1]))
        case DepthwiseConv2D():
            op = replace(op, weight=_zeros(1, *op.window.size, widths[0]), bias=_zeros(widths[0]))
    op = replace(op, output=Tensor("output", op.output_shape()))
    noise = np.random.default_rng(seed).normal(size=(_SAMPLES, *shape[1:]))
    samples = noise.transpose(0, 3, 1, 2) if noise.ndim == 4 else noise
    return random_graph(FloatGraph(source, op.output, (op,)), samples.astype(np.float32), seed)


def _zeros(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0), shape)


def structure_of(graph: FloatGraph) -> str:
    """Hash of everything about a graph but its weights and biases, to know a structure again.

    Give it the graph at fixed widths, e.g. the narrowest: networks that differ in widths alone are equal.
    """
    digest = hashlib.sha256()
    for op in graph.operators:
        values: Mapping[str, object] = {field.name: getattr(op, field.name) for field in fields(op)}
        told = {name: v.shape if isinstance(v, np.ndarray) else v for name, v in values.items()}
        digest.update(repr((type(op).__name__, sorted(told.items()))).encode())
    return digest.hexdigest()
