"""Joulescope JS110 and JS220, by their driver ``pyjoulescope_driver``.

The driver publishes the energy that the instrument has added up, block by block, and its digital input 0,
which is the marker: high while the device infers. Both carry numbers of samples of the same clock. Voltage
is measured too.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np

from edgegrow.errors import reason
from edgegrow.measure.meters.meter import Description, Meter, MeterError, Readings
from edgegrow.measure.meters.stream import pulses

MODELS = {"js110": 2_000_000, "js220": 1_000_000}
"""Samples a second of each model, of which its statistics are made."""

BLOCKS_HZ = 100
"""Blocks of statistics a second."""

ANSWER_SECONDS = 5.0
"""How long the first block may take."""

MAX_EDGES = 10**5


class JoulescopeMeter(Meter):
    """An instrument.

    Parameters
    ----------
    serial_number : str
        As on its label; empty where there is only one.
    """

    def __init__(self, serial_number: str = "") -> None:
        self._name = f"joulescope:{serial_number}" if serial_number else "joulescope"
        self._serial_number = serial_number
        self._driver: Any = None
        self._path = ""
        self._recording = False
        self._lock, self._begun = threading.Lock(), threading.Event()
        self.reset()

    @property
    def description(self) -> Description:
        """The instrument."""
        if not self._path:
            raise self._error("it is not set up")
        _, model, serial_number = self._path.split("/", 2)
        return Description(
            name=f"joulescope {model} {serial_number}",
            covers="current times voltage into the device",
            resolution="by range; energy is added up in the instrument",
            rate_hz=MODELS[model],
        )

    def setup(self) -> None:
        """Find and open the instrument."""
        try:
            from pyjoulescope_driver import Driver
        except ImportError as error:
            raise self._error("its driver is not installed: pip install 'edgegrow[meters]'") from error
        try:
            self._driver = Driver()
            paths = [path for path in self._driver.device_paths() if path.split("/")[1:2][0] in MODELS]
            wanted = [path for path in paths if not self._serial_number or path.endswith(self._serial_number)]
            if len(wanted) != 1:
                known = f"there are {', '.join(paths)}: name one" if paths else "there is none: see its cable"
                raise self._error(known)
            self._driver.open(wanted[0])
            self._path = wanted[0]
            for topic, value in self._settings():
                self._driver.publish(f"{self._path}/{topic}", value)
        except MeterError:
            self.close()
            raise
        except Exception as error:  # the driver raises several classes
            self.close()
            raise self._error(reason(error)) from error

    def _settings(self) -> list[tuple[str, int | str]]:
        model = self._path.split("/")[1]
        block = MODELS[model] // BLOCKS_HZ
        if model == "js110":  # whose statistics at this rate are made by the driver, from these signals
            signals: list[tuple[str, int | str]] = [(f"s/{signal}/ctrl", "on") for signal in "ivp"]
            return [("s/i/range/select", "auto"), *signals, ("s/stats/scnt", block)]
        return [("s/i/range/mode", "auto"), ("s/stats/scnt", block)]

    def reset(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._times_s: list[float] = []
            self._energies_j: list[float] = []
            self._edges_s: list[float] = []
            self._high = False
            self._fault = ""

    def start(self) -> None:
        """Have blocks sent, and wait for the first."""
        self._begun.clear()
        try:
            self._driver.subscribe(f"{self._path}/s/stats/value", "pub", self._on_block)
            self._driver.subscribe(f"{self._path}/s/gpi/0/!data", "pub", self._on_marker)
            self._recording = True
            self._driver.publish(f"{self._path}/s/gpi/0/ctrl", 1)
            self._driver.publish(f"{self._path}/s/stats/ctrl", 1)
        except Exception as error:
            raise self._error(reason(error)) from error
        if not self._begun.wait(ANSWER_SECONDS):
            with suppress(MeterError):
                self.stop()
            raise self._error("it sends nothing: connect it again")

    def stop(self) -> None:
        """Have no more blocks sent, after the one that is being made."""
        if not self._recording:
            return
        time.sleep(2 / BLOCKS_HZ)
        self._recording = False
        try:
            for topic in ("s/stats/ctrl", "s/gpi/0/ctrl"):
                self._driver.publish(f"{self._path}/{topic}", 0)
            self._driver.unsubscribe(f"{self._path}/s/stats/value", self._on_block)
            self._driver.unsubscribe(f"{self._path}/s/gpi/0/!data", self._on_marker)
        except Exception as error:
            raise self._error(reason(error)) from error

    def get_data(self) -> Readings:
        """Return the recording."""
        with self._lock:
            if self._fault:
                raise self._error(self._fault)
            times_s, energies_j = np.array(self._times_s), np.array(self._energies_j)
            try:
                return Readings(times_s, energies_j - energies_j[:1], pulses(self._edges_s))
            except MeterError as error:
                raise self._error(error) from error

    def close(self) -> None:
        """Close the instrument; current goes on to the device."""
        if self._driver is not None:
            with suppress(Exception):
                if self._path:
                    self._driver.close(self._path)
            with suppress(Exception):
                self._driver.finalize()
        self._driver, self._path = None, ""

    def _on_block(self, topic: str, value: Any) -> None:
        """Take a block of statistics; the driver calls it in a thread of its own."""
        try:
            time_s = value["time"]["samples"]["value"][1] / value["time"]["sample_freq"]["value"]
            energy_j = float(value["accumulators"]["energy"]["value"])
        except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
            self._fault = f"its driver sends another form of statistics ({reason(error)}): update edgegrow"
            return
        with self._lock:
            self._times_s.append(float(time_s))
            self._energies_j.append(energy_j)
        self._begun.set()

    def _on_marker(self, topic: str, value: Any) -> None:
        """Take samples of the digital input, eight to a byte, the first in the lowest bit."""
        try:
            bits = np.unpackbits(np.asarray(value["data"], np.uint8), bitorder="little")
            changes = np.flatnonzero(np.diff(np.concatenate([[self._high], bits]).astype(np.int8)))
            ids = value["sample_id"] + changes * value["decimate_factor"]
            edges_s = (ids / value["sample_rate"]).tolist()
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            self._fault = f"its driver sends another form of input ({reason(error)}): update edgegrow"
            return
        with self._lock:
            if len(bits):
                self._high = bool(bits[-1])
            if len(self._edges_s) + len(edges_s) > MAX_EDGES:
                self._fault = "its digital input 0 changes all the time: connect it to a marker, or to ground"
                return
            self._edges_s.extend(edges_s)

    def _error(self, error: Exception | str) -> MeterError:
        """Name the meter, once."""
        prefix = f"meter {self._name}: "
        return MeterError(prefix + str(error).removeprefix(prefix))
