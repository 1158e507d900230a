"""Inferences that are marked, for a counter of instructions that looks on from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from .holder import Holder
from .repeating import uncollected
from .timed import untimed

MARK_SYSCALL = 60000
"""A system call that no Linux has; its argument is 1 where an inference begins and 0 where it ends."""

SETTLING = 17
"""Inferences after the first load, the last of which counts: Python makes what repeats faster."""

RESETTLING = 2
"""Inferences after each further load, the last of which counts: a runtime plans its memory at the first."""


def mark(holder: Holder, x: np.ndarray, iterations: int) -> dict[str, Any]:
    """Run inferences of a sample ``(1, ...)`` between two system calls each, and never read a clock.

    Each that counts is of an artifact that is loaded anew: where its memory lies has a part in the count.
    """
    import ctypes

    call = ctypes.CDLL(None).syscall
    with uncollected():
        for n in range(iterations):
            artifact, _ = holder.load()
            artifact.set_input(x)
            for _ in range(SETTLING if n == 0 else RESETTLING):
                call(MARK_SYSCALL, 1)
                artifact.invoke()
                call(MARK_SYSCALL, 0)
    # No state either: what is read of the machine moves what lies in memory behind it.
    return untimed(holder, {"time_s": 0.0}, {"time_s": 0.0})
