"""Operators that only files from elsewhere have; edgegrow's own networks need none of them.

Shapes and layouts are those of `edgegrow.deploy.operators`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from edgegrow.deploy.operators import SHARES, Operator, not_a_map


@dataclass(frozen=True, eq=False)
class Softmax(Operator):
    """Softmax over the last axis of ``beta * x``; its output has scale 1/256 and zero point -128."""

    beta: float = 1.0

    @property
    def fixed_quantization(self) -> tuple[float, int]:
        """Scale and zero point that the runtimes assume."""
        return SHARES


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
