"""Latencies of several artifacts, compared in one run: windows of each, taken in turn.

A machine's speed drifts, and jumps when others use it. Artifacts that are timed in turn meet the same
conditions, and the median over windows leaves out those that were disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.process import Worker
from edgegrow.measure.protocol import Identity
from edgegrow.measure.runner.request import KEYS
from edgegrow.measure.session import open_artifact

_LEAST_CALLS = 10


def time_in_turn(
    paths: Sequence[Path],
    *,
    threads: int,
    rounds: int,
    seconds: float,
    worker: Worker,
    done: Callable[[int], None] | None = None,
) -> tuple[Identity, NDArray[np.float64]]:
    """Time artifacts in turn, round after round.

    Parameters
    ----------
    paths : sequence of Path
        ``.tflite`` or ``.onnx`` files; at least one.
    threads : int
        Threads the runtime may use.
    rounds : int
        Windows of each artifact.
    seconds : float
        Length of a window at least, in s.
    worker : Worker
        Where they run.
    done : callable, optional
        Called with the number of windows that are done.

    Returns
    -------
    identity : Identity
        Of the first artifact's figures.
    windows_ns : ndarray
        ``(paths, rounds)``, the median of each window, in ns.

    Raises
    ------
    InputError
        If an artifact cannot be opened or run.
    """
    windows_ns = np.zeros((len(paths), rounds))
    # Every window has one warm-up of a few calls: what takes turns is warm.
    request = {
        "do": "measure",
        "min_iterations": _LEAST_CALLS,
        "min_seconds": seconds,
        "max_samples": KEYS["max_samples"],
        "settle_seconds": 0,
    }
    identity = Identity()
    for turn in range(rounds):
        for place, path in enumerate(paths):
            session = open_artifact(path, threads, worker)
            answer, _ = session.ask(request)
            windows_ns[place, turn] = np.median(answer["latency_ns"])
            if place == 0:
                identity = session.identity
            if done is not None:
                done(turn * len(paths) + place + 1)
    return identity, windows_ns
