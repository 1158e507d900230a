"""Latencies of several artifacts, compared in one run: windows of each, taken in turn.

A machine's speed drifts, and jumps when others use it. Artifacts that are timed in turn meet the same
conditions, and the median over windows leaves out those that were disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError
from edgegrow.measure.answers import InTurn
from edgegrow.measure.device import Device, DeviceError
from edgegrow.measure.identity import identity_of
from edgegrow.measure.protocol import Identity
from edgegrow.measure.remote import RUN_SECONDS, ask_runner
from edgegrow.measure.timing_plan import TimingPlan

TakeTurns = Callable[[Sequence[bytes], int, float], tuple[Identity, NDArray[np.float64]]]
"""Times artifacts in turn somewhere: ``(contents, rounds, seconds)``, as `time_in_turn` does on a device."""

LEAST_CALLS = 10
"""Timed inferences of a window."""

WINDOW_S = 10.0
"""Time that the calls of a window may take beyond thrice its length, in s."""


def time_in_turn(
    device: Device,
    contents: Sequence[bytes],
    format: str,
    *,
    plan: TimingPlan,
    rounds: int,
    seconds: float,
) -> tuple[Identity, NDArray[np.float64]]:
    """Time artifacts in turn, round after round, in one process on a device.

    Parameters
    ----------
    device : Device
    contents : sequence of bytes
        The artifacts; at least one. They are sent as one file.
    format : {"tflite", "onnx"}
        Of all of them.
    plan : TimingPlan
        Threads and processors to run on; and what the device's must be.
    rounds : int
        Windows of each artifact.
    seconds : float
        Length of a window at least, in s.

    Returns
    -------
    identity : Identity
        Of the first artifact's figures.
    windows_ns : ndarray
        ``(artifacts, rounds)``, the median of each window, in ns.

    Raises
    ------
    InputError
        If an artifact cannot be opened or run, or the device is not the target's.
    DeviceError
        If the device fails.
    """
    name = f"turns.{format}"
    request = {
        "artifact": name,
        "format": format,
        "sizes": [len(content) for content in contents],
        "rounds": rounds,
        "threads": plan.threads,
        "affinity": plan.affinity,
        "min_iterations": LEAST_CALLS,
        "min_seconds": seconds,
    }
    timeout_s = RUN_SECONDS + len(contents) * rounds * (3 * seconds + WINDOW_S)
    try:
        answer = ask_runner(device, {name: b"".join(contents)}, request, InTurn, timeout_s)
        plan.check_core(answer.system.cpuinfo.get("CPU part", ""), answer.system.machine)
    except InputError as error:
        raise InputError(f"an artifact on {device.name}: {error}") from error
    if [len(row) for row in answer.windows_ns] != [rounds] * len(contents):
        wanted = f"{rounds} windows of {len(contents)} artifacts"
        raise DeviceError(f"{device.name}: its answer has not {wanted}: measure again")
    return identity_of(answer, plan.threads), np.array(answer.windows_ns)
