"""Measuring by Google's ``benchmark_model``, for phones that have no Python.

It is a program for Android and Linux that times a .tflite file with random inputs. It keeps no outputs and no
single samples, so a profile of it has a mean and extremes, and says nothing about the outputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.benchmark_output import Timings, parse
from edgegrow.measure.device import Device, DeviceError
from edgegrow.measure.identity import ranges
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
from edgegrow.measure.shell_device import last_line
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.windows import LEAST_CALLS

PLACE = "/data/local/tmp/benchmark_model"
"""Where its instructions put it on a phone."""

LONGEST_S = 150
"""It ends its warm-up and its measurement after this time each, in s, whatever else is asked for."""

LONGEST_TEXT = 200
"""Characters of a fact that a device tells."""

_SHORT_WARM_UP = ("--warmup_runs=5", "--warmup_min_secs=0")
"""What takes turns is warm."""

_FIND = f"""
for each in "$TMPDIR/benchmark_model" {PLACE} "$(command -v benchmark_model)"; do
  [ -f "$each" ] && [ -x "$each" ] && printf '%s' "$each" && exit 0
done
exit 1
"""

_FACTS = """
property() { getprop "$1" 2>/dev/null; }
fact() { printf '%s=%s\\n' "$1" "$2" | tr -d '\\000'; }
fact soc "$(property ro.soc.model)"
fact product "$(property ro.product.model)"
fact fingerprint "$(property ro.build.fingerprint)"
fact emulator "$(property ro.boot.qemu)$(property ro.kernel.qemu)"
fact system "$(uname -sr)"
fact machine "$(uname -m)"
fact parts "$(sed -n 's/^CPU part[[:space:]]*:[[:space:]]*//p' /proc/cpuinfo | sort -u | tr '\\n' ' ')"
fact affinity "$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)"
fact governor "$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
fact load "$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)"
fact digest "$(sha256sum "$1" 2>/dev/null | cut -c 1-16)"
"""


def instead_of_python(device: Device) -> str | None:
    """Return the path of ``benchmark_model`` on a device that has no Python, or None where it has.

    Raises
    ------
    DeviceError
        If it has neither.
    """
    python = device.python[0]
    if device.run(("sh", "-c", 'command -v "$1"', "sh", python), timeout_s=30).exit_code == 0:
        return None
    found = device.run(("sh", "-c", _FIND), timeout_s=30, max_output_bytes=1 << 16)
    program = os.fsdecode(found.stdout)
    if found.exit_code != 0 or not program.isprintable() or len(program) > LONGEST_TEXT:
        raise DeviceError(
            f"{device.name}: it has neither {python} nor benchmark_model: get the latter from "
            f"tensorflow.org/lite/performance/measurement, adb push it to {PLACE}, and chmod +x it"
        )
    return program


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
    facts = _facts(device, program, plan, f"artifact {path}")
    with device.folder() as folder:
        copy = f"{folder}/model.tflite"
        device.put(content, copy)
        timings = _time(device, program, copy, plan)
    return _profile(timings, facts, artifact, target, plan.threads)


def take_turns_by_benchmark_model(
    device: Device,
    contents: Sequence[bytes],
    *,
    program: str,
    plan: TimingPlan,
    rounds: int,
    seconds: float,
) -> tuple[Identity, NDArray[np.float64]]:
    """Time ``.tflite`` files in turn, round after round, each window in a process of its own.

    Windows are means: single inferences are in whole us, which short ones are not told apart by.

    Parameters
    ----------
    device, contents, plan, rounds, seconds
        As `edgegrow.measure.windows.time_in_turn` takes them, which also tells what is returned.
    program : str
        Path of ``benchmark_model`` on the device, see `instead_of_python`.

    Raises
    ------
    InputError
        If it prints what cannot be, or the device is not the target's.
    DeviceError
        If the device or the program fails.
    """
    facts = _facts(device, program, plan, "an artifact")
    window = replace(plan, min_iterations=LEAST_CALLS, min_seconds=seconds)
    windows_ns = np.zeros((len(contents), rounds))
    first: Timings | None = None
    with device.folder() as folder:
        copies = [f"{folder}/{number}.tflite" for number in range(len(contents))]
        for content, copy in zip(contents, copies, strict=True):
            device.put(content, copy)
        for turn in range(rounds):
            for place, copy in enumerate(copies):
                timings = _time(device, program, copy, window, *_SHORT_WARM_UP)
                windows_ns[place, turn] = 1e3 * timings.mean_us
                first = first or timings
    return _identity(first, facts, plan.threads), windows_ns


def _time(device: Device, program: str, copy: str, plan: TimingPlan, *options: str) -> Timings:
    """Start the program on a file that is there."""
    command = (
        *(() if plan.affinity is None else ("taskset", f"{sum(1 << n for n in set(plan.affinity)):x}")),
        program,
        f"--graph={copy}",
        f"--num_threads={plan.threads}",
        f"--num_runs={plan.min_iterations}",
        f"--min_secs={plan.min_seconds:g}",
        f"--max_secs={LONGEST_S}",
        *options,
    )
    finished = device.run(command, timeout_s=2 * LONGEST_S + 60, max_output_bytes=1 << 20)
    output = (finished.stdout + b"\n" + finished.stderr).decode("utf-8", "replace")
    if finished.exit_code != 0:
        why = last_line(finished.stderr) or last_line(finished.stdout) or "it says nothing"
        raise DeviceError(
            f"{device.name}: {program} failed (exit code {finished.exit_code}): {why}: "
            "see that it is built for this device and takes this file"
        )
    try:
        return parse(output)
    except InputError as error:
        raise InputError(f"{device.name}: {program}: {error}: run it by hand to see") from error


def _facts(device: Device, program: str, plan: TimingPlan, measured: str) -> dict[str, str]:
    """Ask a device what its figures depend on; what it does not know is left out.

    An InputError, which begins with what is measured, if it is not the target's.
    """
    told = device.run(("sh", "-c", _FACTS, "sh", program), timeout_s=30, max_output_bytes=1 << 16)
    rows = (line.partition("=") for line in told.stdout.decode("utf-8", "replace").splitlines())
    facts = {name: "".join(c for c in value.strip() if c.isprintable()) for name, _, value in rows}
    known = {name: value[:LONGEST_TEXT] for name, value in facts.items() if value}
    try:
        plan.check_core(", ".join(known.get("parts", "").split()), known.get("machine", "device"))
    except InputError as error:
        raise InputError(f"{measured} on {device.name}: {error}") from error
    return known if plan.affinity is None else {**known, "affinity": ranges(plan.affinity)}


def _identity(timings: Timings | None, facts: Mapping[str, str], threads: int) -> Identity:
    system, machine, build = (facts.get(name, "") for name in ("system", "machine", "fingerprint"))
    return Identity(
        runtime="benchmark_model",
        version=f"sha256:{facts['digest']}" if "digest" in facts else None,
        kernels=timings.kernels if timings is not None else None,
        threads=threads,
        cpu=facts.get("soc") or facts.get("product"),
        affinity=facts.get("affinity"),
        governor=facts.get("governor"),
        os=", ".join((f"{system} {machine}".strip(), *((build,) if build else ()))) or None,
    )


def _profile(
    timings: Timings, facts: dict[str, str], artifact: Artifact, target: TargetRef, threads: int
) -> Profile:
    evidence: Evidence = "emulated" if "1" in facts.get("emulator", "") else "measured"
    identity = _identity(timings, facts, threads)
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
