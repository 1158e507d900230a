"""A power that a target's file states, taken as constant: energy is power times time, a prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegrow.measure.meters.meter import THIS_MACHINE, Description, Meter, MeterError, Readings
from edgegrow.measure.worker import boot_seconds


@dataclass(frozen=True)
class ActivePower:
    """What a target draws while it infers.

    Attributes
    ----------
    watts : float
    error : float or None
        Relative deviation of other figures published for it.
    conditions : str or None
        What it holds for, and where it is from.
    voltage_v : float or None
        The supply that it holds for, in V.
    """

    watts: float
    error: float | None = None
    conditions: str | None = None
    voltage_v: float | None = None

    def energy_mj(self, time_ms: float) -> float:
        """Energy of a time, in mJ: power is constant within a few percent over networks."""
        return self.watts * time_ms

    @property
    def method(self) -> str:
        """What the energy is computed from, for a prediction's method."""
        return f"{1e3 * self.watts:g} mW; {self.conditions or 'conditions not stated'}"


class ConstantMeter(Meter):
    """A meter that always shows the same power.

    Parameters
    ----------
    power : ActivePower
    """

    def __init__(self, power: ActivePower) -> None:
        self._power = power
        self.reset()

    @property
    def description(self) -> Description:
        """The power and where it is from."""
        return Description(
            name="constant",
            covers=f"the target's stated power, {self._power.method}",
            resolution="none: it is not measured",
            window_s=1.0,
            clock=THIS_MACHINE,
            evidence="predicted",
            error=self._power.error,
            voltage_v=self._power.voltage_v,
        )

    def setup(self) -> None:
        """Nothing is needed."""

    def reset(self) -> None:
        """Forget the recording."""
        self._times_s: list[float] = []

    def start(self) -> None:
        """Note the time."""
        self._times_s = [boot_seconds()]

    def stop(self) -> None:
        """Note the time."""
        if len(self._times_s) == 1:
            self._times_s.append(boot_seconds())

    def get_data(self) -> Readings:
        """Return power times time."""
        if not self._times_s:
            raise MeterError("meter constant: nothing was recorded")
        times_s = np.array(self._times_s)
        return Readings(times_s, self._power.watts * (times_s - times_s[0]))

    def close(self) -> None:
        """Nothing is kept."""
