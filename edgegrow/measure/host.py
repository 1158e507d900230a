"""Measuring an artifact on the machine that edgegrow runs on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.identity import State, describe_load, warnings
from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Measurement, Profile, TargetRef, Unavailable
from edgegrow.measure.session import Session, TensorInfo, open_artifact, predict
from edgegrow.measure.timing import latency
from edgegrow.measure.worker import MAX_SAMPLES

__all__ = ["Session", "TensorInfo", "Worker", "measure_host", "open_artifact", "predict"]

Say = Callable[[str], None]


def measure_host(
    path: str | Path,
    *,
    target: TargetRef,
    threads: int = 1,
    min_iterations: int = 50,
    min_seconds: float = 1.0,
    progress: Say | None = None,
    warn: Say | None = None,
) -> Profile:
    """Measure a ``.tflite`` or ``.onnx`` file on this machine, in a process of its own.

    Parameters
    ----------
    path : str or Path
    target : TargetRef
        The target that the profile is for.
    threads : int
        Threads the runtime may use.
    min_iterations : int
        Timed inferences at least.
    min_seconds : float
        Time that they take at least, in seconds.
    progress, warn : callable or None
        Called with one line: what is being done; what makes the figures doubtful. The latency's ``method``
        keeps the latter.

    Returns
    -------
    Profile
        ``latency`` of one inference and ``load`` (from the file's bytes to a runtime that is ready) in ms,
        ``peak_memory`` (of the process) and ``flash`` (the file) in bytes; energy is unavailable.

    Raises
    ------
    InputError
        If the artifact cannot be opened or run.
    """
    if min_iterations < 1 or not 0 <= min_seconds < float("inf"):
        raise InputError("measure: it takes 1 iteration or more, and a time of 0 s or more")
    say = progress or (lambda line: None)
    say(f"opening {path}")
    with open_artifact(path, threads) as session:
        say(f"timing {path}: {min_iterations} inferences and {min_seconds:g} s at least")
        before = State.now()
        request = {"do": "measure", "min_iterations": min_iterations, "min_seconds": min_seconds}
        answer, _ = session.ask({**request, "max_samples": MAX_SAMPLES})
        after = State.now()
    doubts = warnings(before, after, threads)
    for line in doubts:
        if warn is not None:
            warn(line)
    remarks = "; ".join((describe_load(before, after), *doubts))
    method = (
        f"calls of the runtime, one sample each, after a warm-up; {min_iterations} calls and "
        f"{min_seconds:g} s at least, {MAX_SAMPLES} samples at most; {remarks}"
    )
    identity = session.identity
    loads = np.array([session.load_ns, *answer["load_ns"]]) / 1e6
    measurements = [
        *latency(np.array(answer["latency_ns"]), identity, method),
        Measurement(
            metric="load",
            value=round(float(np.median(loads)), 7),
            unit="ms",
            aggregation="median",
            samples=tuple(loads.tolist()),
            evidence="measured",
            identity=identity,
            method="from the file's bytes to a runtime that is ready, the package imported before",
        ),
        Measurement(
            metric="flash",
            value=session.artifact.bytes,
            unit="bytes",
            evidence="measured",
            method="size of the artifact's file, without the runtime's",
        ),
    ]
    unavailable = [Unavailable(metric="energy", reason="no meter")]
    if answer["peak_bytes"] is None:
        reason = "this system does not tell a process its peak memory"
        unavailable.append(Unavailable(metric="peak_memory", reason=reason))
    else:
        measurements.append(
            Measurement(
                metric="peak_memory",
                value=answer["peak_bytes"],
                unit="bytes",
                aggregation="max",
                evidence="measured",
                identity=identity,
                method="growth of the process's peak resident memory while the artifact is loaded and "
                "run once: weights, activations, the runtime's own memory, and the code of it that is used",
            )
        )
    return Profile(
        artifact=session.artifact,
        target=target,
        measurements=tuple(measurements),
        unavailable=tuple(unavailable),
    )
