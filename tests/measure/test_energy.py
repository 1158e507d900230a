"""From a meter's stream to energy per inference: where the inferences are in it, and what is doubtful."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.errors import InputError
from edgegrow.measure.meters.energy import measure_energy
from edgegrow.measure.meters.meter import Description, MeterError, Readings, quantity
from edgegrow.measure.meters.recording import Recording, Stretch
from edgegrow.measure.meters.stream import EnergyStream
from edgegrow.measure.protocol import Identity
from edgegrow.measure.window_plan import Windows

METER = Description("bench", "the board", "1 uW", 1000.0, window_s=1.2)
IDENTITY = Identity(runtime="litert", voltage_v=3.3)


def readings(profile, pulses=None, step_s=0.001):
    """Readings of powers in W, each for so long, in s."""
    powers = np.concatenate([np.full(round(seconds / step_s), watts) for watts, seconds in profile])
    energy = np.concatenate([[0], np.cumsum(powers) * step_s])
    return Readings(np.arange(len(energy)) * step_s, energy, pulses)


def stretches(*seconds, clock="board", start_s=0.0):
    return tuple(Stretch(100, s, start_s, clock) for s in seconds)


def figures(recording):
    warned = []
    spans, how = recording.locate()
    return {
        (m.metric, m.aggregation): m for m in recording.figures(spans, IDENTITY, how, warned.append)
    }, warned


THREE = [(0.1, 0.4), (2, 1), (0.1, 0.4), (2, 1.1), (0.1, 0.4), (2, 0.99), (0.1, 0.4)]


def test_inferences_are_found_by_the_rise_of_the_power():
    found, warned = figures(Recording(readings(THREE), METER, stretches(1, 1.1, 0.99), 0.4))
    energy = found["energy", "median"]
    assert energy.value == pytest.approx(20, rel=5e-3)  # 2 J by 100 inferences
    assert energy.samples == pytest.approx([20, 22, 19.8], rel=5e-3)
    assert (found["energy", "min"].value, found["energy", "max"].value) == pytest.approx((19.8, 22), rel=5e-3)
    assert found["power", "median"].value == pytest.approx(2, rel=5e-3)
    assert found["idle_power", "exact"].value == pytest.approx(0.1)
    assert {m.evidence for m in found.values()} == {"measured"}
    assert energy.identity == IDENTITY.model_copy(update={"meter": "bench, resolution 1 uW, 1000 readings/s"})
    assert "idle power not subtracted" in energy.method
    assert "rise and fall" in energy.method
    assert warned == [
        "windows of 0.99 s are shorter than the 1.2 s that this meter needs: take longer ones (--seconds)"
    ]


def test_getting_ready_draws_power_too():
    """A runtime that starts and warms up before the windows, and dips of power within them."""
    dipped = [(2, 0.5), (0.1, 0.05), (2, 0.45)]
    profile = [
        (0.1, 0.4),
        (3, 0.7),
        (0.1, 0.4),
        *dipped,
        (0.1, 0.4),
        (2, 1),
        (0.1, 0.4),
        (1.5, 0.2),
        (0.1, 0.4),
    ]
    found, _ = figures(Recording(readings(profile), METER, stretches(1, 1), 0.4))
    assert found["energy", "median"].samples == pytest.approx([19.05, 20], rel=5e-3)


def test_the_marker_input_is_believed_before_the_power():
    pulses = ((0.1, 0.1002), (0.6, 1.2))  # a spike of noise is no window
    found, _ = figures(
        Recording(readings([(1, 0.5), (1.5, 1), (1, 0.5)], pulses), METER, stretches(0.6), 0.1)
    )
    assert found["energy", "median"].value == pytest.approx(9)
    assert "marker input" in found["energy", "median"].method


def test_a_meter_on_the_device_shares_its_clock():
    meter = Description("hwmon", "the rail", clock="ssh://pi@host")
    flat = readings([(1.5, 3)])
    work = stretches(0.5, clock="ssh://pi@host", start_s=1.0)
    found, _ = figures(Recording(flat, meter, work, 0.5))
    assert found["energy", "median"].value == pytest.approx(7.5)
    with pytest.raises(MeterError, match=r"cannot be found in the power: 1.5 W while idling, 1.5 W"):
        Recording(flat, meter, stretches(0.5, clock="local"), 0.5).locate()


@pytest.mark.parametrize(
    ("profile", "seconds", "message"),
    [
        (THREE, (1, 1.1, 0.99, 1), "times of 1, 1.1, 0.99 s"),
        (THREE, (1, 1.1, 2), "times of 1, 1.1, 0.99 s"),
        ([(1, 0.01)], (1,), "too few|cannot be found"),
        ([(-0.1, 0.4), (-2, 1), (-0.1, 0.4)], (1,), "the right way round|cannot be found|none"),
    ],
)
def test_what_is_not_found_is_no_energy(profile, seconds, message):
    recording = Recording(readings(profile), METER, stretches(*seconds), 0.4)
    with pytest.raises(MeterError, match=message):
        figures(recording)


@pytest.mark.parametrize(
    ("times", "energies"),
    [([0.0], [0.0]), ([0.0, 0.0], [0.0, 1.0]), ([1.0, 0.0], [0.0, 1.0]), ([0.0, np.inf], [0.0, 1.0])],
)
def test_readings_that_are_none(times, energies):
    with pytest.raises(MeterError):
        Readings(np.array(times), np.array(energies))


class Bench:
    """A meter whose stream is made when it is stopped, from the time that has passed: 2 W."""

    def __init__(self, description=METER, fault=""):
        self.description, self.fault, self.calls = description, fault, []

    def setup(self):
        self.calls.append("setup")

    def reset(self):
        self.calls.append("reset")

    def start(self):
        self.calls.append("start")
        self.begun = time.monotonic()

    def stop(self):
        self.calls.append("stop")
        self.ended = time.monotonic()

    def get_data(self):
        if self.fault:
            raise MeterError(self.fault)
        times = np.linspace(0, self.ended - self.begun, 500)
        return Readings(times, 2 * times)

    def close(self):
        self.calls.append("close")


def work_of(bench, fail_after=None):
    def work(windows, pause_s):
        for n in range(windows.count):
            if n == fail_after:
                raise InputError("the board is gone")
            time.sleep(pause_s)
            start = time.monotonic() - bench.begun
            time.sleep(windows.min_seconds)
            yield Stretch(10, time.monotonic() - bench.begun - start, start, "local")

    return work


def test_a_meter_is_reset_started_and_stopped_once():
    bench = Bench(Description("bench", "all", clock="local", window_s=0.01))
    said = []
    found = measure_energy(bench, work_of(bench), IDENTITY, windows=Windows(3, 1, 0.02), say=said.append)
    assert bench.calls == ["reset", "start", "stop"]
    assert len(said) == 1
    energy = found.measurements[0]
    assert len(energy.samples) == 3
    assert energy.value == pytest.approx(4, rel=0.9)  # 2 W x 20 ms / 10, or a little longer on a busy machine
    assert "3 of 3 windows, found by the device's clock" in energy.method


def test_what_was_measured_before_a_fault_is_kept():
    bench = Bench(Description("bench", "all", clock="local"))
    found = measure_energy(bench, work_of(bench, fail_after=2), IDENTITY, windows=Windows(5, 1, 0.02))
    assert len(found.measurements[0].samples) == 2
    assert "2 of 5 windows, then it was interrupted (the board is gone)" in found.measurements[0].method


@pytest.mark.parametrize(("fault", "fail_after"), [("the meter is gone", None), ("", 0)])
def test_a_fault_is_the_reason_why_there_is_no_energy(fault, fail_after):
    bench, warned = Bench(Description("bench", "all", clock="local"), fault), []
    found = measure_energy(
        bench, work_of(bench, fail_after), IDENTITY, windows=Windows(2, 1, 0.01), warn=warned.append
    )
    assert found.measurements == ()
    assert found.unavailable[0].reason == fault or "the board is gone"
    assert warned == [f"no energy: {found.unavailable[0].reason}"]
    assert bench.calls[-1] == "stop"


def test_without_a_meter_there_is_no_energy():
    found = measure_energy(None, lambda windows, pause_s: (), IDENTITY, windows=Windows())
    assert found.unavailable[0].reason == "no meter"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.tuples(st.floats(0, 5), st.booleans(), st.integers(0, 3)), min_size=1), min_size=1),
    st.sampled_from([100, 5000, 100_000]),
)
def test_a_stream_loses_no_energy_whatever_its_blocks(blocks, rate_hz):
    stream = EnergyStream(rate_hz)
    for block in blocks:
        power, marker, lost = zip(*block, strict=True)
        stream.add(np.array(power), np.array(marker), np.array(lost))
    stream.add(np.zeros(rate_hz), np.zeros(rate_hz, bool))
    flat = [sample for block in blocks for sample in block]
    spans = np.array([1 + lost for _, _, lost in flat])
    found = stream.readings()
    assert found.energy_j[-1] == pytest.approx(
        sum(p * s for (p, _, _), s in zip(flat, spans, strict=True)) / rate_hz
    )
    assert len(found.time_s) <= max(rate_hz, 1000) * found.time_s[-1] + 2
    high = sum(s for (_, marked, _), s in zip(flat, spans, strict=True) if marked) / rate_hz
    assert sum(end - start for start, end in found.pulses) == pytest.approx(high)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-9, 1e3))
def test_quantities_keep_their_value(value):
    number, unit = quantity(value, "W").split()
    assert float(number) * {"W": 1, "mW": 1e-3, "uW": 1e-6, "nW": 1e-9}[unit] == pytest.approx(
        value, rel=1e-3
    )


def test_measurements_round_trip_through_a_profile(tmp_path):
    found, _ = figures(Recording(readings(THREE), METER, stretches(1, 1.1, 0.99), 0.4))
    for m in found.values():
        assert type(m).model_validate_json(m.model_dump_json()) == m
