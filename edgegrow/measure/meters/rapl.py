"""RAPL: energy counters of x86 processors, by Linux's powercap.

A zone ``intel-rapl:N`` (AMD's are called so too) has ``name``, ``energy_uj`` and ``max_energy_range_uj``, at
which the counter goes on at 0: https://docs.kernel.org/power/powercap/powercap.html. A package's energy holds
that of its cores and of a built-in graphics processor, but not its memory's (``dram``).
"""

from __future__ import annotations

import re

from edgegrow.measure.meters.files import Files, Poll
from edgegrow.measure.meters.meter import Description, MeterError
from edgegrow.measure.meters.polled import Gauge, summed_microjoules

FOLDER = "/sys/class/powercap"

# Not intel-rapl-mmio: the same packages' counters once more. Not core and uncore, which packages hold, and
# not psys, which holds them.
_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")
_COUNTED = re.compile(r"(package-\d+(-die-\d+)?|dram)")


def find_rapl(files: Files, folder: str = FOLDER) -> Gauge:
    """Find the counters of all packages and their memories.

    Raises
    ------
    MeterError
        If there are none, or they may not be read.
    """
    zones = [f"{folder}/{name}" for name in files.list(folder) if _ZONE.fullmatch(name)]
    if not zones:
        raise MeterError(
            f"there is no intel-rapl zone in {folder}: virtual machines and processors other than x86 have "
            "none: choose another meter"
        )
    names = files.read([f"{zone}/name" for zone in zones])
    zones = [zone for zone in zones if _COUNTED.fullmatch(names.text(f"{zone}/name"))]
    if not zones:
        raise MeterError(f"none of the zones in {folder} is a package's: choose another meter")
    paths = tuple(f"{zone}/energy_uj" for zone in zones)
    ranges = files.read([f"{zone}/max_energy_range_uj" for zone in zones])
    limits = tuple(ranges.integer(f"{zone}/max_energy_range_uj") for zone in zones)
    if min(limits) < 1:
        raise MeterError(f"{folder}: a max_energy_range_uj is not positive: choose another meter")

    def values(poll: Poll) -> tuple[int, ...]:
        if (hidden := poll.forbidden(paths)) is not None:
            raise MeterError(
                f"you may not read {hidden}: since Linux 5.10 only root may: run it as root, or let "
                f"everybody read it until the next start: sudo chmod a+r {folder}/intel-rapl:*/energy_uj"
            )
        return tuple(poll.integer(path) for path in paths)

    covered = " + ".join(names.text(f"{zone}/name") for zone in zones)
    return Gauge(
        Description(
            name="rapl",
            covers=f"the whole processor with whatever else runs on it ({covered})",
            resolution="61 uJ or finer, by the processor",
            rate_hz=1 / files.period_s,
            clock=files.clock,
        ),
        paths,
        values,
        summed_microjoules(limits),
    )
