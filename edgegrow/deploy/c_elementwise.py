"""Emit in C the operators on single elements, and those that arrange elements."""

from __future__ import annotations

from math import prod

import numpy as np

from edgegrow.deploy.arrange import Concatenation, Reshape, UpsampleNearest2D
from edgegrow.deploy.c_emit import INPUT, EmittedOperator, array, emit, leading_axes
from edgegrow.deploy.c_scale import output_scales
from edgegrow.deploy.elementwise import Mul
from edgegrow.deploy.fixed_point import rescaling
from edgegrow.deploy.operators import Operator
from edgegrow.deploy.simulate_elementwise import lookup_table


def emit_mul(index: int, op: Mul) -> EmittedOperator:
    """Write a product."""
    # Axes along which the same inputs are repeated are one axis; of size 1 they are none.
    axes: list[tuple[int, int]] = []
    for pair in zip(*(tensor.shape for tensor in op.inputs), strict=True):
        if axes and [a == 1 for a in axes[-1]] == [n == 1 for n in pair]:
            axes[-1] = (axes[-1][0] * pair[0], axes[-1][1] * pair[1])
        elif pair != (1, 1):
            axes.append(pair)
    filled = leading_axes(index, op, axes, (1, 1))
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
    return emit(index, op, "mul", "mul", [], fields, ["const int8_t *one", "const int8_t *other"], [])


def emit_function(index: int, op: Operator) -> EmittedOperator:
    """Write one of `edgegrow.deploy.elementwise.FUNCTIONS`, as a table of its outputs for all inputs."""
    table = array("int8_t", f"table_{index:02}", lookup_table(op))
    fields = {"count": prod(op.output.shape)}
    return emit(index, op, "lookup", "flat", [table], fields, INPUT, [f"table_{index:02}"])


def emit_reshape(index: int, op: Reshape) -> EmittedOperator:
    """Write a change of shape: nothing, where the output takes the input's place."""
    return emit(index, op, "reshape", "flat", [], {"count": prod(op.output.shape)}, INPUT, [])


def emit_upsample(index: int, op: UpsampleNearest2D) -> EmittedOperator:
    """Write the repetition of a map's elements."""
    _, height, width, channels = op.inputs[0].shape
    fields = {
        "in_height": height,
        "in_width": width,
        "channels": channels,
        "vertical": op.factor[0],
        "horizontal": op.factor[1],
    }
    return emit(index, op, "upsample2d", "upsample2d", [], fields, INPUT, [])


def emit_concatenation(index: int, op: Concatenation) -> EmittedOperator:
    """Write tensors one after the other."""
    runs = np.array([prod(tensor.shape[op.axis :]) for tensor in op.inputs], np.int32)
    fields = {"inputs": len(runs), "rows": prod(op.output.shape[: op.axis])}
    constants = [array("int32_t", f"runs_{index:02}", runs)]
    inputs = [f"const int8_t *in_{i}" for i in range(len(runs))]
    return emit(
        index, op, "concatenation", "concatenation", constants, fields, inputs, [f"runs_{index:02}"],
        gather=True,
    )  # fmt: skip
