"""What a figure of a machine depends on - its processor, clock, system - and how busy and warm it was."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from edgegrow.measure.answers import Opened, State, System
from edgegrow.measure.protocol import Identity
from edgegrow.measure.runner.machine import processors, system

BUSY = 0.5
"""Processors used by others above which timings are warned about."""

STOLEN = 0.05
"""Share of a processor, taken by other virtual machines, above which timings are warned about."""

SLOWER = 0.9
"""Share of the clock at the start below which timings are warned about."""


def identity_of(opened: Opened, threads: int) -> Identity:
    """Identity of figures that a runner takes of an open artifact."""
    return Identity(
        runtime=opened.runtime,
        version=opened.version,
        kernels=opened.kernels,
        threads=threads,
        python=opened.python,
        **_machine(opened.system, opened.affinity),
    )


def host_identity(runtime: str | None, version: str | None, kernels: str | None, threads: int) -> Identity:
    """Identity of figures taken in this process."""
    return Identity(
        runtime=runtime,
        version=version,
        kernels=kernels,
        threads=threads,
        python=platform.python_version(),
        **_machine(System.model_validate(system()), processors()),
    )


def _machine(system: System, affinity: Iterable[int]) -> dict[str, Any]:
    phone = system.android or {}
    build = phone.get("ro.build.fingerprint")
    return {
        "clock_hz": system.fixed_hz,
        "cpu": phone.get("ro.soc.model") or cpu_model(system.cpuinfo) or system.machine,
        "affinity": ranges(affinity),
        "governor": system.governor,
        "os": f"{system.os} {system.machine}" + (f", {build}" if build else ""),
    }


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ``0-2,5``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], n]
        else:
            runs.append([n])
    return ",".join("-".join(map(str, run)) for run in runs)


def numbers(text: str) -> tuple[int, ...]:
    """Read numbers that are written as ``0-2,5``."""
    ends = [part.partition("-")[::2] for part in text.split(",")]
    return tuple(n for first, last in ends for n in range(int(first), int(last or first) + 1))


def cpu_model(cpuinfo: Mapping[str, str]) -> str | None:
    """Model of the processor.

    Parameters
    ----------
    cpuinfo : mapping of str
        As `edgegrow.measure.answers.System` has it. ARM boards name the board (``Model``) or the system on
        chip (``Hardware``) there, or only the numbers of the cores' implementer and part.
    """
    for key in ("model name", "Model", "Hardware", "uarch"):
        if cpuinfo.get(key):
            return cpuinfo[key]
    if cpuinfo.get("CPU part"):
        return f"implementer {cpuinfo.get('CPU implementer', '?')} part {cpuinfo['CPU part']}"
    return None


def describe(before: State, after: State) -> str:
    """Load, clock and temperature before and after, for a measurement's method."""
    lines = [_change("load average", before.load, after.load, "")]
    clocks = [_highest(state.frequency_hz, 1e-6) for state in (before, after)]
    lines.append(_change("clock", clocks[0], clocks[1], " MHz"))
    temperatures = [_highest(state.temperature_c) for state in (before, after)]
    lines.append(_change("temperature", temperatures[0], temperatures[1], " °C"))
    return "; ".join(lines)


def _highest(figures: Mapping[str, float], scale: float = 1.0) -> float | None:
    return scale * max(figures.values()) if figures else None


def _change(name: str, before: float | None, after: float | None, unit: str) -> str:
    if before is None or after is None:
        return f"{name} not known"
    return f"{name} {before:.4g}{unit} before, {after:.4g}{unit} after"


def warnings(before: State, after: State, threads: int = 1) -> tuple[str, ...]:
    """One line for each thing that makes timings between two states doubtful.

    Parameters
    ----------
    before, after : State
    threads : int
        Processors that the measurement itself kept busy.
    """
    lines = []
    seconds = max(after.time_s - before.time_s, 1e-9)
    if before.busy_s is not None and after.busy_s is not None:
        others = (after.busy_s - before.busy_s) / seconds - threads
    else:
        others = (before.load or 0.0) - threads
    if others > BUSY:
        lines.append(
            f"the machine was busy (others used {others:.1f} processors): measure again when it is idle"
        )
    if before.stolen_s is not None and after.stolen_s is not None:
        stolen = (after.stolen_s - before.stolen_s) / seconds
        if stolen > STOLEN:
            lines.append(
                f"other virtual machines took {stolen:.0%} of a processor: measure again, or elsewhere"
            )
    fastest = [max(state.frequency_hz.values(), default=0.0) for state in (before, after)]
    if (
        after.throttle_events > before.throttle_events
        or before.throttled
        or after.throttled
        or 0 < fastest[1] < SLOWER * fastest[0]
    ):
        lines.append(
            "the processor was slowed down while measuring (by its temperature, or its power supply): "
            "let it cool, and measure again"
        )
    return tuple(lines)
