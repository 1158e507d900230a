"""Operators that only files from elsewhere have; edgegrow's own networks need none of them.

Shapes and layouts are those of `edgegrow.deploy.operators`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from edgegrow.deploy.operators import Activation, Operator, not_a_map


@dataclass(frozen=True, eq=False)
class Softmax(Operator):
    """Softmax over the last axis of ``beta * x``; its output has scale 1/256 and zero point -128."""

    beta: float = 1.0

    @property
    def fault(self) -> str | None:
        """What is wrong with the output's quantization, or None."""
        return _not_a_share(self)


@dataclass(frozen=True, eq=False)
class Logistic(Operator):
    """The sigmoid; its output has scale 1/256 and zero point -128."""

    @property
    def fault(self) -> str | None:
        """What is wrong with the output's quantization, or None."""
        return _not_a_share(self)


@dataclass(frozen=True, eq=False)
class HardSwish(Operator):
    """``x * relu6(x + 3) / 6``."""


@dataclass(frozen=True, eq=False)
class Relu(Operator):
    """A ReLU that is fused with no operator; `activation` is ``relu`` or ``relu6``."""

    activation: Activation = "relu"

    @property
    def fault(self) -> str | None:
        """What is wrong with the activation, or None: the kernels of ReLU6 do not rescale."""
        ends = self.inputs[0], self.output
        if self.activation == "relu6" and len({(tensor.scale, tensor.zero_point) for tensor in ends}) > 1:
            return "ReLU6 must keep the scale and zero point of its input"
        return None


@dataclass(frozen=True, eq=False)
class Mul(Operator):
    """The product of two tensors of one rank; where one has size 1, it is repeated."""

    activation: Activation = "none"

    arity: ClassVar[int | None] = 2

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        first, second = (tensor.shape for tensor in self.inputs)
        return tuple(max(pair) for pair in zip(first, second, strict=True))

    @property
    def fault(self) -> str | None:
        """What is wrong with the shapes, or None."""
        first, second = (tensor.shape for tensor in self.inputs)
        if len(first) != len(second) or any(
            a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)
        ):
            return f"it multiplies shapes {first} and {second}"
        return None


@dataclass(frozen=True, eq=False)
class Mean(Operator):
    """The mean over height and width of a map: ``(1, 1, 1, c)``, or ``(1, c)`` unless `keep_dims`."""

    keep_dims: bool = False

    @property
    def count(self) -> int:
        """Elements that one output is the mean of."""
        return prod(self.inputs[0].shape[1:3])

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        channels = self.inputs[0].shape[3]
        return (1, 1, 1, channels) if self.keep_dims else (1, channels)

    @property
    def fault(self) -> str | None:
        """What is wrong with the input, or None."""
        return not_a_map(self.inputs[0])


@dataclass(frozen=True, eq=False)
class Reshape(Operator):
    """The same elements, in the same order, in the output's shape."""

    keeps_quantization: ClassVar[bool] = True

    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output, which is free."""
        return self.output.shape

    @property
    def fault(self) -> str | None:
        """What is wrong with the number of elements, or None."""
        before, after = self.inputs[0].shape, self.output.shape
        return None if prod(before) == prod(after) else f"it reshapes {before} to {after}"


@dataclass(frozen=True, eq=False)
class Pad(Operator):
    """Real zeros around a tensor: ``(before, after)`` an axis, none on the batch's."""

    pads: tuple[tuple[int, int], ...]

    keeps_quantization: ClassVar[bool] = True

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        return tuple(n + sum(pad) for n, pad in zip(self.inputs[0].shape, self.pads, strict=True))

    @property
    def fault(self) -> str | None:
        """What is wrong with the padding, or None."""
        if len(self.pads) != len(self.inputs[0].shape):
            return f"it pads {len(self.pads)} axes of shape {self.inputs[0].shape}"
        if any(n < 0 for pad in self.pads for n in pad) or any(self.pads[0]):
            return "it pads by negative numbers or pads the batch"
        return None


@dataclass(frozen=True, eq=False)
class Concatenation(Operator):
    """Tensors one after the other along `axis`, which is not the batch's."""

    axis: int

    arity: ClassVar[int | None] = None
    keeps_quantization: ClassVar[bool] = True

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        first = self.inputs[0].shape
        total = sum(tensor.shape[self.axis] for tensor in self.inputs)
        return (*first[: self.axis], total, *first[self.axis + 1 :])

    @property
    def fault(self) -> str | None:
        """What is wrong with the shapes, or None."""
        shapes = [tensor.shape for tensor in self.inputs]
        if not 0 < self.axis < len(shapes[0]):
            return f"it concatenates along axis {self.axis} of shape {shapes[0]}"
        others = {(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes}
        if len(others) > 1 or any(len(shape) != len(shapes[0]) for shape in shapes):
            return f"it concatenates shapes {', '.join(map(str, shapes))}"
        return None


def _not_a_share(op: Operator) -> str | None:
    """Say what is wrong with an output that must be in ``0 .. 255/256``, or None."""
    if (op.output.scale, op.output.zero_point) == (1 / 256, -128):
        return None
    return "its output needs scale 1/256 and zero point -128, which the runtimes assume"
