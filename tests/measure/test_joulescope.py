"""Joulescope: its real driver finds none here; a stand-in publishes what the driver's documentation says."""

import importlib.util
import threading
import time

import numpy as np
import pytest

from edgegrow.measure.meters.joulescope import JoulescopeMeter
from edgegrow.measure.meters.meter import MeterError

if importlib.util.find_spec("pyjoulescope_driver") is None:
    pytest.skip(
        "pyjoulescope_driver is not installed: pip install 'edgegrow[meters]'", allow_module_level=True
    )


class Driver:
    """A driver with a JS220: 1 W, and 3 W while its input 0 is high; a second passes in a hundredth of it."""

    paths = ("u/js220/001122",)
    damaged = False

    def __init__(self):
        self.published, self.listeners, self.ended = {}, {}, threading.Event()
        self.opened = []

    def device_paths(self):
        return list(self.paths)

    def open(self, path):
        self.opened.append(path)

    def publish(self, topic, value):
        self.published[topic] = value
        if topic.endswith("s/stats/ctrl") and value:
            self.thread = threading.Thread(target=self._run, daemon=True)
            self.thread.start()
        elif topic.endswith("s/stats/ctrl"):
            self.ended.set()
            self.thread.join()

    def subscribe(self, topic, flags, listener):
        assert flags == "pub"
        self.listeners[topic] = listener

    def unsubscribe(self, topic, listener):
        assert self.listeners.pop(topic) == listener

    def close(self, path):
        self.opened.remove(path)

    def finalize(self):
        self.ended.set()

    def _run(self):
        path, energy = self.paths[0], 5.0
        for block in range(500):  # of 10 ms
            if self.ended.wait(0.0005):
                return
            high = 100 <= block % 200 < 150
            energy += (3 if high else 1) * 0.01
            end = 10_000 * (block + 1)
            bits = np.packbits(np.full(10_000, high, np.uint8), bitorder="little")
            self.listeners[f"{path}/s/gpi/0/!data"](
                "", {"data": bits, "sample_id": end - 10_000, "sample_rate": 1_000_000, "decimate_factor": 1}
            )
            self.listeners[f"{path}/s/stats/value"](
                "",
                {}
                if self.damaged
                else {
                    "time": {"samples": {"value": [end - 10_000, end]}, "sample_freq": {"value": 1e6}},
                    "accumulators": {"energy": {"value": energy}},
                },
            )


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.setattr("pyjoulescope_driver.Driver", Driver)
    return monkeypatch


def test_no_instrument_is_here():
    meter = JoulescopeMeter()
    try:
        meter.setup()
    except MeterError as error:
        assert str(error).startswith("meter joulescope: ")  # noqa: PT017 - or there is one
    meter.close()


def test_energy_and_marker_carry_the_same_clock(driver):
    meter = JoulescopeMeter("001122")
    meter.setup()
    assert meter.description.name == "joulescope js220 001122"
    meter.start()
    time.sleep(1.0)
    meter.stop()
    readings = meter.get_data()
    meter.close()
    start, end = readings.pulses[0]
    assert (start, end) == (1.0, 1.5)
    assert readings.energy_of((start, end)) == pytest.approx(1.5)
    assert readings.energy_j[0] == 0


@pytest.mark.parametrize(
    ("paths", "serial_number", "message"),
    [
        ((), "", "there is none"),
        (("u/js220/1", "u/js110/2"), "", "u/js220/1, u/js110/2: name one"),
        (("u/js220/1",), "7", "u/js220/1: name one"),
        (("u/js320/1",), "", "there is none"),
    ],
)
def test_which_instrument(driver, paths, serial_number, message):
    driver.setattr(Driver, "paths", paths)
    with pytest.raises(MeterError, match=f"^meter joulescope.*: .*{message}"):
        JoulescopeMeter(serial_number).setup()


def test_a_driver_of_another_form(driver):
    driver.setattr(Driver, "damaged", True)
    driver.setattr("edgegrow.measure.meters.joulescope.ANSWER_SECONDS", 0.3)
    meter = JoulescopeMeter()
    meter.setup()
    with pytest.raises(MeterError, match=r"sends another form|sends nothing"):
        meter.start()
    meter.close()
