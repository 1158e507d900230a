"""A serial port: lines of text with a deadline for everything, and bytes."""

from __future__ import annotations

import errno
import time
from types import TracebackType
from typing import TYPE_CHECKING

from edgegrow.errors import InputError, reason

if TYPE_CHECKING:
    from serial import Serial

MAX_LINE_BYTES = 2**16
"""What is longer without an end is no line, and is dropped."""

POLL_SECONDS = 0.05
"""How long one read of the port waits."""

WRITE_SECONDS = 5.0
"""How long a command may take to be sent."""


# pyserial's own messages repeat the port and the error's number.
_REFUSALS = {
    errno.ENOENT: "there is none of that name",
    errno.EACCES: "you may not use it",
    errno.EBUSY: "it is in use",
    errno.EAGAIN: "it is in use",
}


class LostError(InputError):
    """The port is gone: unplugged, or its other end has closed."""


class SerialLink:
    """An open serial port; it is closed on leaving its ``with`` block.

    Parameters
    ----------
    port : str
        Its name, e.g. ``/dev/ttyACM0`` or ``COM3``.
    baud : int
        Baud rate; 8 bits, no parity, one stop bit.

    Attributes
    ----------
    received_bytes : int
        Everything that has come.

    Raises
    ------
    InputError
        If pyserial is not installed, or the port cannot be opened.
    """

    def __init__(self, port: str, baud: int) -> None:
        try:
            from serial import Serial
        except ImportError as error:
            message = f"port {port}: pyserial is not installed: pip install 'edgegrow[serial]'"
            raise InputError(message) from error
        self.port = port
        self.baud = baud
        self.received_bytes = 0
        self._buffer = b""
        try:
            self._serial: Serial = Serial(
                port, baud, timeout=POLL_SECONDS, write_timeout=WRITE_SECONDS, exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            why = _REFUSALS.get(getattr(error, "errno", None) or 0, reason(error))
            raise InputError(
                f"port {port}: cannot open it: {why}: see the cable, its name and rights"
            ) from error

    def __enter__(self) -> SerialLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serial.close()

    def write(self, content: str | bytes) -> None:
        """Send ASCII, or bytes.

        Raises
        ------
        LostError
            If the port is gone or takes nothing.
        """
        try:
            self._serial.write(content.encode("ascii") if isinstance(content, str) else content)
        except OSError as error:
            raise self._lost() from error

    def read_line(self, deadline: float) -> str | None:
        """Return the next line without its end, or None if none has come until the deadline.

        What is not ASCII becomes U+FFFD. The deadline is a time of `time.monotonic`, in seconds.

        Raises
        ------
        LostError
            If the port is gone.
        """
        while time.monotonic() < deadline:  # also while lines come without end
            line, end, rest = self._buffer.partition(b"\n")
            if end:
                self._buffer = rest
                return line.rstrip(b"\r").decode("ascii", "replace")
            if len(line) > MAX_LINE_BYTES:
                self._buffer = b""
            self._receive()
        return None

    def drain(self, quiet_seconds: float, deadline: float) -> bool:
        """Drop what comes until nothing has come for so long; False if the deadline is reached before."""
        self._buffer = b""
        last = time.monotonic()
        while time.monotonic() - last < quiet_seconds:
            if time.monotonic() >= deadline:
                return False
            if self._receive():
                last = time.monotonic()
            self._buffer = b""
        return True

    def read_bytes(self) -> bytes:
        """Return what has come, at most 64 KiB; empty where nothing has come for `POLL_SECONDS`.

        Raises
        ------
        LostError
            If the port is gone.
        """
        try:
            content: bytes = self._serial.read(max(1, min(self._serial.in_waiting, MAX_LINE_BYTES)))
        except OSError as error:
            raise self._lost() from error
        self.received_bytes += len(content)
        return content

    def _receive(self) -> bool:
        content = self.read_bytes()
        self._buffer += content
        return bool(content)

    def _lost(self) -> LostError:
        return LostError(
            f"port {self.port}: the connection was lost: see cable and power, then measure again"
        )
