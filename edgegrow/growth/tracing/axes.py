"""Channel axes while they are being followed: which are one, which are parts of another, which cannot grow.

Following a network teaches more and more of its axes: an addition makes one axis of two, a chunk finds that
one axis is two equal parts, a concatenation added to a convolution finds what the convolution's filters are
made of. Each such finding substitutes a layout for an axis, everywhere at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Run:
    """The channels of one axis in order, each ``columns`` consecutive places."""

    axis: int
    columns: int = 1


Runs = tuple[Run, ...]


class MismatchError(Exception):
    """Two layouts cannot be made one, or one cannot be cut as asked."""


class Axes:
    """All axes of a network, by number."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._reasons: dict[int, str] = {}
        self._substitutes: dict[int, Runs] = {}

    def new(self, size: int, fixed: str = "") -> Runs:
        """Make an axis of some channels, and a reason if it cannot grow; return it as a layout."""
        self._sizes.append(size)
        axis = len(self._sizes) - 1
        if fixed:
            self._reasons[axis] = fixed
        return (Run(axis),)

    def resolve(self, layout: Runs) -> Runs:
        """Write a layout in axes that nothing is known to substitute."""
        found: list[Run] = []
        for run in layout:
            if run.axis in self._substitutes:
                inner = self.resolve(self._substitutes[run.axis])
                found += [Run(part.axis, part.columns * run.columns) for part in inner]
            else:
                found.append(run)
        return tuple(found)

    def width(self, axis: int) -> int:
        """Channels of an axis."""
        return self._sizes[axis]

    def reason(self, axis: int) -> str:
        """Why a resolved axis cannot grow; empty where nothing speaks against it."""
        return self._reasons.get(axis, "")

    def length(self, layout: Runs) -> int:
        """Places of a layout."""
        return sum(self._length(run) for run in layout)

    def fix(self, layout: Runs, reason: str) -> None:
        """Note that no axis of a layout can grow; the first reason is kept."""
        for run in self.resolve(layout):
            self._reasons.setdefault(run.axis, reason)

    def is_fixed(self, layout: Runs) -> bool:
        """Whether no axis of a layout can grow."""
        return all(run.axis in self._reasons for run in self.resolve(layout))

    def unify(self, first: Runs, second: Runs) -> None:
        """Make two layouts one: wherever they differ, an axis of one becomes what the other has there.

        Raises
        ------
        MismatchError
            If channels of one do not lie on channels of the other.
        """
        while True:
            first, second = self.resolve(first), self.resolve(second)
            if self.length(first) != self.length(second):
                raise MismatchError
            pair = next(((a, b) for a, b in zip(first, second, strict=False) if a != b), None)
            if pair is None:
                return
            longer, shorter = sorted(pair, key=self._length, reverse=True)
            if self._length(longer) > self._length(shorter):
                self._divide(longer, self._length(shorter))
            else:
                self._make_equal(*pair)

    def part(self, layout: Runs, count: int) -> Runs:
        """Cut a layout into ``count`` equal parts, make them one, and return it.

        Raises
        ------
        MismatchError
            If parts end inside a channel, or cannot be one.
        """
        length, rest = divmod(self.length(layout), count)
        if rest:
            raise MismatchError
        for number in range(1, count):
            self._cut(layout, number * length)
        layout, parts = self.resolve(layout), []
        for _ in range(count):
            taken = 0
            while self.length(layout[:taken]) < length:
                taken += 1
            parts.append(layout[:taken])
            layout = layout[taken:]
        for other in parts[1:]:
            self.unify(parts[0], other)
        return self.resolve(parts[0])

    def divide_columns(self, layout: Runs, count: int) -> Runs:
        """Read a layout as one of ``count`` columns a channel, or a multiple, and take them as one place.

        Raises
        ------
        MismatchError
            If channels do not come in such numbers.
        """
        for run in self.resolve(layout):
            if run.axis in self._substitutes or run.columns % count == 0:
                continue
            needed, rest = divmod(count, run.columns)
            channels, left = divmod(self.width(run.axis), needed)
            if rest or left:
                raise MismatchError
            (inner,) = self.new(channels)
            self._substitute(run.axis, (Run(inner.axis, needed),))
        found = self.resolve(layout)
        if any(run.columns % count for run in found):
            raise MismatchError
        return tuple(Run(run.axis, run.columns // count) for run in found)

    def _length(self, run: Run) -> int:
        return self._sizes[run.axis] * run.columns

    def _substitute(self, axis: int, layout: Runs) -> None:
        self._substitutes[axis] = layout
        if axis in self._reasons:
            self.fix(layout, self._reasons.pop(axis))

    def _divide(self, run: Run, at: int) -> None:
        """Make two axes of one, at a place counted from the start of a run of it."""
        channels, rest = divmod(at, run.columns)
        if rest:
            raise MismatchError
        self._substitute(run.axis, self.new(channels) + self.new(self._sizes[run.axis] - channels))

    def _cut(self, layout: Runs, at: int) -> None:
        start = 0
        for run in self.resolve(layout):
            if start < at < start + self._length(run):
                self._divide(run, at - start)
                return
            start += self._length(run)

    def _make_equal(self, first: Run, second: Run) -> None:
        if first.columns == second.columns:
            low, high = sorted((first.axis, second.axis))
            self._substitute(high, (Run(low),))
            return
        coarse, fine = sorted((first, second), key=lambda run: run.columns, reverse=True)
        if coarse.columns % fine.columns or coarse.axis == fine.axis:
            raise MismatchError
        self._substitute(fine.axis, (Run(coarse.axis, coarse.columns // fine.columns),))


def repeated(layout: Runs, columns: int) -> Runs:
    """Give every channel so many columns for each one it has."""
    return tuple(Run(run.axis, run.columns * columns) for run in layout)


def merge(axes: Axes, layouts: Sequence[Runs | None], shape: Sequence[int], reason: str) -> Runs | None:
    """Flatten several dimensions into one.

    Parameters
    ----------
    axes : Axes
        What the layouts are of.
    layouts : sequence
        What lies along each dimension; ``None`` where nothing grows.
    shape : sequence of int
        Their lengths.
    reason : str
        Why they cannot grow if several of them could.
    """
    growing = [number for number, layout in enumerate(layouts) if layout is not None]
    if len(growing) > 1:  # those that cannot grow any more are as good as positions
        growing = [number for number in growing if not axes.is_fixed(layouts[number] or ())] or growing[:1]
    if not growing:
        return None
    if len(growing) > 1:
        for number in growing:
            axes.fix(layouts[number] or (), reason)
    at = growing[0]
    return repeated(axes.resolve(layouts[at] or ()), prod(shape[at + 1 :])) * prod(shape[:at])
