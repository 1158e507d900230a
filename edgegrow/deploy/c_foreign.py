"""Emit in C the operators that only files from elsewhere have."""

from __future__ import annotations

from math import prod

import numpy as np

from edgegrow.deploy.c_emit import INPUT, EmittedOperator, array, emit, leading_axes
from edgegrow.deploy.c_scale import output_scales
from edgegrow.deploy.fixed_point import rescaling
from edgegrow.deploy.foreign import Mean, Pad, Softmax
from edgegrow.deploy.operators import Operator
from edgegrow.deploy.simulate_foreign import softmax_powers
from edgegrow.errors import UnsupportedError


def emit_foreign(index: int, op: Operator) -> EmittedOperator:
    """Write an operator in C.

    Parameters
    ----------
    index : int
        Its place in the graph, which its names begin with.
    op : Operator

    Raises
    ------
    UnsupportedError
        If there is no kernel for it.
    """
    match op:
        case Softmax():
            depth = op.output.shape[-1]
            fields = {"rows": prod(op.output.shape) // depth, "depth": depth}
            powers = array("int32_t", f"powers_{index:02}", softmax_powers(op))
            return emit(index, op, "softmax", "softmax", [powers], fields, INPUT, [f"powers_{index:02}"])
        case Mean():
            return _mean(index, op)
        case Pad():
            return _pad(index, op)
    raise UnsupportedError(f"operator {index} ({op.name}): there is no C kernel for {type(op).__name__}")


def _mean(index: int, op: Mean) -> EmittedOperator:
    scales = output_scales(op, [rescaling(op)], np.array([255 * op.count]))
    fields = {
        "positions": op.count,
        "channels": op.inputs[0].shape[3],
        "start": -op.count * op.inputs[0].zero_point,
        "scale": list(scales.rows[0]),
        "output": scales.output,
    }
    return emit(index, op, "mean", "mean", [], fields, INPUT, [])


def _pad(index: int, op: Pad) -> EmittedOperator:
    # Axes that nothing is put around lie in one piece with the axis before them.
    axes: list[tuple[int, int, int]] = []
    for size, (before, after) in zip(reversed(op.inputs[0].shape), reversed(op.pads), strict=True):
        if axes and axes[-1][0] == axes[-1][2]:
            inner = axes.pop()[0]
            size, before, after = size * inner, before * inner, after * inner
        axes.append((size, before, before + size + after))
    if axes[-1] == (1, 0, 1):
        axes.pop()
    in_size, before_each, out_size = zip(*leading_axes(index, op, axes[::-1], (1, 0, 1)), strict=True)
    fields = {
        "in_size": list(in_size),
        "before": list(before_each),
        "out_size": list(out_size),
        "zero": op.output.zero_point,
    }
    return emit(index, op, "pad", "pad", [], fields, INPUT, [])
