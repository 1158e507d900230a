"""NPUs: estimated by Arm's Vela."""

from __future__ import annotations

from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.protocol import Profile
from edgegrow.targets import Target
from edgegrow.ways.way import Options


def by_vela(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
    """Estimate a ``.tflite`` file's cycles, time and memory.

    Raises
    ------
    InputError
        If the target's file lacks what Vela needs, or the file cannot be read.
    """
    from edgegrow.measure.vela import Npu, estimate

    options.allow("vela")
    core, clock_hz, emulator = target.soc.core, target.soc.clock_hz, target.emulator
    if (
        core is None
        or clock_hz is None
        or emulator is None
        or not (emulator.machine and emulator.memory_mode)
    ):
        needed = "soc.core, soc.clock_hz, emulator.machine and emulator.memory_mode"
        raise InputError(f"target {target.name}: Vela needs {needed}: add them to its file")
    listener.detail(f"estimating {path} for {target.name}")
    npu = Npu(core, emulator.machine, emulator.memory_mode, clock_hz)
    return estimate(path, npu, target.reference)
