"""Small files of a kernel, read on this machine or on a device, with the time by the device's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgegrow.errors import EdgegrowError
from edgegrow.files import read_regular
from edgegrow.measure.device import Device
from edgegrow.measure.meters.meter import THIS_MACHINE, MeterError
from edgegrow.measure.runner.repeating import boot_seconds

MAX_BYTES = 2**16
"""Bytes of a file that are read: sysfs gives a page, 4096 bytes, at most."""

_SECONDS = 10.0
_UPTIME = "/proc/uptime"


@dataclass(frozen=True)
class Poll:
    """Files that were read at once.

    Attributes
    ----------
    time_s : float
        When, in s since the device was started.
    texts : dict
        From path to content, of the files that could be read.
    refusals : dict
        From path to why it could not be read, as the system says it.
    """

    time_s: float
    texts: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    def integer(self, path: str) -> int:
        """Return the whole number that a file holds.

        Raises
        ------
        MeterError
            If it could not be read, or holds something else.
        """
        if path not in self.texts:
            raise MeterError(f"{path}: cannot read it: {self.refusals.get(path, 'there is no such file')}")
        return parse_integer(path, self.texts[path])

    def forbidden(self, paths: Sequence[str]) -> str | None:
        """Return the first of these paths that this user may not read."""
        return next((path for path in paths if "ermission" in self.refusals.get(path, "")), None)

    def text(self, path: str) -> str:
        """Return what a file holds, on one line; empty where it could not be read."""
        return " ".join("".join(c if c.isprintable() else " " for c in self.texts.get(path, "")).split())[:80]


def parse_integer(path: str, text: str) -> int:
    """Read a whole number of at most 20 digits, as 64 bits have.

    Raises
    ------
    MeterError
        If it is something else.
    """
    digits = text.strip()
    unsigned = digits.removeprefix("-")
    if not (unsigned.isascii() and unsigned.isdigit() and len(unsigned) <= 20):
        raise MeterError(f"{path}: it holds {text.strip()[:40]!r}, not a whole number: choose another meter")
    return int(digits)


class Files(Protocol):
    """Where small files are read.

    Attributes
    ----------
    clock : str
        Whose clock stamps what is read.
    period_s : float
        How often they can be read without disturbing what is measured much, in s.
    """

    clock: str
    period_s: float

    def list(self, folder: str) -> tuple[str, ...]:
        """Names in a folder, sorted; none where it cannot be read."""
        ...

    def read(self, paths: Sequence[str]) -> Poll:
        """Read files at once; those that cannot be read are named in the result."""
        ...


class LocalFiles(Files):
    """Files of this machine."""

    clock = THIS_MACHINE
    period_s = 0.05

    def list(self, folder: str) -> tuple[str, ...]:
        """Names in a folder."""
        try:
            return tuple(sorted(path.name for path in Path(folder).iterdir()))
        except OSError:
            return ()

    def read(self, paths: Sequence[str]) -> Poll:
        """Read files; the time is halfway between before and after."""
        texts, refusals = {}, {}
        before = boot_seconds()
        for path in paths:
            try:
                texts[path] = read_regular(path, MAX_BYTES).decode(errors="replace")
            except OSError as error:
                refusals[path] = error.strerror or "it cannot be read"
        return Poll((before + boot_seconds()) / 2, texts, refusals)


class DeviceFiles(Files):
    """Files of a device, each time read by one `grep`, which every Linux and Android has.

    ``/proc/uptime`` is read before and after them: the device's own clock, in steps of 10 ms.

    Parameters
    ----------
    device : Device
        It must run a program while it runs another.
    """

    period_s = 0.25

    def __init__(self, device: Device) -> None:
        self._device = device
        self.clock = device.name

    def list(self, folder: str) -> tuple[str, ...]:
        """Names in a folder."""
        done = self._device.run(("ls", "-1", folder), timeout_s=_SECONDS, max_output_bytes=MAX_BYTES)
        return tuple(sorted(done.stdout.decode(errors="replace").splitlines()))

    def read(self, paths: Sequence[str]) -> Poll:
        """Read files; the time is halfway between before and after.

        Raises
        ------
        MeterError
            If the device fails.
        """
        command = ("grep", "-H", ".", _UPTIME, *paths, _UPTIME)
        limit = MAX_BYTES * (len(paths) + 2)
        try:
            done = self._device.run(command, timeout_s=_SECONDS, max_output_bytes=limit)
        except EdgegrowError as error:
            raise MeterError(str(error)) from error
        lines: dict[str, list[str]] = {path: [] for path in (_UPTIME, *paths)}
        for line in done.stdout.decode(errors="replace").splitlines():
            # Names may contain colons themselves: iio:device0.
            path = next((path for path in lines if line.startswith(f"{path}:")), None)
            if path is not None:
                lines[path].append(line[len(path) + 1 :])
        times = [_uptime(self._device.name, line) for line in lines.pop(_UPTIME)]
        if len(times) != 2:
            raise MeterError(f"{self._device.name}: cannot read {_UPTIME} with grep: choose another meter")
        refusals = {}
        for line in done.stderr.decode(errors="replace").splitlines():
            for path in paths:
                if f"{path}: " in line:
                    refusals[path] = line.split(f"{path}: ", 1)[1][:80]
        return Poll(sum(times) / 2, {p: "\n".join(text) for p, text in lines.items() if text}, refusals)


def _uptime(name: str, line: str) -> float:
    number = line.split(" ")[0]
    if not (number.replace(".", "", 1).isdigit() and number.isascii() and len(number) < 20):
        raise MeterError(f"{name}: {_UPTIME} holds {line[:40]!r}: choose another meter")
    return float(number)
