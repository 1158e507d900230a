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


_IDENTITY = ("name", "folded", "inputs", "output")
"""Fields that tell where an operator is, not what it computes."""


def kind(op: Operator) -> str:
    """Describe everything of an operator that its latency depends on besides its widths.

    Two operators of one kind and equal `sizes` take the same time.

    Examples
    --------
    ``Conv2D 3x3/2x2 SAME relu 14x14``; of a map and its gate ``Mul none 14x14 1x1``
    """
    words = [type(op).__name__]
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Window):
            words.append(f"{_by(value.size)}/{_by(value.stride)} {value.padding}")
        elif field.name not in _IDENTITY and isinstance(value, str | int | tuple):
            words.append(f"{value}".replace(" ", ""))
    if len(op.inputs[0].shape) == 4 and not isinstance(op, FullyConnected):
        maps = [_by(tensor.shape[1:3]) for tensor in op.inputs]
        words += maps if len(set(maps)) > 1 else maps[:1]
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
    """Whether a file of this operator alone tells what it takes.

    What it reads must be as wide as its output, and come from one map: the largest, or such as are repeated
    over it.
    """
    if isinstance(op, Conv2D | FullyConnected):
        return True
    alike = all(
        tensor.shape[-1] == op.output.shape[-1] and len(tensor.shape) == len(op.output.shape)
        for tensor in op.inputs
    )
    return alike and all(
        size in (1, most)
        for tensor in op.inputs
        for size, most in zip(tensor.shape, _largest(op), strict=True)
    )


def _largest(op: Operator) -> tuple[int, ...]:
    """Shape that all inputs of an operator can be repeated to."""
    return tuple(map(max, zip(*(tensor.shape for tensor in op.inputs), strict=True)))


def alone(op: Operator, widths: Sizes, seed: int = 0) -> Graph:
    """Put an operator into a quantized graph of its own, its weights random.

    What it reads several times is one tensor here. A smaller one, such as a gate, is made of the largest by a
    depthwise convolution that steps over it: a gate of ``c`` channels takes ``c`` multiplications to make and
    ``h * w * c`` to use.

    Parameters
    ----------
    op : Operator
        Of a float graph, as `can_stand_alone` takes it.
    widths : tuple of int
        As `sizes` gives them.
    seed : int
        Of the weights, and of the noise that ranges are calibrated on.
    """
    read = _largest(op)
    shape = (1, widths[0]) if isinstance(op, FullyConnected) or len(read) == 2 else (*read[:3], widths[0])
    source = Tensor("input", shape)
    made = {source.shape: source}
    operators: list[Operator] = []
    for tensor in op.inputs:
        smaller = (*tensor.shape[:-1], widths[0])
        if len(read) == 4 and tensor.shape != read and smaller not in made:
            operators.append(_stepped(source, smaller))
            made[smaller] = operators[-1].output
    inputs = tuple(made.get((*tensor.shape[:-1], widths[0]), source) for tensor in op.inputs)
    op = replace(op, name="operator", inputs=inputs)
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
    return random_graph(FloatGraph(source, op.output, (*operators, op)), samples.astype(np.float32), seed)


def _stepped(source: Tensor, shape: tuple[int, ...]) -> DepthwiseConv2D:
    """Take the first position of the axes that a smaller map ``(1, h, w, c)`` has one of."""
    height, width = (most if n == 1 else 1 for n, most in zip(shape[1:3], source.shape[1:3], strict=True))
    return DepthwiseConv2D(
        "smaller",
        (source,),
        Tensor("x".join(map(str, shape)), shape),
        weight=_zeros(1, 1, 1, shape[-1]),
        bias=_zeros(shape[-1]),
        window=Window((1, 1), (height, width), "VALID"),
    )


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
