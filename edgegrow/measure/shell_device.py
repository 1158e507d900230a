"""Devices that are reached through a shell: ssh and adb. Programs run there under a guard.

A connection can end at any moment: a cable is pulled, Ctrl-C, this process is killed. What is left on the
device must then end by itself, so a small script watches over each program and each folder: its stdin is the
connection, and when that ends, so do they. The scripts need a POSIX shell and ``setsid``; dash, bash, busybox
and Android's mksh with toybox have what they use.
"""

from __future__ import annotations

import os
import shlex
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol

from edgegrow.measure.device import MAX_OUTPUT_BYTES, Device, DeviceError, DeviceTimeout, Finished

SPARE_S = 10.0
"""A program that we should have ended is ended by the device so long after its time."""

END_S = 10.0
"""How long a guard may take to end what it watches, in s."""

START_S = 30.0
"""How long a device may take to make a folder, in s."""

_UNSTARTED = "edgegrow: cannot start it"

_GUARD = f"""
limit=$1; shift
case $1 in
  */*) [ -f "$1" ] && [ -x "$1" ] ;;
  *) command -v "$1" >/dev/null 2>&1 ;;
esac || {{ echo "{_UNSTARTED}" >&2; exit 127; }}
exec 3<&0
setsid "$@" </dev/null 3<&- & program=$!
end='kill -9 "-$1" || {{ kill -9 "$1"; kill -9 "-$1"; }}'
setsid sh -c "sleep $limit; $end" sh "$program" </dev/null >/dev/null 2>&1 3<&- & clock=$!
{{ while read -r _ <&3; do :; done; set -- "$program"; eval "$end"; }} >/dev/null 2>&1 & watch=$!
wait "$program" 2>/dev/null; code=$?
{{ kill -9 "$watch"; wait "$watch"
for each in "$clock" "$program"; do set -- "$each"; eval "$end"; done; }} >/dev/null 2>&1
exit "$code"
"""
"""Runs "$@" in a session of its own, and ends all of it when the program, stdin or the time ends.

Before ``setsid`` has made the session there is no group to end, only the process: hence the second ``kill``.
It may make the session, and start a child, between the two: hence the third.
"""

_KEEPER = """
umask 077
trap '' HUP INT TERM PIPE
for place in "$TMPDIR" /data/local/tmp /tmp; do [ -n "$place" ] && [ -d "$place" ] && break; done
folder=$(mktemp -d "$place/edgegrow-XXXXXX") || exit 1
printf '%s\\0' "$folder"
while read -r _; do :; done
for attempt in 1 2 3 4 5; do
  rm -rf "$folder" 2>/dev/null
  [ -e "$folder" ] || exit 0
  sleep 1
done
exit 1
"""
"""Makes a temporary folder, prints its path and a zero byte, and removes it when stdin ends.

More than once: a program may be writing there that is only just being ended.
"""


