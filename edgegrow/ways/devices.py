"""Real devices of Linux and Android targets: how they are opened, one function a way, and measured.

A new way is a function here and a line in `DEVICES`; what is measured on a device is
`edgegrow.measure.remote.measure_on`'s, and what is timed in turn `edgegrow.measure.windows.time_in_turn`'s,
the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.benchmark_model import measure_benchmark_model
from edgegrow.measure.benchmark_program import instead_of_python
from edgegrow.measure.benchmark_turns import take_turns_by_benchmark_model
from edgegrow.measure.device import Device
from edgegrow.measure.identity import numbers
from edgegrow.measure.protocol import Identity, Profile
from edgegrow.measure.remote import measure_on
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.windows import TakeTurns, time_in_turn
from edgegrow.targets import Target
from edgegrow.ways.way import Options, Way, metered, windows


def _open_local(target: Target, _: str) -> Device:
    from edgegrow.measure.device import LocalDevice

    python = target.transport.python
    return LocalDevice() if python is None else LocalDevice((python,))


def _open_ssh(target: Target, address: str) -> Device:
    from edgegrow.measure.ssh import SshDevice

    return SshDevice(f"ssh://{address}", (target.transport.python or "python3",))


def _open_adb(target: Target, serial: str) -> Device:
    from edgegrow.measure.adb import AdbDevice

    return AdbDevice(serial, (target.transport.python or "python3",))


Open = Callable[[Target, str], Device]
"""Opens a target's device at an address, which is empty for a way that has none."""

DEVICES: dict[str, Open] = {"local": _open_local, "ssh": _open_ssh, "adb": _open_adb}
"""Ways to a device that runs `edgegrow.measure.runner`; each imports what it needs when it is taken."""


def on_device(way: str) -> Way:
    """Measure on a device: by edgegrow's runner, or on a phone without Python by Google's benchmark_model."""

    def measure(path: Path, target: Target, address: str, options: Options, listener: Listener) -> Profile:
        options.allow(way, "threads", "iterations", "seconds", "meter")
        plan = replace(
            _plan(target),
            min_iterations=50 if options.iterations is None else options.iterations,
            min_seconds=1.0 if options.seconds is None else options.seconds,
        )
        if options.threads is not None:
            plan = replace(plan, threads=options.threads)
        how: dict[str, Any] = {"target": target.reference, "plan": plan, "progress": listener.detail}
        with (
            DEVICES[way](target, address) as device,
            metered(options.meter, target, None if way == "local" else device) as meter,
        ):
            program = instead_of_python(device) if way == "adb" else None
            if program is None:
                energy = None if meter is None else windows(options, meter)
                return measure_on(device, path, meter=meter, windows=energy, warn=listener.warn, **how)
            if meter is not None:
                raise InputError(f"--meter: {device.name} has no Python to run its windows: leave it out")
            listener.warn(f"{device.name}: there is no Python: {program} measures, and tells no outputs")
            return measure_benchmark_model(device, path, program=program, **how)

    return measure


def turns_on(way: str, target: Target, address: str, format: str) -> TakeTurns:
    """Time files of a format in turn on a device, by what measures a single one there.

    Each time it is connected anew: between two, a network may be trained for hours.
    """

    def take_turns(
        contents: Sequence[bytes], rounds: int, seconds: float
    ) -> tuple[Identity, NDArray[np.float64]]:
        how: dict[str, Any] = {"plan": _plan(target), "rounds": rounds, "seconds": seconds}
        with DEVICES[way](target, address) as device:
            program = instead_of_python(device) if way == "adb" else None
            if program is None:
                return time_in_turn(device, contents, format, **how)
            if format != "tflite":
                raise InputError(f"{device.name}: benchmark_model there takes .tflite files alone")
            return take_turns_by_benchmark_model(device, contents, program=program, **how)

    return take_turns


def _plan(target: Target) -> TimingPlan:
    """Tell how a target runs what is timed."""
    affinity = target.runtime.affinity
    return TimingPlan(
        threads=target.runtime.threads,
        affinity=None if affinity is None else numbers(affinity),
        cpu_part=target.emulator.part if target.emulator is not None else None,
    )
