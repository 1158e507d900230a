"""The Power Profiler Kit II: real pyserial and a real pty, and a stand-in of the documented protocol."""

import importlib.util
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("termios", reason="pseudo-terminals are needed")
if importlib.util.find_spec("serial") is None:
    pytest.skip("pyserial is not installed: pip install 'edgegrow[meters]'", allow_module_level=True)

from metered import CALIBRATION, Kit, Switch, words

from edgegrow.measure.meters.energy import measure_energy
from edgegrow.measure.meters.meter import THIS_MACHINE, MeterError
from edgegrow.measure.meters.ppk2 import Ppk2Meter
from edgegrow.measure.meters.ppk2_samples import Calibration, lost_before, next_counter
from edgegrow.measure.meters.recording import Stretch
from edgegrow.measure.protocol import Identity
from edgegrow.measure.window_plan import Windows

VOLTS = 1.8


@pytest.fixture
def kit():
    kits = []

    def make(**options):
        kits.append(Kit(**options))
        return kits[-1]

    yield make
    for made in kits:
        made.stop()


def watts(adc):
    samples = words(np.array([adc]), Kit.PLACE, 0)
    return float(Calibration.parse(CALIBRATION).amperes(samples, VOLTS)[0] * VOLTS)


def measure(port, busy, seconds=0.4, count=3):
    """Measure so many windows, in which `busy` is set."""
    meter = Ppk2Meter(port, VOLTS)
    meter.setup()

    def work(windows, pause_s):
        for _ in range(windows.count):
            time.sleep(pause_s)
            busy.set(True)
            time.sleep(windows.min_seconds)
            busy.set(False)
            start, end = busy.changes[-2:]
            yield Stretch(10, end - start, start, THIS_MACHINE)

    try:
        return measure_energy(meter, work, Identity(), windows=Windows(count, 1, seconds))
    finally:
        meter.close()


@pytest.mark.parametrize(("marked", "how"), [(True, "marker input"), (False, "rise and fall")])
def test_energy_of_a_kit(kit, marked, how):
    busy = Switch()
    device = kit(busy=busy, marked=marked)
    found = measure(device.port, busy)
    assert found.unavailable == ()
    values = {m.metric: m for m in found.measurements if m.aggregation in ("median", "exact")}
    assert values["power"].value == pytest.approx(watts(Kit.BUSY), rel=0.1)
    assert values["idle_power"].value == pytest.approx(watts(Kit.IDLE), rel=0.1)
    seconds = np.median(np.diff(busy.changes)[::2])
    assert values["energy"].value == pytest.approx(1e3 * watts(Kit.BUSY) * seconds / 10, rel=0.1)
    assert how in values["energy"].method
    assert values["energy"].identity.meter.startswith("ppk2 (hardware 9173), resolution 43.8 nA to ")
    assert values["energy"].identity.voltage_v == VOLTS
    assert device.commands[:2] == [b"\x07", b"\x19"]
    assert b"".join(device.commands[2:]) == b"\x11\x01\x0c\x01\x06\x07"  # no voltage is ever set


def test_a_kit_that_loses_samples(kit):
    busy = Switch()
    found = measure(kit(busy=busy, marked=True, lose=0.01).port, busy)
    energy = found.measurements[0]
    seconds = np.median(np.diff(busy.changes)[::2])
    assert energy.value == pytest.approx(1e3 * watts(Kit.BUSY) * seconds / 10, rel=0.1)
    assert "of the meter's samples are missing" in energy.method
    found = measure(kit(busy=busy, lose=0.3).port, busy, 0.1, 1)
    assert "of its samples are missing" in found.unavailable[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": ""}, "it told no calibration"),
        ({"calibration": "Calibrated: 0\nEND\n"}, "calibration is not complete"),
        ({"calibration": CALIBRATION.replace("R2: 10.3027", "R2: 0")}, "calibration is damaged: R2: 0"),
        ({"calibration": "x" * 20_000}, "it told no calibration"),
        ({"silent": True}, "it sends no samples"),
    ],
)
def test_a_kit_that_is_none(kit, options, message, monkeypatch):
    monkeypatch.setattr("edgegrow.measure.meters.ppk2.ANSWER_SECONDS", 0.5)
    port = kit(**options).port
    meter = Ppk2Meter(port, VOLTS)

    def use():
        meter.setup()
        meter.start()

    with pytest.raises(MeterError, match=f"^meter ppk2:{port}: .*{message}") as caught:
        use()
    meter.close()
    assert str(caught.value).count(port) == 1


