"""The operators of a TensorFlow Lite file, each checked and turned into the graph's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
import tflite
from tflite import BuiltinOperator as Code
from tflite import BuiltinOptions as OptionsKind

from edgegrow.deploy import tflite_schema as schema
from edgegrow.deploy.flatbuffer import Flatbuffer
from edgegrow.deploy.graph import (
    Activation,
    Add,
    Array,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Relu,
    Reshape,
    Softmax,
    Tanh,
    Tensor,
    UpsampleNearest2D,
    Window,
)
from edgegrow.deploy.read_tensors import Tensors
from edgegrow.deploy.tflite_options import ACTIVATIONS
from edgegrow.errors import InputError, UnsupportedError

Options = TypeVar("Options")

_ACTIVATIONS: dict[int, Activation] = {number: name for name, number in ACTIVATIONS.items() if name != "unit"}
_LARGEST_STEP = 2**11  # elements along an axis
_LARGEST_WINDOW = 2**16  # elements


@dataclass(frozen=True)
class Call:
    """An operator of the file, about to be read: its tensors by index, and its options."""

    name: str
    inputs: tuple[int, ...]
    output: int
    table: schema.OperatorTable
    tensors: Tensors
    flatbuffer: Flatbuffer

    def options(self, kind: int, record: type[Options]) -> Options | None:
        """Read the options; None where the file leaves them out."""
        if self.table.options is None or not self.table.options_type:
            return None
        if self.table.options_type != kind:
            raise InputError(f"it has options of kind {self.table.options_type}: export the model again")
        return self.flatbuffer.read_table(record, self.table.options)

    def needed_options(self, kind: int, record: type[Options]) -> Options:
        """Read the options, which must be there."""
        options = self.options(kind, record)
        if options is None:
            raise InputError("it has no options: export the model again")
        return options

    def common(self, *, variables: int | None = 1, constants: int = 0, optional: int = 0) -> dict[str, Any]:
        """Name, inputs and output of the graph's operator, whose inputs are this many variables; None is any.

        After the variables come this many constants, of which the last, where `optional`, may be left out.
        """
        given = len(self.inputs)
        first = given if variables is None else variables
        if not first + constants - optional <= given <= first + constants:
            raise InputError(f"it has {given} inputs, not {first + constants}: export the model again")
        inputs = tuple(self.tensors.activation(index) for index in self.inputs[:first])
        return {"name": self.name, "inputs": inputs, "output": self.tensors.activation(self.output)}


def _convolution(call: Call) -> Operator:
    options = call.needed_options(OptionsKind.Conv2DOptions, schema.Conv2DOptions)
    common = _on_map(call.common(constants=2, optional=1))
    weight, scales = call.tensors.weight(call.inputs[1], 0, 4)
    channels = common["inputs"][0].shape[3]
    if weight.shape[3] != channels:
        raise UnsupportedError(
            f"its weights read {weight.shape[3]} of {channels} channels: export it without groups"
        )
    return Conv2D(
        **common,
        **_parameters(call, common["inputs"][0], weight, scales, outputs=weight.shape[0]),
        window=_window(options, weight.shape[1:3]),
        activation=_activation(options),
    )


def _depthwise(call: Call) -> Operator:
    options = call.needed_options(OptionsKind.DepthwiseConv2DOptions, schema.DepthwiseConv2DOptions)
    common = _on_map(call.common(constants=2, optional=1))
    weight, scales = call.tensors.weight(call.inputs[1], 3, 4)
    channels = common["inputs"][0].shape[3]
    if options.multiplier * channels != weight.shape[3]:
        raise InputError(
            f"{weight.shape[3]} filters are not {options.multiplier} for each of {channels} channels: "
            "export the model again"
        )
    return DepthwiseConv2D(
        **common,
        **_parameters(call, common["inputs"][0], weight, scales, outputs=weight.shape[3]),
        window=_window(options, weight.shape[1:3]),
        activation=_activation(options),
    )


def _linear(call: Call) -> Operator:
    options = call.options(OptionsKind.FullyConnectedOptions, schema.FullyConnectedOptions)
    if options is not None and options.weights_format:
        raise UnsupportedError("its weights are shuffled: convert the model with plain weights")
    common = call.common(constants=2, optional=1)
    weight, scales = call.tensors.weight(call.inputs[1], 0, 2)
    if len(scales) > 1:
        raise UnsupportedError("it has a scale for each output: convert the model with one for all weights")
    return FullyConnected(
        **common,
        **_parameters(call, common["inputs"][0], weight, scales, outputs=weight.shape[0]),
        activation=_activation(options),
    )


def _parameters(call: Call, source: Tensor, weight: Array, scales: Array, outputs: int) -> dict[str, Any]:
    """Weights, bias and scales; a bias left out is zero, one scale of a convolution is every channel's."""
    bias = np.zeros(outputs, np.int32)
    if len(call.inputs) > 2 and call.inputs[2] != -1:
        # In float64, where the product of float32 scales does not underflow.
        expected = source.scale * scales.astype(float)
        bias = call.tensors.bias(call.inputs[2], outputs, expected).astype(np.int32)
    if weight.ndim == 4:
        scales = np.broadcast_to(scales, outputs)
    return {"weight": weight, "bias": bias, "weight_scales": scales}


