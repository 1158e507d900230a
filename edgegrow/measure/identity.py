"""What a figure of the host depends on: its processor, clock, system, and how busy it was."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgegrow.measure.protocol import Identity

BUSY = 0.5
"""Processors used by others above which timings are warned about."""

STOLEN = 0.05
"""Share of a processor, taken by other virtual machines, above which timings are warned about."""

SLOWER = 0.9
"""Share of the clock at the start below which timings are warned about."""

_CPU = Path("/sys/devices/system/cpu")


def host_identity(runtime: str | None, version: str | None, kernels: str | None, threads: int) -> Identity:
    """Identity of figures taken on this machine with the given runtime."""
    slowest, fastest = _number("cpufreq/scaling_min_freq"), _number("cpufreq/scaling_max_freq")
    return Identity(
        runtime=runtime,
        version=version,
        kernels=kernels,
        threads=threads,
        clock_hz=fastest * 1e3 if fastest is not None and slowest == fastest else None,
        cpu=cpu_model(),
        affinity=ranges(processors()),
        governor=_text("cpufreq/scaling_governor"),
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def processors() -> set[int]:
    """Numbers of the processors that this process may use."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ``0-2,5``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], n]
        else:
            runs.append([n])
    return ",".join("-".join(map(str, run)) for run in runs)


def cpu_model(cpuinfo: str | None = None) -> str | None:
    """Model of the processor.

    Parameters
    ----------
    cpuinfo : str or None
        Text of ``/proc/cpuinfo``; by default this machine's. ARM boards name the board (``Model``) or the
        system on chip (``Hardware``) there, or only the numbers of the core's implementer and part.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return platform.processor() or None
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    for key in ("model name", "Model", "Hardware", "uarch"):
        if facts.get(key):
            return facts[key]
    if facts.get("CPU part"):
        return f"implementer {facts.get('CPU implementer', '?')} part {facts['CPU part']}"
    return platform.processor() or platform.machine() or None


@dataclass(frozen=True)
class State:
    """How busy and how fast the machine is at one moment.

    Attributes
    ----------
    time_s : float
        When, on a clock that only goes forward.
    load : float or None
        Average number of running processes over the last minute.
    busy_s, stolen_s : float or None
        Seconds that all processors have worked since the machine started, and that other virtual machines
        took from this one; Linux only.
    clock_hz : float or None
        Current clock of the first processor.
    throttled : int
        Times the processor has been slowed down by its temperature since it started.
    """

    time_s: float
    load: float | None = None
    busy_s: float | None = None
    stolen_s: float | None = None
    clock_hz: float | None = None
    throttled: int = 0

    @classmethod
    def now(cls) -> State:
        """Read the state of this machine."""
        try:
            load: float | None = os.getloadavg()[0]
        except (OSError, AttributeError):
            load = None
        busy_s = stolen_s = None
        try:
            # user nice system idle iowait irq softirq steal
            ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            second = os.sysconf("SC_CLK_TCK")
            busy_s, stolen_s = (sum(ticks[:3]) + sum(ticks[5:7])) / second, ticks[7] / second
        except (OSError, ValueError, IndexError, AttributeError):
            pass
        clock = _number("cpufreq/scaling_cur_freq")
        throttled = _number("thermal_throttle/core_throttle_count")
        clock_hz = clock * 1e3 if clock is not None else None
        return cls(time.monotonic(), load, busy_s, stolen_s, clock_hz, int(throttled or 0))


def describe_load(before: State, after: State) -> str:
    """Load average before and after, for a measurement's method."""
    if before.load is None or after.load is None:
        return "load average not known"
    return f"load average {before.load:.2f} before, {after.load:.2f} after"


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
    slower = before.clock_hz and after.clock_hz and after.clock_hz < SLOWER * before.clock_hz
    if after.throttled > before.throttled or slower:
        lines.append("the processor was slowed down while measuring: let it cool, and measure again")
    return tuple(lines)


def _text(name: str) -> str | None:
    try:
        return (_CPU / f"cpu{min(processors())}" / name).read_text().strip() or None
    except (OSError, ValueError):
        return None


def _number(name: str) -> float | None:
    text = _text(name)
    return float(text) if text is not None and text.isdigit() else None
