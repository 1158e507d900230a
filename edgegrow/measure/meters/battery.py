"""A phone's battery: current times voltage, of everything in it.

``/sys/class/power_supply/NAME`` has ``type``, ``status``, ``current_now`` in uA and ``voltage_now`` in uV,
by https://docs.kernel.org/power/power_supply_class.html. Vendors differ: some give mA or mV, and some do not
tell the direction of the current by its sign. While it is charged its current is not what the phone uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.meters.files import Files, Poll
from edgegrow.measure.meters.meter import Description, MeterError
from edgegrow.measure.meters.polled import Gauge, Numbers, integrated

FOLDER = "/sys/class/power_supply"

WINDOW_S = 60.0
"""Fuel gauges give a new current every second or less often."""

LEAST_UA = 20_000
"""A phone that infers draws more: a smaller number is in mA."""

UNPLUG = "unplug it, and measure by adb over Wi-Fi"

LEAST_UV = 1_000_000
"""A battery has more: a smaller number is in mV."""


def find_battery(files: Files, folder: str = FOLDER) -> Gauge:
    """Find the battery that supplies the device.

    Raises
    ------
    MeterError
        If there is none, it may not be read, or it is being charged.
    """
    supplies = [f"{folder}/{name}" for name in files.list(folder)]
    types = files.read([f"{supply}/type" for supply in supplies]) if supplies else Poll(0.0)
    batteries = [supply for supply in supplies if types.text(f"{supply}/type") == "Battery"]
    chargers = [supply for supply in supplies if types.text(f"{supply}/type") not in ("Battery", "")]
    paths = [f"{battery}/{name}" for battery in batteries for name in ("current_now", "voltage_now")]
    poll = files.read(paths) if paths else Poll(0.0)
    battery = next(
        (b for b in batteries if {f"{b}/current_now", f"{b}/voltage_now"} <= set(poll.texts)), None
    )
    if battery is None:
        why = next(iter(poll.refusals.values()), "no battery there has current_now and voltage_now")
        raise MeterError(f"{folder}: {why}")
    measured = (f"{battery}/current_now", f"{battery}/voltage_now")
    status, online = f"{battery}/status", tuple(f"{charger}/online" for charger in chargers)

    def values(poll: Poll) -> tuple[int, ...]:
        if poll.text(status) == "Charging":
            raise MeterError(f"{status}: charging: the battery's current is not the phone's: {UNPLUG}")
        plugged = any(poll.text(path) == "1" for path in online)
        return (*(poll.integer(path) for path in measured), int(plugged))

    return Gauge(
        Description(
            name="android battery",
            covers="the whole phone, screen and radios included",
            resolution="by its fuel gauge, usually one value a second",
            rate_hz=1 / files.period_s,
            window_s=WINDOW_S,
            clock=files.clock,
        ),
        (*measured, status, *online),
        values,
        _energy_j,
        _doubts,
    )


def _energy_j(times_s: Numbers, values: NDArray[np.object_]) -> Numbers:
    current, voltage = np.abs(values[:, 0].astype(float)), values[:, 1].astype(float)
    amperes = current / (1e3 if _in_milliamperes(values) else 1e6)
    volts = voltage / (1e3 if voltage.max(initial=0) < LEAST_UV else 1e6)
    if volts.min(initial=9) < 1 or volts.max(initial=2) > 30:
        raise MeterError(
            f"its voltage_now is {voltage[0]:g}, neither uV nor mV of a battery: choose another meter"
        )
    return integrated(times_s, amperes * volts)


def _in_milliamperes(values: NDArray[np.object_]) -> bool:
    return bool(np.abs(values[:, 0].astype(float)).max(initial=0) < LEAST_UA)


def _doubts(values: NDArray[np.object_]) -> tuple[str, ...]:
    doubts = []
    if any(values[:, 2]):
        doubts.append(f"the phone is plugged in: what the cable gives is not in the figures: {UNPLUG}")
    if len({number < 0 for number in values[:, 0] if number}) > 1:
        doubts.append("the battery's current changed its direction: all of it was taken as used")
    if _in_milliamperes(values):
        doubts.append(
            f"the battery's current_now was taken as mA: no phone infers with less than {LEAST_UA} uA"
        )
    return tuple(doubts)
