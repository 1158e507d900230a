"""Files that are timed in turn by Google's ``benchmark_model``, for phones that have no Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.benchmark_program import ask_facts, program_identity, time_file
from edgegrow.measure.device import Device
from edgegrow.measure.protocol import Identity
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.windows import LEAST_CALLS

_SHORT_WARM_UP = ("--warmup_runs=5", "--warmup_min_secs=0")
"""What takes turns is warm."""


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
    facts = ask_facts(device, program, plan, "an artifact")
    window = replace(plan, min_iterations=LEAST_CALLS, min_seconds=seconds)
    with device.folder() as folder:
        copies = [f"{folder}/{number}.tflite" for number in range(len(contents))]
        for content, copy in zip(contents, copies, strict=True):
            device.put(content, copy)
        turns = [
            [time_file(device, program, copy, window, *_SHORT_WARM_UP) for copy in copies]
            for _ in range(rounds)
        ]
    windows_ns = np.array([[1e3 * timings.mean_us for timings in turn] for turn in turns]).T
    return program_identity(facts, turns[0][0].kernels, plan.threads), windows_ns
