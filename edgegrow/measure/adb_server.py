"""Requests to the adb server, the program that keeps the connections to Android devices.

Spoken here and not by a library: adbutils (2.12) puts no bound on what a program writes, drops the reason why
a file could not be written, and brings pillow and requests; adb-shell (0.4) has no shell v2, thus no exit
codes. The protocol is documented in AOSP, ``packages/modules/adb/docs/dev``: ``overview``, ``services``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import suppress

from edgegrow.errors import InputError, reason
from edgegrow.measure.device import DeviceError

ANSWER_S = 15.0
"""How long the server may take to answer, in s."""

START_S = 20.0
"""How long it may take to start, in s."""


class Refusal(Exception):
    """The server or the device answers FAIL; the message is its reason."""


class AdbServer:
    """The adb server: the one that ``ANDROID_ADB_SERVER_ADDRESS`` and ``..._PORT`` name, or 127.0.0.1:5037.

    It is started where it does not run and ``adb`` is installed.

    Parameters
    ----------
    name : str
        What messages call the device.

    Raises
    ------
    InputError
        If the port in the environment is none.
    DeviceError
        If there is no server.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        port = os.environ.get("ANDROID_ADB_SERVER_PORT") or "5037"
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise InputError(f"{name}: ANDROID_ADB_SERVER_PORT={port}: it must be a port")
        self._address = (os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1", int(port))
        try:
            self.ask("host:version")
        except DeviceError:
            if not self._start():
                raise
            self.ask("host:version")

    def ask(self, request: str, within_s: float = ANSWER_S) -> str:
        """Request something that the server answers with a text.

        Raises
        ------
        Refusal
            If it refuses.
        DeviceError
            If it does not answer.
        """
        with self.dial() as connection:
            try:
                self.request(connection, request, within_s)
                return _text(connection)
            except OSError as error:
                raise self._missing(error) from error

    def dial(self) -> socket.socket:
        """Return a new connection to the server.

        Raises
        ------
        DeviceError
            If there is none.
        """
        try:
            return socket.create_connection(self._address, ANSWER_S)
        except OSError as error:
            raise self._missing(error) from error

    @staticmethod
    def request(connection: socket.socket, request: str, within_s: float = ANSWER_S) -> None:
        """Send a request, and wait until it is accepted.

        Raises
        ------
        Refusal
            If it is refused.
        OSError
            If there is no answer.
        """
        connection.settimeout(within_s)
        content = os.fsencode(request)
        connection.sendall(b"%04x" % len(content) + content)
        status = exactly(connection, 4)
        if status == b"FAIL":
            raise Refusal(_text(connection))
        if status != b"OKAY":
            raise ConnectionError(f"it answers {status!r}")

    def _start(self) -> bool:
        adb = shutil.which("adb")
        if adb is None or self._address[0] not in ("127.0.0.1", "localhost"):
            return False
        command = [adb, "-P", str(self._address[1]), "start-server"]
        nothing = subprocess.DEVNULL
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=nothing, stdout=nothing, stderr=nothing, timeout=START_S, check=False
            )
        return True

    def _missing(self, error: Exception) -> DeviceError:
        host, port = self._address
        hint = "install adb (apt install adb), and run adb start-server"
        return DeviceError(f"{self._name}: no adb server answers at {host}:{port}: {reason(error)}: {hint}")


def exactly(connection: socket.socket, count: int) -> bytes:
    """Receive so many bytes.

    Raises
    ------
    ConnectionError
        If the connection ends before.
    """
    content = b""
    while len(content) < count:
        chunk = connection.recv(count - len(content))
        if not chunk:
            raise ConnectionError("the connection has ended")
        content += chunk
    return content


def _text(connection: socket.socket) -> str:
    """Receive a text after its length in four hexadecimal digits."""
    try:
        length = int(exactly(connection, 4), 16)
    except ValueError as error:
        raise ConnectionError("it answers no length") from error
    return exactly(connection, length).decode("utf-8", "replace")
