"""Devices: where programs run, and how files get there.

A way to a device (this machine, ssh, adb, an emulator, a container) is a class that implements `Device`; what
is measured on it is the same for all of them (`edgegrow.measure.remote`).
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgegrow.errors import EdgegrowError, reason

MAX_OUTPUT_BYTES = 64 << 20
"""Bytes that a program may write on its stdout and stderr together."""

_CHUNK_BYTES = 1 << 16


class DeviceError(EdgegrowError):
    """Something failed on the way to a device or on it: names the device, what failed, what to do."""


class DeviceTimeout(DeviceError):
    """A program did not end within its time; it does not run any more."""


@dataclass(frozen=True)
class Finished:
    """One program that ran on a device.

    Attributes
    ----------
    exit_code : int
        Negative is the number of the signal that ended it, where that is known.
    stdout, stderr : bytes
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class Device(Protocol):
    """Where programs run. Use it in ``with``, or `close` it.

    Attributes
    ----------
    name : str
        As the user wrote it, e.g. ``ssh://pi@host:22``, ``adb:SERIAL``, ``local``.
    python : sequence of str
        Command that starts Python there, e.g. ``("python3",)``.
    """

    name: str
    python: Sequence[str]

    def run(
        self, command: Sequence[str], *, timeout_s: float, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        """Run a program to its end.

        Whatever ends the call early, also ``KeyboardInterrupt``, nothing is left running on the device.

        Parameters
        ----------
        command : sequence of str
            The program and its arguments; they arrive unchanged, whatever they contain.
        timeout_s : float
            Time that it may take, in s.
        max_output_bytes : int
            Bytes that it may write on stdout and stderr together.

        Raises
        ------
        DeviceTimeout
            If it takes longer.
        DeviceError
            If it cannot be started, writes more, or the connection is lost.
        """
        ...

    def put(self, content: bytes, path: str) -> None:
        """Write a file on the device.

        Raises
        ------
        DeviceError
            If it cannot be written: no space, no right to.
        """
        ...

    def folder(self) -> AbstractContextManager[str]:
        """Make a new temporary folder on the device; it is removed at the end, whatever happens."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def last_line(text: bytes) -> str:
    """Return the last line that says something, in printable characters."""
    lines = text[-2000:].decode(errors="replace").strip().splitlines() or [""]
    return "".join(c if c.isprintable() else "?" for c in lines[-1].strip())[:200]


class LocalDevice(Device):
    """The machine that edgegrow runs on, as a device: programs run in processes of their own.

    Parameters
    ----------
    python : sequence of str
        Command that starts Python; by default this process's own.
    name : str
        What messages call it.
    temporary : str, optional
        Folder that temporary ones are made in; by default the system's, which ``TMPDIR`` may name.
    """

    def __init__(
        self,
        python: Sequence[str] = (sys.executable,),
        name: str = "local",
        temporary: str | None = None,
    ) -> None:
        self.name = name
        self.python = tuple(python)
        self._temporary = temporary

    def run(
        self, command: Sequence[str], *, timeout_s: float, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        """Run a program to its end, in a process group of its own, which ends with it."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise DeviceError(f"{self.name}: cannot start {command[0]}: {reason(error)}") from error
        try:
            return self._collect(process, str(command[0]), timeout_s, max_output_bytes)
        finally:
            _end_group(process)

    def _collect(
        self, process: subprocess.Popen[bytes], program: str, timeout_s: float, max_output_bytes: int
    ) -> Finished:
        """Read both streams until they end, and wait for the process."""
        deadline = time.monotonic() + timeout_s
        late = DeviceTimeout(f"{self.name}: {program} did not end within {timeout_s:g} s: it was ended")
        written: dict[int, list[bytes]] = {}
        left = max_output_bytes
        with selectors.DefaultSelector() as waiting:
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                written[waiting.register(stream, selectors.EVENT_READ).fd] = []
            while waiting.get_map():
                for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                    chunk = os.read(key.fd, _CHUNK_BYTES)
                    written[key.fd].append(chunk)
                    left -= len(chunk)
                    if not chunk:
                        waiting.unregister(key.fileobj)
                if left < 0:
                    raise DeviceError(f"{self.name}: {program} wrote more than {max_output_bytes:,} bytes")
                if time.monotonic() >= deadline:
                    raise late
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise late from None
        stdout, stderr = (b"".join(parts) for parts in written.values())
        return Finished(process.returncode, stdout, stderr)

    def put(self, content: bytes, path: str) -> None:
        """Write a file."""
        try:
            Path(path).write_bytes(content)
        except OSError as error:
            raise DeviceError(f"{self.name}: cannot write {path}: {error.strerror}") from error

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Make a new temporary folder; it is removed at the end."""
        try:
            made = tempfile.TemporaryDirectory(
                prefix="edgegrow-", dir=self._temporary, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise DeviceError(f"{self.name}: cannot make a temporary folder: {error.strerror}") from error
        with made as path:
            yield path

    def close(self) -> None:
        """Nothing is connected."""


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and of what it has started; its streams are closed."""
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
