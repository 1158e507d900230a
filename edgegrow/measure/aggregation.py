"""From repeated counts to measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from edgegrow.measure.protocol import Aggregation, Measurement


def exact_or_median(metric: str, unit: str, samples: Sequence[float], **common: Any) -> Iterator[Measurement]:
    """One figure where all samples are the same, else their median and maximum.

    Parameters
    ----------
    metric, unit : str
    samples : sequence of float
        One or more.
    common
        The measurements' other fields.
    """

    def measurement(value: float, aggregation: Aggregation, kept: Sequence[float]) -> Measurement:
        return Measurement(
            metric=metric, value=value, unit=unit, aggregation=aggregation, samples=tuple(kept), **common
        )

    if len(set(samples)) == 1:
        yield measurement(samples[0], "exact", ())
    else:
        yield measurement(statistics.median_high(samples), "median", samples)
        yield measurement(max(samples), "max", ())
