"""Calls that are repeated and timed: until they are warm, and then one by one."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

_WINDOW, _STEADY, _LEAST_WARM_NS = 5, 0.97, 50_000_000


@contextmanager
def uncollected() -> Iterator[None]:
    """Let garbage collection wait."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def warm_up(call: Callable[[], object], max_seconds: float) -> tuple[list[int], bool]:
    """Repeat a call until its times stop falling: twice in turn, no time in a window is a new best by 3 %.

    Parameters
    ----------
    call : callable
    max_seconds : float
        Time after which it ends anyhow, in s; 0 for one window of 5 calls.

    Returns
    -------
    nanoseconds : list of int
        One a call.
    settled : bool
        Whether they stopped falling, or were not asked to.
    """
    clock = time.perf_counter_ns
    times: list[int] = []
    start, steady = clock(), 0
    while True:
        best = min(times, default=0)
        for _ in range(_WINDOW):
            before = clock()
            call()
            times.append(clock() - before)
        steady = steady + 1 if min(times[-_WINDOW:]) >= _STEADY * best and best else 0
        taken = clock() - start
        if steady >= 2 and taken >= _LEAST_WARM_NS:
            return times, True
        if taken >= max_seconds * 1e9:
            return times, max_seconds == 0


def time_calls(
    call: Callable[[], object], *, min_iterations: int, min_seconds: float, max_samples: int
) -> np.ndarray:
    """Time repeated calls, one by one, in this process; garbage collection waits meanwhile.

    Where there are more calls than `max_samples`, every second, fourth, ... of them is kept, spread over the
    whole time.

    Parameters
    ----------
    call : callable
        What to time.
    min_iterations : int
        Timed calls at least.
    min_seconds : float
        Time that they take at least, in seconds.
    max_samples : int
        Timings returned at most; 2 or more.

    Returns
    -------
    ndarray
        int64 ``(samples,)``, nanoseconds.
    """
    clock = time.perf_counter_ns
    kept, stride, calls = [], 1, 0
    with uncollected():
        end = clock() + int(min_seconds * 1e9)
        while True:
            before = clock()
            call()
            after = clock()
            if calls % stride == 0:
                kept.append(after - before)
            calls += 1
            if calls >= min_iterations and after >= end:
                break
            if len(kept) >= max_samples:
                kept, stride = kept[::2], stride * 2
    return np.array(kept, np.int64)


def boot_seconds() -> float:
    """Seconds since this machine was started, by the clock of ``/proc/uptime``, which all processes share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
