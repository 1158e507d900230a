"""Nordic's Power Profiler Kit II, in series with the supply as an ampere meter.

The kit measures current alone: the voltage is the target's. Its digital input D0 is the marker, high while
the device infers; where it is not connected, the inferences are found in the power. The kit never supplies
the device: a wrong voltage could destroy it. Commands are bytes and are not answered, but for the
calibration.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import numpy as np

from edgegrow.errors import EdgegrowError, InputError, reason
from edgegrow.measure.meters.meter import Description, Meter, MeterError, Readings, quantity
from edgegrow.measure.meters.ppk2_samples import (
    RANGES,
    RATE_HZ,
    SAMPLE_BYTES,
    Calibration,
    digital,
    lost_before,
    next_counter,
)
from edgegrow.measure.meters.stream import EnergyStream
from edgegrow.measure.serial_link import SerialLink

START, STOP, CONNECT_DEVICE, AMPERE_METER, TELL_CALIBRATION = (
    b"\x06",
    b"\x07",
    b"\x0c\x01",
    b"\x11\x01",
    b"\x19",
)

VOLTAGES_V = 0.8, 5.0
"""What the kit can measure at."""

MARKER = 0
"""The digital input that marks the inferences."""

ANSWER_SECONDS = 3.0
"""How long the kit may take to tell its calibration, or to send its first samples."""

QUIET_SECONDS = 0.5
"""After so long without a byte, all samples that were on their way have come."""

LOST = 0.001
"""Share of samples that may be missing before it is told."""

MOST_LOST = 0.05
"""Share above which nothing is believed: bytes were lost, not samples."""

_BAUD = 115200  # a USB port's number, which changes nothing
_MAX_CALIBRATION = 2**14


class Ppk2Meter(Meter):
    """A kit at a serial port.

    Parameters
    ----------
    port : str
        E.g. ``/dev/ttyACM1`` or ``COM4``.
    voltage_v : float or None
        What the device is supplied with, in V.
    """

    def __init__(self, port: str, voltage_v: float | None) -> None:
        if voltage_v is None:
            raise MeterError(
                f"meter ppk2:{port}: it measures current alone: give the target's file soc.voltage_v"
            )
        if not VOLTAGES_V[0] <= voltage_v <= VOLTAGES_V[1]:
            raise MeterError(f"meter ppk2:{port}: it measures at 0.8 to 5 V, the target has {voltage_v:g} V")
        self._port, self._voltage_v = port, voltage_v
        self._link: SerialLink | None = None
        self._calibration: Calibration | None = None
        self._thread: threading.Thread | None = None
        self._ended, self._begun = threading.Event(), threading.Event()
        self.reset()

    @property
    def description(self) -> Description:
        """The kit and its calibration."""
        calibration = self._set_up[1]
        smallest, largest = (quantity(calibration.step_a(place), "A") for place in (0, RANGES - 1))
        return Description(
            name=f"ppk2 (hardware {calibration.hardware})",
            covers=f"current into the device, times {self._voltage_v:g} V, which is not measured",
            resolution=f"{smallest} to {largest} by range",
            rate_hz=RATE_HZ,
            voltage_v=self._voltage_v,
        )

    @property
    def _set_up(self) -> tuple[SerialLink, Calibration]:
        if self._link is None or self._calibration is None:
            raise self._error("it is not set up")
        return self._link, self._calibration

    def setup(self) -> None:
        """Open the port, read the calibration, and let current through to the device."""
        try:
            self._link = link = SerialLink(self._port, _BAUD)
            link.write(STOP)
            if not link.drain(QUIET_SECONDS, time.monotonic() + ANSWER_SECONDS):
                raise self._error("it does not stop sending: connect it again")
            link.write(TELL_CALIBRATION)
            self._calibration = Calibration.parse(self._read_calibration(link))
            link.write(AMPERE_METER)
            link.write(CONNECT_DEVICE)
        except InputError as error:
            self.close()
            raise self._error(error) from error

    def _read_calibration(self, link: SerialLink) -> str:
        content, deadline = b"", time.monotonic() + ANSWER_SECONDS
        while b"END" not in content:
            if time.monotonic() >= deadline or len(content) > _MAX_CALIBRATION:
                raise self._error("it told no calibration: see that this is a PPK2's first port")
            content += link.read_bytes()
        return content.decode("ascii", "replace")

    def reset(self) -> None:
        """Forget all samples."""
        self._stream = EnergyStream(RATE_HZ)
        self._rest = b""
        self._expected: int | None = None
        self._received = self._lost = 0
        self._fault: EdgegrowError | None = None

    def start(self) -> None:
        """Have samples sent, and wait for the first."""
        link, _ = self._set_up
        self._ended.clear()
        self._begun.clear()
        try:
            link.write(START)
        except InputError as error:
            raise self._error(error) from error
        self._thread = threading.Thread(target=self._run, args=(link,), daemon=True)
        self._thread.start()
        if not self._begun.wait(ANSWER_SECONDS):
            with suppress(MeterError):
                self.stop()
            raise self._error("it sends no samples: connect it again")

    def stop(self) -> None:
        """Have no more samples sent, and take those that are on their way."""
        if self._thread is None:
            return
        with suppress(InputError):  # where the port is gone, the thread has noticed too
            self._set_up[0].write(STOP)
        self._ended.set()
        self._thread.join()
        self._thread = None

    def get_data(self) -> Readings:
        """Return the recording."""
        if self._fault is not None:
            raise self._error(self._fault)
        share = self._lost / max(1, self._received + self._lost)
        if share > MOST_LOST:
            raise self._error(f"{share:.0%} of its samples are missing: connect it to a port of its own")
        doubts = (f"{share:.2%} of the meter's samples are missing",) if share > LOST else ()
        try:
            return self._stream.readings(doubts)
        except MeterError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the port; current goes on to the device."""
        self.stop()
        if self._link is not None:
            self._link.__exit__(None, None, None)
            self._link = None

    def _run(self, link: SerialLink) -> None:
        try:
            while not self._ended.is_set():
                self._take(link.read_bytes())
            deadline = time.monotonic() + ANSWER_SECONDS
            last = time.monotonic()
            while time.monotonic() < min(deadline, last + QUIET_SECONDS):
                if content := link.read_bytes():
                    self._take(content)
                    last = time.monotonic()
        except EdgegrowError as error:
            self._fault = error
        except Exception as error:  # of a thread nobody would see it
            self._fault = MeterError(reason(error))
        self._begun.set()

    def _take(self, content: bytes) -> None:
        """Add what has come; a sample may come in parts."""
        content = self._rest + content
        whole = len(content) // SAMPLE_BYTES * SAMPLE_BYTES
        self._rest = content[whole:]
        if not whole:
            return
        words = np.frombuffer(content[:whole], "<u4")
        lost = lost_before(words, self._expected)
        self._expected = next_counter(words)
        self._received += len(words)
        self._lost += int(lost.sum())
        power_w = self._set_up[1].amperes(words, self._voltage_v) * self._voltage_v
        self._stream.add(power_w, digital(words, MARKER), lost)
        self._begun.set()

    def _error(self, error: Exception | str) -> MeterError:
        """Name the meter, once."""
        prefix = f"meter ppk2:{self._port}: "
        return MeterError(prefix + str(error).removeprefix(prefix).removeprefix(f"port {self._port}: "))
