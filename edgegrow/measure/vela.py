"""Arm Ethos-U NPUs: what their compiler, Vela, estimates of a network. No device, no emulator."""

from __future__ import annotations

import csv
import importlib.util
import math
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.files import read_regular
from edgegrow.measure.protocol import Artifact, Identity, Measurement, Profile, TargetRef, Unavailable

SECONDS = 120
"""Time that Vela may take; reference networks take one."""

LARGEST_BYTES = 100_000_000
"""Of a model."""

_KIB = 1024  # Vela's summary gives memory in KiB


@dataclass(frozen=True)
class Npu:
    """An NPU as Vela knows it.

    Attributes
    ----------
    accelerator : str
        Vela's ``--accelerator-config``.
    system, memory_mode : str
        Sections of the configuration file that Vela ships: clock and bandwidths; which memory holds what.
    clock_hz : float
        What the system's section is expected to say.
    """

    accelerator: str
    system: str
    memory_mode: str
    clock_hz: float


def estimate(path: Path, npu: Npu, target: TargetRef) -> Profile:
    """Let Vela estimate what a network takes on an NPU.

    Parameters
    ----------
    path : Path
        An int8 ``.tflite`` file.
    npu : Npu
    target : TargetRef
        The target that the profile is for.

    Returns
    -------
    Profile
        ``latency`` in ms, ``cycles``, ``macs``, ``ram`` (SRAM) and ``flash`` in bytes, and how many operators
        Vela leaves to the processor; all predicted. Energy is unavailable.

    Raises
    ------
    InputError
        If Vela is not installed, refuses the file, takes too long, or says what cannot be understood.
    """
    if importlib.util.find_spec("ethosu") is None:
        raise InputError("vela is not installed: pip install 'edgegrow[npu]'")
    if path.suffix.lower() != ".tflite":
        raise InputError(f"artifact {path}: target {target.name} takes .tflite files: give one")
    try:
        content = read_regular(path, LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"artifact {path}: cannot read it: {error.strerror}") from error
    if len(content) > LARGEST_BYTES:
        raise InputError(f"artifact {path}: it has more than {LARGEST_BYTES:,} bytes: give a smaller model")
    with tempfile.TemporaryDirectory(prefix="edgegrow-") as name:
        folder = Path(name)
        said = _run(path, content, npu, folder)
        summary = _summary(path, folder)
    if summary.text("accelerator_configuration").lower() != npu.accelerator.replace("-", "_"):
        raise InputError("vela: it estimated another NPU than it was asked for: see edgegrow doctor")
    clock_hz = summary.number("core_clock")
    if clock_hz != npu.clock_hz:
        raise InputError(
            f"vela: {npu.system} runs at {clock_hz:g} Hz, target {target.name} at {npu.clock_hz:g} Hz: "
            "correct soc.clock_hz"
        )
    return Profile(
        artifact=Artifact.of(path, content),
        target=target,
        measurements=_measurements(npu, summary, _left_to_processor(said)),
        unavailable=(Unavailable(metric="energy", reason="Vela estimates no energy"),),
    )


def _run(path: Path, content: bytes, npu: Npu, folder: Path) -> str:
    """Let Vela compile a copy of the file; returns what it prints."""
    (folder / "model.tflite").write_bytes(content)  # a name of ours: none that Vela takes for an option
    options = {
        "--accelerator-config": npu.accelerator,
        "--config": "Arm/vela.ini",
        "--system-config": npu.system,
        "--memory-mode": npu.memory_mode,
        "--output-dir": "out",
    }
    try:
        done = subprocess.run(
            (sys.executable, "-P", "-m", "ethosu.vela", "model.tflite", *sum(options.items(), ())),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"artifact {path}: Vela took longer than {SECONDS} s: give a smaller model"
        ) from error
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"error|invalid|unsupported", line, re.IGNORECASE)]
        reason = (telling or lines or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"artifact {path}: Vela cannot compile it: {reason[:200]}")
    return done.stdout


class _Summary:
    """The one row of Vela's summary."""

    def __init__(self, row: dict[str, str]) -> None:
        self._row = row

    def text(self, column: str) -> str:
        value = self._row.get(column)
        if not value:
            raise InputError(f"vela: its summary has no {column}: install the tested version, see doctor")
        return value

    def number(self, column: str) -> float:
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"vela: its summary's {column} is {text[:40]!a}: not a quantity")
        return value


def _summary(path: Path, folder: Path) -> _Summary:
    files = list((folder / "out").glob("*_summary_*.csv"))
    if len(files) != 1:
        raise InputError(f"artifact {path}: Vela wrote {len(files)} summaries, not 1: see edgegrow doctor")
    with files[0].open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 1 or None in rows[0] or None in rows[0].values():
        raise InputError(f"artifact {path}: Vela's summary is not one whole row: see edgegrow doctor")
    return _Summary(rows[0])


def _left_to_processor(said: str) -> int:
    """Operators that the NPU does not run; the summary file does not count them."""
    match = re.search(r"^CPU operators = (\d{1,9})\b", said, re.MULTILINE)
    if match is None:
        raise InputError("vela: it does not say how many operators the processor runs: see edgegrow doctor")
    return int(match[1])


def _measurements(npu: Npu, summary: _Summary, left: int) -> tuple[Measurement, ...]:
    identity = Identity(
        runtime="vela",
        version=metadata.version("ethos-u-vela"),
        kernels=f"{npu.system}, {npu.memory_mode}",
        clock_hz=npu.clock_hz,
        cpu=npu.accelerator,
    )
    method = "estimated by the NPU's compiler, without a device"
    if left:
        method += f"; without {left} operators that are left to the processor"
    flash = summary.number("on_chip_flash_memory_used") + summary.number("off_chip_flash_memory_used")
    figures = (
        ("latency", 1e3 * summary.number("inference_time"), "ms"),
        ("cycles", round(summary.number("cycles_total")), "cycles"),
        ("macs", round(summary.number("nn_macs")), "macs"),
        ("ram", round(_KIB * summary.number("sram_memory_used")), "bytes"),
        ("flash", round(_KIB * flash), "bytes"),
        ("processor_operators", left, "operators"),
    )
    return tuple(
        Measurement(
            metric=metric, value=value, unit=unit, evidence="predicted", identity=identity, method=method
        )
        for metric, value, unit in figures
    )
