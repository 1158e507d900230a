"""Measuring an artifact on a target: which ways there are, and the one that is taken."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgegrow.errors import InputError
from edgegrow.listener import Listener, Silent
from edgegrow.measure.protocol import Profile
from edgegrow.measure.windows import TakeTurns
from edgegrow.targets import Target, load_target
from edgegrow.ways.devices import DEVICES, on_device, turns_on
from edgegrow.ways.emulated import CONTAINED, counted, open_emulated
from edgegrow.ways.microcontroller import in_emulator, over_serial
from edgegrow.ways.npu import by_vela
from edgegrow.ways.way import Options, Way


def measure_artifact(
    path: Path,
    target: str | Target = "host",
    via: str | None = None,
    options: Options | None = None,
    listener: Listener | None = None,
) -> Profile:
    """Measure an artifact on a target.

    Parameters
    ----------
    path : Path
        A ``.tflite`` or ``.onnx`` file for a Linux or Android target; a ``.tflite`` file or a C package, the
        folder that ``export --format c`` writes, for a microcontroller; a ``.tflite`` file for an NPU.
    target : str or Target
        A target, or the name or file of one.
    via : str, optional
        ``local``, ``ssh://USER@HOST[:PORT]``, ``adb:SERIAL``, ``container``, ``emulator``, ``serial:PORT`` or
        ``vela``, as `WAYS` has them for the target's kind; by default what the target's file says, or the
        first.
    options : Options, optional
    listener : Listener, optional
        Is shown the progress.

    Raises
    ------
    InputError
        If the artifact cannot be opened, or the target cannot be measured from here or not with it. Where
        a serial line fails midway it is a `edgegrow.measure.serial.SerialInterrupted`, whose ``profile`` has
        what was measured until then.
    """
    found = target if isinstance(target, Target) else load_target(target)
    way, address = choose_way(found, via)
    return WAYS[found.kind][way](path, found, address, options or Options(), listener or Silent())


def choose_way(found: Target, via: str | None = None) -> tuple[str, str]:
    """Choose the way to measure a target.

    Parameters
    ----------
    found : Target
    via : str, optional
        As `measure_artifact` takes it.

    Returns
    -------
    way, address : str
        A key of `WAYS`, and the address; empty for a way that has none.

    Raises
    ------
    InputError
        If the target cannot be measured so.
    """
    ways = WAYS[found.kind]
    way, address = _split(via or _default(found, ways))
    if way not in ways or bool(address) != (way in _ADDRESSED):
        known = ", ".join(_ADDRESSED.get(name, name) for name in ways)
        raise InputError(
            f"--via {via or way}: target {found.name} ({found.kind}) cannot be measured so: use {known}"
        )
    return way, address


def reach(target: Target, via: str | None) -> Target:
    """Return a target as it is measured while networks are grown for it.

    Parameters
    ----------
    target : Target
    via : str, optional
        As `measure_artifact` takes it; by default what the target's file says.

    Raises
    ------
    InputError
        If the target cannot be measured so, or not while networks are grown.
    """
    if via is None:
        return target
    way, address = choose_way(target, via)
    if WAYS[target.kind] is _DEVICE_WAYS:
        return target.reached(way, address or None)
    if way != _default(target, WAYS[target.kind]):
        raise InputError(
            f"--via {via}: networks are grown for target {target.name} ({target.kind}) by emulation: "
            "leave it out, and measure what they have become"
        )
    return target


def prepare_target(target: Target, listener: Listener) -> None:
    """See that a Linux or Android target can be measured as it is by default: its device is there.

    Where an emulated core stands for it, that is prepared, which takes half a minute the first time. What
    else is missing is told when it is measured.

    Raises
    ------
    InputError
        If it cannot be prepared: a program or an image is missing.
    DeviceError
        If the device cannot be reached.
    """
    way, address = choose_way(target)
    if WAYS[target.kind] is not _DEVICE_WAYS:
        return
    if way in CONTAINED:
        open_emulated(target, listener, CONTAINED[way]).close()
    else:
        DEVICES[way](target, address).close()


def is_timed(target: Target) -> bool:
    """Tell whether a target is measured, by default, on a device with a clock."""
    return choose_way(target)[0] in DEVICES


def turns_of(target: Target, format: str) -> TakeTurns:
    """Return what times files of a format, ``tflite`` or ``onnx``, in turn on a target's device.

    Raises
    ------
    InputError
        If it is not measured on one by default.
    """
    way, address = choose_way(target)
    if way not in DEVICES:
        how = f"give {GIVE_DEVICE}" if WAYS[target.kind] is _DEVICE_WAYS else "use host or an mcu"
        raise InputError(f"target {target.name}: it cannot be calibrated from here yet: {how}")
    return turns_on(way, target, address, format)


def _split(via: str) -> tuple[str, str]:
    """Split ``ssh://pi@host:22``, ``adb:SERIAL``, ``serial:PORT`` or ``local`` into way and address."""
    way, _, address = via.partition(":")
    return way, address.removeprefix("//") if way == "ssh" else address


def _default(target: Target, ways: Iterable[str]) -> str:
    """Choose the way that a Linux or Android target's file names; of the others, the first."""
    if target.kind not in ("linux", "android"):
        return next(iter(ways))
    return target.via or target.transport.kind


_ADDRESSED = {"serial": "serial:PORT", "ssh": "ssh://USER@HOST[:PORT]", "adb": "adb:SERIAL"}
"""Ways that are given an address, as they are written."""

GIVE_DEVICE = "--via ssh://USER@HOST or adb:SERIAL"
"""What has networks timed on a device, for messages."""

_DEVICE_WAYS: dict[str, Way] = {
    **{way: on_device(way) for way in DEVICES},
    **{way: counted(way) for way in CONTAINED},
}

WAYS: dict[str, dict[str, Way]] = {
    "linux": _DEVICE_WAYS,
    "android": _DEVICE_WAYS,
    "mcu": {"emulator": in_emulator, "serial": over_serial},
    "npu": {"vela": by_vela},
}
"""How targets of a kind can be measured; the third argument is the address, or empty."""