def _add(call: Call) -> Operator:
    options = call.options(OptionsKind.AddOptions, schema.ActivationOptions)
    return Add(**call.common(variables=2), activation=_activation(options))


def _mul(call: Call) -> Operator:
    options = call.options(OptionsKind.MulOptions, schema.ActivationOptions)
    return Mul(**call.common(variables=2), activation=_activation(options))


def _pool(kind: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Call], Operator]:
    def read(call: Call) -> Operator:
        options = call.needed_options(OptionsKind.Pool2DOptions, schema.Pool2DOptions)
        common = _on_map(call.common())
        window = _window(options, (options.height, options.width))
        return kind(**common, window=window, activation=_activation(options))

    return read


def _mean(call: Call) -> Operator:
    options = call.options(OptionsKind.ReducerOptions, schema.ReducerOptions)
    common = _on_map(call.common(constants=1))
    axes = call.tensors.constant(call.inputs[1], tflite.TensorType.INT32)
    if axes.size > 4 or {int(axis) % 4 for axis in axes.flat if -4 <= axis < 4} != {1, 2}:
        raise UnsupportedError("only the mean over height and width is supported: use global average pooling")
    return Mean(**common, keep_dims=options is not None and options.keep_dims)


def _softmax(call: Call) -> Operator:
    options = call.needed_options(OptionsKind.SoftmaxOptions, schema.SoftmaxOptions)
    if not (0 < options.beta <= 2.0**16):
        raise InputError(f"its beta is {options.beta}: export the model with a positive one")
    return Softmax(**call.common(), beta=options.beta)


def _reshape(call: Call) -> Operator:
    common = call.common(constants=1, optional=1)
    options = call.options(OptionsKind.ReshapeOptions, schema.ReshapeOptions)
    wanted = options.shape if options is not None else np.empty(0, np.int32)
    if len(call.inputs) > 1:  # which runtimes prefer to the options
        wanted = call.tensors.constant(call.inputs[1], tflite.TensorType.INT32)
    shape = common["output"].shape
    if wanted.size and (
        wanted.shape != (len(shape),) or any(n not in (-1, m) for n, m in zip(wanted, shape, strict=True))
    ):
        raise InputError(f"its output has shape {shape}, but it asks for another: export the model again")
    return Reshape(**common)


def _ones(call: Call) -> Operator:
    """EXPAND_DIMS and SQUEEZE, which put in or take out axes of size 1."""
    common = call.common(constants=1, optional=1)
    before, after = ([n for n in t.shape if n > 1] for t in (common["inputs"][0], common["output"]))
    if before != after:
        raise InputError(f"it turns shape {before} into {after}: export the model again")
    return Reshape(**common)


def _pad(call: Call) -> Operator:
    common = call.common(constants=1)
    pads = call.tensors.constant(call.inputs[1], tflite.TensorType.INT32)
    if pads.shape != (len(common["output"].shape), 2):
        raise InputError(f"its padding has shape {pads.shape}: export the model again")
    return Pad(**common, pads=tuple((int(before), int(after)) for before, after in pads))


def _concatenation(call: Call) -> Operator:
    options = call.needed_options(OptionsKind.ConcatenationOptions, schema.ConcatenationOptions)
    if _activation(options) != "none":
        raise UnsupportedError("no kernel fuses an activation with it: put the activation before it")
    common = call.common(variables=None)
    rank = len(common["output"].shape)
    return Concatenation(**common, axis=options.axis + rank if options.axis < 0 else options.axis)


