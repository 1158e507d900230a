"""What chance alone does to two figures of the same thing: to timings, and to the share of successes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

CONFIDENCE = 0.999
"""Of an interval of the median: two that do not meet are apart by more than chance."""

PIECES = 25
"""Stretches of consecutive samples: neighbours in time are disturbed together, stretches hardly."""

UNDISTURBED = 0.1
"""Share of the fastest samples, whose slowest tells what an inference takes when nothing disturbs it."""

STANDARD_ERRORS = 2.0
"""By which two shares may differ by chance."""


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Interval that holds the median of what `samples` were drawn from, whatever its distribution.

    Parameters
    ----------
    samples : sequence of float
        ``(n,)``, in the order taken, n >= 1.

    Returns
    -------
    low, high : float
        With `CONFIDENCE`; of fewer than 11 samples it is their whole range, with less.

    Notes
    -----
    The number of independent samples below the median is binomial with n and 1/2, so the order statistics
    ``x(k)`` and ``x(n+1-k)`` enclose it but for twice the binomial's tail below k (David and Nagaraja, Order
    Statistics, 3rd ed., section 7.1). Timings are not independent: a disturbance lasts. Where there are
    enough of them, the medians of `PIECES` consecutive stretches stand for them.
    """
    if len(samples) >= 2 * PIECES:
        bounds = [i * len(samples) // PIECES for i in range(PIECES + 1)]
        samples = [median(samples[a:b]) for a, b in pairwise(bounds)]
    ordered, n = sorted(samples), len(samples)
    outside, tail = 0, 0.5**n
    while tail <= (1 - CONFIDENCE) / 2:
        outside += 1
        tail += math.comb(n, outside) * 0.5**n
    return ordered[max(outside - 1, 0)], ordered[n - max(outside, 1)]


def slower(baseline: Sequence[float], candidate: Sequence[float], limit: float) -> bool:
    """Whether timings are longer than others by more than a limit and chance.

    A slower artifact takes longer every time, a disturbed one only now and then. So the medians' intervals
    must be apart by the limit, and the fastest tenths too.

    Parameters
    ----------
    baseline, candidate : sequence of float
        In the order taken; one or more each.
    limit : float
        Allowed relative increase; 0.01 is 1 %.
    """

    def beyond(before: float, after: float) -> bool:
        return after - before > limit * abs(before)

    fast = [sorted(samples)[int(UNDISTURBED * len(samples))] for samples in (baseline, candidate)]
    return beyond(median_interval(baseline)[1], median_interval(candidate)[0]) and beyond(*fast)


def chance_difference(first: float, n: int, second: float, m: int) -> float:
    """Difference of two shares, of `n` and `m` trials, that chance explains.

    Notes
    -----
    `STANDARD_ERRORS` times the standard error of the difference of two binomial shares with a common
    probability, as in the pooled two-proportion z-test. Where both were counted on the same trials it allows
    more than it must.
    """
    pooled = min(max((first * n + second * m) / (n + m), 0.0), 1.0)
    return STANDARD_ERRORS * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
