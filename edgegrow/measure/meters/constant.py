"""A power that a target's file states, taken as constant: energy is power times time, a prediction."""

from __future__ import annotations

from dataclasses import dataclass

from edgegrow.measure.meters.files import Files
from edgegrow.measure.meters.meter import Description
from edgegrow.measure.meters.polled import Gauge


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


def find_constant(files: Files, power: ActivePower) -> Gauge:
    """Make a gauge that always shows the same power, by the clock of where files are read."""
    description = Description(
        name="constant",
        covers=f"the target's stated power, {power.method}",
        resolution="none, it is not measured",
        window_s=1.0,
        clock=files.clock,
        evidence="predicted",
        error=power.error,
        voltage_v=power.voltage_v,
    )
    return Gauge(description, (), lambda poll: (), lambda times_s, _: power.watts * (times_s - times_s[0]))
