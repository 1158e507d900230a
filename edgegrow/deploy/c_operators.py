"""Emit one operator in C: its constants, and a function that calls a kernel with its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from edgegrow.deploy.c_elementwise import (
    emit_concatenation,
    emit_function,
    emit_mul,
    emit_reshape,
    emit_upsample,
)
from edgegrow.deploy.c_emit import INPUT, Constant, EmittedOperator, Fields, array, emit, integer
from edgegrow.deploy.c_foreign import emit_foreign
from edgegrow.deploy.c_memory import depthwise_band, operator_memory
from edgegrow.deploy.c_scale import (
    Scales,
    interleave,
    output_scales,
    pack_products,
    pack_rows,
    sums_and_scales,
)
from edgegrow.deploy.elementwise import FUNCTIONS
from edgegrow.deploy.fixed_point import clamp_limits, fixed_point
from edgegrow.deploy.graph import (
    Add,
    Array,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mul,
    Operator,
    Pool,
    Reshape,
    UpsampleNearest2D,
    Weighted,
    Window,
)

_ADD_SHIFT = 20


def emit_operator(index: int, op: Operator) -> EmittedOperator:
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
    return replace(_emit(index, op), in_place=operator_memory(op).in_place)


def _emit(index: int, op: Operator) -> EmittedOperator:
    match op:
        case Conv2D():
            return _conv2d(index, op)
        case DepthwiseConv2D():
            return _depthwise_conv2d(index, op)
        case FullyConnected():
            return _fully_connected(index, op)
        case Add():
            return _add(index, op)
        case AveragePool2D():
            return _pool(index, op, "average_pool2d")
        case MaxPool2D():
            return _pool(index, op, "max_pool2d")
        case Mul():
            return emit_mul(index, op)
        case Concatenation():
            return emit_concatenation(index, op)
        case Reshape():
            return emit_reshape(index, op)
        case UpsampleNearest2D():
            return emit_upsample(index, op)
        case _ if isinstance(op, FUNCTIONS):
            return emit_function(index, op)
    return emit_foreign(index, op)


def _conv2d(index: int, op: Conv2D) -> EmittedOperator:
    matrix = op.weight.reshape(op.bias.size, -1)
    constants, product = _product(index, op, matrix)
    depth = matrix.shape[1] + matrix.shape[1] % 2
    fields = _window(op, op.window) | {
        "in_channels": op.inputs[0].shape[3],
        "padded": int(np.any(op.window.pads(op.inputs[0].shape[1:3]))),
        "zero": op.inputs[0].zero_point,
        "product": {"depth": depth, **product},
    }
    return _weighted(index, op, "conv2d", constants, fields)


def _fully_connected(index: int, op: FullyConnected) -> EmittedOperator:
    matrix = interleave(op.weight)
    constants, product = _product(index, op, matrix)
    fields = {"features": op.weight.shape[1], "product": {"depth": matrix.shape[1], **product}}
    return _weighted(index, op, "fully_connected", constants, fields)


def _depthwise_conv2d(index: int, op: DepthwiseConv2D) -> EmittedOperator:
    taps = op.weight[0].transpose(2, 0, 1)  # (channels, kernel_h, kernel_w)
    by_two = op.window.size == (3, 3) and op.window.stride[1] == 1
    bias, scales = sums_and_scales(op, taps.reshape(len(taps), -1))
    band = depthwise_band(op)
    fields = _window(op, op.window) | {
        "in_channels": op.inputs[0].shape[3],
        "multiplier": op.multiplier,
        "band": band.rows,
        "band_width": band.width,
        "zero": op.inputs[0].zero_point,
        "output": scales.output,
    }
    constants = [
        array("uint32_t", f"weights_{index:02}", pack_rows(taps, by_two)),
        *_scales(index, bias, scales),
    ]
    return _weighted(index, op, "depthwise_conv2d", constants, fields)


def _add(index: int, op: Add) -> EmittedOperator:
    twice = 2 * max(tensor.scale for tensor in op.inputs)
    terms = [fixed_point(tensor.scale / twice) for tensor in op.inputs]
    # Each term is at most half of 255, with 20 fractional bits.
    scales = output_scales(
        op, [fixed_point(twice / (2**_ADD_SHIFT * op.output.scale))], np.array([255 * 2**_ADD_SHIFT])
    )
    fields = {
        "count": prod(op.output.shape),
        "zero": [tensor.zero_point for tensor in op.inputs],
        "fraction": [fraction for fraction, _ in terms],
        "shift": [-shift for _, shift in terms],
        "scale": list(scales.rows[0]),
        "output": scales.output,
    }
    return emit(index, op, "add", "add", [], fields, ["const int8_t *one", "const int8_t *other"], [])


def _pool(index: int, op: Pool, kernel: str) -> EmittedOperator:
    low, high = clamp_limits(op)
    fields = _window(op, op.window) | {"channels": op.inputs[0].shape[3], "low": low, "high": high}
    return emit(index, op, kernel, "pool", [], fields, INPUT, [])


def _product(index: int, op: Weighted, matrix: Array) -> tuple[list[Constant], dict[str, object]]:
    """Constants of a product with weights, int8 ``(out, depth)``, and the fields of its structure."""
    words, packed = pack_products(matrix)
    bias, scales = sums_and_scales(op, matrix)
    constants = [array("uint32_t", f"weights_{index:02}", words), *_scales(index, bias, scales)]
    return constants, {
        "channels": len(matrix),
        "packed": int(packed),
        "per_channel": int(len(scales.rows) > 1),
        "output": scales.output,
    }


def _scales(index: int, bias: Array, scales: Scales) -> list[Constant]:
    rows = ("{" + ", ".join(map(integer, row)) + "}" for row in scales.rows)
    return [array("int32_t", f"bias_{index:02}", bias), array("struct scale", f"scales_{index:02}", rows)]


def _window(op: Operator, window: Window) -> dict[str, object]:
    height, width = op.inputs[0].shape[1:3]
    (top, _), (left, _) = window.pads((height, width))
    return {
        "in_height": height,
        "in_width": width,
        "kernel_height": window.size[0],
        "kernel_width": window.size[1],
        "stride_y": window.stride[0],
        "stride_x": window.stride[1],
        "top": top,
        "left": left,
        "out_height": op.output.shape[1],
        "out_width": op.output.shape[2],
    }


def _weighted(
    index: int, op: Weighted, kernel: str, constants: Sequence[Constant], fields: Fields
) -> EmittedOperator:
    given = [f"{what}_{index:02}" for what in ("weights", "bias", "scales")]
    scratch = operator_memory(op).scratch_bytes
    return emit(index, op, kernel, kernel, constants, fields, INPUT, given, scratch)
