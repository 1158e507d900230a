"""Inferences that are timed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .holder import Holder
from .machine import state
from .repeating import time_calls, warm_up

REOPENED = 4
"""Further loads when measuring: the first one is slower, the median tells what a start costs."""


def measure(
    holder: Holder,
    x: np.ndarray,
    *,
    min_iterations: int,
    min_seconds: float,
    max_samples: int,
    settle_seconds: float,
) -> dict[str, Any]:
    """Time inferences of a sample ``(1, ...)``, and further loads."""
    artifact = holder.opened()
    artifact.set_input(x)
    warm, settled = warm_up(artifact.invoke, settle_seconds)
    before = state()
    latency = time_calls(
        artifact.invoke,
        min_iterations=min_iterations,
        min_seconds=min_seconds,
        max_samples=max_samples,
    )
    after = state()
    return {
        "latency_ns": latency.tolist(),
        "warmup_ns": warm[:max_samples],
        "load_ns": [holder.load_ns] + [holder.load()[1] for _ in range(REOPENED)],
        "peak_bytes": holder.peak_bytes,
        "before": before,
        "after": after,
        "warnings": [] if settled else [f"times still fell after {settle_seconds:g} s of warm-up"],
    }


def untimed(holder: Holder, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Answer where no inference was timed."""
    nothing: dict[str, Any] = {"latency_ns": [], "warmup_ns": [], "load_ns": [], "warnings": []}
    return {**nothing, "peak_bytes": holder.peak_bytes, "before": before, "after": after}
