"""One recording of a meter: where the inferences are in it, and what energy they took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgegrow.measure.meters.meter import Description, MeterError, Readings, Span
from edgegrow.measure.meters.pulses import find_pulses
from edgegrow.measure.protocol import Identity, Measurement
from edgegrow.measure.window_plan import over_windows

TOLERANCE = 0.05
"""How far a window may be from what the device says it lasted; its clock and the meter's are two."""

DELAY_S = 0.1
"""How far beside that, in s: as late may an edge be found."""

LEAST_READINGS = 10
"""In a window: fewer say little of its mean power."""


@dataclass(frozen=True)
class Stretch:
    """Inferences that a device did, one after the other.

    Attributes
    ----------
    iterations : int
    seconds : float
        What they took by the device's clock, in s.
    start_s : float
        When they began, in s.
    clock : str
        By whose clock: the device's name, or `edgegrow.measure.meters.meter.THIS_MACHINE`.
    """

    iterations: int
    seconds: float
    start_s: float
    clock: str


@dataclass(frozen=True)
class Recording:
    """What a meter recorded while a device inferred.

    Attributes
    ----------
    readings : Readings
        They begin with a pause, in which the device did nothing.
    meter : Description
    stretches : tuple of Stretch
        At least one.
    pause_s : float
        The pauses before, between and after the stretches, in s.
    """

    readings: Readings
    meter: Description
    stretches: tuple[Stretch, ...]
    pause_s: float

    def locate(self) -> tuple[list[Span], str]:
        """Find each stretch by the meter's clock, and say how.

        Raises
        ------
        MeterError
            If one is not found, or is not as long as the device says.
        """
        shortest_s = min(stretch.seconds for stretch in self.stretches)
        marked = [(start, end) for start, end in self.readings.pulses or () if end - start > shortest_s / 2]
        if marked:
            return self._matched(marked, "on the marker input"), "found by the marker input"
        if all(stretch.clock == self.meter.clock for stretch in self.stretches):
            spans = [(stretch.start_s, stretch.start_s + stretch.seconds) for stretch in self.stretches]
            return spans, "found by the device's clock, which also stamps the meter's readings"
        pulses = find_pulses(self.readings, shortest_s, self.pause_s)
        found = self._matched(pulses, "in the meter's power")
        return found, "found by the rise and fall of the meter's power between pauses"

    def _matched(self, spans: Sequence[Span], where: str) -> list[Span]:
        """Return as many spans, one after the other, as there are stretches, each as long as the device says.

        The device also draws power while it gets ready, and when it is interrupted.
        """
        wanted = [stretch.seconds for stretch in self.stretches]
        for first in range(len(spans) - len(wanted) + 1):
            chosen = spans[first : first + len(wanted)]
            if all(
                abs(end - start - seconds) <= TOLERANCE * seconds + DELAY_S
                for (start, end), seconds in zip(chosen, wanted, strict=True)
            ):
                return list(chosen)
        lengths = ", ".join(f"{end - start:.3g}" for start, end in spans[:10]) or "none"
        device = ", ".join(f"{seconds:.3g}" for seconds in wanted)
        raise MeterError(
            f"the device inferred for {device} s, {where} there were times of {lengths} s: see what else "
            "draws power, and the meter's connection"
        )

    def figures(
        self, spans: list[Span], identity: Identity, method: str, warn: Callable[[str], None]
    ) -> tuple[Measurement, ...]:
        """Report energy per inference in mJ, the power in W meanwhile, and while nothing was done.

        Parameters
        ----------
        spans : list of Span
            Of each stretch, as `locate` finds them.
        identity : Identity
            Of the artifact's figures.
        method : str
        warn : callable
            Called with each thing that makes the figures doubtful; their ``method`` keeps it.

        Raises
        ------
        MeterError
            If the meter counted nothing.
        """
        readings, meter = self.readings, self.meter
        energies_j = [readings.energy_of(span) for span in spans]
        if min(energies_j) <= 0:
            raise MeterError("it counted no energy: see that it is in the supply, and the right way round")
        doubts = (*readings.doubts, *self._doubts(spans))
        for line in doubts:
            warn(line)
        voltage_v = identity.voltage_v if meter.voltage_v is None else meter.voltage_v
        common: dict[str, Any] = {
            "evidence": meter.evidence,
            "identity": identity.model_copy(update={"meter": meter.identity, "voltage_v": voltage_v}),
            "method": "; ".join((meter.identity, meter.covers, "idle power not subtracted", method, *doubts)),
            "error": meter.error,
        }
        energies_mj = [1e3 * e / s.iterations for e, s in zip(energies_j, self.stretches, strict=True)]
        powers_w = [e / (end - start) for e, (start, end) in zip(energies_j, spans, strict=True)]
        measurements = [
            *over_windows("energy", "mJ", energies_mj, **common),
            over_windows("power", "W", powers_w, **common)[0],
        ]
        if meter.evidence == "measured":
            start = float(readings.time_s[0])
            idle_w = readings.energy_of((start, start + 0.9 * self.pause_s)) / (0.9 * self.pause_s)
            measurements.append(
                Measurement(metric="idle_power", value=float(f"{idle_w:.7g}"), unit="W", **common)
            )
        return tuple(measurements)

    def _doubts(self, spans: list[Span]) -> list[str]:
        if self.meter.evidence != "measured":
            return []
        doubts = []
        few = min(map(self.readings.count_in, spans))
        if few < LEAST_READINGS:
            doubts.append(f"only {few} readings of the meter in a window: take longer ones (--seconds)")
        shortest_s = min(end - start for start, end in spans)
        if shortest_s < 0.99 * self.meter.window_s:
            needed = f"the {self.meter.window_s:g} s that this meter needs"
            doubts.append(
                f"windows of {shortest_s:.3g} s are shorter than {needed}: take longer ones (--seconds)"
            )
        return doubts
