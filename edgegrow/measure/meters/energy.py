"""From a meter's stream and a number of inferences to energy per inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgegrow.errors import EdgegrowError
from edgegrow.measure.meters.meter import (
    THIS_MACHINE,
    Description,
    Meter,
    MeterError,
    Readings,
    Span,
)
from edgegrow.measure.meters.pulses import find_pulses
from edgegrow.measure.protocol import Identity, Measurement, Unavailable
from edgegrow.measure.window_plan import Windows, over_windows
from edgegrow.measure.worker import boot_seconds

PAUSE = 0.2
"""Share of a window for which the device idles before, between and after the windows."""

TOLERANCE = 0.05
"""How far a window may be from what the device says it lasted; its clock and the meter's are two."""

DELAY_S = 0.1
"""How far beside that, in s: as late may an edge be found."""

LEAST_READINGS = 10
"""In a window: fewer say little of its mean power."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stretch:
    """Inferences that a device did, one after the other.

    Attributes
    ----------
    iterations : int
    seconds : float
        What they took by the device's clock, in s.
    start_s : float or None
        When they began by the device's clock, in s since it was started; None where it does not tell.
    clock : str or None
        The name of that clock, see `Description.clock`.
    """

    iterations: int
    seconds: float
    start_s: float | None = None
    clock: str | None = None


@dataclass(frozen=True)
class Figures:
    """What a meter gave: measurements, or why there are none."""

    measurements: tuple[Measurement, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()


def no_energy(reason: str) -> Figures:
    """Say why there is no energy."""
    return Figures(unavailable=(Unavailable(metric="energy", reason=reason),))


Infer = Callable[[int, float], Stretch]
"""Has a device infer so often, and for so many seconds, at least."""


def measure_energy(
    meter: Meter | None,
    infer: Infer,
    identity: Identity,
    *,
    windows: Windows,
    say: Say | None = None,
    warn: Say | None = None,
) -> Figures:
    """Measure the energy of an inference; what fails is unavailable, with the reason, and never an error.

    Parameters
    ----------
    meter : Meter or None
        One that is set up, or none.
    infer : callable
        Has the device infer.
    identity : Identity
        Of the artifact's figures; the meter is added to it.
    windows : Windows
    say, warn : callable or None
        Called with one line: what is being done; what makes the figures doubtful. The energy's ``method``
        keeps the latter.

    Returns
    -------
    Figures
        ``energy`` in mJ, of one inference, and ``power`` in W while inferring: median, minimum and maximum of
        the windows; ``idle_power`` in W of the pause before them. The idle power is not subtracted.
    """
    if meter is None:
        return no_energy("no meter")
    pause_s = PAUSE * windows.min_seconds
    if say is not None:
        say(f"energy: {windows.count} windows of {windows.min_seconds:g} s by {meter.description.name}")
    stretches: list[Stretch] = []
    around: list[Span] = []
    interruption = ""
    try:
        meter.reset()
        meter.start()
        try:
            time.sleep(pause_s)
            while len(stretches) < windows.count and not interruption:
                before = boot_seconds()
                try:
                    stretches.append(infer(windows.min_iterations, windows.min_seconds))
                    around.append((before, boot_seconds()))
                except EdgegrowError as error:
                    interruption = f", then it was interrupted ({error})"
                time.sleep(pause_s)
        finally:
            meter.stop()
        if not stretches:
            raise MeterError(interruption.removeprefix(", then "))
        readings = meter.get_data()
        spans, how = _locate(readings, meter.description, stretches, around, pause_s)
        idle = (readings.time_s[0], readings.time_s[0] + 0.9 * pause_s)
        return _figures(
            readings, meter.description, stretches, spans, idle, identity, windows, how + interruption, warn
        )
    except EdgegrowError as error:
        if warn is not None:
            warn(f"no energy: {error}")
        return no_energy(str(error))


def _locate(
    readings: Readings,
    meter: Description,
    stretches: list[Stretch],
    around: list[Span],
    pause_s: float,
) -> tuple[list[Span], str]:
    """Find each stretch in the meter's stream, and say how."""
    shortest_s = min(stretch.seconds for stretch in stretches)
    marked = [(start, end) for start, end in readings.pulses or () if end - start > shortest_s / 2]
    if marked:
        return _checked(marked, stretches, "on the marker input"), "found by the marker input"
    if meter.clock is not None and all(s.start_s is not None and s.clock == meter.clock for s in stretches):
        spans = [(s.start_s or 0.0, (s.start_s or 0.0) + s.seconds) for s in stretches]
        return spans, "found by the device's clock, which also stamps the meter's readings"
    if meter.clock == THIS_MACHINE:
        middles = [(start + end) / 2 for start, end in around]
        spans = [(m - s.seconds / 2, m + s.seconds / 2) for m, s in zip(middles, stretches, strict=True)]
        return spans, "found by this machine's clock, at which they were asked for and reported"
    spans = _checked(find_pulses(readings, shortest_s, pause_s), stretches, "in the meter's power")
    return spans, "found by the rise and fall of the meter's power between pauses"


