"""Ranges of activations: what calibration samples span, and which tensors share theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from edgegrow.deploy.evaluate import activations
from edgegrow.deploy.graph import Add, Array, FloatGraph, Logistic, Operator, Relu, Tanh
from edgegrow.errors import InputError

# XNNPACK adds only tensors whose steps are within 2^-10 of the sum's, whose range is at most twice as wide.
_WEAKEST_SUMMAND = 2.0**-8
# Beyond, a sigmoid is within half of its output's step of 0 or 1, and a hyperbolic tangent of -1 or 1.
_SATURATED = 8.0

Range = tuple[float, float]
"""Least and greatest value of a tensor, with 0 between them."""


def calibrate(graph: FloatGraph, calibration: Array) -> dict[str, Range]:
    """Find the range of every tensor, by name, as it is to be quantized.

    Tensors that share scale and zero point share their range. The weaker of two summands has its range
    widened, and what only sigmoids read is clipped.

    Parameters
    ----------
    graph : FloatGraph
    calibration : ndarray
        A few hundred representative samples, ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``.

    Raises
    ------
    InputError
        If there are no samples, they have another shape than the graph's input, or a value on the way is not
        finite.
    """
    if len(calibration) == 0:
        raise InputError("calibration: there are no samples: give it some of the training data")
    ranges = dict.fromkeys((tensor.name for tensor in graph.tensors), (0.0, 0.0))
    for values in activations(graph, calibration):
        for name, value in values.items():
            low, high = float(value.min()), float(value.max())  # NaN where there is one
            if not np.isfinite(high - low):
                raise InputError(
                    f"calibration: {name} has values that are not finite: check the data and the training"
                )
            ranges[name] = min(low, ranges[name][0]), max(high, ranges[name][1])
    source = shared_quantization(graph)
    spans = join_ranges(graph, source, ranges)
    reading = [(op, source[tensor.name]) for op in graph.operators if not keeps(op) for tensor in op.inputs]
    readers = Counter(name for _, name in reading)
    for op in reversed(graph.operators):
        if isinstance(op, Add):
            summands = [source[tensor.name] for tensor in op.inputs]
            weakest = _WEAKEST_SUMMAND * max(spans[name][1] - spans[name][0] for name in summands)
            for name in summands:
                low, high = spans[name]
                if readers[name] == 1:  # another reader may need its finer steps
                    spans[name] = low, max(high, low + weakest)
    precise = {name for op, name in reading if not isinstance(op, Logistic | Tanh)}
    for name in readers.keys() - precise - {source[graph.output.name]}:
        low, high = spans[name]
        spans[name] = max(low, -_SATURATED), min(high, _SATURATED)
    return {name: spans[first] for name, first in source.items()}


def shared_quantization(graph: FloatGraph) -> dict[str, str]:
    """Find which tensors must have one scale and zero point.

    An operator that only moves or chooses elements ties its output to its inputs, and so a concatenation ties
    all of its inputs.

    Returns
    -------
    dict
        For every tensor's name, that of the first tensor that it shares them with, which may be itself.
    """
    order = {tensor.name: place for place, tensor in enumerate(graph.tensors)}
    first = {name: name for name in order}
    for op in graph.operators:
        if keeps(op):
            tied = {first[tensor.name] for tensor in (*op.inputs, op.output)}
            earliest = min(tied, key=order.__getitem__)
            first = {name: earliest if of in tied else of for name, of in first.items()}
    return first


def keeps(op: Operator) -> bool:
    """Whether the output has the scale and zero point of the inputs: a ReLU alone needs no others."""
    return op.keeps_quantization or isinstance(op, Relu)


def join_ranges(
    graph: FloatGraph, source: Mapping[str, str], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Join the ranges of tensors that share one; what only moves or chooses elements adds nothing to them."""
    kept = {op.output.name for op in graph.operators if keeps(op)}
    spans = dict.fromkeys(source.values(), (0.0, 0.0))
    for name, first in source.items():
        if name not in kept:
            (low, high), (least, greatest) = ranges[name], spans[first]
            spans[first] = min(low, least), max(high, greatest)
    return spans
