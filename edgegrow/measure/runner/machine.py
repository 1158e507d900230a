"""What a machine is, and how busy, fast and warm it is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .tensors import Unusable

SYS = Path("/sys")

_FACTS = ("vendor_id", "model name", "Model", "Hardware", "uarch", "CPU implementer", "CPU part",
          "CPU variant", "CPU revision", "Features", "flags")  # fmt: skip
_PROPERTIES = ("ro.product.model", "ro.soc.model", "ro.build.fingerprint")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except (OSError, ValueError):
        return None


def _number(path: Path) -> float | None:
    with suppress(TypeError, ValueError):
        return float(_text(path))  # type: ignore[arg-type]
    return None


def processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(wanted: list[int]) -> None:
    """Run on these processors alone."""
    try:
        os.sched_setaffinity(0, wanted)
    except (OSError, ValueError, AttributeError) as error:
        raise Unusable(f"it cannot run on the processors {wanted}: {processors()} are here") from error


def system() -> dict[str, Any]:
    """Tell what does not change: operating system, processor, its clock where it is fixed, the phone."""
    facts: dict[str, list[str]] = {}
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in _FACTS and value.strip() not in facts.setdefault(key.strip(), []):
            facts[key.strip()].append(value.strip())
    clocks = SYS / f"devices/system/cpu/cpu{processors()[0]}/cpufreq"
    slowest, fastest = _number(clocks / "scaling_min_freq"), _number(clocks / "scaling_max_freq")
    return {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpuinfo": {key: ", ".join(values) for key, values in facts.items()},
        "cpu_count": os.cpu_count(),
        "governor": _text(clocks / "scaling_governor"),
        "fixed_hz": fastest * 1e3 if fastest is not None and slowest == fastest else None,
        "android": android(),
    }


def android() -> dict[str, str] | None:
    """Model, processor and build of an Android phone."""
    if not Path("/system/bin/getprop").exists():
        return None
    found = {}
    for name in _PROPERTIES:
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/system/bin/getprop", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, timeout=5, check=True)
            found[name] = done.stdout.decode(errors="replace").strip()
    return found


def state() -> dict[str, Any]:
    """Tell how busy, fast and warm the machine is just now; what it does not tell is None, or left out."""
    cpus, zones = SYS / "devices/system/cpu", {}
    for zone in sorted((SYS / "class/thermal").glob("thermal_zone*"))[:64]:
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            zones[f"{zone.name[12:]} {_text(zone / 'type')}"] = millidegrees / 1e3
    clocks = {str(n): _number(cpus / f"cpu{n}/cpufreq/scaling_cur_freq") for n in processors()}
    busy_s = stolen_s = load = None
    with suppress(OSError, ValueError, IndexError, AttributeError):
        # user nice system idle iowait irq softirq steal
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        busy_s, stolen_s = (sum(ticks[:3]) + sum(ticks[5:7])) / second, ticks[7] / second
    with suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    events = _number(cpus / f"cpu{processors()[0]}/thermal_throttle/core_throttle_count")
    return {
        "time_s": time.monotonic(),
        "frequency_hz": {n: kilohertz * 1e3 for n, kilohertz in clocks.items() if kilohertz is not None},
        "temperature_c": zones,
        "load": load,
        "busy_s": busy_s,
        "stolen_s": stolen_s,
        "throttled": throttled(),
        "throttle_events": int(events or 0),
    }


def throttled() -> bool | None:
    """Tell whether the processor is held back now, by its temperature or its supply."""
    held = [
        (_number(device / "cur_state") or 0) > 0
        for device in (SYS / "class/thermal").glob("cooling_device*")
        if re.search("cpufreq|cpu|Processor", _text(device / "type") or "")
    ]
    with suppress(TypeError, ValueError):
        # A Raspberry Pi's firmware: low voltage, clock capped, throttled, soft limit of temperature.
        flags = _text(SYS / "devices/platform/soc/soc:firmware/get_throttled")
        held.append(int(flags, 16) & 0xF != 0)  # type: ignore[arg-type]
    return any(held) if held else None
