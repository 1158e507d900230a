"""Counting the instructions of an artifact's inference on an emulated ARM core."""

from __future__ import annotations

from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.measure.answers import Answer
from edgegrow.measure.arm.counts import count_measurements
from edgegrow.measure.arm.qemu import QemuDevice
from edgegrow.measure.arm.scale import CycleScale
from edgegrow.measure.arm.sysroot import SUITE
from edgegrow.measure.device import DeviceError
from edgegrow.measure.expected import expect
from edgegrow.measure.outputs import compare_outputs
from edgegrow.measure.protocol import Identity, Measurement, Profile, TargetRef, Unavailable
from edgegrow.measure.remote import Say, run_on
from edgegrow.measure.runner.marked import RESETTLING, SETTLING
from edgegrow.measure.runner.runtimes import RUNTIMES
from edgegrow.measure.runner_archive import runner_digest
from edgegrow.measure.session import read_artifact
from edgegrow.measure.timing import flash

INFERENCES = 31
"""Inferences that are counted: LiteRT's are nearly all the same, ONNX Runtime's differ by some hundreds."""

EMULATED_SECONDS = 3600.0
"""Time that all of it may take: an emulated inference takes some hundred times the host's."""

_NO_LATENCY = (
    "instructions are no cycles, and the time that the emulator takes tells nothing of the device's: measure "
    "on the device, or give its file cost.cycle_scale with its calibration and error"
)


def count_on(
    device: QemuDevice,
    path: str | Path,
    *,
    target: TargetRef,
    scale: CycleScale | None = None,
    threads: int = 1,
    iterations: int = INFERENCES,
    progress: Say | None = None,
    warn: Say | None = None,
) -> Profile:
    """Count the instructions of a ``.tflite`` or ``.onnx`` file's inference.

    Parameters
    ----------
    device : QemuDevice
    path : str or Path
    target : TargetRef
        The target that the profile is for.
    scale : CycleScale, optional
        Predicts the latency.
    threads : int
        Threads the runtime may use: counts repeat only with one.
    iterations : int
        Inferences that are counted.
    progress, warn : callable or None
        Called with one line: what is being done; what makes the figures doubtful.

    Returns
    -------
    Profile
        ``instructions`` of one inference, by kind too, ``mac_lanes``, ``flash`` and the outputs' deviation;
        and ``latency`` in ms, as far as it can be predicted.

    Raises
    ------
    InputError
        If the artifact cannot be opened or run, or computes something else than the simulator.
    DeviceError
        If the emulator fails.
    """
    if iterations < 1:
        raise InputError("measure: it takes 1 iteration or more")
    path = Path(path)
    artifact, content = read_artifact(path, threads)
    modules = {module.partition(".")[0] for module in device.installation.sysroot.recipe.modules}
    if modules.isdisjoint(RUNTIMES[artifact.format]):
        raise InputError(f"artifact {path}: target {target.name} has no runtime for .{artifact.format} files")
    expected = expect(path, artifact.format, content)
    if progress is not None:
        progress(f"emulating {path} on a {device.core.name}: {iterations} inferences")
    request = {"threads": threads, "marks": True, "iterations": iterations}
    try:
        inputs = None if isinstance(expected, str) else expected.inputs
        answer = run_on(device, content, artifact.format, request, inputs, EMULATED_SECONDS)
        compared = compare_outputs(answer, device, expected)
    except InputError as error:
        raise InputError(f"artifact {path} on an emulated {device.core.name}: {error}") from error
    if compared.doubt is not None and warn is not None:
        warn(compared.doubt)
    counts = device.counts[SETTLING - 1 :: RESETTLING]
    if len(device.counts) != SETTLING + (iterations - 1) * RESETTLING:
        raise DeviceError(f"{device.name}: it counted {len(counts)} of {iterations} inferences: try again")
    identity = _identity(answer, device, threads)
    counted = tuple(count_measurements(counts, identity, compared.words))
    deviation = compared.measurements(identity, "emulated")
    reason = "it is the emulator's, not the device's"
    unavailable = [
        Unavailable(metric="peak_memory", reason=reason),
        Unavailable(metric="energy", reason="no meter"),
        *compared.unavailable,
    ]
    predicted = () if scale is None else (_latency(counted[0], scale),)
    if scale is None:
        unavailable.append(Unavailable(metric="latency", reason=_NO_LATENCY))
    return Profile(
        artifact=artifact,
        target=target,
        measurements=(*predicted, *counted, *deviation, flash(artifact)),
        unavailable=tuple(unavailable),
    )


def _identity(answer: Answer, device: QemuDevice, threads: int) -> Identity:
    """Tell what counts depend on: nothing of the machine that emulates."""
    core, installation = device.core, device.installation
    libraries = ", ".join(f"{name} {version}" for name, version in installation.versions.items())
    return Identity(
        runtime=answer.runtime,
        version=answer.version,
        kernels=answer.kernels,
        threads=threads,
        cpu=f"{core.name} (part {core.part:#x}, QEMU {installation.qemu} {core.cpu})",
        # What the runner does before moves what lies in memory: some ten to a thousand instructions.
        os=f"Linux {core.architecture}, Debian {SUITE}: {libraries}; runner {runner_digest()}",
        python=answer.python,
    )


def _latency(instructions: Measurement, scale: CycleScale) -> Measurement:
    return Measurement(
        metric="latency",
        value=instructions.value * scale.cycles / scale.clock_hz * 1e3,
        unit="ms",
        aggregation="median",
        evidence="predicted",
        identity=instructions.identity.model_copy(update={"clock_hz": scale.clock_hz}),
        method=f"instructions x {scale.cycles:g} / {scale.clock_hz / 1e6:g} MHz; {scale.calibration}",
        error=scale.error,
    )
