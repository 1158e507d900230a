"""Measuring an artifact on a device: one runner, one request, one answer, whatever the way there is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from edgegrow.errors import InputError
from edgegrow.measure.answers import MOST_BYTES, Answer, Refused
from edgegrow.measure.device import Device, DeviceError, Finished, last_line
from edgegrow.measure.expected import expect
from edgegrow.measure.identity import describe, identity_of, warnings
from edgegrow.measure.meters.energy import measure_energy
from edgegrow.measure.meters.meter import Meter
from edgegrow.measure.meters.recording import Stretch
from edgegrow.measure.outputs import compare_outputs
from edgegrow.measure.process import explain_end, explain_refusal
from edgegrow.measure.protocol import Profile, TargetRef, Unavailable, explain
from edgegrow.measure.runner_archive import FILE_NAME, runner_archive
from edgegrow.measure.session import read_artifact
from edgegrow.measure.timing import timed_measurements
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.window_plan import Windows

Say = Callable[[str], None]

RUN_SECONDS = 600.0
"""Time that a runner may take beyond thrice its timed seconds."""

_REFUSED = 3

Expected = TypeVar("Expected", bound=BaseModel)


def run_on(
    device: Device,
    content: bytes,
    format: str,
    request: Mapping[str, Any],
    inputs: NDArray[Any] | None = None,
    timeout_s: float = RUN_SECONDS,
) -> Answer:
    """Run an artifact on a device, in a temporary folder that is removed at the end.

    Parameters
    ----------
    device : Device
    content : bytes
        The artifact.
    format : {"tflite", "onnx"}
    request : mapping
        What else to ask for: keys of `edgegrow.measure.runner.request.KEYS`.
    inputs : ndarray, optional
        ``(n, ...)`` of the artifact's input; by default the runner draws one sample.
    timeout_s : float
        Time that the runner may take, in s.

    Raises
    ------
    InputError
        If the device's runtime is missing, or refuses the artifact; the words follow the artifact's name.
    DeviceError
        If the device fails, or answers something else than a runner does.
    """
    asked = {"artifact": f"model.{format}", "format": format, **request}
    files = {asked["artifact"]: content}
    if inputs is not None:
        asked["inputs"] = "inputs.npy"
        packed = io.BytesIO()
        np.save(packed, inputs, allow_pickle=False)
        files[asked["inputs"]] = packed.getvalue()
    return ask_runner(device, files, asked, Answer, timeout_s)


def ask_runner(
    device: Device,
    files: Mapping[str, bytes],
    request: Mapping[str, Any],
    expected: type[Expected],
    timeout_s: float,
) -> Expected:
    """Start a runner on a device for one request, in a temporary folder that is removed at the end.

    Parameters
    ----------
    device : Device
    files : mapping
        ``{name: content}`` of what the request names.
    request : mapping
        Keys of `edgegrow.measure.runner.request.KEYS`.
    expected : type
        Form of the answer.
    timeout_s : float
        Time that the runner may take, in s.

    Raises
    ------
    InputError, DeviceError
        See `run_on`.
    """
    with device.folder() as folder:
        sent = {FILE_NAME: runner_archive(), **files, "request.json": json.dumps(request).encode()}
        for name, content in sent.items():
            device.put(content, f"{folder}/{name}")
        command = (*device.python, f"{folder}/{FILE_NAME}", f"{folder}/request.json")
        finished = device.run(command, timeout_s=timeout_s, max_output_bytes=MOST_BYTES)
    return _read(device, finished, expected)


def _read(device: Device, finished: Finished, expected: type[Expected]) -> Expected:
    """Check what a runner has printed."""
    code = finished.exit_code
    if code not in (0, _REFUSED):
        said = last_line(finished.stderr)
        if code > 0 and said:
            raise DeviceError(
                f"{device.name}: {' '.join(device.python)} ended with exit code {code}: {said}: "
                "it takes Python 3.9 or newer with numpy, and the artifact's runtime"
            )
        raise InputError(explain_end(code))
    try:
        if code == _REFUSED:
            raise InputError(explain_refusal(Refused.model_validate_json(finished.stdout)))
        return expected.model_validate_json(finished.stdout, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["type"]
        what = "no JSON" if problem == "json_invalid" else f"not a runner's: {explain(error)}"
        shown = last_line(finished.stdout[:2000])[:60]
        raise DeviceError(f"{device.name}: its answer is {what} ({shown!r}): measure again") from error


def measure_on(
    device: Device,
    path: str | Path,
    *,
    target: TargetRef,
    plan: TimingPlan | None = None,
    timeout_s: float = RUN_SECONDS,
    meter: Meter | None = None,
    windows: Windows | None = None,
    progress: Say | None = None,
    warn: Say | None = None,
) -> Profile:
    """Measure a ``.tflite`` or ``.onnx`` file on a device, in a process of its own there.

    Parameters
    ----------
    device : Device
    path : str or Path
    target : TargetRef
        The target that the profile is for.
    plan : TimingPlan, optional
        How the latency is taken.
    timeout_s : float
        Time that the device may take beyond thrice the plan's, in s.
    meter : Meter, optional
        Energy meter that is set up. Energy is taken in windows of its own, after the latency.
    windows : Windows, optional
        How the energy is taken; by default in five windows of 10 s.
    progress, warn : callable or None
        Called with one line: what is being done; what makes the figures doubtful. The latency's ``method``
        keeps the latter.

    Returns
    -------
    Profile
        ``latency`` of one inference and ``load`` (from the file's bytes to a runtime that is ready) in ms,
        ``peak_memory`` (of the process) and ``flash`` (the file) in bytes, and the outputs' deviation, see
        `edgegrow.measure.outputs`; with a meter ``energy`` and ``power``, see
        `edgegrow.measure.meters.energy.measure_energy`.

    Raises
    ------
    InputError
        If the artifact cannot be opened or run, computes something else than the simulator, or the device is
        not the target's.
    DeviceError
        If the device fails.
    """
    path, plan, say = Path(path), plan or TimingPlan(), progress or (lambda line: None)
    artifact, content = read_artifact(path, plan.threads)
    say(f"simulating {path}")
    expected = expect(path, artifact.format, content)
    least = f"{plan.min_iterations} inferences and {plan.min_seconds:g} s at least"
    say(f"timing {path} on {device.name}: {least}")
    request = {
        "threads": plan.threads,
        "affinity": plan.affinity,
        "min_iterations": plan.min_iterations,
        "min_seconds": plan.min_seconds,
    }
    inputs = None if isinstance(expected, str) else expected.inputs
    try:
        answer = run_on(device, content, artifact.format, request, inputs, timeout_s + 3 * plan.min_seconds)
        if not answer.latency_ns or not answer.load_ns:
            raise DeviceError(f"{device.name}: its answer has no timings: measure again")
        plan.check_core(answer.system.cpuinfo.get("CPU part", ""), answer.system.machine)
        compared = compare_outputs(answer, device, expected)
    except InputError as error:
        raise InputError(f"artifact {path} on {device.name}: {error}") from error
    doubts = (*warnings(answer.before, answer.after, plan.threads), *answer.warnings)
    for line in doubts if compared.doubt is None else (*doubts, compared.doubt):
        if warn is not None:
            warn(line)
    method = (
        f"calls of the runtime on {device.name}, one sample each, after a warm-up; "
        f"{least}; {compared.words}; "
        f"{'; '.join((describe(answer.before, answer.after), *doubts))}"
    )
    identity = identity_of(answer, plan.threads)
    energy = measure_energy(
        meter,
        lambda each, pause_s: _windows_on(device, content, artifact.format, request, each, pause_s),
        identity,
        windows=windows or Windows(),
        say=say,
        warn=warn,
    )
    unavailable = [*energy.unavailable, *compared.unavailable]
    if answer.peak_bytes is None:
        reason = "this system does not tell a process its peak memory"
        unavailable.append(Unavailable(metric="peak_memory", reason=reason))
    return Profile(
        artifact=artifact,
        target=target,
        measurements=(
            *timed_measurements(answer, artifact, identity, method),
            *compared.measurements(identity, "measured"),
            *energy.measurements,
        ),
        unavailable=tuple(unavailable),
    )


def _windows_on(
    device: Device,
    content: bytes,
    format: str,
    request: Mapping[str, Any],
    windows: Windows,
    pause_s: float,
) -> tuple[Stretch, ...]:
    """Infer for an energy meter; the device's clock stamps it.

    Raises
    ------
    InputError, DeviceError
        See `run_on`.
    """
    asked = {
        **request,
        "windows": windows.count,
        "pause_seconds": pause_s,
        "min_iterations": windows.min_iterations,
        "min_seconds": windows.min_seconds,
    }
    seconds = windows.count * (windows.min_seconds + pause_s)
    answer = run_on(device, content, format, asked, timeout_s=RUN_SECONDS + 3 * seconds)
    if len(answer.windows) != windows.count:
        raise DeviceError(f"{device.name}: its answer has not {windows.count} windows: measure again")
    return tuple(Stretch(w.iterations, w.seconds, w.start_s, device.name) for w in answer.windows)
