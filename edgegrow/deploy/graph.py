"""The graph that is deployed: a handful of operators, in float before quantization and in int8 after.

All writers, the simulator and the arena planner read it, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from edgegrow.deploy.arrange import Concatenation, Reshape, UpsampleNearest2D
from edgegrow.deploy.elementwise import HardSwish, Logistic, Mul, Relu, Tanh
from edgegrow.deploy.fixed_point import overflow
from edgegrow.deploy.foreign import Mean, Pad, Softmax
from edgegrow.deploy.operators import (
    Activation,
    Add,
    Array,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Operator,
    Pads,
    Pool,
    Tensor,
    Weighted,
    Window,
)
from edgegrow.errors import InputError

__all__ = [
    "Activation",
    "Add",
    "Array",
    "AveragePool2D",
    "Concatenation",
    "Conv2D",
    "DepthwiseConv2D",
    "FloatGraph",
    "FullyConnected",
    "Graph",
    "HardSwish",
    "Logistic",
    "MaxPool2D",
    "Mean",
    "Mul",
    "Operator",
    "Pad",
    "Pads",
    "Pool",
    "Relu",
    "Reshape",
    "Softmax",
    "Tanh",
    "Tensor",
    "UpsampleNearest2D",
    "Weighted",
    "Window",
    "channels_last",
]


@dataclass(frozen=True, eq=False)
class _AnyGraph:
    """Operators in the order they run, from one input to one output.

    Raises
    ------
    InputError
        Where the operators do not fit together.
    """

    input: Tensor
    output: Tensor
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        made = {self.input.name: self.input}
        for op in self.operators:
            for tensor in op.inputs:
                if made.get(tensor.name) != tensor:
                    raise InputError(
                        f"operator {op.name}: its input {tensor.name} is made by no one before it"
                    )
            if op.output.name in made:
                raise InputError(f"operator {op.name}: its output {op.output.name} exists already")
            if op.arity not in (None, len(op.inputs)) or not op.inputs:
                raise InputError(
                    f"operator {op.name}: it has {len(op.inputs)} inputs, not {op.arity or 'any'}"
                )
            if fault := op.fault:
                raise InputError(f"operator {op.name}: {fault}")
            if op.output.shape != op.output_shape():
                raise InputError(
                    f"operator {op.name}: its output has shape {op.output.shape}, not {op.output_shape()}"
                )
            self._check(op)
            made[op.output.name] = op.output
        if made.get(self.output.name) != self.output:
            raise InputError(f"graph: its output {self.output.name} is made by no operator")

    def _check(self, op: Operator) -> None:
        shape = op.inputs[0].shape
        match op:
            case Conv2D():
                expected: tuple[int, ...] = (op.bias.size, *op.window.size, shape[3])
            case DepthwiseConv2D():
                expected = (1, *op.window.size, op.multiplier * shape[3])
            case FullyConnected():
                expected = (op.bias.size, prod(shape))
            case Add() if op.inputs[1].shape != shape:
                raise InputError(f"operator {op.name}: it adds shapes {shape} and {op.inputs[1].shape}")
            case _:
                return
        if op.weight.shape != expected:
            raise InputError(f"operator {op.name}: its weights have shape {op.weight.shape}, not {expected}")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All activations: the input, then one an operator."""
        return (self.input, *(op.output for op in self.operators))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, convolutions and linear layers only."""
        return sum(op.macs for op in self.operators)

    @property
    def params(self) -> int:
        """Weights and biases; those of calls that share them are stored once."""
        stored = {
            self._stored_as(op): op.weight.size + op.bias.size
            for op in self.operators
            if isinstance(op, Weighted)
        }
        return sum(stored.values())

    def _stored_as(self, op: Weighted) -> tuple[object, ...]:
        return op.stored_as


@dataclass(frozen=True, eq=False)
class FloatGraph(_AnyGraph):
    """The float graph that `lower` makes and `quantize` reads."""


@dataclass(frozen=True, eq=False)
class Graph(_AnyGraph):
    """The quantized graph: everything is int8, with int32 biases."""

    def _check(self, op: Operator) -> None:
        super()._check(op)
        if not (op.output.scale > 0 and np.isfinite(op.output.scale) and -128 <= op.output.zero_point <= 127):
            raise InputError(f"operator {op.name}: its output's scale or zero point is out of range")
        fixed = op.fixed_quantization
        if fixed and (op.output.scale, op.output.zero_point) != fixed:
            raise InputError(
                f"operator {op.name}: its output needs scale 1/{1 / fixed[0]:.0f} and zero point {fixed[1]}, "
                "which the runtimes assume"
            )
        if op.keeps_quantization and any(
            (tensor.scale, tensor.zero_point) != (op.output.scale, op.output.zero_point)
            for tensor in op.inputs
        ):
            raise InputError(f"operator {op.name}: it must keep the scale and zero point of its input")
        if isinstance(op, Weighted):
            self._check_parameters(op)
        if problem := overflow(op):
            raise InputError(f"operator {op.name}: {problem}")

    def _stored_as(self, op: Weighted) -> tuple[object, ...]:
        # Rounding may leave weights equal that norms have scaled: a scale a channel takes the factors up.
        return op.name, op.weight.shape, op.weight.tobytes()

    def _check_parameters(self, op: Weighted) -> None:
        if op.weight.dtype != np.int8 or op.bias.dtype != np.int32:
            raise InputError(f"operator {op.name}: it needs int8 weights and int32 biases")
        scales = 1 if isinstance(op, FullyConnected) else op.bias.size
        if op.weight_scales.shape != (scales,) or not (
            np.all(op.weight_scales > 0) and np.all(np.isfinite(op.weight_scales))
        ):
            raise InputError(f"operator {op.name}: it needs {scales} positive weight scales")
        # Every partial sum must fit int32, or the runtimes would wrap around each in its own way.
        products = op.weight.size // op.bias.size * 255 * 128
        if products + int(np.abs(op.bias.astype(np.int64)).max()) >= 2**31:
            raise InputError(f"operator {op.name}: its sums can overflow 32 bits: give it fewer inputs")

    def quantize_input(self, x: Array) -> Array:
        """Quantize samples as a device's firmware would.

        Parameters
        ----------
        x : ndarray
            float ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``.

        Returns
        -------
        ndarray
            int8 ``(n, h, w, c)``, ``(n, 1, length, c)`` or ``(n, features)``.

        Raises
        ------
        InputError
            If the shape is another than the graph's, or a value is not finite.
        """
        x = channels_last(x, self.input.shape)
        if not np.isfinite(x).all():
            raise InputError("input: it has values that are not finite: clean the data")
        q = np.rint(x.astype(np.float32) / np.float32(self.input.scale)) + self.input.zero_point
        return np.clip(q, -128, 127).astype(np.int8)

    def dequantize_output(self, q: Array) -> Array:
        """Logits, float32, of the int8 outputs `q`; the shape stays."""
        return (q.astype(np.float32) - self.output.zero_point) * np.float32(self.output.scale)


def channels_last(x: Array, shape: tuple[int, ...]) -> Array:
    """Reorder samples of PyTorch's layout into a graph's.

    Parameters
    ----------
    x : ndarray
        ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``.
    shape : tuple of int
        The graph input's ``(1, h, w, c)``, ``(1, 1, length, c)`` or ``(1, features)``.

    Raises
    ------
    InputError
        If the shapes do not agree.
    """
    if x.ndim == 4:
        nhwc = x.transpose(0, 2, 3, 1)
    elif x.ndim == 3:
        nhwc = x.transpose(0, 2, 1)[:, None]
    else:
        nhwc = x
    if nhwc.shape[1:] != shape[1:]:
        raise InputError(
            f"input: samples of shape {x.shape[1:]} do not suit a graph input of {shape[1:]} (NHWC)"
        )
    return nhwc
