"""The host's side of the serial protocol that ``model_serial.c`` speaks: MLPerf-Tiny-style, unofficial.

Noise on the line costs another attempt, a few of them an error; nothing is waited for without a deadline.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgegrow.errors import InputError
from edgegrow.measure.serial_link import SerialLink

ATTEMPTS = 3
"""How often a command, or the loading of an input, is tried."""

PING_SECONDS = 0.5
"""How long to wait for an answer to an empty command while looking for the device."""

QUIET_SECONDS = 0.2
"""After so long without a character, the device has said all that it had to."""

CHUNK_BYTES = 32
"""Bytes of an input that one command carries; the firmware takes commands of 79 characters."""

MAX_TEXT = 200
"""Characters that are kept of what a device says of itself."""

Result = TypeVar("Result")


class _Garbled(Exception):
    """An exchange that did not end as it should; the message says how, in a few words."""


@dataclass(frozen=True)
class DeviceIdentity:
    """What a device says of itself.

    Attributes
    ----------
    name : str
        Of the board and its firmware.
    model_id : str
        ``MODEL_ID`` of the package that it runs.
    compiler : str
    clock_hz : int or None
    """

    name: str
    model_id: str
    compiler: str
    clock_hz: int | None


@dataclass(frozen=True, eq=False)
class Timing:
    """One ``infer`` command: by the device's clock and by ours, in us, and the output of its last inference.

    Attributes
    ----------
    iterations : int
    device_us : int
    host_us : float
        Between the replies before and after; the line and both systems delay them.
    output : ndarray
        int8 ``(output_bytes,)``.
    """

    iterations: int
    device_us: int
    host_us: float
    output: np.ndarray


class SerialDevice:
    """A device that answers commands; every method raises an InputError that names the port.

    Parameters
    ----------
    link : SerialLink
    output_bytes : int
        Of the model that it should run.
    patience_seconds : float
        How long an answer may take, beside the time for computing and for its characters on the line.
    """

    def __init__(self, link: SerialLink, output_bytes: int, patience_seconds: float) -> None:
        self._link = link
        self._patience_seconds = patience_seconds
        self._output_bytes = output_bytes
        self._started = False

    def synchronize(self) -> None:
        """Find the device, and have it wait for a command."""
        link, seconds = self._link, self._patience_seconds
        deadline, before = time.monotonic() + seconds, link.received_bytes
        while time.monotonic() < deadline:
            link.write("%")
            ping = min(deadline, time.monotonic() + PING_SECONDS)
            while (line := link.read_line(ping)) is not None:
                if self._started and line.endswith("m-init-done"):
                    raise self._restarted()
                if line.endswith("m-ready"):
                    # Answers to the commands before this one, or a start-up's banner, may still come.
                    if not link.drain(QUIET_SECONDS, deadline):
                        break
                    self._started = True
                    return
        at = f"port {link.port}: within {seconds:g} s at {link.baud} baud"
        if link.received_bytes > before:
            raise InputError(f"{at} there came characters but no answer: see the baud rate and the firmware")
        raise InputError(f"{at} there came no answer: see that the board runs the serial firmware")

    def identify(self) -> DeviceIdentity:
        """Ask the device who it is.

        Raises
        ------
        InputError
            If it speaks another protocol.
        """
        (name,) = self._attempt(lambda: self._exchange("name", r"m-name-dut-\[(.*)\]"))
        protocol, model_id, compiler, clock = self._attempt(
            lambda: self._exchange(
                "profile",
                r"m-profile-\[(.*)\]",
                r"m-model-\[(.*)\]",
                r"m-compiler-\[(.*)\]",
                r"m-clock-hz-(\d{1,10})",
            )
        )
        if protocol != "edgegrow serial 1":
            known = "this edgegrow speaks edgegrow serial 1"
            said = protocol[:MAX_TEXT]
            raise InputError(f"port {self._link.port}: it speaks '{said}', {known}: update the firmware")
        return DeviceIdentity(name[:MAX_TEXT], model_id[:MAX_TEXT], compiler[:MAX_TEXT], int(clock) or None)

    def load(self, sample: np.ndarray) -> None:
        """Give the device an input, int8 ``(input_bytes,)``, and read it back."""
        content = sample.tobytes().hex()
        size = 2 * CHUNK_BYTES

        def attempt() -> None:
            self._exchange(f"db load {len(content) // 2}", r"m-\[Expecting \d+ bytes\]")
            for start in range(0, len(content), size):
                last = start + size >= len(content)
                self._exchange(f"db {content[start : start + size]}", *(["m-load-done"] if last else []))
            lines = [r"m-buffer-([0-9a-f]+)"] * -(-len(content) // size)
            if "".join(self._exchange("db print", *lines, characters=2 * len(content))) != content:
                raise _Garbled("the input came back changed")

        self._attempt(attempt)

    def infer(self, iterations: int, warmups: int, seconds: float) -> Timing:
        """Run so many inferences; they may take so many seconds, warm-ups included."""
        return self._attempt(lambda: self._infer(iterations, warmups, seconds))

    def _infer(self, iterations: int, warmups: int, seconds: float) -> Timing:
        moments: dict[int, float] = {}
        start, end, results = self._exchange(
            f"infer {iterations} {warmups}",
            f"m-warmup-start-{warmups}",
            "m-warmup-done",
            f"m-infer-start-{iterations}",
            r"m-lap-us-(\d{1,10})",
            r"m-lap-us-(\d{1,10})",
            "m-infer-done",
            r"m-results-\[([-\d,]*)\]",
            seconds=seconds,
            characters=5 * self._output_bytes,
            moments=moments,
        )
        numbers = [int(text) if re.fullmatch(r"-?\d{1,3}", text) else 999 for text in results.split(",")]
        if len(numbers) != self._output_bytes or not all(-128 <= number <= 127 for number in numbers):
            raise _Garbled(f"it gave no {self._output_bytes} int8 results")
        return Timing(
            iterations=iterations,
            device_us=(int(end) - int(start)) % 2**32,
            host_us=1e6 * (moments[3] - moments[2]),
            output=np.array(numbers, np.int8),
        )

    def _exchange(
        self,
        command: str,
        *expected: str,
        seconds: float = 0.0,
        characters: int = 0,
        moments: dict[int, float] | None = None,
    ) -> list[str]:
        """Send a command, and read its replies until the device is ready again.

        Parameters
        ----------
        command : str
        *expected : str
            Patterns of the replies, in order; lines of noise between them are passed over.
        seconds, characters : float, int
            What the device may compute, and send, beside the usual.
        moments : dict, optional
            Filled with the time, in seconds, at which each reply was read, by its number.

        Returns
        -------
        list of str
            What the patterns' groups matched.
        """
        self._link.write(f"{command}%")
        # Ten bits a character, and twice the time that they take.
        deadline = time.monotonic() + self._patience_seconds + seconds + 20 * characters / self._link.baud
        found: list[str] = []
        position, refusal = 0, ""
        while (line := self._link.read_line(deadline)) is not None:
            if line.endswith("m-init-done"):
                raise self._restarted()
            if line.endswith("m-ready"):
                if position < len(expected):
                    raise _Garbled(f"it refused: {refusal}" if refusal else "a reply was missing")
                return found
            if match := re.search(r"(?<![a-z])e-\[(.*)\]$", line):
                refusal = _plain(match[1])[:MAX_TEXT]
            elif position < len(expected) and (match := re.search(f"{expected[position]}$", line)):
                found.extend(map(_plain, match.groups()))
                if moments is not None:
                    moments[position] = time.monotonic()
                position += 1
        raise _Garbled("it did not answer")

    def _attempt(self, exchange: Callable[[], Result]) -> Result:
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.synchronize()
            try:
                return exchange()
            except _Garbled as error:
                why = str(error)
        advice = "see cable, baud rate and firmware"
        raise InputError(f"port {self._link.port}: tried {ATTEMPTS} times, {why}: {advice}")

    def _restarted(self) -> InputError:
        port = self._link.port
        return InputError(f"port {port}: the device restarted midway: see its power, watchdog and stack size")


def _plain(text: str) -> str:
    """Keep what can be printed of a device's text."""
    return "".join(character for character in text if character.isprintable() and character.isascii())
