"""From timings to measurements of latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.protocol import Evidence, Identity, Measurement
from edgegrow.measure.worker import time_calls

__all__ = ["latency", "time_calls"]


def latency(
    nanoseconds: NDArray[np.int64], identity: Identity, method: str, evidence: Evidence = "measured"
) -> tuple[Measurement, ...]:
    """Measurements of the latency of one inference, in ms: median, min, p90 and p99.

    Parameters
    ----------
    nanoseconds : ndarray
        ``(samples,)``, of one inference each; the median keeps them.
    identity : Identity
    method : str
    evidence : str

    Notes
    -----
    Percentiles interpolate linearly between samples. The minimum is what the artifact takes when nothing
    disturbs it, p99 what a user waits at worst.
    """
    samples = np.asarray(nanoseconds) / 1e6
    values = {
        "median": np.median(samples),
        "min": samples.min(),
        "p90": np.percentile(samples, 90),
        "p99": np.percentile(samples, 99),
    }
    return tuple(
        Measurement(
            metric="latency",
            value=round(float(value), 7),
            unit="ms",
            aggregation=aggregation,
            samples=tuple(samples.tolist()) if aggregation == "median" else (),
            evidence=evidence,
            identity=identity,
            method=method,
        )
        for aggregation, value in values.items()
    )
