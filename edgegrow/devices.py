"""How the devices of Linux and Android targets are opened: one function a way.

A new way is a function here and a line in `DEVICES`; what is measured on a device is
`edgegrow.measure.remote.measure_on`'s, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable

from edgegrow.measure.device import Device
from edgegrow.targets import Target


def _open_local(target: Target, _: str) -> Device:
    from edgegrow.measure.device import LocalDevice

    python = target.transport.python
    return LocalDevice() if python is None else LocalDevice((python,))


def _open_ssh(target: Target, address: str) -> Device:
    from edgegrow.measure.ssh import SshDevice

    return SshDevice(f"ssh://{address}", (target.transport.python or "python3",))


def _open_adb(target: Target, serial: str) -> Device:
    from edgegrow.measure.adb import AdbDevice

    return AdbDevice(serial, (target.transport.python or "python3",))


Open = Callable[[Target, str], Device]
"""Opens a target's device at an address, which is empty for a way that has none."""

DEVICES: dict[str, Open] = {"local": _open_local, "ssh": _open_ssh, "adb": _open_adb}
"""Ways to a device that runs `edgegrow.measure.runner`; each imports what it needs when it is taken."""
