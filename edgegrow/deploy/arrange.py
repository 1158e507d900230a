"""Operators that only arrange elements: they compute nothing, and keep scale and zero point.

Shapes and layouts are those of `edgegrow.deploy.operators`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from edgegrow.deploy.operators import Operator, not_a_map


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
class UpsampleNearest2D(Operator):
    """Every element of a map `factor` times, ``(vertical, horizontal)``."""

    factor: tuple[int, int]

    keeps_quantization: ClassVar[bool] = True

    def output_shape(self) -> tuple[int, ...]:
        """Shape that the inputs give."""
        _, height, width, channels = self.inputs[0].shape
        return (1, height * self.factor[0], width * self.factor[1], channels)

    @property
    def fault(self) -> str | None:
        """What is wrong with the input or the factor, or None."""
        if min(self.factor) < 1:
            return f"it repeats elements {self.factor} times"
        return not_a_map(self.inputs[0])
