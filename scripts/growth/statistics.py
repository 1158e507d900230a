"""Means, spreads, and intervals of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean difference and its two-sided 95 % interval; without bounds where one pair tells none.

    Attributes
    ----------
    mean : float
    low, high : float or None
    pairs : int
        How many differences it is of.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def above(self) -> bool:
        """Whether all of it is above 0."""
        return self.low is not None and self.low > 0

    @property
    def below(self) -> bool:
        """Whether all of it is below 0."""
        return self.high is not None and self.high < 0


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def paired(differences: Sequence[float]) -> Interval:
    """Mean of paired differences with Student's t interval."""
    return pooled([differences])


def pooled(tasks: Sequence[Sequence[float]]) -> Interval:
    """Mean over tasks of each task's mean difference; the tasks are fixed, their seeds are a sample.

    Every task has a variance of its own, so the degrees of freedom are Welch and Satterthwaite's:
    ``(sum v)^2 / sum(v^2 / (n - 1))`` with ``v = s^2 / n``. With one task it is Student's interval.
    """
    mean = fmean(fmean(differences) for differences in tasks)
    pairs = sum(len(differences) for differences in tasks)
    if any(len(differences) < 2 for differences in tasks):
        return Interval(mean, None, None, pairs)
    parts = [(stdev(d) ** 2 / len(d), len(d) - 1) for d in tasks]
    variance = sum(v for v, _ in parts)
    if variance == 0:
        return Interval(mean, mean, mean, pairs)
    freedom = variance**2 / sum(v**2 / n for v, n in parts)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * sqrt(variance) / len(tasks)
    return Interval(mean, mean - half, mean + half, pairs)
