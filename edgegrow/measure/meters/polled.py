"""Meters that are files of a kernel: read again and again, in a thread, while others infer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import EdgegrowError, reason
from edgegrow.measure.meters.files import Files, Poll
from edgegrow.measure.meters.meter import Description, Meter, MeterError, Readings

MAX_READINGS = 10**6
"""Readings that are kept: half a day at the usual rate."""

_JOIN_SECONDS = 30.0

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Gauge:
    """What is read of a kernel, and how it becomes energy.

    Attributes
    ----------
    description : Description
    paths : tuple of str
        The files.
    values : callable
        From what they held once to numbers, in whatever unit.
    energy_j : callable
        From times ``(n,)`` in s and all those numbers ``(n, k)`` to the energy since the first, ``(n,)`` in
        J.
    doubts : callable
        From all those numbers to what makes them doubtful, one line each.
    """

    description: Description
    paths: tuple[str, ...]
    values: Callable[[Poll], tuple[int, ...]]
    energy_j: Callable[[Numbers, NDArray[np.object_]], Numbers]
    doubts: Callable[[NDArray[np.object_]], tuple[str, ...]] = lambda values: ()


class PolledMeter(Meter):
    """A gauge, polled in a thread of its own.

    Parameters
    ----------
    name : str
        What messages call it.
    files : Files
    find : callable
        Finds the gauge among the files.
    """

    def __init__(self, name: str, files: Files, find: Callable[[Files], Gauge]) -> None:
        self._name, self._files, self._find = name, files, find
        self._gauge: Gauge | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.reset()

    @property
    def description(self) -> Description:
        """What the gauge is."""
        return self._found.description

    @property
    def _found(self) -> Gauge:
        if self._gauge is None:
            raise MeterError(f"meter {self._name}: it is not set up")
        return self._gauge

    def setup(self) -> None:
        """Find the gauge, and read it once."""
        with self._named():
            self._gauge = self._find(self._files)
            self._gauge.values(self._files.read(self._gauge.paths))

    def reset(self) -> None:
        """Forget all readings."""
        self._times: list[float] = []
        self._values: list[tuple[int, ...]] = []
        self._fault: EdgegrowError | None = None

    def start(self) -> None:
        """Take the first reading, and go on in a thread."""
        self._ended.clear()
        with self._named():
            self._poll(self._found)
        self._thread = threading.Thread(target=self._run, args=(self._found,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and take the last reading."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join(_JOIN_SECONDS)
        if self._thread.is_alive():
            raise MeterError(f"meter {self._name}: it does not answer: see its connection")
        self._thread = None
        if self._fault is None:
            with self._named():
                self._poll(self._found)

    def get_data(self) -> Readings:
        """Return the recording as energy."""
        with self._named():
            if self._fault is not None:
                raise self._fault
            # Python's integers: counters of 64 bits do not fit into a float.
            values = np.empty((len(self._values), len(self._values[0]) if self._values else 0), object)
            for row, numbers in enumerate(self._values):
                values[row] = numbers
            times = np.array(self._times)
            return Readings(times, self._found.energy_j(times, values), doubts=self._found.doubts(values))

    def close(self) -> None:
        """End the thread, where it still runs."""
        self._ended.set()

    def _run(self, gauge: Gauge) -> None:
        try:
            while not self._ended.wait(self._files.period_s) and len(self._times) < MAX_READINGS:
                self._poll(gauge)
        except EdgegrowError as error:
            self._fault = error
        except Exception as error:  # of a thread nobody would see it
            self._fault = MeterError(reason(error))

    def _poll(self, gauge: Gauge) -> None:
        poll = self._files.read(gauge.paths)
        values = gauge.values(poll)
        if not self._times or poll.time_s > self._times[-1]:  # a device's clock may have coarse steps
            self._times.append(poll.time_s)
            self._values.append(values)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the meter in errors."""
        try:
            yield
        except EdgegrowError as error:
            message = str(error)
            prefix = f"meter {self._name}: "
            raise MeterError(message if message.startswith(prefix) else prefix + message) from error


def unwrapped(counts: NDArray[np.object_], ranges: tuple[int | None, ...]) -> NDArray[np.object_]:
    """Undo the wrap-around of counters: what each has counted since the first row.

    Parameters
    ----------
    counts : ndarray
        Whole numbers ``(n, k)``, read so often that none wraps twice between two rows.
    ranges : tuple of int or None
        From a counter's largest value it goes on at 0, ``ranges[k]`` later; None where it never wraps.

    Returns
    -------
    ndarray
        Whole numbers ``(n, k)``, not descending.

    Raises
    ------
    MeterError
        If a counter goes back that should not, or is larger than its range.
    """
    steps = counts[1:] - counts[:-1]
    for column, limit in enumerate(ranges):
        back = np.array([step < 0 for step in steps[:, column]], bool)
        if limit is None and back.any():
            raise MeterError("its counter went back: the device restarted, or it wraps at an unknown value")
        if limit is not None:
            if any(not 0 <= count <= limit for count in counts[:, column]):
                raise MeterError(f"its counter is not within its range of {limit}: choose another meter")
            steps[back, column] += limit
    return np.concatenate([np.zeros_like(counts[:1]), np.cumsum(steps, axis=0)])


def summed_microjoules(ranges: tuple[int | None, ...]) -> Callable[[Numbers, NDArray[np.object_]], Numbers]:
    """Make a gauge's `energy_j` of counters in uJ that add up; `ranges` are those of `unwrapped`."""
    return lambda times_s, counts: unwrapped(counts, ranges).sum(axis=1).astype(float) / 1e6


def integrated(times_s: Numbers, power_w: Numbers) -> Numbers:
    """Energy of powers since the first, ``(n,)`` in J, by the trapezoidal rule."""
    steps = np.diff(times_s) * (power_w[1:] + power_w[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])
