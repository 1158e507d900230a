"""What all ways of measuring have in common: their signature, options, meters and windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.device import Device
from edgegrow.measure.meters.meter import Meter
from edgegrow.measure.protocol import Profile
from edgegrow.measure.window_plan import Windows
from edgegrow.targets import Target

Way = Callable[[Path, Target, str, "Options", Listener], Profile]
"""Measures a file on a target at an address, which is empty for a way that has none."""


@dataclass(frozen=True)
class Options:
    """How to measure; ``None`` is the default of the way that is taken.

    Attributes
    ----------
    threads : int or None
        Threads the runtime may use.
    iterations, seconds : int or None, float or None
        At least so many timed inferences, and so long, in seconds.
    compiler : str or None
        ``zig`` or ``gcc``, for a microcontroller.
    emulator : str or None
        ``unicorn`` or ``qemu``, for a microcontroller.
    meter : str or None
        An energy meter, one of `edgegrow.measure.meters.opening.METERS`.
    operators : bool or None
        Whether to count each operator of a ``.tflite`` file too, in an emulator of ARM Linux.
    """

    threads: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    compiler: str | None = None
    emulator: str | None = None
    meter: str | None = None
    operators: bool | None = None

    def allow(self, way: str, *names: str) -> None:
        """Refuse options that a way of measuring has no use for."""
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in names:
                raise InputError(f"--{field.name}: it means nothing to --via {way}: leave it out")


@contextmanager
def metered(name: str | None, target: Target, device: Device | None = None) -> Iterator[Meter | None]:
    """Set up a meter before anything is measured, and give it back at the end."""
    if name is None:
        yield None
        return
    from edgegrow.measure.meters.opening import make_meter

    meter = make_meter(name, power=target.active_power, voltage_v=target.soc.voltage_v, device=device)
    with closing(meter):
        meter.setup()
        yield meter


def windows(options: Options, meter: Meter | None = None) -> Windows:
    """Return how that is taken which needs long windows: times of boards, and energy."""
    default = Windows() if meter is None else Windows(min_seconds=meter.description.window_s)
    return Windows(
        min_iterations=default.min_iterations if options.iterations is None else options.iterations,
        min_seconds=default.min_seconds if options.seconds is None else options.seconds,
    )
