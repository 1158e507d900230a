"""What meters read: trees of files as kernels show them, and a stand-in of a Power Profiler Kit II."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from edgegrow.measure.meters.files import Files, Poll

HWMON = {
    # A Raspberry Pi's own, which measure no power.
    "hwmon0": {"name": "cpu_thermal", "temp1_input": "48312"},
    "hwmon1": {"name": "rpi_volt", "in0_lcrit_alarm": "0"},
    # An INA226 with a shunt of 2 mOhm, by the driver ina2xx: in0 is the shunt's voltage.
    "hwmon2": {
        "name": "ina226",
        "in0_input": "1",
        "in1_input": "5088",
        "curr1_input": "612",
        "power1_input": "3125000",
        "shunt_resistor": "2000",
        "update_interval": "140",
    },
    # A Jetson's INA3221: three channels without power, the summed one without a voltage.
    "hwmon3": {
        "name": "ina3221",
        "in1_label": "VDD_IN",
        "in1_input": "19104",
        "curr1_input": "248",
        "in2_label": "VDD_CPU_GPU_CV",
        "in2_input": "19096",
        "curr2_input": "40",
        "in4_input": "1",
        "in5_input": "0",
        "curr4_input": "288",
    },
    # An energy counter beside a power, as of an AMD processor; an average alone, as of ACPI's power meter.
    "hwmon4": {
        "name": "amd_energy",
        "energy1_input": "77192043701",
        "energy1_label": "Esocket0",
        "power1_input": "1",
    },
    "hwmon5": {"name": "power_meter", "power1_average": "41000000", "power1_average_interval": "1000"},
}

POWERCAP = {
    "intel-rapl": {"enabled": "1"},
    "intel-rapl:0": {"name": "package-0", "energy_uj": "262143000000", "max_energy_range_uj": "262143328850"},
    "intel-rapl:0:0": {"name": "core", "energy_uj": "9", "max_energy_range_uj": "262143328850"},
    "intel-rapl:0:1": {"name": "dram", "energy_uj": "500", "max_energy_range_uj": "65712999613"},
    "intel-rapl:1": {"name": "psys", "energy_uj": "7", "max_energy_range_uj": "262143328850"},
    "intel-rapl-mmio:0": {
        "name": "package-0",
        "energy_uj": "262143000000",
        "max_energy_range_uj": "262143328850",
    },
}

RAILS = """t=1563245
CH0(T=1563245)[S10M_VDD_TPU], 5196020
CH1(T=1563245)[VSYS_PWR_MODEM], 80312223
CH2(T=1563245)[S2M_VDD_CPUCL2], 33000000
CH3(T=1563245)[S3M_VDD_CPUCL1], 21000000
CH4(T=1563245)[S4M_VDD_CPUCL0], 44000000
CH5(T=1563245)[S1M_VDD_MIF], 12000000
"""

ODPM = {
    "iio:device0": {"name": "s2mpg10-odpm", "energy_value": RAILS},
    "iio:device1": {"name": "s2mpg11-odpm", "energy_value": "t=9\nCH0(T=9)[VSYS_PWR_DISPLAY], 5\n"},
    "iio:device2": {"name": "stm32-adc"},
}

BATTERY = {
    "battery": {
        "type": "Battery",
        "status": "Discharging",
        "current_now": "-412500",
        "voltage_now": "3987500",
        "charge_counter": "3120000",
    },
    "usb": {"type": "USB", "online": "0"},
    "wireless": {"type": "Wireless", "online": "0"},
    "maxfg": {"type": "Battery", "capacity": "71"},
}


def plant(folder: Path, tree: dict[str, dict[str, str]]) -> Path:
    """Write a tree of files, each with a line feed at its end as sysfs has it."""
    for name, files in tree.items():
        (folder / name).mkdir(parents=True)
        for file, content in files.items():
            (folder / name / file).write_text(content.rstrip("\n") + "\n")
    return folder


class Recorded(Files):
    """Files whose contents were recorded: each poll gives the next of those that changed.

    Parameters
    ----------
    tree : dict
        From folder to names to content, or to a list of contents in the order of the polls.
    step_s : float
        Time between two polls.
    """

    clock = "phone"
    period_s = 0.001

    def __init__(self, tree: dict[str, dict[str, str | list[str]]], step_s: float = 1.0) -> None:
        self.files = {
            f"/t/{folder}/{name}": text for folder, files in tree.items() for name, text in files.items()
        }
        self.step_s, self.polls = step_s, 0

    def list(self, folder: str) -> tuple[str, ...]:
        inside = [path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/")]
        return tuple(sorted({name.split("/")[0] for name in inside}))

    def read(self, paths: Sequence[str]) -> Poll:
        self.polls += 1
        texts, refusals = {}, {}
        for path in paths:
            content = self.files.get(path)
            if isinstance(content, list):
                texts[path] = content[min(self.polls, len(content)) - 1]
            elif content is None or content.startswith("!"):
                refusals[path] = (content or "!No such file or directory")[1:]
            else:
                texts[path] = content
        return Poll(self.polls * self.step_s, texts, refusals)


CALIBRATION = """Calibrated: 0
R0: 1003.3506
R1: 101.5865
R2: 10.3027
R3: 0.9636
R4: 0.0564
GS0: 0.0000
GS1: 112.7890
GS2: 18.0115
GS3: 2.4217
GS4: 0.0729
GI0: 1.0000
GI1: 0.9695
GI2: 0.9609
GI3: 0.9519
GI4: 0.9582
O0: 112.9420
O1: 75.4627
O2: 64.6020
O3: 50.4983
O4: 88.2752
VDD: 3300
HW: 9173
mode: 1
S0: -0.0000
S1: 0.0000
S2: 0.0000
S3: 0.0000
S4: 0.0000
I0: -0.0000
I1: -0.0000
I2: 0.0000
I3: 0.0000
I4: 0.0000
UG0: 1.0000
UG1: 1.0000
UG2: 1.0000
UG3: 1.0000
UG4: 1.0000
IA: 56
END
"""
"""As a kit tells it; the numbers are made up within the usual."""


def words(adc: np.ndarray, place: int, first: int, high: np.ndarray | bool = False) -> np.ndarray:
    """Samples as a kit sends them: with a counter that begins at `first`, and D0."""
    counters = (first + np.arange(len(adc))) % 64
    logic = np.broadcast_to(np.asarray(high, np.uint32), len(adc))
    return (adc | place << 14 | counters << 18 | logic << 24).astype("<u4")


class Switch:
    """Whether a device infers, at every moment so far: what depends on it need not be in time."""

    def __init__(self) -> None:
        self.changes: list[float] = []

    def set(self, on: bool) -> None:
        if on != bool(len(self.changes) % 2):
            self.changes.append(time.monotonic())

    def at(self, moments: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.array(self.changes), moments) % 2 == 1


class Kit:
    """A Power Profiler Kit II on a pseudo-terminal, byte for byte as documented; never compared with one.

    Parameters
    ----------
    busy : Switch
        Tells when the device infers.
    marked : bool
        Whether D0 is connected.
    lose : float
        Share of samples that it loses, with their counters.
    """

    PLACE, IDLE, BUSY = 3, 400, 4000

    def __init__(
        self,
        busy: Switch | None = None,
        marked: bool = False,
        lose: float = 0.0,
        calibration: str = CALIBRATION,
        silent: bool = False,
    ) -> None:
        self.busy, self.marked, self.lose = busy or Switch(), marked, lose
        self.calibration, self.silent = calibration, silent
        self.commands: list[bytes] = []
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self.slave)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        sending, sent, since, pending = False, 0, 0.0, b""
        with suppress(OSError):
            while not self.ended.is_set():
                ready = select.select([self.master], [], [], 0.005)[0]
                command, stopped = os.read(self.master, 64) if ready else b"", False
                if command:
                    self.commands.append(command)
                    if b"\x19" in command:
                        pending += self.calibration.encode()
                    stopped = b"\x07" in command
                    if b"\x06" in command and not self.silent:
                        sending, sent, since = True, 0, time.monotonic()
                if sending:
                    wanted = int((time.monotonic() - since) * 100_000) - sent
                    pending += self._samples(since + np.arange(sent, sent + wanted) / 100_000, sent)
                    sent += wanted
                    sending = not stopped  # what was sampled before is still on its way
                while pending and select.select([], [self.master], [], 0)[1]:
                    try:
                        pending = pending[os.write(self.master, pending[:2048]) :]
                    except BlockingIOError:
                        break
        os.close(self.master)
        os.close(self.slave)

    def _samples(self, moments: np.ndarray, first: int) -> bytes:
        busy = self.busy.at(moments)
        adc = np.where(busy, self.BUSY, self.IDLE)
        stream = words(adc, self.PLACE, first, busy & self.marked)
        kept = np.random.default_rng(first).random(len(moments)) >= self.lose
        return stream[kept].tobytes()

    def stop(self) -> None:
        """Pull its cable."""
        self.ended.set()
        self.thread.join(10)
