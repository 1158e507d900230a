"""Counting an artifact's instructions on a Linux or Android target's emulated core."""

from __future__ import annotations

from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.listener import Listener
from edgegrow.measure.arm.cores import find_core
from edgegrow.measure.arm.qemu import IMAGE, QemuDevice, open_container, open_emulator
from edgegrow.measure.protocol import Profile
from edgegrow.targets import Target
from edgegrow.ways.way import Options, Way


def open_emulated(target: Target, listener: Listener, contained: bool = False) -> QemuDevice:
    """Open the emulated core of a target; this machine's emulator is prepared where it is not.

    Parameters
    ----------
    target : Target
    listener : Listener
    contained : bool
        Whether to take the emulator of a container, of the image that the target's file names or
        ``edgegrow-cortex-a``, instead of this machine's.

    Raises
    ------
    InputError
        If the target's core cannot be emulated, or the emulator cannot be prepared.
    DeviceError
        If the emulator does not start.
    """
    if target.soc.core is None:
        raise InputError(f"target {target.name}: it has no soc.core that could be emulated: use --via local")
    try:
        core = find_core(target.soc.core)
    except InputError as error:
        raise InputError(f"target {target.name}: {error}") from error
    image = target.emulator.image if target.emulator is not None else None
    return open_container(core, image or IMAGE) if contained else open_emulator(core, listener.say)


def count_artifact(
    path: Path,
    target: Target,
    listener: Listener,
    *,
    contained: bool = False,
    threads: int | None = None,
    iterations: int | None = None,
    operators: bool = False,
) -> Profile:
    """Count the instructions of an inference.

    Parameters
    ----------
    path : Path
        A ``.tflite`` or ``.onnx`` file.
    target : Target
    listener : Listener
    contained : bool
        As `open_emulated` takes it.
    threads, iterations : int or None
        As `edgegrow.measure.arm.counting.count_on` takes them; by default the target's threads.
    operators : bool
        Whether to count each operator too: an emulation for each.

    Raises
    ------
    InputError
        If the emulator cannot be opened, or the artifact not run.
    DeviceError
        If the emulator fails.
    """
    from edgegrow.measure.arm.counting import INFERENCES, count_on
    from edgegrow.measure.arm.operators import count_operators

    device = open_emulated(target, listener, contained)

    def count(file: Path) -> Profile:
        return count_on(
            device,
            file,
            target=target.reference,
            scale=target.cycle_scale(),
            threads=target.runtime.threads if threads is None else threads,
            iterations=INFERENCES if iterations is None else iterations,
            progress=listener.detail,
            warn=listener.warn,
        )

    with device:
        return count_operators(path, count) if operators else count(path)


CONTAINED = {"emulator": False, "container": True}
"""Ways to an emulated core of a Linux or Android target, and whether it is in a container."""


def counted(way: str) -> Way:
    """Count on an emulated core, on this machine or in a container."""

    def measure(path: Path, target: Target, _: str, options: Options, listener: Listener) -> Profile:
        options.allow(way, "threads", "iterations", "operators")
        return count_artifact(
            path,
            target,
            listener,
            contained=CONTAINED[way],
            threads=options.threads,
            iterations=options.iterations,
            operators=bool(options.operators),
        )

    return measure
