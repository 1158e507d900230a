"""Measuring by Google's ``benchmark_model``, for phones that have no Python.

It is a program for Android and Linux that times a .tflite file with random inputs. It keeps no outputs and no
single samples, so a profile of it has a mean and extremes, and says nothing about the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.benchmark_output import Timings
from edgegrow.measure.benchmark_program import ask_facts, program_identity, time_file
from edgegrow.measure.device import Device
from edgegrow.measure.outputs import METRIC
from edgegrow.measure.protocol import (
    Aggregation,
    Artifact,
    Evidence,
    Identity,
    Measurement,
    Profile,
    TargetRef,
    Unavailable,
)
from edgegrow.measure.timing_plan import TimingPlan


def measure_benchmark_model(
    device: Device,
    path: Path,
    *,
    program: str,
    target: TargetRef,
    plan: TimingPlan | None = None,
    progress: Callable[[str], None] | None = None,
) -> Profile:
    """Measure a ``.tflite`` file on a device by ``benchmark_model``.

    Parameters
    ----------
    device : Device
    path : Path
        The file, on this machine.
    program : str
        Path of ``benchmark_model`` on the device, see `instead_of_python`.
    target : TargetRef
        The target that the profile is for.
    plan : TimingPlan, optional
        How the latency is taken; its time counts up to 150 s.
    progress : callable or None
        Called with one line: what is being done.

    Returns
    -------
    Profile
        ``latency`` in ms: mean, min, max, and the median where it is printed; ``load`` in ms.

    Raises
    ------
    InputError
        If the file is none that it takes, it prints what cannot be, or the device is not the target's.
    DeviceError
        If the device or the program fails.
    """
    plan = plan or TimingPlan()
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError(f"artifact {path}: cannot read it: {error.strerror}") from error
    artifact = Artifact.of(path, content)
    if artifact.format != "tflite":
        raise InputError(f"artifact {path}: benchmark_model on {device.name} takes .tflite files alone")
    if progress is not None:
        progress(f"timing {path} by {program} on {device.name}")
    facts = ask_facts(device, program, plan, f"artifact {path}")
    with device.folder() as folder:
        copy = f"{folder}/model.tflite"
        device.put(content, copy)
        timings = time_file(device, program, copy, plan)
    return _profile(timings, facts, artifact, target, plan.threads)


def _profile(
    timings: Timings, facts: dict[str, str], artifact: Artifact, target: TargetRef, threads: int
) -> Profile:
    evidence: Evidence = "emulated" if "1" in facts.get("emulator", "") else "measured"
    identity = program_identity(facts, timings.kernels, threads)
    spread = "" if timings.std_us is None else f"standard deviation {timings.std_us:g} us; "
    method = (
        f"Google's benchmark_model: {timings.count or 'an unknown number of'} inferences with random inputs, "
        f"each in whole us, after a warm-up; {spread}load {facts.get('load', 'unknown')} before; "
        "outputs not looked at"
    )
    values: dict[Aggregation, float | None] = {
        "median": timings.median_us,
        "mean": timings.mean_us,
        "min": timings.min_us,
        "max": timings.max_us,
    }
    measurements = [
        _milliseconds("latency", value, aggregation, evidence, identity, method)
        for aggregation, value in values.items()
        if value is not None
    ]
    if timings.init_us is not None:
        how = "benchmark_model's Init: the file's loading, its delegates, and the planning of its memory"
        measurements.append(_milliseconds("load", timings.init_us, "exact", evidence, identity, how))
    measurements.append(
        Measurement(
            metric="flash",
            value=artifact.bytes,
            unit="bytes",
            evidence="measured",
            method="size of the artifact's file, without the runtime's",
        )
    )
    return Profile(
        artifact=artifact,
        target=target,
        measurements=tuple(measurements),
        unavailable=(
            Unavailable(metric="energy", reason="no meter"),
            Unavailable(metric="peak_memory", reason="benchmark_model counts its own memory in"),
            Unavailable(metric=METRIC, reason="benchmark_model tells no outputs"),
        ),
    )


def _milliseconds(
    metric: str, us: float, aggregation: Aggregation, evidence: Evidence, identity: Identity, method: str
) -> Measurement:
    return Measurement(
        metric=metric,
        value=round(us / 1e3, 7),
        unit="ms",
        aggregation=aggregation,
        evidence=evidence,
        identity=identity,
        method=method,
    )
