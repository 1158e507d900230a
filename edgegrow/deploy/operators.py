"""The operators that are deployed, in TensorFlow Lite's shapes and layouts.

Activations are ``(1, height, width, channels)`` or ``(1, features)``, a signal of length ``L`` is
``(1, 1, L, channels)``; the batch is always 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Activation = Literal["none", "relu", "relu6", "unit"]
"""What an output is clamped to: nothing, 0 and above, 0 to 6, 0 to 1."""
Pads = tuple[tuple[int, int], tuple[int, int]]


SHARES = 1 / 256, -128
"""Scale and zero point of what lies in 0 to 255/256, as the runtimes have it of sigmoids and softmax."""

UNIT_QUANTIZATION = float(np.float32(1 / 255)), -128
"""Scale and zero point with which int8 spans 0 to 1, so that its own limits clamp to ``unit``."""


@dataclass(frozen=True)
class Tensor:
    """An activation: what one operator writes and others read.

    Attributes
    ----------
    name : str
        Unique in its graph.
    shape : tuple of int
        ``(1, h, w, c)`` or ``(1, features)``.
    scale : float
        A float32 value; the real value is ``scale * (q - zero_point)``. 1 in a float graph.
    zero_point : int
        The int8 value of real 0. 0 in a float graph.
    """

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0
    zero_point: int = 0


@dataclass(frozen=True)
class Window:
    """A window that slides over a map: size and stride as ``(vertical, horizontal)``, and the padding."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: Literal["SAME", "VALID"]

    def pads(self, height_width: Sequence[int]) -> Pads:
        """Zeros ``((top, bottom), (left, right))`` around a map of this size."""
        if self.padding == "VALID":
            return (0, 0), (0, 0)
        (top, bottom), (left, right) = (
            (total // 2, total - total // 2)
            for total in (
                max((ceil(n / stride) - 1) * stride + size - n, 0)
                for n, size, stride in zip(height_width, self.size, self.stride, strict=True)
            )
        )
        return (top, bottom), (left, right)

    def output_size(self, height_width: Sequence[int]) -> tuple[int, int]:
        """Height and width of the map that comes out."""
        height, width = (
            (n + sum(pad) - size) // stride + 1
            for n, pad, size, stride in zip(
                height_width, self.pads(height_width), self.size, self.stride, strict=True
            )
        )
        return height, width


@dataclass(frozen=True, eq=False)
class Operator:
    """Base of the operators.

    Attributes
    ----------
    name : str
        Where it comes from: the path of its module, for messages and reports.
    inputs : tuple of Tensor
    output : Tensor
    """

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor

    arity: ClassVar[int | None] = 1
    """Number of inputs; None for one or more."""
    keeps_quantization: ClassVar[bool] = False
    """Whether scale and zero point of the output must be those of every input."""

    @property
    def fixed_quantization(self) -> tuple[float, int] | None:
        """Scale and zero point that the output must have in int8; None where they are free."""
        return UNIT_QUANTIZATION if getattr(self, "activation", "none") == "unit" else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return 0

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        return self.inputs[0].shape

    @property
    def fault(self) -> str | None:
        """What is wrong with the inputs or options, in words that follow the operator's name; or None."""
        return None


@dataclass(frozen=True, eq=False)
class Weighted(Operator):
    """Base of the operators with weights.

    Attributes
    ----------
    weight : ndarray
        int8, or float32 in a float graph; the layout is each operator's own.
    bias : ndarray
        int32 ``(out,)`` at the scale ``input.scale * weight_scales``, or float32.
    activation : str
        What the output is clamped to.
    weight_scales : ndarray
        float32, one an output channel, or one for all in `FullyConnected`. 1 in a float graph.
    folded : tuple of str
        What is folded in, beside the layer that it is named after: paths of batch norms.
    """

    weight: Array
    bias: Array
    activation: Activation = "none"
    weight_scales: Array = field(default_factory=lambda: np.ones(1, np.float32))
    folded: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return prod(self.output.shape[1:-1]) * self.weight.size

    @property
    def stored_as(self) -> tuple[object, ...]:
        """Equal for operators whose weights are equal because of where they come from: whatever they are.

        Calls of one layer are such, unless norms of their own are folded in: then the weights differ.
        """
        return self.name, self.folded, self.weight.shape

    @property
    def channel_axis(self) -> int:
        """Axis of `weight` that runs over output channels."""
        return 0

    @property
    def along_channels(self) -> tuple[int, ...]:
        """Shape in which one value a channel multiplies `weight`."""
        return tuple(-1 if axis == self.channel_axis else 1 for axis in range(self.weight.ndim))


@dataclass(frozen=True, eq=False)
class _Convolution(Weighted):
    window: Window = field(kw_only=True)

    def output_shape(self) -> tuple[int, ...]:
        return (1, *self.window.output_size(self.inputs[0].shape[1:3]), self.bias.size)

    @property
    def fault(self) -> str | None:
        return not_a_map(self.inputs[0])


@dataclass(frozen=True, eq=False)
class Conv2D(_Convolution):
    """A convolution; `weight` is ``(out, kernel_h, kernel_w, in)``."""


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(_Convolution):
    """A depthwise convolution; `weight` is ``(1, kernel_h, kernel_w, in * multiplier)``."""

    @property
    def channel_axis(self) -> int:
        """Axis of `weight` that runs over output channels."""
        return 3

    @property
    def multiplier(self) -> int:
        """Output channels of every input channel."""
        return self.weight.shape[3] // self.inputs[0].shape[3]


@dataclass(frozen=True, eq=False)
class FullyConnected(Weighted):
    """A linear layer; `weight` is ``(out, in)``, its columns in the NHWC order of the input."""

    @property
    def stored_as(self) -> tuple[object, ...]:
        """Equal for operators whose weights are equal; the order of columns depends on the positions."""
        return *super().stored_as, prod(self.inputs[0].shape[1:-1])

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        return (1, self.bias.size)


@dataclass(frozen=True, eq=False)
class Add(Operator):
    """The sum of two tensors of one shape."""

    activation: Activation = "none"

    arity: ClassVar[int | None] = 2


@dataclass(frozen=True, eq=False)
class Pool(Operator):
    """Base of the pooling operators, whose output has the scale and zero point of their input."""

    window: Window
    activation: Activation = "none"

    keeps_quantization: ClassVar[bool] = True

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        shape = self.inputs[0].shape
        return (1, *self.window.output_size(shape[1:3]), shape[3])

    @property
    def fault(self) -> str | None:
        """What is wrong with the input, or None."""
        return not_a_map(self.inputs[0])


@dataclass(frozen=True, eq=False)
class AveragePool2D(Pool):
    """Averages of windows, padding left out; global pooling has one window, the map."""


@dataclass(frozen=True, eq=False)
class MaxPool2D(Pool):
    """Maxima of windows."""


def not_a_map(tensor: Tensor) -> str | None:
    """Say what is wrong with a tensor that must be a map ``(1, h, w, c)``, or None."""
    return None if len(tensor.shape) == 4 else f"its input must be a map (1, h, w, c), not {tensor.shape}"
