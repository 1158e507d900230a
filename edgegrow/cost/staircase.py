"""Latency as a staircase in the width: how wide its steps are, and a table of whole steps.

Kernels compute several channels at once, so that a layer takes as long as one whose channels fill the last
block: with XNNPACK on x86, 17 channels as long as 32. A straight line between measured widths would hide
that, so a table is asked for whole steps only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np

BLOCKS = (1, 2, 4, 8, 16, 32)
"""Widths of a step that are looked for."""

SWEPT = (3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 20, 21, 24, 25, 28, 29, 32, 33)
"""Widths that tell `BLOCKS` apart: on both sides of the ends of their first steps."""

_FILE_NOISE = 0.01
"""Share that times of files of one size were seen to differ by, however often each is timed: where its memory
lies is chance."""

_DENSEST = 1.5
"""Greatest ratio of neighbouring levels of a table, beyond the first few."""

Sizes = tuple[int, ...]
"""Widths of a layer: channels in and out, or channels alone where they are the same."""


def find_block(widths: Sequence[int], times: Sequence[Sequence[float]]) -> int:
    """Find how many channels go together: the width of the steps that explains a sweep best.

    For every block each step is given a time of its own, and what is left unexplained, in units of the noise
    of one file, is weighed against the number of steps: ``chi**2 + 2 k log n`` for ``n`` widths and ``k``
    steps, twice the penalty of Schwarz, "Estimating the dimension of a model" (1978). Narrower steps fit as
    well where wider ones hold, with more parameters.

    Parameters
    ----------
    widths : sequence of int
        Such as `SWEPT`.
    times : sequence of sequence of float
        For each width several readings, in any unit.
    """
    medians = np.log([np.median(values) for values in times])
    deviations = [
        abs(np.log(value) - m) for values, m in zip(times, medians, strict=True) for value in values
    ]
    noise = max(_FILE_NOISE, float(np.median(deviations)))

    def criterion(block: int) -> float:
        steps: dict[int, list[float]] = {}
        for width, value in zip(widths, medians, strict=True):
            steps.setdefault(-(-width // block), []).append(value)
        left = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in steps.values())
        return left / noise**2 + 2 * len(steps) * log(len(widths))

    return min(sorted(BLOCKS, reverse=True), key=criterion)


def levels(low: int, high: int, block: int) -> tuple[int, ...]:
    """Widths that end a step, from that of ``low`` to that of ``high``, ever further apart."""
    last = -(-high // block)
    found = [-(-low // block)]
    while found[-1] < last:
        found.append(min(last, max(found[-1] + 1, int(found[-1] * _DENSEST))))
    return tuple(step * block for step in found)


@dataclass(frozen=True)
class Axis:
    """One axis of a table.

    Attributes
    ----------
    levels : tuple of int
        Widths that were measured, ascending; a single one where the width never varies.
    block : int
        Channels of a step.
    """

    levels: tuple[int, ...]
    block: int = 1

    def time(self, width: int, measured: Callable[[int], float]) -> float:
        """Time at a width: of its whole step, on a straight line between levels.

        Below the first level the time is the first's. Beyond the last a line goes on from it, through a level
        of at most half its width, since a line through neighbours would multiply their noise; it never falls.

        Parameters
        ----------
        width : int
        measured : callable
            Time at a level.
        """
        first, last = self.levels[0], self.levels[-1]
        whole = -(-width // self.block) * self.block
        if whole <= first or first == last:
            return measured(first)
        if whole > last:
            low = max(level for level in self.levels if level <= max(first, last // 2))
            slope = (measured(last) - measured(low)) / (last - low)
            return measured(last) + max(0.0, slope) * (whole - last)
        low, high = next(pair for pair in pairwise(self.levels) if whole <= pair[1])
        share = (whole - low) / (high - low)
        return measured(high) if share == 1 else (1 - share) * measured(low) + share * measured(high)


class Staircase:
    """Times of a layer over its widths.

    Parameters
    ----------
    axes : sequence of Axis
        One for each of a layer's widths.
    times : mapping
        ``{sizes: time}`` at every combination of the axes' levels.
    """

    def __init__(self, axes: Sequence[Axis], times: Mapping[Sizes, float]) -> None:
        self.axes, self._times = tuple(axes), times

    def __call__(self, sizes: Sizes) -> float:
        """Time at any widths, of whole steps; beyond a table never less than at its end."""
        return self._time(sizes, ())

    def _time(self, sizes: Sizes, corner: Sizes) -> float:
        """Time where the first axes are at a corner's levels."""
        place = len(corner)
        if place == len(self.axes):
            return self._times[corner]
        return self.axes[place].time(sizes[place], lambda level: self._time(sizes, (*corner, level)))
