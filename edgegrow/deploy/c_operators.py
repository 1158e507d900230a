"""Emit one operator in C: its constants, and a function that calls a kernel with its shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from edgegrow.deploy.c_scale import (
    Scales,
    interleave,
    output_scales,
    pack_products,
    pack_rows,
    sums_and_scales,
)
from edgegrow.deploy.graph import (
    Add,
    Array,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Operator,
    Pool,
    Weighted,
    Window,
)
from edgegrow.deploy.simulate import fixed_point
from edgegrow.errors import UnsupportedError

_BAND_BYTES = 2048
"""What a depthwise convolution may widen at a time, where one row of outputs needs no more."""
_ADD_SHIFT = 20
_LINE = 100  # columns of a constant's lines

Fields = Mapping[str, object]


@dataclass(frozen=True)
class EmittedOperator:
    """An operator in C.

    Attributes
    ----------
    function : str
        Its name, ``op_00_conv2d``; it takes the inputs, the output, and scratch where it needs some.
    kernel : str
        The kernel it calls; the header is ``edgegrow_KERNEL.h``.
    text : str
        Constants and the function.
    scratch_bytes : int
        Working memory, from an address that is a multiple of 4.
    in_place : bool
        Its output may lie over any of its inputs.
    """

    function: str
    kernel: str
    text: str
    scratch_bytes: int = 0
    in_place: bool = False


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
    raise UnsupportedError(f"operator {index} ({op.name}): there is no C kernel for {type(op).__name__}")


def array(kind: str, name: str, values: Array | Iterable[str]) -> str:
    """Write a constant array; unsigned words in hexadecimal."""
    if isinstance(values, np.ndarray):
        if values.dtype == np.uint32:
            texts = [f"0x{value:08x}" for value in values.tolist()]
        else:
            texts = [_integer(value) for value in values.reshape(-1).tolist()]
    else:
        texts = list(values)
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > _LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    lines.append(line.rstrip())
    body = "".join(f"    {line}\n" for line in lines)
    return f"static const {kind} {name}[{len(texts)}] = {{\n{body}}};\n"


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
    columns = min(2, prod(op.output.shape[1:3]))
    emitted = _weighted(index, op, "conv2d", constants, fields, scratch=columns * depth * 2)
    # Both columns are read before their outputs are written, and no later one lies where those go.
    pointwise = op.window.size == op.window.stride == (1, 1)
    return replace(emitted, in_place=pointwise and op.output.shape[3] <= op.inputs[0].shape[3])


def _fully_connected(index: int, op: FullyConnected) -> EmittedOperator:
    matrix = interleave(op.weight)
    constants, product = _product(index, op, matrix)
    fields = {"features": op.weight.shape[1], "product": {"depth": matrix.shape[1], **product}}
    return _weighted(index, op, "fully_connected", constants, fields)


def _depthwise_conv2d(index: int, op: DepthwiseConv2D) -> EmittedOperator:
    taps = op.weight[0].transpose(2, 0, 1)  # (channels, kernel_h, kernel_w)
    (kernel_height, kernel_width), (stride_y, stride_x) = op.window.size, op.window.stride
    by_two = op.window.size == (3, 3) and stride_x == 1
    bias, scales = sums_and_scales(op, taps.reshape(len(taps), -1))
    out_height, out_width = op.output.shape[1:3]
    # The last window reads whole pairs, and two windows at a time read a column more.
    width = (out_width - 1) * stride_x + kernel_width + kernel_width % 2
    width += width % 2
    rows = max(1, min(out_height, (_BAND_BYTES // (2 * width) - kernel_height) // stride_y + 1))
    fields = _window(op, op.window) | {
        "in_channels": op.inputs[0].shape[3],
        "multiplier": op.multiplier,
        "band": rows,
        "band_width": width,
        "zero": op.inputs[0].zero_point,
        "output": _output(scales),
    }
    constants = [
        array("uint32_t", f"weights_{index:02}", pack_rows(taps, by_two)),
        *_scales(index, bias, scales),
    ]
    scratch = ((rows - 1) * stride_y + kernel_height) * width * 2
    emitted = _weighted(index, op, "depthwise_conv2d", constants, fields, scratch)
    # A channel is read before its outputs are written, where it is one band, and no other channel lies there.
    return replace(emitted, in_place=op.multiplier == 1 and rows == out_height)


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
        "output": _output(scales),
    }
    emitted = _emit(index, op, "add", "add", [], fields, ["const int8_t *one", "const int8_t *other"], [])
    return replace(emitted, in_place=True)


def _pool(index: int, op: Pool, kernel: str) -> EmittedOperator:
    fields = _window(op, op.window) | {"channels": op.inputs[0].shape[3]}
    return _emit(index, op, kernel, "pool", [], fields, ["const int8_t *in"], [])


def _product(index: int, op: Weighted, matrix: Array) -> tuple[list[str], dict[str, object]]:
    """Constants of a product with weights, int8 ``(out, depth)``, and the fields of its structure."""
    words, packed = pack_products(matrix)
    bias, scales = sums_and_scales(op, matrix)
    constants = [array("uint32_t", f"weights_{index:02}", words), *_scales(index, bias, scales)]
    return constants, {
        "channels": len(matrix),
        "packed": int(packed),
        "per_channel": int(len(scales.rows) > 1),
        "output": _output(scales),
    }


def _scales(index: int, bias: Array, scales: Scales) -> list[str]:
    rows = ("{" + ", ".join(map(_integer, row)) + "}" for row in scales.rows)
    return [array("int32_t", f"bias_{index:02}", bias), array("struct scale", f"scales_{index:02}", rows)]


def _output(scales: Scales) -> Fields:
    return {
        "fast": int(scales.fast),
        "one_sign": int(scales.one_sign),
        "low": scales.low,
        "high": scales.high,
    }


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
    index: int, op: Weighted, kernel: str, constants: Sequence[str], fields: Fields, scratch: int = 0
) -> EmittedOperator:
    given = [f"{what}_{index:02}" for what in ("weights", "bias", "scales")]
    return _emit(index, op, kernel, kernel, constants, fields, ["const int8_t *in"], given, scratch)


def _emit(
    index: int,
    op: Operator,
    kernel: str,
    structure: str,
    constants: Sequence[str],
    fields: Fields,
    inputs: Sequence[str],
    given: Sequence[str],
    scratch: int = 0,
) -> EmittedOperator:
    """Put an operator together: the kernel gets its shape, the activations, scratch, and what is `given`."""
    function = f"op_{index:02}_{kernel}"
    parameters = [*inputs, "int8_t *out", *(["int16_t *scratch"] if scratch else [])]
    arguments = ["&shape", *(text.split("*")[1] for text in parameters), *given]
    shapes = ", ".join("x".join(map(str, tensor.shape[1:])) for tensor in op.inputs)
    name = re.sub(r"[^\w .:-]", "_", op.name, flags=re.ASCII)  # nothing that could end a comment
    text = (
        f"/* {name}: {shapes} -> {'x'.join(map(str, op.output.shape[1:]))} */\n{''.join(constants)}"
        f"MODEL_OPERATOR {function}({', '.join(parameters)}) {{\n"
        f"    static const struct {structure} shape = {_structure(fields, 1)};\n"
        f"    {kernel}({', '.join(arguments)});\n}}\n"
    )
    return EmittedOperator(function, kernel, text, scratch)


def _structure(fields: Fields, depth: int) -> str:
    """Write an initializer, a field a line."""
    inner = "    " * (depth + 1)
    lines = "".join(f"{inner}.{name} = {_value(value, depth + 1)},\n" for name, value in fields.items())
    return "{\n" + lines + "    " * depth + "}"


def _value(value: object, depth: int) -> str:
    match value:
        case dict():
            return _structure(value, depth)
        case list():
            return "{" + ", ".join(map(_integer, value)) + "}"
    return str(value)


def _integer(value: int) -> str:
    # -2147483648 would be the negative of a number that int cannot hold.
    return "-2147483647 - 1" if value == -(2**31) else str(value)
