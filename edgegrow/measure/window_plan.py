"""How many windows of inferences a figure is taken from, and how long: MLPerf-Tiny-style, unofficial."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgegrow.errors import InputError
from edgegrow.measure.protocol import Aggregation, Measurement

LONGEST_SECONDS = 1000.0
"""Of a window: a board that counts microseconds in 32 bits tells four times as much."""


@dataclass(frozen=True)
class Windows:
    """How a figure is taken: from so many windows, each with so many inferences and seconds at least."""

    count: int = 5
    min_iterations: int = 10
    min_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.min_iterations < 1 or not 0 < self.min_seconds <= LONGEST_SECONDS:
            longest = f"{LONGEST_SECONDS:.0f} s"
            raise InputError(f"windows: give 1 or more, of 1 iteration or more and of 0 to {longest}")


def over_windows(metric: str, unit: str, samples: Sequence[float], **common: Any) -> tuple[Measurement, ...]:
    """Report the median window, with all of them as samples, and the extremes.

    Parameters
    ----------
    metric, unit : str
    samples : sequence of float
        One for each window; at least one.
    **common
        Evidence, identity, method, error of all three.
    """
    values: dict[Aggregation, float] = {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
    }
    return tuple(
        Measurement(
            metric=metric,
            value=float(f"{value:.7g}"),
            unit=unit,
            aggregation=aggregation,
            samples=tuple(samples) if aggregation == "median" else (),
            **common,
        )
        for aggregation, value in values.items()
    )
