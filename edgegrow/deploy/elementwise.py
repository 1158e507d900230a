"""Operators on one element at a time: products, and functions that no other operator is fused with.

Shapes and layouts are those of `edgegrow.deploy.operators`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgegrow.deploy.operators import SHARES, Activation, Operator


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
class Logistic(Operator):
    """The sigmoid; its output has scale 1/256 and zero point -128."""

    @property
    def fixed_quantization(self) -> tuple[float, int]:
        """Scale and zero point that the runtimes assume."""
        return SHARES


@dataclass(frozen=True, eq=False)
class Tanh(Operator):
    """The hyperbolic tangent; its output has scale 1/128 and zero point 0."""

    @property
    def fixed_quantization(self) -> tuple[float, int]:
        """Scale and zero point that the runtimes assume."""
        return 1 / 128, 0


@dataclass(frozen=True, eq=False)
class HardSwish(Operator):
    """``x * relu6(x + 3) / 6``."""


FUNCTIONS = Relu, Logistic, Tanh, HardSwish
"""Operators whose every output depends on a single input alone."""
