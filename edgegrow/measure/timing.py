"""From timings to measurements of latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.answers import Timed
from edgegrow.measure.protocol import Artifact, Evidence, Identity, Measurement


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


def timed_measurements(
    timed: Timed, artifact: Artifact, identity: Identity, method: str
) -> tuple[Measurement, ...]:
    """Measurements of what a runner has timed: latency and load in ms, flash and peak memory in bytes.

    Parameters
    ----------
    timed : Timed
        With one timing of each kind at least.
    artifact : Artifact
    identity : Identity
    method : str
        How the inferences were timed.
    """
    loads = np.array(timed.load_ns) / 1e6
    load = Measurement(
        metric="load",
        value=round(float(np.median(loads)), 7),
        unit="ms",
        aggregation="median",
        samples=tuple(loads.tolist()),
        evidence="measured",
        identity=identity,
        method="from the file's bytes to a runtime that is ready, the package imported before",
    )
    memory = Measurement(
        metric="peak_memory",
        value=timed.peak_bytes or 0,
        unit="bytes",
        aggregation="max",
        evidence="measured",
        identity=identity,
        method="growth of the process's peak resident memory while the artifact is loaded and "
        "run once: weights, activations, the runtime's own memory, and the code of it that is used",
    )
    known = () if timed.peak_bytes is None else (memory,)
    return (*latency(np.array(timed.latency_ns), identity, method), load, flash(artifact), *known)


def flash(artifact: Artifact) -> Measurement:
    """Measurement of an artifact's size in bytes."""
    return Measurement(
        metric="flash",
        value=artifact.bytes,
        unit="bytes",
        evidence="measured",
        method="size of the artifact's file, without the runtime's",
    )
