"""Inferences in windows, for an energy meter."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .holder import Holder
from .machine import state
from .repeating import boot_seconds, uncollected, warm_up
from .timed import untimed


def repeat(
    holder: Holder,
    x: np.ndarray,
    *,
    windows: int,
    pause_seconds: float,
    min_iterations: int,
    min_seconds: float,
    settle_seconds: float,
) -> dict[str, Any]:
    """Infer a sample ``(1, ...)`` in windows, with a pause before each and after the last."""
    artifact, done = holder.opened(), []
    artifact.set_input(x)
    warm, _ = warm_up(artifact.invoke, settle_seconds)
    # The clock is read once a millisecond or so: it draws power too.
    batch = range(max(1, int(1e6 / max(1, np.median(warm)))))
    before = state()
    with uncollected():
        for _ in range(windows):
            time.sleep(pause_seconds)
            calls, elapsed, start = 0, 0.0, boot_seconds()
            while calls < min_iterations or elapsed < min_seconds:
                for _ in batch:
                    artifact.invoke()
                calls, elapsed = calls + len(batch), boot_seconds() - start
            done.append({"start_s": start, "seconds": elapsed, "iterations": calls})
        time.sleep(pause_seconds)
    return {**untimed(holder, before, state()), "windows": done}
