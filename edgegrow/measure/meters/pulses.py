"""Where the inferences are in a meter's stream, when only its power tells: it rises, and falls."""

from __future__ import annotations

import numpy as np

from edgegrow.measure.meters.meter import MeterError, Readings, Span, quantity

BINS = 1000
"""Bins of the shortest window: an edge is found to a thousandth of it."""

LEAST_CONTRAST = 0.1
"""The power while inferring must be so much above that of idling, as a share: less is not told apart."""


def find_pulses(readings: Readings, shortest_s: float, pause_s: float) -> tuple[Span, ...]:
    """Find when the power was high.

    Parameters
    ----------
    readings : Readings
        They begin and end with a pause.
    shortest_s, pause_s : float
        The shortest time that inferences took, and each pause before, between and after them, in s.

    Returns
    -------
    tuple of Span
        By the meter's clock.

    Raises
    ------
    MeterError
        If high and low cannot be told apart.
    """
    bin_s = max(shortest_s / BINS, float(np.median(np.diff(readings.time_s))))
    edges_s = np.arange(readings.time_s[0], readings.time_s[-1], bin_s)
    if len(edges_s) < 4:
        raise MeterError("the meter gave too few readings to find the inferences among them")
    energy_j = np.interp(edges_s, readings.time_s, readings.energy_j)
    power_w = np.diff(energy_j) / bin_s
    low, high = _levels(power_w)
    if high - low < LEAST_CONTRAST * abs(high):
        levels = f"{quantity(low, 'W')} while idling, {quantity(high, 'W')} while inferring"
        raise MeterError(
            f"the inferences cannot be found in the power: {levels}: connect the meter's marker input, or "
            "switch off what else draws power"
        )
    changes = np.diff(np.concatenate([[0], power_w > (low + high) / 2, [0]]).astype(np.int8))
    spans = np.stack([np.flatnonzero(changes > 0), np.flatnonzero(changes < 0)], axis=1)
    pulses: list[Span] = []
    for first, last in spans:
        start, end = float(edges_s[first]), float(edges_s[min(last, len(edges_s) - 1)])
        if pulses and start - pulses[-1][1] < pause_s / 2:  # a dip, not a pause
            start = pulses.pop()[0]
        pulses.append((start, end))
    return tuple(pulse for pulse in pulses if pulse[1] - pulse[0] > shortest_s / 2)


def _levels(power_w: np.ndarray) -> tuple[float, float]:
    """Mean power of two groups, low and high, such that each reading is in the group that is nearer to it."""
    middle = float(np.percentile(power_w, 1) + np.percentile(power_w, 99)) / 2
    for _ in range(50):
        high = power_w > middle
        if high.all() or not high.any():
            break
        levels = float(np.median(power_w[~high])), float(np.median(power_w[high]))
        if np.isclose(middle, sum(levels) / 2, rtol=1e-12):
            return levels
        middle = sum(levels) / 2
    else:
        return levels
    return float(power_w.mean()), float(power_w.mean())