def _upsample(call: Call) -> Operator:
    options = call.needed_options(
        OptionsKind.ResizeNearestNeighborOptions, schema.ResizeNearestNeighborOptions
    )
    common = _on_map(call.common(constants=1))
    wanted = call.tensors.constant(call.inputs[1], tflite.TensorType.INT32)
    before, after = common["inputs"][0].shape[1:3], common["output"].shape[1:3]
    if wanted.shape != (2,) or tuple(wanted.tolist()) != after:
        raise InputError(f"its output has shape {after}, but it asks for another: export the model again")
    if max(after) > _LARGEST_WINDOW:
        raise InputError(f"its output has shape {after}: that is no map for a device")
    shift = np.float32(0.5 if options.half_pixel_centers else 0)
    factors = []
    for size, larger in zip(before, after, strict=True):
        factor = larger // size
        places = np.arange(larger, dtype=np.float32) + shift
        source = np.floor(places * (np.float32(size) / np.float32(larger)))  # in float32, as the runtimes
        if options.align_corners or larger % size or (source != np.arange(larger) // factor).any():
            raise UnsupportedError("it does not repeat every element as often: resize by a whole factor")
        factors.append(factor)
    return UpsampleNearest2D(**common, factor=(factors[0], factors[1]))


def _relu(activation: Activation) -> Callable[[Call], Operator]:
    return lambda call: Relu(**call.common(), activation=activation)


def _on_map(common: dict[str, Any]) -> dict[str, Any]:
    if len(common["inputs"][0].shape) != 4:
        raise InputError(
            f"its input has shape {common['inputs'][0].shape}, not (1, h, w, c): export it again"
        )
    return common


def _activation(options: Any) -> Activation:
    number = 0 if options is None else options.activation
    if number not in _ACTIVATIONS:
        raise UnsupportedError(
            f"its fused activation {number} is not NONE, RELU or RELU6: choose one of them"
        )
    return _ACTIVATIONS[number]


def _window(options: Any, size: tuple[int, int]) -> Window:
    stride = options.stride_h, options.stride_w
    if not all(1 <= n <= _LARGEST_STEP for n in (*size, *stride)) or prod(size) > _LARGEST_WINDOW:
        raise InputError(f"its window {size} and stride {stride} are out of range: export the model again")
    if (getattr(options, "dilation_h", 1), getattr(options, "dilation_w", 1)) != (1, 1):
        raise UnsupportedError("it is dilated: use a larger kernel or a stride instead")
    if options.padding not in (tflite.Padding.SAME, tflite.Padding.VALID):
        raise InputError(f"its padding is number {options.padding}: export the model again")
    return Window(size, stride, "SAME" if options.padding == tflite.Padding.SAME else "VALID")


READERS: dict[int, tuple[int, Callable[[Call], Operator]]] = {
    Code.CONV_2D: (3, _convolution),
    Code.DEPTHWISE_CONV_2D: (3, _depthwise),
    Code.FULLY_CONNECTED: (6, _linear),
    Code.ADD: (2, _add),
    Code.MUL: (3, _mul),
    Code.AVERAGE_POOL_2D: (2, _pool(AveragePool2D)),
    Code.MAX_POOL_2D: (2, _pool(MaxPool2D)),
    Code.MEAN: (2, _mean),
    Code.SOFTMAX: (2, _softmax),
    Code.RESHAPE: (1, _reshape),
    Code.EXPAND_DIMS: (1, _ones),
    Code.SQUEEZE: (2, _ones),
    Code.PAD: (2, _pad),
    Code.CONCATENATION: (2, _concatenation),
    Code.RELU: (2, _relu("relu")),
    Code.RELU6: (2, _relu("relu6")),
    Code.RESIZE_NEAREST_NEIGHBOR: (3, _upsample),
    Code.TANH: (2, lambda call: Tanh(**call.common())),
    Code.LOGISTIC: (2, lambda call: Logistic(**call.common())),
    Code.HARD_SWISH: (1, lambda call: HardSwish(**call.common())),
}
"""Greatest version that means what we compute, and the reader, of every operator."""
