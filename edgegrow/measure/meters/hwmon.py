"""Power sensors of Linux's hwmon, such as INA219, INA226 and INA3221 on an I2C bus.

A chip's folder has ``name`` and, for channel N, ``energyN_input`` in uJ, ``powerN_input`` or
``powerN_average`` in uW, ``inN_input`` in mV and ``currN_input`` in mA:
https://docs.kernel.org/hwmon/sysfs-interface.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgegrow.measure.meters.files import Files, Poll
from edgegrow.measure.meters.meter import Description, MeterError, quantity
from edgegrow.measure.meters.polled import Gauge, integrated, summed_microjoules

FOLDER = "/sys/class/hwmon"

# Divisor and factor of a chip's resolution: the current's step in uA is 1e9 / divisor / shunt in uOhm, the
# power's in uW is so many of it, as Linux's driver ina2xx sets it: https://docs.kernel.org/hwmon/ina2xx.html.
_STEPS = {
    "ina219": (100, 20),
    "ina220": (100, 20),
    "ina226": (400, 25),
    "ina230": (400, 25),
    "ina231": (400, 25),
}

# Of this chip in4 and so on are voltages over shunts, and curr4 is a sum: https://docs.kernel.org/hwmon/ina3221.html.
_SUPPLIES = {"ina3221": 3}

_FILES = {
    "energy": ("energy{}_input",),
    "power": ("power{}_input",),
    "average": ("power{}_average",),
    "curr": ("in{}_input", "curr{}_input"),  # a chip's in0 is the voltage over its shunt, not the supply's
}
"""What a channel can be measured by, the best first; its files in the order in which they are read."""


@dataclass(frozen=True)
class Channel:
    """One thing that a chip measures, e.g. ``energy`` 1 in the folder ``/sys/class/hwmon/hwmon2``."""

    folder: str
    kind: str
    number: str

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are read."""
        return tuple(f"{self.folder}/{name.format(self.number)}" for name in _FILES[self.kind])

    @property
    def address(self) -> str:
        """How the user names it."""
        return f"{self.folder}/{'power' if self.kind == 'average' else self.kind}{self.number}"


def find_hwmon(files: Files, address: str = "") -> Gauge:
    """Find a channel.

    Parameters
    ----------
    files : Files
    address : str
        A chip's folder, or a channel in it, e.g. ``/sys/class/hwmon/hwmon2/power1``; empty where there is
        only one on the machine.

    Raises
    ------
    MeterError
        If there is none, or more than one.
    """
    address = address.rstrip("/")
    named = re.fullmatch(r"(.+)/((?:energy|power|curr)\d+)(?:_input|_average)?", address)
    folders = [named[1]] if named else [address]
    if not address:
        folders = [f"{FOLDER}/{name}" for name in files.list(FOLDER)]
    elif not folders[0].startswith("/"):
        raise MeterError(f"{address}: not a path: give one such as {FOLDER}/hwmon0/power1")
    found = [channel for folder in folders for channel in _channels(files, folder)]
    if named:
        found = [channel for channel in found if channel.address == f"{named[1]}/{named[2]}"]
    if not found:
        where = address or FOLDER
        raise MeterError(
            f"{where}: nothing there measures power (energyN_input, powerN_input, powerN_average, or "
            "inN_input with currN_input): see the sensor's driver and address"
        )
    if len(found) > 1:
        shown = found[:8]
        labels = zip(shown, _labels(files, shown), strict=True)
        known = ", ".join(f"{channel.address} ({label})" for channel, label in labels)
        raise MeterError(f"{len(found)} channels measure power, name one of them, hwmon:PATH: {known}")
    return _gauge(files, found[0])


def _channels(files: Files, folder: str) -> Iterator[Channel]:
    """Find what a chip measures: each channel once, by the best of its files."""
    names = set(files.list(folder))
    most = _SUPPLIES.get(files.read([f"{folder}/name"]).text(f"{folder}/name"), 999)
    done = set()
    for kind, (first, *others) in _FILES.items():
        pattern = re.compile(re.escape(others[0] if others else first).replace(r"\{\}", r"(\d{1,3})"))
        numbers = sorted((match[1] for match in map(pattern.fullmatch, names) if match), key=int)
        for number in numbers:
            there = all(name.format(number) in names for name in _FILES[kind])
            if there and number not in done and int(number) <= most:
                done.add(number)
                yield Channel(folder, kind, number)


def _labels(files: Files, channels: list[Channel]) -> list[str]:
    """Name of each channel's chip, and the channel's label where it has one."""
    labels = []
    for channel in channels:
        kinds = ("in", "curr") if channel.kind == "curr" else ("energy", "power")
        paths = [f"{channel.folder}/{kind}{channel.number}_label" for kind in kinds]
        poll = files.read([f"{channel.folder}/name", *paths])
        label = next(filter(None, map(poll.text, paths)), "")
        labels.append(" ".join(filter(None, (poll.text(f"{channel.folder}/name") or "no name", label))))
    return labels


def _gauge(files: Files, channel: Channel) -> Gauge:
    chip = f"{channel.folder}/name"
    settings = (f"{channel.folder}/shunt_resistor", f"{channel.folder}/update_interval")
    poll = files.read([chip, *settings])
    interval_s = files.period_s
    if settings[1] in poll.texts:
        interval_s = max(interval_s, poll.integer(settings[1]) / 1e3)
    (label,) = _labels(files, [channel])
    description = Description(
        name=f"hwmon {label}",
        covers=f"what {channel.address} measures",
        resolution=_resolution(poll, poll.text(chip), channel, settings[0]),
        rate_hz=1 / interval_s,
        clock=files.clock,
    )

    def values(poll: Poll) -> tuple[int, ...]:
        return tuple(poll.integer(path) for path in channel.paths)

    if channel.kind == "energy":
        return Gauge(description, channel.paths, values, summed_microjoules((None,)))
    # uW, or mV times mA.
    return Gauge(
        description,
        channel.paths,
        values,
        lambda times_s, counts: integrated(times_s, np.prod(counts.astype(float), axis=1) / 1e6),
    )


def _resolution(poll: Poll, chip: str, channel: Channel, shunt: str) -> str:
    if channel.kind == "energy":
        return "1 uJ in its file"
    if chip in _STEPS and shunt in poll.texts and channel.kind == "power":
        divisor, factor = _STEPS[chip]
        shunt_uohm = poll.integer(shunt)
        if shunt_uohm > 0:
            step_w = factor * 1e9 / divisor / shunt_uohm / 1e6
            return f"{quantity(step_w, 'W')} (shunt of {quantity(shunt_uohm / 1e6, 'Ohm')})"
    return "1 mV x 1 mA in its files" if channel.kind == "curr" else "1 uW in its file"
