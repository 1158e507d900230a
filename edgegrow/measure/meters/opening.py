"""Meters by the names that users give them."""

from __future__ import annotations

from collections.abc import Callable

from edgegrow.measure.device import Device
from edgegrow.measure.meters.android import find_android
from edgegrow.measure.meters.constant import ActivePower, find_constant
from edgegrow.measure.meters.files import DeviceFiles, Files, LocalFiles
from edgegrow.measure.meters.hwmon import find_hwmon
from edgegrow.measure.meters.joulescope import JoulescopeMeter
from edgegrow.measure.meters.meter import Meter, MeterError
from edgegrow.measure.meters.polled import Gauge, PolledMeter
from edgegrow.measure.meters.ppk2 import Ppk2Meter
from edgegrow.measure.meters.rapl import find_rapl

METERS = ("constant", "hwmon[:PATH]", "rapl", "ppk2:PORT", "joulescope[:ID]", "android")
"""How each is written."""


def make_meter(
    name: str,
    *,
    power: ActivePower | None = None,
    voltage_v: float | None = None,
    device: Device | None = None,
) -> Meter:
    """Make a meter; it is not set up.

    Parameters
    ----------
    name : str
        One of `METERS`.
    power : ActivePower or None
        What the target draws by its file, for ``constant``.
    voltage_v : float or None
        What the target is supplied with, in V, for ``ppk2``.
    device : Device or None
        What infers, where ``hwmon``, ``rapl`` and ``android`` are read; by default this machine.

    Raises
    ------
    MeterError
        If there is no such meter, or what it needs is missing.
    """
    kind, _, address = name.partition(":")
    forms = {form.partition("[")[0].partition(":")[0]: form for form in METERS}
    form = forms.get(kind)
    if form is None or (address and ":" not in form) or (not address and form.endswith(":PORT")):
        raise MeterError(f"meter {name}: there is none of that form: use {form or ', '.join(METERS)}")
    if kind == "ppk2":
        return Ppk2Meter(address, voltage_v)
    if kind == "joulescope":
        return JoulescopeMeter(address)

    def constant(files: Files) -> Gauge:
        if power is None:
            raise MeterError("the target's file has no power.active_w and no power.pj_per_cycle")
        return find_constant(files, power)

    find: dict[str, Callable[[Files], Gauge]] = {
        "constant": constant,
        "hwmon": lambda files: find_hwmon(files, address),
        "rapl": find_rapl,
        "android": find_android,
    }
    files: Files = LocalFiles() if device is None else DeviceFiles(device)
    return PolledMeter(name, files, find[kind])