class Stream(Protocol):
    """A command under way in a device's shell."""

    def receive(self, timeout_s: float) -> tuple[int, bytes] | int:
        """Wait for what comes next: ``(1, bytes)`` on stdout, ``(2, bytes)`` on stderr, last the exit code.

        Raises
        ------
        TimeoutError
            If nothing has come.
        DeviceError
            If the connection is lost.
        """
        ...

    def end_input(self) -> None:
        """End the command's stdin."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ShellDevice(Device):
    """A device whose programs are started by lines for its shell.

    Parameters
    ----------
    name : str
        What messages call it.
    python : sequence of str
        Command that starts Python there.
    """

    def __init__(self, name: str, python: Sequence[str]) -> None:
        self.name = name
        self.python = tuple(python)

    @abstractmethod
    def start(self, line: str) -> Stream:
        """Start a line in the device's shell.

        Raises
        ------
        DeviceError
            If the device does not take it, or the connection is lost.
        """

    def run(
        self, command: Sequence[str], *, timeout_s: float, max_output_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        """Run a program to its end, in a session of its own, which ends with it."""
        program = str(command[0])
        limit = f"{timeout_s + SPARE_S:.0f}"
        stream = self.start(self.line(_GUARD, limit, *command))
        try:
            finished = collect(stream, timeout_s, max_output_bytes)
        except TimeoutError as error:
            _end(stream)
            message = f"{self.name}: {program} did not end within {timeout_s:g} s: it was ended"
            raise DeviceTimeout(message) from error
        except OverflowError as error:
            _end(stream)
            raise DeviceError(f"{self.name}: {program} wrote more than {max_output_bytes:,} bytes") from error
        except BaseException:
            _end(stream)
            raise
        finally:
            stream.close()
        if 128 < finished.exit_code < 160:  # how a shell tells that a signal ended a program
            finished = replace(finished, exit_code=128 - finished.exit_code)
        if finished.exit_code == 127 and finished.stderr.strip() == _UNSTARTED.encode():
            raise DeviceError(f"{self.name}: cannot start {program}: it is not there, or no program")
        return finished

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Make a new temporary folder; the device removes it at the end, or when the connection ends."""
        stream = self.start(self.line(_KEEPER))
        try:
            path = self._made(stream)
            yield path
        finally:
            _end(stream)
            stream.close()

    def _made(self, stream: Stream) -> str:
        """Wait for the path of the folder."""
        printed = {1: b"", 2: b""}
        deadline = time.monotonic() + START_S
        try:
            while not printed[1].endswith(b"\0") and len(printed[1]) < 4096:
                piece = stream.receive(deadline - time.monotonic())
                if isinstance(piece, int):
                    break
                printed[piece[0]] += piece[1]
        except TimeoutError as error:
            raise DeviceTimeout(
                f"{self.name}: it did not make a temporary folder in {START_S:g} s"
            ) from error
        path = os.fsdecode(printed[1].removesuffix(b"\0"))
        if not printed[1].endswith(b"\0") or not PurePosixPath(path).is_absolute():
            why = last_line(printed[2]) or "it says nothing of the reason"
            raise DeviceError(f"{self.name}: cannot make a temporary folder: {why}: see its disk and rights")
        return path

    def line(self, script: str, *arguments: str) -> str:
        """Write a line that runs a script of ours, which gets the arguments unchanged.

        Raises
        ------
        DeviceError
            If an argument holds a zero byte, which no program can be given.
        """
        if any("\0" in argument for argument in arguments):
            raise DeviceError(f"{self.name}: an argument holds a zero byte: {arguments[-1]!r:.80}")
        return f"exec {shlex.join(('sh', '-c', script, 'edgegrow', *arguments))}"


def collect(stream: Stream, timeout_s: float, max_output_bytes: int) -> Finished:
    """Read a command's streams until it ends.

    Raises
    ------
    TimeoutError
        If it takes longer.
    OverflowError
        If it writes more.
    DeviceError
        If the connection is lost.
    """
    deadline = time.monotonic() + timeout_s
    written: dict[int, list[bytes]] = {1: [], 2: []}
    left = max_output_bytes
    while True:
        piece = stream.receive(deadline - time.monotonic())
        if isinstance(piece, int):
            return Finished(piece, b"".join(written[1]), b"".join(written[2]))
        number, content = piece
        written[number].append(content)
        left -= len(content)
        if left < 0:
            raise OverflowError
        if time.monotonic() >= deadline:
            raise TimeoutError


def last_line(text: bytes) -> str:
    """Return the last line of what a program wrote on stderr, for a message: printable, and bounded."""
    lines = text.decode("utf-8", "replace").split("\n")
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c if c.isprintable() else "?" for c in line)[-200:]


def _end(stream: Stream) -> None:
    """End what a guard watches, and wait until it has ended; what it still writes is dropped."""
    with suppress(DeviceError, TimeoutError):
        stream.end_input()
        deadline = time.monotonic() + END_S
        while not isinstance(stream.receive(deadline - time.monotonic()), int):
            pass
