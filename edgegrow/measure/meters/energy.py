"""From a meter's stream and a number of inferences to energy per inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgegrow.errors import EdgegrowError
from edgegrow.measure.meters.meter import Meter
from edgegrow.measure.meters.recording import Recording, Stretch
from edgegrow.measure.protocol import Identity, Measurement, Unavailable
from edgegrow.measure.window_plan import Windows

PAUSE = 0.2
"""Share of a window for which the device idles before, between and after the windows."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figures:
    """What a meter gave: measurements, or why there are none."""

    measurements: tuple[Measurement, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()


def no_energy(reason: str) -> Figures:
    """Say why there is no energy."""
    return Figures(unavailable=(Unavailable(metric="energy", reason=reason),))


Work = Callable[[Windows, float], Iterable[Stretch]]
"""Has a device infer in windows, each with a pause of so many seconds before it."""


def measure_energy(
    meter: Meter | None,
    work: Work,
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
    work : callable
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
        ``energy`` of one inference in mJ, the median, minimum and maximum of the windows; ``power`` in W
        while inferring, their median; ``idle_power`` in W before them. The idle power is not subtracted.
    """
    if meter is None:
        return no_energy("no meter")
    pause_s = PAUSE * windows.min_seconds
    if say is not None:
        say(f"energy: {windows.count} windows of {windows.min_seconds:g} s by {meter.description.name}")
    stretches: list[Stretch] = []
    interruption = ""
    try:
        meter.reset()
        meter.start()
        try:
            time.sleep(pause_s)
            try:
                stretches.extend(work(windows, pause_s))
            except EdgegrowError as error:
                if not stretches:
                    raise
                interruption = f", then it was interrupted ({error})"
            time.sleep(pause_s)
        finally:
            meter.stop()
        recording = Recording(meter.get_data(), meter.description, tuple(stretches), pause_s)
        spans, how = recording.locate()
        method = (
            f"{len(stretches)} of {windows.count} windows{interruption}, {how}; each "
            f"{windows.min_seconds:g} s and {windows.min_iterations} inferences at least; MLPerf-Tiny-style, "
            "unofficial"
        )
        return Figures(recording.figures(spans, identity, method, warn or (lambda line: None)))
    except EdgegrowError as error:
        if warn is not None:
            warn(f"no energy: {error}")
        return no_energy(str(error))
