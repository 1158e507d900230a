"""Operators in C that CMSIS-NN computes; our own kernels compute the others.

CMSIS-NN 4.0 has convolutions, linear layers and pooling. The sizes of its scratch memory are those of its
own ``*_get_buffer_size`` functions, of which the DSP and the vector extension (MVE) have one each; the C code
asks them again, and fails where more is wanted than was planned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod

from edgegrow.deploy.c_emit import INPUT, Constant, EmittedOperator, Fields, array, emit
from edgegrow.deploy.c_operators import emit_operator
from edgegrow.deploy.cmsis_source import HEADER, CmsisSource, find_cmsis
from edgegrow.deploy.fixed_point import clamp_limits, multipliers
from edgegrow.deploy.graph import (
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
from edgegrow.errors import InputError

FOLDER = "src/cmsis_nn"
"""Where a package keeps CMSIS-NN."""

_FUNCTIONS = {
    "cmsis_conv2d": "arm_convolve_wrapper_s8",
    "cmsis_depthwise_conv2d": "arm_depthwise_conv_wrapper_s8",
    "cmsis_fully_connected": "arm_fully_connected_s8",
    "cmsis_average_pool2d": "arm_avgpool_s8",
    "cmsis_max_pool2d": "arm_max_pool_s8",
}
"""Which function of CMSIS-NN a kernel calls."""

_MVE_CHANNELS = 124
"""``CH_IN_BLOCK_MVE``: channels that a depthwise convolution copies at a time with MVE."""

_READ_ME = files("edgegrow.deploy") / "kernels" / "package" / "KERNELS.md"


@dataclass(frozen=True)
class CmsisKernels:
    """CMSIS-NN as the library that a C package calls.

    Attributes
    ----------
    source : CmsisSource
    """

    source: CmsisSource

    @property
    def name(self) -> str:
        """What computed a package's figures, e.g. ``CMSIS-NN 4.0.0``."""
        return self.source.name

    def emit(self, index: int, op: Operator) -> EmittedOperator:
        """Write an operator in C, as `edgegrow.deploy.c_operators.emit_operator` does.

        Raises
        ------
        UnsupportedError
            If neither CMSIS-NN nor we have a kernel for it.
        """
        match op:
            case Conv2D():
                return _conv2d(index, op)
            case DepthwiseConv2D():
                return _depthwise_conv2d(index, op)
            case FullyConnected():
                return _fully_connected(index, op)
            case AveragePool2D():
                # The buffer of the DSP extension sums int32 channels.
                return _pool(index, op, "cmsis_average_pool2d", (4 * op.inputs[0].shape[3], 0))
            case MaxPool2D():
                return _pool(index, op, "cmsis_max_pool2d", (0, 0))
        return emit_operator(index, op)

    def package_files(self, operators: Sequence[EmittedOperator]) -> dict[str, str]:
        """Texts of the files, by their paths, that a package of these operators has besides."""
        functions = [_FUNCTIONS[op.kernel] for op in operators if op.kernel in _FUNCTIONS]
        if not functions:
            return {}
        sources = self.source.closure(functions)
        package = {f"{FOLDER}/{name}": text for name, text in sources.items()}
        package[f"{FOLDER}/LICENSE-CMSIS-NN.txt"] = self.source.licences[HEADER]
        package[f"{FOLDER}/LICENSE-CMSIS-Core.txt"] = self.source.licences["cmsis_compiler.h"]
        package["KERNELS.md"] = self._read_me(operators, sources)
        return package

    def _read_me(self, operators: Sequence[EmittedOperator], sources: dict[str, str]) -> str:
        lines = [f"- `{op.function}`: {_FUNCTIONS.get(op.kernel, 'edgegrow')}\n" for op in operators]
        hashes = [
            f"| {name} | {hashlib.sha256(text.encode()).hexdigest()} |" for name, text in sources.items()
        ]
        return (
            _READ_ME.read_text("utf-8")
            .replace("@NAME@", self.name)
            .replace("@OPERATORS@\n", "".join(lines) + "\n")
            .replace("@FILES@", "\n".join(hashes))
        )


def find_kernels(text: str) -> CmsisKernels | None:
    """Find what ``edgegrow``, ``cmsis-nn`` or ``cmsis-nn:FOLDER`` names; None for our own kernels.

    Raises
    ------
    InputError
        If it names nothing, or CMSIS-NN's sources are not there.
    """
    name, _, path = text.partition(":")
    if name == "edgegrow" and not path:
        return None
    if name != "cmsis-nn":
        raise InputError(f"kernels '{text}': unknown: choose edgegrow, cmsis-nn or cmsis-nn:FOLDER")
    return CmsisKernels(find_cmsis(path or None))


