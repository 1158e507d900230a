"""The contract of energy meters.

Every meter gives a stream of the energy that has been used, by its own clock. Clocks are not shared between
a meter and what it measures, so the stream itself tells where the inferences are: by a marker input, by the
clock of the device where the meter is read on the device itself, or by its power, which rises and falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure.protocol import Evidence

THIS_MACHINE = "local"
"""Name of the clock of the machine that edgegrow runs on; other devices' clocks have the devices' names."""

Span = tuple[float, float]
"""Start and end of a time, in s."""


class MeterError(InputError):
    """A meter that is not there, may not be read, or gives nothing that can be used; says what to do."""


@dataclass(frozen=True)
class Description:
    """What a meter is: a part of its figures' identity.

    Attributes
    ----------
    name : str
        E.g. ``hwmon ina226``.
    covers : str
        What its energy is that of, and what else was assumed.
    resolution : str
        Smallest step of a reading, e.g. ``25 mW``; ``not known`` where the meter does not tell.
    rate_hz : float or None
        Readings a second that it is set to; None where it takes none.
    window_s : float
        How long a window of inferences should be for it, in s.
    clock : str or None
        Whose clock stamps its readings: `THIS_MACHINE`, or a device's name; None is a clock of its own.
    evidence : str
        ``measured``, or ``predicted`` where it does not measure.
    error : float or None
        Relative error of a prediction.
    voltage_v : float or None
        The supply in V that its figures hold for, where it is given or held.
    """

    name: str
    covers: str
    resolution: str = "not known"
    rate_hz: float | None = None
    window_s: float = 10.0
    clock: str | None = None
    evidence: Evidence = "measured"
    error: float | None = None
    voltage_v: float | None = None

    @property
    def identity(self) -> str:
        """Name, resolution and rate, for the identity of figures."""
        rate = "" if self.rate_hz is None else f", {self.rate_hz:g} readings/s"
        return f"{self.name}, resolution {self.resolution}{rate}"


@dataclass(frozen=True, eq=False)
class Readings:
    """What a meter has recorded from its start to its stop.

    Attributes
    ----------
    time_s : ndarray
        float64 ``(n,)``, ascending, in s by the clock that the meter's description names.
    energy_j : ndarray
        float64 ``(n,)``, energy since the first reading, in J.
    pulses : tuple of Span, or None
        When the marker input was active, by the same clock; None where there is no such input.
    doubts : tuple of str
        One line for each thing that makes the readings doubtful.
    """

    time_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    pulses: tuple[Span, ...] | None = None
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.time_s.shape != self.energy_j.shape or self.time_s.ndim != 1 or len(self.time_s) < 2:
            raise MeterError("the meter gave fewer than two readings: measure longer, see its connection")
        if not (np.isfinite(self.time_s).all() and np.isfinite(self.energy_j).all()):
            raise MeterError("the meter gave readings that are no numbers: see its connection")
        if not (np.diff(self.time_s) > 0).all():
            raise MeterError("the meter's clock did not go forward: measure again")

    def energy_of(self, span: Span) -> float:
        """Energy used in a span, in J, linear between readings.

        Raises
        ------
        MeterError
            If the span is not within the readings.
        """
        start, end = span
        if not self.time_s[0] <= start < end <= self.time_s[-1]:
            raise MeterError("the meter's readings do not reach over the inferences: measure again")
        first, last = np.interp((start, end), self.time_s, self.energy_j)
        return float(last - first)

    def count_in(self, span: Span) -> int:
        """Count the readings within a span."""
        first, last = np.searchsorted(self.time_s, span)
        return int(last - first)


class Meter(Protocol):
    """An energy meter: `setup` once, `reset`, `start`, `stop` and `get_data` for a recording, then `close`.

    Every method may raise a `MeterError`, which names the meter.
    """

    @property
    def description(self) -> Description:
        """What the meter is; known after `setup`."""
        ...

    def setup(self) -> None:
        """Find the meter and read it once: whatever is wrong is found before anything is measured."""
        ...

    def reset(self) -> None:
        """Forget all readings."""
        ...

    def start(self) -> None:
        """Begin to record; returns while it records."""
        ...

    def stop(self) -> None:
        """End the recording; does nothing where none was begun."""
        ...

    def get_data(self) -> Readings:
        """Return the recording that `stop` has ended."""
        ...

    def close(self) -> None:
        """Give the meter back."""
        ...


def quantity(value: float, unit: str) -> str:
    """Write a value with a prefix of its unit.

    Examples
    --------
    >>> quantity(0.025, "W"), quantity(1e-6, "J"), quantity(0.0, "A")
    ('25 mW', '1 uJ', '0 A')
    """
    for exponent, prefix in ((0, ""), (-3, "m"), (-6, "u"), (-9, "n")):
        if abs(value) >= 0.9995 * math.pow(10, exponent):
            return f"{value / math.pow(10, exponent):.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"
