"""An Android device behind the adb server: its shell (v2), and its file transfer (sync).

The protocols are documented in AOSP, ``packages/modules/adb``: ``shell_protocol.h`` and ``docs/dev/sync.md``.
What a device sends is untrusted: sizes are bounded.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress

from edgegrow.measure.adb_server import ANSWER_S, AdbServer, Refusal, exactly
from edgegrow.measure.device import DeviceError

CONNECT_S = 30.0
"""How long the server may take to connect to a device over a network, in s."""

READY_S = 5.0
"""How long a device that has just been connected may take to get ready, in s."""

SILENT_S = 60.0
"""How long a device may take nothing of a file that is sent, in s."""

_CHUNK_BYTES = 64 << 10  # the most that sync takes at once
_LARGEST_PACKET_BYTES = 64 << 20
_STDOUT, _STDERR, _EXIT, _END_STDIN = 1, 2, 3, 4
_FILE_MODE = 0o100644


class AdbStream:
    """A command under way in a device's shell: a `edgegrow.measure.shell_device.Stream`."""

    def __init__(self, link: AdbLink, connection: socket.socket) -> None:
        self._link = link
        self._socket = connection
        self._received = bytearray()
        self._exit_code: int | None = None

    def receive(self, timeout_s: float) -> tuple[int, bytes] | int:
        """Wait for what comes next."""
        deadline = time.monotonic() + timeout_s
        while self._exit_code is None:
            kind, content = self._packet(deadline)
            if kind in (_STDOUT, _STDERR):
                return kind, content
            if kind == _EXIT:
                self._exit_code = int.from_bytes(content[:1], "little")
        return self._exit_code

    def _packet(self, deadline: float) -> tuple[int, bytes]:
        """Wait for a packet: a byte of its kind, four of its length, and its content."""
        self._fill(5, deadline)
        kind, length = struct.unpack("<BI", self._received[:5])
        if length > _LARGEST_PACKET_BYTES:
            raise self._link.lost()
        self._fill(5 + length, deadline)
        content = bytes(self._received[5 : 5 + length])
        del self._received[: 5 + length]
        return kind, content

    def _fill(self, count: int, deadline: float) -> None:
        while len(self._received) < count:
            try:
                self._socket.settimeout(max(1e-3, deadline - time.monotonic()))
                chunk = self._socket.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise
            except OSError as error:
                raise self._link.lost() from error
            if not chunk:
                raise self._link.lost()
            self._received += chunk

    def end_input(self) -> None:
        """End the command's stdin."""
        with suppress(OSError):
            self._socket.settimeout(ANSWER_S)
            self._socket.sendall(struct.pack("<BI", _END_STDIN, 0))

    def close(self) -> None:
        """Close the connection to the command, which ends its stdin too."""
        self._socket.close()


class AdbLink:
    """A device that the adb server knows, or gets to know.

    Parameters
    ----------
    name : str
        What messages call the device.
    serial : str
        Its serial number, or ``host:port`` as for ``adb connect``.

    Raises
    ------
    DeviceError
        If there is no server, no such device, it does not trust this computer, or is too old.
    """

    def __init__(self, name: str, serial: str) -> None:
        self._name = name
        self._serial = serial
        self._server = AdbServer(name)
        self._connect().close()
        try:
            features = self._server.ask(f"host-serial:{serial}:features").split(",")
        except Refusal as error:
            raise self.lost() from error
        if "shell_v2" not in features:
            raise DeviceError(f"{name}: its adb has no shell v2: Android 7 or newer is needed")

    def start(self, line: str) -> AdbStream:
        """Start a line in the device's shell.

        Raises
        ------
        DeviceError
            If the device does not take it, or the connection is lost.
        """
        connection = self._connect()
        try:
            self._server.request(connection, f"shell,v2,raw:{line}")
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, Refusal)):
                raise self.lost() from error
            raise
        return AdbStream(self, connection)

    def push(self, content: bytes, path: str) -> None:
        """Write a file.

        Raises
        ------
        Refusal
            If the device cannot.
        DeviceError
            If the connection is lost.
        """
        name = os.fsencode(path) + b",%d" % _FILE_MODE
        with self._connect() as connection:
            try:
                self._server.request(connection, "sync:")
                connection.settimeout(SILENT_S)
                # A device that fails midway may hang up: the reason it sent before is read all the same.
                with suppress(ConnectionError):
                    connection.sendall(struct.pack("<4sI", b"SEND", len(name)) + name)
                    for start in range(0, len(content), _CHUNK_BYTES):
                        part = content[start : start + _CHUNK_BYTES]
                        connection.sendall(struct.pack("<4sI", b"DATA", len(part)) + part)
                    connection.sendall(struct.pack("<4sI", b"DONE", int(time.time()) & 0xFFFFFFFF))
                answer, length = struct.unpack("<4sI", exactly(connection, 8))
                if answer == b"FAIL":
                    raise Refusal(exactly(connection, min(length, 4096)).decode("utf-8", "replace"))
            except OSError as error:
                raise self.lost() from error
            if answer != b"OKAY":
                raise self.lost()

    def lost(self) -> DeviceError:
        """Return the error of a connection that has ended."""
        hint = "see its cable or network, and adb devices, then measure again"
        return DeviceError(f"{self._name}: the connection was lost: {hint}")

    def _connect(self) -> socket.socket:
        """Return a connection to the server on which requests are the device's."""
        deadline = time.monotonic() + READY_S
        known = False
        while True:
            connection = self._server.dial()
            try:
                self._server.request(connection, f"host:transport:{self._serial}")
                return connection
            except BaseException as error:
                connection.close()
                if isinstance(error, OSError):
                    raise self.lost() from error
                if not isinstance(error, Refusal):
                    raise
                refusal = str(error)
            if "not found" in refusal and ":" in self._serial and not known:
                known = True
                with suppress(Refusal):  # then it is not found again
                    self._server.ask(f"host:connect:{self._serial}", CONNECT_S)
            elif time.monotonic() < deadline and _may_get_ready(refusal):
                time.sleep(0.2)
            else:
                raise DeviceError(f"{self._name}: {self._advice(refusal)}")

    def _advice(self, refusal: str) -> str:
        """Say why a device is not to be had, and what to do."""
        if "unauthorized" in refusal or "authorizing" in refusal:
            return (
                "it does not trust this computer: unlock its screen, allow USB debugging, then measure again"
            )
        if "not found" in refusal:
            rows = self._server.ask("host:devices").splitlines()
            there = ", ".join(row.split("\t")[0] for row in rows[:8]) or "none"
            return f"there is no such device (there are: {there}): see its cable or network, and adb devices"
        return f"adb does not reach it ({' '.join(refusal.split()):.100}): see its cable or network"


def _may_get_ready(refusal: str) -> bool:
    return any(word in refusal for word in ("offline", "connecting", "authorizing"))