def test_a_kit_that_is_unplugged(kit):
    device = kit()
    meter = Ppk2Meter(device.port, VOLTS)
    meter.setup()
    meter.start()
    time.sleep(0.1)
    device.stop()
    time.sleep(0.2)
    meter.stop()
    with pytest.raises(MeterError, match=f"^meter ppk2:{device.port}: the connection was lost"):
        meter.get_data()
    meter.close()


@pytest.mark.parametrize(("voltage", "message"), [(None, "soc.voltage_v"), (12.0, "0.8 to 5 V")])
def test_a_voltage_that_a_kit_cannot_measure_at(voltage, message):
    with pytest.raises(MeterError, match=message):
        Ppk2Meter("/dev/null", voltage)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 0x3FFF), min_size=1, max_size=50), st.integers(0, 7), st.floats(0.8, 5))
def test_currents_are_those_of_the_kits_own_library(adc, place, voltage):
    api = pytest.importorskip("ppk2_api.ppk2_api", reason="ppk2-api is not installed").PPK2_API.__new__
    library = api(__import__("ppk2_api.ppk2_api", fromlist=["PPK2_API"]).PPK2_API)
    library.ser = None
    library.modifiers = {
        name: {} for name in ("Calibrated", "R", "GS", "GI", "O", "S", "I", "UG", "HW", "IA")
    }
    library._parse_metadata(CALIBRATION)
    library.adc_mult, library.current_vdd = 1.8 / 163840, 1e3 * voltage
    library.rolling_avg = library.rolling_avg4 = library.prev_range = None
    library.spike_filter_alpha, library.spike_filter_alpha5, library.spike_filter_samples = 0.18, 0.06, 3
    library.consecutive_range_samples = library.after_spike = 0
    library.MEAS_ADC, library.MEAS_RANGE = library._generate_mask(14, 0), library._generate_mask(3, 14)
    library.MEAS_LOGIC = library._generate_mask(8, 24)
    library.remainder = {"sequence": b"", "len": 0}
    samples = words(np.array(adc), place, 7, True)
    microamperes, bits = library.get_samples(samples.tobytes())
    ours = Calibration.parse(CALIBRATION).amperes(samples, voltage)
    assert 1e6 * ours == pytest.approx(microamperes, rel=1e-9, abs=1e-9)
    assert set(bits) == {1}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(0, 63))
def test_missing_samples_are_counted(present, first):
    stream = words(np.arange(len(present)), 0, first)
    kept = stream[present]
    if not len(kept):
        return
    gaps = np.diff(np.flatnonzero([*present, True]))
    expected = first if max(np.diff(np.flatnonzero([True, *present])), default=1) <= 63 else None
    lost = lost_before(kept, expected)
    if expected is not None and (gaps <= 63).all():
        assert lost.sum() + len(kept) == np.flatnonzero(present)[-1] + 1
    assert next_counter(kept) == (int(kept[-1] >> 18 & 63) + 1) % 64


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200), st.integers(0, 30))
def test_calibrations_that_are_none(text, line):
    lines = CALIBRATION.splitlines()
    lines[line : line + 1] = [text]
    try:
        calibration = Calibration.parse("\n".join(lines))
    except MeterError:
        return
    assert np.isfinite(calibration.amperes(words(np.arange(100), 2, 0), 3.3)).all()
