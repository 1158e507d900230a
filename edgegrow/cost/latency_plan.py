"""What has to be measured of a network's structure so that its latency is known at any widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from edgegrow.cost.operators import can_stand_alone, kind, sizes
from edgegrow.cost.staircase import SWEPT, Axis, Sizes, levels
from edgegrow.deploy.graph import FloatGraph, Operator

_BESIDE = 32
"""Width of the axis that is not swept, where it may have it."""

Family = tuple[str, tuple[int, ...], int]
"""Operators and an axis that share the width of a step: type, window's size, number of the axis."""


@dataclass(frozen=True)
class Layer:
    """All operators of one kind in a network.

    Attributes
    ----------
    kind : str
        As `edgegrow.cost.operators.kind` tells it.
    operator : Operator
        One of them.
    low, high : tuple of int
        The least and the greatest widths that they may have.
    """

    kind: str
    operator: Operator
    low: Sizes
    high: Sizes

    def varies(self, axis: int) -> bool:
        """Whether a width is not always the same."""
        return self.low[axis] < self.high[axis]

    def family(self, axis: int) -> Family:
        """Tell which operators' steps along an axis are as wide as this one's."""
        window = getattr(self.operator, "window", None)
        return type(self.operator).__name__, window.size if window is not None else (), axis


@dataclass(frozen=True)
class Sweep:
    """A layer at neighbouring widths of one axis, to find the width of its steps."""

    layer: Layer
    axis: int

    @property
    def points(self) -> tuple[Sizes, ...]:
        """Sizes to measure, one for each of `SWEPT`."""
        low, high = self.layer.low, self.layer.high
        beside = [max(least, min(most, _BESIDE)) for least, most in zip(low, high, strict=True)]
        return tuple((*beside[: self.axis], width, *beside[self.axis + 1 :]) for width in SWEPT)


class LatencyPlan:
    """Layers of a network's structure, and the widths to measure them at.

    Parameters
    ----------
    narrow, wide : FloatGraph
        The network at the least and at the greatest widths of interest.
    channel_block : int, optional
        Width of every step, where the target's file gives it; it is found by sweeps otherwise.
    """

    def __init__(self, narrow: FloatGraph, wide: FloatGraph, channel_block: int | None = None) -> None:
        self.channel_block = channel_block
        self.layers: dict[str, Layer] = {}
        for small, large in zip(narrow.operators, wide.operators, strict=True):
            key = kind(small)
            if key != kind(large) or not can_stand_alone(small):
                continue  # a part of what is the same for all widths
            low, high = sizes(small), sizes(large)
            if key in self.layers:
                low = tuple(map(min, low, self.layers[key].low))
                high = tuple(map(max, high, self.layers[key].high))
            self.layers[key] = Layer(key, small, low, high)

    @property
    def sweeps(self) -> dict[Family, Sweep]:
        """One sweep for each family, by the layer with the largest map: its steps are the highest."""
        found: dict[Family, Sweep] = {}
        if self.channel_block is not None:
            return found
        for layer in sorted(self.layers.values(), key=lambda layer: -prod(layer.operator.output.shape[1:3])):
            for axis in range(len(layer.low)):
                if layer.varies(axis):
                    found.setdefault(layer.family(axis), Sweep(layer, axis))
        return found

    def axes(self, layer: Layer, blocks: Mapping[Family, int]) -> Sequence[Axis]:
        """Axes of a layer's table: whole steps from the least width to the greatest, two at least.

        A single one would not tell what a wider layer takes.
        """
        found = []
        for axis, (low, high) in enumerate(zip(layer.low, layer.high, strict=True)):
            if layer.varies(axis):
                block = self.channel_block or blocks[layer.family(axis)]
                second = (-(-low // block) + 1) * block
                found.append(Axis(levels(low, max(high, second), block), block))
            else:
                found.append(Axis((low,)))
        return found

    def grid(self, layer: Layer, blocks: Mapping[Family, int]) -> list[Sizes]:
        """Sizes of a layer's table."""
        return list(product(*(axis.levels for axis in self.axes(layer, blocks))))