def _conv2d(index: int, op: Conv2D) -> EmittedOperator:
    (_, height, _, channels), (kernel_height, kernel_width) = op.inputs[0].shape, op.window.size
    column = kernel_height * kernel_width * channels
    if op.window.size == (1, 1):
        scratch = (0, 0)
    elif height == 1 and op.output.shape[2] % 4 == 0 and kernel_height == 1:
        scratch = (4 * column, 0)
    else:
        # Two columns of int16; with MVE four of int8, in whole vectors of 8.
        scratch = (4 * column, 4 * (-(-column // 8) * 8))
    return _convolution(index, op, "cmsis_conv2d", {}, scratch)


def _depthwise_conv2d(index: int, op: DepthwiseConv2D) -> EmittedOperator:
    taps, channels = prod(op.window.size), op.inputs[0].shape[3]
    # One column of int16; with MVE four of int8, in blocks of channels.
    scratch = (2 * taps * channels, 4 * taps * _MVE_CHANNELS) if op.multiplier == 1 else (0, 0)
    return _convolution(index, op, "cmsis_depthwise_conv2d", {"ch_mult": op.multiplier}, scratch)


def _convolution(
    index: int, op: Conv2D | DepthwiseConv2D, kernel: str, more: dict[str, object], scratch: tuple[int, int]
) -> EmittedOperator:
    fields = {
        "parameters": _offsets(op)
        | more
        | _steps(op, op.window)
        | {"dilation": {"w": 1, "h": 1}}
        | _clamp(op),
        **_dimensions(op, op.window),
        "scratch": _scratch(scratch),
    }
    fractions, shifts = zip(*multipliers(op), strict=True)
    constants = [
        *_weights(index, op),
        array("int32_t", f"multipliers_{index:02}", map(str, fractions)),
        array("int32_t", f"shifts_{index:02}", map(str, shifts)),
    ]
    given = [f"{what}_{index:02}" for what in ("weights", "bias", "multipliers", "shifts")]
    if not any(scratch):
        given.insert(0, "0")  # the kernel's parameter stays
    return emit(index, op, kernel, kernel, constants, fields, INPUT, given, *scratch, can_fail=True)


def _fully_connected(index: int, op: FullyConnected) -> EmittedOperator:
    ((fraction, shift),) = multipliers(op)
    outputs, features = op.weight.shape
    fields = {
        "parameters": _offsets(op) | _clamp(op),
        "scale": {"multiplier": fraction, "shift": shift},
        "input": _tensor(1, (1, 1, features)),
        "filter": _tensor(features, (1, 1, outputs)),  # n is the depth, c the outputs
        "output": _tensor(1, (1, 1, outputs)),
        "scratch": _scratch((0, 0)),
    }
    given = [f"{what}_{index:02}" for what in ("weights", "bias")]
    kernel = "cmsis_fully_connected"
    return emit(index, op, kernel, kernel, _weights(index, op), fields, INPUT, given, can_fail=True)


def _pool(index: int, op: Pool, kernel: str, scratch: tuple[int, int]) -> EmittedOperator:
    fields = {
        "parameters": _steps(op, op.window) | _clamp(op),
        **_dimensions(op, op.window),
        "scratch": _scratch(scratch),
    }
    return emit(index, op, kernel, "cmsis_pool2d", [], fields, INPUT, [], *scratch, can_fail=True)


def _weights(index: int, op: Weighted) -> list[Constant]:
    return [
        array("int8_t", f"weights_{index:02}", op.weight),
        array("int32_t", f"bias_{index:02}", op.bias),
    ]


def _offsets(op: Weighted) -> dict[str, object]:
    return {"input_offset": -op.inputs[0].zero_point, "output_offset": op.output.zero_point}


def _steps(op: Operator, window: Window) -> dict[str, object]:
    (top, _), (left, _) = window.pads(op.inputs[0].shape[1:3])
    return {
        "stride": {"w": window.stride[1], "h": window.stride[0]},
        "padding": {"w": left, "h": top},
    }


def _clamp(op: Weighted | Pool) -> dict[str, object]:
    low, high = clamp_limits(op)
    return {"activation": {"min": low, "max": high}}


def _dimensions(op: Operator, window: Window) -> dict[str, object]:
    """Dimensions of a window's operator; `filter` has the channels in and out that a convolution has."""
    channels_in, channels_out = op.inputs[0].shape[3], op.output.shape[3]
    return {
        "input": _tensor(1, op.inputs[0].shape[1:]),
        "filter": _tensor(channels_out, (*window.size, channels_in)),
        "output": _tensor(1, op.output.shape[1:]),
    }


def _tensor(n: int, shape: Sequence[int]) -> Fields:
    height, width, channels = shape
    return {"n": n, "h": height, "w": width, "c": channels}


def _scratch(sizes: tuple[int, int]) -> Fields:
    return {"dsp": sizes[0], "mve": sizes[1]}
