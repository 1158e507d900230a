"""Android devices, which are reached over adb."""

from __future__ import annotations

from collections.abc import Sequence

from edgegrow.errors import InputError
from edgegrow.measure.adb_link import AdbLink
from edgegrow.measure.adb_server import Refusal
from edgegrow.measure.device import DeviceError
from edgegrow.measure.shell_device import ShellDevice, Stream, last_line

LONGEST_PATH_BYTES = 1024
"""What adb's file transfer takes."""


class AdbDevice(ShellDevice):
    """An Android device. It is connected at once.

    Parameters
    ----------
    serial : str
        As ``adb devices`` lists it; also ``host:port``, which is connected where it is not yet.
    python : sequence of str
        Command that starts Python there.

    Raises
    ------
    InputError
        If there can be no such serial.
    DeviceError
        If there is no adb server, no such device, or it does not trust this computer.
    """

    def __init__(self, serial: str, python: Sequence[str] = ("python3",)) -> None:
        super().__init__(f"adb:{serial}", python)
        if not serial or not serial.isprintable() or " " in serial:
            raise InputError(f"adb:{serial}: this is no serial number: take one that adb devices lists")
        self._link = AdbLink(self.name, serial)

    def start(self, line: str) -> Stream:
        """Start a line in the device's shell."""
        return self._link.start(line)

    def put(self, content: bytes, path: str) -> None:
        """Write a file."""
        if len(path.encode("utf-8", "surrogateescape")) > LONGEST_PATH_BYTES - 8:
            raise DeviceError(f"{self.name}: cannot write {path:.80}...: its path is too long for adb")
        try:
            self._link.push(content, path)
        except Refusal as error:
            why = last_line(str(error).encode())
            raise DeviceError(f"{self.name}: cannot write {path}: {why}: see its disk and rights") from error

    def close(self) -> None:
        """Nothing is held: the adb server keeps the connection."""
