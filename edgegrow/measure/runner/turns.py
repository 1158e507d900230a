"""Inferences of several artifacts, timed in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .holder import Holder
from .repeating import time_calls, warm_up


def apart(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Take artifacts of some sizes apart that follow each other."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [content[start : start + sizes[place]] for place, start in enumerate(starts)]


def take_turns(
    holder: Holder,
    artifacts: Sequence[bytes],
    *,
    format: str,
    threads: int,
    rounds: int,
    min_iterations: int,
    min_seconds: float,
    max_samples: int,
) -> dict[str, Any]:
    """Time artifacts in turn, round after round: tell the median of each window, and of the first what it is.

    Every window begins with a load and a few calls: what takes turns is warm.
    """
    told: dict[str, Any] = {}
    windows_ns: list[list[float]] = [[] for _ in artifacts]
    for _ in range(rounds):
        for place, content in enumerate(artifacts):
            holder.load_once(content, format, threads)
            told = told or holder.told()
            artifact = holder.opened()
            artifact.set_input(holder.random_sample())
            warm_up(artifact.invoke, 0)
            times = time_calls(
                artifact.invoke,
                min_iterations=min_iterations,
                min_seconds=min_seconds,
                max_samples=max_samples,
            )
            windows_ns[place].append(float(np.median(times)))
    return {**told, "windows_ns": windows_ns}