def _checked(spans: Sequence[Span], stretches: list[Stretch], where: str) -> list[Span]:
    """Return as many spans as stretches, each as long as the device says, or fail."""
    if len(spans) < len(stretches):
        found = f"{len(spans)} times of inferring were found {where}, not {len(stretches)}"
        raise MeterError(f"{found}: see its connection")
    # An interrupted window may have left a span of its own at the end.
    spans = list(spans[: len(stretches)])
    for (start, end), stretch in zip(spans, stretches, strict=True):
        if abs(end - start - stretch.seconds) > TOLERANCE * stretch.seconds + DELAY_S:
            times = f"{stretch.seconds:.3g} s by the device's clock, {end - start:.3g} s {where}"
            raise MeterError(f"inferences took {times}: see what else draws power, and the marker")
    return spans


def _figures(
    readings: Readings,
    meter: Description,
    stretches: list[Stretch],
    spans: list[Span],
    idle: Span,
    identity: Identity,
    windows: Windows,
    how: str,
    warn: Say | None,
) -> Figures:
    energies_j = [readings.energy_of(span) for span in spans]
    if min(energies_j) <= 0:
        raise MeterError("the meter counted no energy: see that it is in the supply, and the right way round")
    doubts = list(readings.doubts)
    if meter.evidence == "measured":
        few = min(map(readings.count_in, spans))
        if few < LEAST_READINGS:
            doubts.append(f"only {few} readings of the meter in a window: take longer ones (--seconds)")
        if windows.min_seconds < meter.window_s:
            doubts.append(f"windows are shorter than the {meter.window_s:g} s that {meter.name} needs")
    if warn is not None:
        for line in doubts:
            warn(line)
    method = "; ".join(
        (
            f"{meter.identity}: {meter.covers}; idle power not subtracted",
            f"{len(stretches)} of {windows.count} windows, {how}; each {windows.min_seconds:g} s and "
            f"{windows.min_iterations} inferences at least; MLPerf-Tiny-style, unofficial",
            *doubts,
        )
    )
    voltage_v = meter.voltage_v if meter.voltage_v is not None else identity.voltage_v
    common = {
        "evidence": meter.evidence,
        "identity": identity.model_copy(update={"meter": meter.identity, "voltage_v": voltage_v}),
        "method": method,
        "error": meter.error,
    }
    energies_mj = [1e3 * e / s.iterations for e, s in zip(energies_j, stretches, strict=True)]
    powers_w = [e / (end - start) for e, (start, end) in zip(energies_j, spans, strict=True)]
    measurements = [
        *over_windows("energy", "mJ", energies_mj, **common),
        *over_windows("power", "W", powers_w, **common),
    ]
    if meter.evidence == "measured":
        idle_w = readings.energy_of(idle) / (idle[1] - idle[0])
        measurements.append(
            Measurement(metric="idle_power", value=float(f"{idle_w:.7g}"), unit="W", **common)
        )
    return Figures(tuple(measurements))
