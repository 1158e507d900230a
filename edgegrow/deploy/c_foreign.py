"""Emit in C the operators that only files from elsewhere have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from edgegrow.deploy.c_emit import EmittedOperator, array, emit
from edgegrow.deploy.c_scale import output_scales
from edgegrow.deploy.fixed_point import rescaling
from edgegrow.deploy.foreign import (
    Concatenation,
    HardSwish,
    Logistic,
    Mean,
    Mul,
    Pad,
    Relu,
    Reshape,
    Softmax,
)
from edgegrow.deploy.operators import Operator
from edgegrow.deploy.simulate_foreign import run_foreign, softmax_powers
from edgegrow.errors import UnsupportedError

_AXES = 3  # that the kernels of Mul and Pad run over: all of a map but the batch's
_IN = ["const int8_t *in"]


def emit_foreign(index: int, op: Operator) -> EmittedOperator:
    """Write an operator in C.

    What depends on a single int8 input alone is computed here, for all 256 of them.

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
    count = prod(op.output.shape)
    match op:
        case Reshape():
            emitted = replace(
                emit(index, op, "reshape", "flat", [], {"count": count}, _IN, []), in_place=True
            )
        case Relu() | Logistic() | HardSwish():
            every = np.arange(-128, 128, dtype=np.int8)[None]
            table = array("int8_t", f"table_{index:02}", run_foreign(op, [every])[0])
            given = [f"table_{index:02}"]
            emitted = replace(
                emit(index, op, "lookup", "flat", [table], {"count": count}, _IN, given), in_place=True
            )
        case Softmax():
            depth = op.output.shape[-1]
            fields = {"rows": count // depth, "depth": depth}
            powers = array("int32_t", f"powers_{index:02}", softmax_powers(op))
            emitted = emit(index, op, "softmax", "softmax", [powers], fields, _IN, [f"powers_{index:02}"])
        case Mul():
            emitted = _mul(index, op)
        case Mean():
            emitted = _mean(index, op)
        case Pad():
            emitted = _pad(index, op)
        case Concatenation():
            emitted = _concatenation(index, op)
        case _:
            raise UnsupportedError(
                f"operator {index} ({op.name}): there is no C kernel for {type(op).__name__}"
            )
    return emitted


def _mul(index: int, op: Mul) -> EmittedOperator:
    # Axes along which the same inputs are repeated are one axis; of size 1 they are none.
    axes: list[tuple[int, int]] = []
    for pair in zip(*(tensor.shape for tensor in op.inputs), strict=True):
        if axes and [a == 1 for a in axes[-1]] == [n == 1 for n in pair]:
            axes[-1] = (axes[-1][0] * pair[0], axes[-1][1] * pair[1])
        elif pair != (1, 1):
            axes.append(pair)
    filled = _leading(index, op, axes, (1, 1))
    one, other = (
        [0 if n == 1 else prod(sizes[axis + 1 :]) for axis, n in enumerate(sizes)]
        for sizes in zip(*filled, strict=True)
    )
    scales = output_scales(op, [rescaling(op)], np.array([255 * 255]))
    fields = {
        "size": [max(pair) for pair in filled],
        "one": one,
        "other": other,
        "zero": [tensor.zero_point for tensor in op.inputs],
        "scale": list(scales.rows[0]),
        "output": scales.output,
    }
    emitted = emit(index, op, "mul", "mul", [], fields, ["const int8_t *one", "const int8_t *other"], [])
    # Elements of a tensor that is repeated are read again after outputs were written.
    return replace(emitted, in_place=all(tensor.shape == op.output.shape for tensor in op.inputs))


def _mean(index: int, op: Mean) -> EmittedOperator:
    scales = output_scales(op, [rescaling(op)], np.array([255 * op.count]))
    fields = {
        "positions": op.count,
        "channels": op.inputs[0].shape[3],
        "start": -op.count * op.inputs[0].zero_point,
        "scale": list(scales.rows[0]),
        "output": scales.output,
    }
    return emit(index, op, "mean", "mean", [], fields, _IN, [])


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
    in_size, before_each, out_size = zip(*_leading(index, op, axes[::-1], (1, 0, 1)), strict=True)
    fields = {
        "in_size": list(in_size),
        "before": list(before_each),
        "out_size": list(out_size),
        "zero": op.output.zero_point,
    }
    return emit(index, op, "pad", "pad", [], fields, _IN, [])


def _concatenation(index: int, op: Concatenation) -> EmittedOperator:
    runs = np.array([prod(tensor.shape[op.axis :]) for tensor in op.inputs], np.int32)
    fields = {"inputs": len(runs), "rows": prod(op.output.shape[: op.axis])}
    constants = [array("int32_t", f"runs_{index:02}", runs)]
    inputs = [f"const int8_t *in_{i}" for i in range(len(runs))]
    return emit(
        index, op, "concatenation", "concatenation", constants, fields, inputs, [f"runs_{index:02}"],
        gather=True,
    )  # fmt: skip


def _leading(
    index: int, op: Operator, axes: Sequence[tuple[int, ...]], one: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Put axes of one element before, up to the number that kernels run over."""
    if len(axes) > _AXES:
        raise UnsupportedError(
            f"operator {index} ({op.name}): the C kernel takes {_AXES} axes, not {len(axes)}: use fewer"
        )
    return [one] * (_AXES - len(axes)) + list(axes)
