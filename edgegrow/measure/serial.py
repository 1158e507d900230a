"""Measuring a C package on a real board, over a serial line.

The board runs the package with its ``model_serial.c``, and times inferences by its own counter. Figures come
from five windows, as MLPerf Tiny takes them (unofficial): each lasts 10 s and has 10 inferences at least.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.mcu.toolchain import package_sources
from edgegrow.measure.meters.energy import measure_energy, no_energy
from edgegrow.measure.meters.meter import Meter
from edgegrow.measure.protocol import (
    Artifact,
    Evidence,
    Identity,
    Profile,
    TargetRef,
)
from edgegrow.measure.serial_link import SerialLink
from edgegrow.measure.serial_protocol import DeviceIdentity, SerialDevice, Timing
from edgegrow.measure.serial_windows import check_outputs, metered_windows, time_windows
from edgegrow.measure.window_plan import Windows, over_windows

EMULATORS = re.compile("qemu|renode|emulat|simulat", re.IGNORECASE)
"""A device whose name has one of these is emulated, whoever says otherwise."""

COUNTERS = {
    "measured": "the board's own counter, which was checked with this machine's clock, to 5 % and 0.1 s",
    "emulated": "the emulator's counter, which is no board's time",
}
"""What timed the inferences, for each kind of evidence."""

Say = Callable[[str], None]


BAUD = 115200
"""Of the firmware that a package carries."""


class SerialInterrupted(InputError):
    """Measuring ended early: ``profile`` has the windows until then; its method says so."""

    def __init__(self, message: str, profile: Profile) -> None:
        super().__init__(message)
        self.profile = profile


def package_model_id(package: str | Path) -> str:
    """Return the ``MODEL_ID`` of a C package: a board must tell the same one.

    Raises
    ------
    InputError
        If it is no package, or an older one that has none.
    """
    folder, _ = package_sources(Path(package))
    try:
        text = (folder / "model.h").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"package {package}: cannot read its model.h: export it again") from error
    found = re.search(r'^#define MODEL_ID "([0-9a-f]{16})"$', text, re.MULTILINE)
    if found is None:
        raise InputError(f"package {package}: its model.h has no MODEL_ID: export it again")
    return found[1]


def measure_serial(
    port: str,
    *,
    artifact: Artifact,
    target: TargetRef,
    model_id: str,
    inputs: np.ndarray,
    expected: np.ndarray,
    baud: int = BAUD,
    windows: Windows | None = None,
    emulated: bool = False,
    meter: Meter | None = None,
    patience_seconds: float = 10.0,
    progress: Say | None = None,
    warn: Say | None = None,
) -> Profile:
    """Measure a C package on the board at a serial port.

    Every input's output is compared with the expected one, bit for bit, before anything is timed; the first
    input is then timed, and its output compared again in every window.

    Parameters
    ----------
    port : str
        E.g. ``/dev/ttyACM0`` or ``COM3``.
    artifact : Artifact
        The package, or the file that it was made from.
    target : TargetRef
        The target that the profile is for.
    model_id : str
        What the board must run, see `package_model_id`.
    inputs, expected : ndarray
        int8 ``(n, input_bytes)`` and ``(n, output_bytes)``, n >= 1.
    baud : int
        Baud rate.
    windows : Windows, optional
        How the latency is taken; by default five windows of 10 s.
    emulated : bool
        Whether an emulator is at the other end: its clock measures nothing. A device whose name says so is
        emulated in any case.
    meter : Meter or None
        Energy meter that is set up. Energy is taken in windows of its own, after the latency's.
    patience_seconds : float
        How long to wait for an answer, beside the time for computing it and for its characters on the line; a
        board may start anew when its port is opened.
    progress, warn : callable or None
        Called with one line: what is being done; what makes the figures doubtful.

    Returns
    -------
    Profile
        ``latency`` in ms: the median of the windows' means, and its spread as ``min`` and ``max``; with a
        meter ``energy`` and ``power``, see `edgegrow.measure.meters.energy.measure_energy`.

    Raises
    ------
    SerialInterrupted
        If the device fails after one window at least.
    InputError
        If there is no such port, device or model, or the device fails before: an output differs, or its clock
        is wrong; or if an argument is wrong.
    """
    windows = windows or Windows()
    _check_samples(inputs, expected)
    say = progress or (lambda line: None)
    with SerialLink(port, baud) as link:
        device = SerialDevice(link, expected.shape[1], patience_seconds)
        say(f"looking for a board at {port}")
        device.synchronize()
        identity = device.identify()
        if identity.model_id != model_id:
            raise InputError(
                f"port {port}: the board runs model {identity.model_id}, not {model_id}: "
                "build the package's firmware and flash it"
            )
        evidence: Evidence = "emulated" if emulated or EMULATORS.search(identity.name) else "measured"
        if evidence == "emulated" and warn is not None:
            warn(f"port {port}: {identity.name} is an emulator: its times are not those of a board")
        say(f"checking {len(inputs)} outputs of {identity.name}")
        first = check_outputs(device, port, inputs, expected)
        timings: list[Timing] = []
        interruption: InputError | None = None
        say(f"timing {windows.count} windows of {windows.min_seconds:g} s at least")
        try:
            for timing in time_windows(device, port, first, expected[0], windows, evidence == "emulated"):
                timings.append(timing)
                say(f"window {len(timings)}: {_milliseconds(timing):.4g} ms an inference")
        except InputError as error:
            if not timings:
                raise
            interruption = error
        if evidence == "emulated" and meter is not None:
            energy = no_energy("an emulator draws no board's power")
        elif interruption is not None:
            energy = no_energy("the line was interrupted before it was measured")
        else:
            energy = measure_energy(
                meter,
                lambda plan, pause_s: metered_windows(device, port, timings[-1], expected[0], plan, pause_s),
                _identity(identity),
                windows=windows,
                say=say,
                warn=warn,
            )
    method = (
        f"{len(timings)} of {windows.count} windows{', then it was interrupted' if interruption else ''}; "
        f"each {windows.min_seconds:g} s and {windows.min_iterations} inferences at least, after a warm-up, "
        f"by {COUNTERS[evidence]}; {len(inputs)} outputs as expected, bit for bit; "
        f"MLPerf-Tiny-style, unofficial; {baud} baud; model {model_id}"
    )
    profile = Profile(
        artifact=artifact,
        target=target,
        measurements=(
            *over_windows(
                "latency",
                "ms",
                [_milliseconds(timing) for timing in timings],
                evidence=evidence,
                identity=_identity(identity),
                method=method,
            ),
            *energy.measurements,
        ),
        unavailable=energy.unavailable,
    )
    if interruption is not None:
        raise SerialInterrupted(str(interruption), profile) from interruption
    return profile


def _check_samples(inputs: np.ndarray, expected: np.ndarray) -> None:
    for name, array in (("inputs", inputs), ("expected outputs", expected)):
        if array.dtype != np.int8 or array.ndim != 2 or not array.size:
            raise InputError(f"{name}: they must be int8 (n, bytes), not {array.dtype} {array.shape}")
    if len(inputs) != len(expected):
        raise InputError(f"inputs: {len(inputs)} of them, but {len(expected)} expected outputs")


def _milliseconds(timing: Timing) -> float:
    """Mean time of an inference, in ms."""
    return timing.device_us / 1e3 / timing.iterations


def _identity(device: DeviceIdentity) -> Identity:
    # Not the model: two of them are compared on one board. What wrote the package the board does not tell.
    return Identity(
        runtime="edgegrow C package",
        compiler=device.compiler,
        clock_hz=device.clock_hz,
        threads=1,
        os=device.name,
    )
