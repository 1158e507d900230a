"""Power rails of phones that monitor them (On-Device Power Monitor, Pixel 6 and later).

Each monitor is an industrial-I/O device whose ``energy_value`` holds a line of time, ``t=MILLISECONDS``, and
a line for each rail, ``CH4(T=MILLISECONDS)[S4M_VDD_CPUCL0], MICROJOULES``, counted since the phone was
started.
"""

from __future__ import annotations

import re

from edgegrow.measure.meters.files import Files, Poll
from edgegrow.measure.meters.meter import Description, MeterError
from edgegrow.measure.meters.polled import Gauge, summed_microjoules

FOLDER = "/sys/bus/iio/devices"

# The processor's clusters, and its path to the memory; others (modem, display, camera, radio) compute
# nothing.
_COUNTED = re.compile(r"CPU|MIF|DDR")
_RAIL = re.compile(r"CH(\d{1,3})\(T=\d{1,20}\)\[([^\]\n]{1,60})\], *(\d{1,20})")


def find_rails(files: Files, folder: str = FOLDER) -> Gauge:
    """Find the rails of the processor and its memory.

    Raises
    ------
    MeterError
        If there are none, or they may not be read.
    """
    paths = [f"{folder}/{name}/energy_value" for name in files.list(folder) if name.startswith("iio:device")]
    poll = files.read(paths) if paths else Poll(0.0)
    rails = [(path, *rail) for path in paths for rail in parse_rails(poll.texts.get(path, ""))]
    counted = [(path, channel) for path, channel, name, _ in rails if _COUNTED.search(name)]
    if not counted:
        if (hidden := poll.forbidden(paths)) is not None:
            raise MeterError(f"{folder}: {poll.refusals[hidden]}: only root may read it: adb root")
        what = "no rail of a processor is among them" if rails else "there are none"
        raise MeterError(f"{folder}: {what}")
    read = tuple(dict.fromkeys(path for path, _ in counted))
    covered = ", ".join(name for _, _, name, _ in rails if _COUNTED.search(name))

    def values(poll: Poll) -> tuple[int, ...]:
        held = {
            (path, channel): energy_uj
            for path in read
            for channel, _, energy_uj in parse_rails(poll.texts.get(path, ""))
        }
        missing = next((path for path, channel in counted if (path, channel) not in held), None)
        if missing is not None:
            why = poll.refusals.get(missing, "it holds no energy of a rail")
            raise MeterError(f"{missing}: {why}: choose another meter")
        return tuple(held[key] for key in counted)

    return Gauge(
        Description(
            name="android power rails",
            covers=f"the rails {covered}, with whatever else runs on them",
            resolution="1 uJ in its file",
            rate_hz=1 / files.period_s,
            clock=files.clock,
        ),
        read,
        values,
        summed_microjoules((None,) * len(counted)),
    )


def parse_rails(text: str) -> list[tuple[int, str, int]]:
    """Read an ``energy_value``: channel, name and energy in uJ of each rail; other lines are passed over."""
    matches = (_RAIL.fullmatch(line.strip()) for line in text.splitlines())
    return [(int(match[1]), match[2], int(match[3])) for match in matches if match]
