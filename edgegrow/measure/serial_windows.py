"""What a serial device does for a measurement: its outputs are checked, then windows of inferences timed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.meters.meter import THIS_MACHINE
from edgegrow.measure.meters.recording import Stretch
from edgegrow.measure.runner.repeating import boot_seconds
from edgegrow.measure.serial_protocol import SerialDevice, Timing
from edgegrow.measure.window_plan import Windows

WARMUPS = 10
"""Inferences before each window, the protocol's default."""

FIRST_SECONDS = 120.0
"""How long one inference may take while nothing is known of the device's speed."""

MARGIN = 1.05
"""How much longer than needed a window is planned, so that few turn out too short."""

MAX_REPEATS = 10
"""Windows that may turn out too short, and are taken again, in all."""

CLOCK_TOLERANCE = 0.05
"""How far a device's second may be from ours: more is a wrong frequency, not a bad crystal."""

DELAY_US = 1e5
"""How late we may see the start or the end of a window."""


def check_outputs(device: SerialDevice, port: str, inputs: np.ndarray, expected: np.ndarray) -> Timing:
    """Compare each input's output with the expected one; the first input is left on the device.

    Returns
    -------
    Timing
        Of the first input.

    Raises
    ------
    InputError
        If the device fails, or an output differs.
    """
    for index in reversed(range(len(inputs))):
        device.load(inputs[index])
        timing = device.infer(1, 0, FIRST_SECONDS)
        _check_output(port, timing, expected[index], index)
    return timing


def time_windows(
    device: SerialDevice, port: str, first: Timing, expected: np.ndarray, windows: Windows, emulated: bool
) -> Iterator[Timing]:
    """Yield each window as soon as it is there; how many inferences it has follows from those before.

    Parameters
    ----------
    device : SerialDevice
    port : str
    first : Timing
        A first impression of how long an inference takes.
    expected : ndarray
        int8 ``(output_bytes,)``, the output of the input that is on the device.
    windows : Windows
    emulated : bool
        Whether the device's clock is an emulator's, which may differ from ours.

    Raises
    ------
    InputError
        If the device fails, an output differs, its clock is wrong, or its speed varies too much.
    """

    def window(iterations: int) -> Timing:
        # By our clock: the device's may stand still.
        seconds = max(timing.host_us, timing.device_us) / 1e6 / timing.iterations * (iterations + WARMUPS)
        result = device.infer(iterations, WARMUPS, 4 * seconds)
        _check_output(port, result, expected, 0)
        if not emulated:
            _check_clock(port, result, CLOCK_TOLERANCE)
        return result

    needed_us = 1e6 * windows.min_seconds
    timing, taken, repeats = first, 0, 0
    # Ever longer trials: a short one says little.
    while timing.device_us < needed_us / 10:
        if timing.host_us > 3 * needed_us + DELAY_US:
            _check_clock(port, timing, 0.5)
        wanted = needed_us / 5 / max(timing.device_us, 1)
        affordable = 5 * needed_us / max(timing.host_us, 1)
        timing = window(math.ceil(timing.iterations * max(2, min(wanted, affordable, 100))))
    while taken < windows.count:
        iterations = math.ceil(timing.iterations * needed_us * MARGIN / timing.device_us)
        timing = window(max(windows.min_iterations, iterations))
        if timing.device_us >= needed_us:
            taken += 1
            yield timing
            continue
        repeats += 1
        if repeats > MAX_REPEATS:
            raise InputError(f"port {port}: its speed varies too much: see what else the board runs")


def metered_windows(
    device: SerialDevice, port: str, last: Timing, expected: np.ndarray, windows: Windows, pause_s: float
) -> Iterator[Stretch]:
    """Infer for an energy meter: without warm-ups, which its stream could not tell from the inferences.

    Parameters
    ----------
    device, port
    last : Timing
        How long inferences take.
    expected : ndarray
        int8 ``(output_bytes,)``, the output of the input that is on the device.
    windows : Windows
    pause_s : float
        Pause before each window, in s.

    Raises
    ------
    InputError
        If the device fails, an output differs, or its clock is wrong.
    """
    for _ in range(windows.count):
        time.sleep(pause_s)
        needed = math.ceil(last.iterations * 1e6 * windows.min_seconds * MARGIN / last.device_us)
        iterations = max(windows.min_iterations, needed)
        before = boot_seconds()
        last = device.infer(iterations, 0, 4 * iterations * last.host_us / last.iterations / 1e6)
        # The line delays both ends: the inferences are in the middle.
        middle, seconds = (before + boot_seconds()) / 2, last.device_us / 1e6
        _check_output(port, last, expected, 0)
        _check_clock(port, last, CLOCK_TOLERANCE)
        yield Stretch(last.iterations, seconds, middle - seconds / 2, THIS_MACHINE)


def _check_clock(port: str, timing: Timing, tolerance: float) -> None:
    if abs(timing.device_us - timing.host_us) > tolerance * timing.host_us + DELAY_US:
        device_s, host_s = timing.device_us / 1e6, timing.host_us / 1e6
        doubt = f"its clock counted {device_s:.3g} s in {host_s:.3g} s"
        raise InputError(f"port {port}: {doubt}: see its microseconds function and its clocks")


def _check_output(port: str, timing: Timing, expected: np.ndarray, index: int) -> None:
    wrong = np.flatnonzero(timing.output != expected)
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"port {port}: output {at} of input {index} is {timing.output[at]}, not {expected[at]} "
            f"({len(wrong)} of {expected.size} differ): see compiler flags and stack size, run the self-test"
        )
