"""Meters that are files of a kernel: recorded trees, damaged ones, and files that really change."""

import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metered import BATTERY, HWMON, ODPM, POWERCAP, RAILS, Recorded, plant

from edgegrow.measure.device import LocalDevice
from edgegrow.measure.meters.android import find_android
from edgegrow.measure.meters.battery import find_battery
from edgegrow.measure.meters.constant import ActivePower, find_constant
from edgegrow.measure.meters.files import DeviceFiles, LocalFiles
from edgegrow.measure.meters.hwmon import find_hwmon
from edgegrow.measure.meters.meter import MeterError, Readings
from edgegrow.measure.meters.odpm import find_rails
from edgegrow.measure.meters.polled import PolledMeter, integrated, unwrapped
from edgegrow.measure.meters.rapl import find_rapl


@pytest.fixture(params=["this machine", "a device"])
def files(request):
    """Files read by this process, and by commands of a device's."""
    return LocalFiles() if request.param == "this machine" else DeviceFiles(LocalDevice())


def record(files, find, polls=8):
    """Record so many polls of recorded files."""
    meter = PolledMeter("recorded", files, find)
    meter.setup()
    files.polls = 0
    meter.start()
    deadline = time.monotonic() + 60
    while files.polls < polls and time.monotonic() < deadline:
        time.sleep(0.001)
    meter.stop()
    return meter.get_data(), meter.description


def refusal(use):
    """What a meter says when it refuses; empty where it does not. Other errors are errors."""
    try:
        use()
    except MeterError as error:
        return str(error)
    return ""


def changed(tree, *path, to):
    """Copy a tree with one file changed, or removed."""
    folder, name = path
    copy = {key: dict(value) for key, value in tree.items()}
    if to is None:
        del copy[folder][name]
    else:
        copy[folder][name] = to
    return copy


@pytest.mark.parametrize(
    ("channel", "value", "name", "resolution"),
    [
        ("hwmon2", (3125000,), "hwmon ina226", "31.25 mW (shunt of 2 mOhm)"),
        ("hwmon2/power1", (3125000,), "hwmon ina226", "31.25 mW (shunt of 2 mOhm)"),
        ("hwmon2/power1_input", (3125000,), "hwmon ina226", "31.25 mW (shunt of 2 mOhm)"),
        ("hwmon3/curr1", (19104, 248), "hwmon ina3221 VDD_IN", "1 mV x 1 mA in its files"),
        ("hwmon4", (77192043701,), "hwmon amd_energy Esocket0", "1 uJ in its file"),
        ("hwmon5", (41000000,), "hwmon power_meter", "1 uW in its file"),
    ],
)
def test_channels_of_recorded_chips(files, tmp_path, channel, value, name, resolution):
    gauge = find_hwmon(files, f"{plant(tmp_path, HWMON)}/{channel}")
    assert gauge.values(files.read(gauge.paths)) == value
    assert (gauge.description.name, gauge.description.resolution) == (name, resolution)
    assert gauge.description.rate_hz <= 1 / files.period_s
    assert gauge.description.clock == "local"


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("hwmon0", "nothing there measures power"),
        ("hwmon9", "nothing there measures power"),
        ("hwmon2/power2", "nothing there measures power"),
        (
            "hwmon3",
            r"2 channels measure power, name one of them.*/curr1 \(ina3221 VDD_IN\).*/curr2 \(ina3221",
        ),
    ],
)
def test_channels_that_are_none_or_several(files, tmp_path, channel, message):
    meter = PolledMeter(channel, files, lambda f: find_hwmon(f, f"{tree}/{channel}"))
    tree = plant(tmp_path, HWMON)
    with pytest.raises(MeterError, match=f"^meter {channel}: .*{message}"):
        meter.setup()


def test_powers_are_added_up_and_energies_are_subtracted():
    tree = {
        "h": {"name": "ina219", "power1_input": [f"{n * 1_000_000}" for n in (0, 1, 2, 2, 1, 0, 0, 0)]},
        "v": {"name": "ina3221", "in1_input": "5000", "curr1_input": ["-20"] + ["200"] * 9},
        "e": {"name": "meter", "energy2_input": [f"{9 * 10**18 + n * 250_000}" for n in range(8)]},
    }
    readings, _ = record(Recorded(tree), lambda f: find_hwmon(f, "/t/h"))
    assert readings.energy_of((1, 8)) == pytest.approx(6.0)
    assert readings.energy_of((2, 3.5)) == pytest.approx(1.5 + 1.0)  # to the middle of a straight line
    readings, _ = record(Recorded(tree), lambda f: find_hwmon(f, "/t/v"))
    assert readings.energy_of((2, 6)) == pytest.approx(4.0)
    readings, _ = record(Recorded(tree), lambda f: find_hwmon(f, "/t/e"))
    assert readings.energy_of((1, 7)) == pytest.approx(
        1.5, rel=1e-12
    )  # where a float has no microjoules left


def test_an_energy_counter_that_goes_back_is_refused():
    files = Recorded({"e": {"name": "meter", "energy1_input": ["9", "10", "3", "4"]}})
    with pytest.raises(MeterError, match=r"^meter recorded: its counter went back"):
        record(files, lambda f: find_hwmon(f, "/t/e"))


def test_packages_and_memories_are_counted_once(files, tmp_path):
    gauge = find_rapl(files, str(plant(tmp_path, POWERCAP)))
    assert gauge.values(files.read(gauge.paths)) == (262143000000, 500)
    assert gauge.description.covers.endswith("(package-0 + dram)")


def test_a_package_that_wraps():
    start, limit = 262143000000, 262143328850
    counts = [str((start + n * 100_000) % limit) for n in range(9)]
    tree = changed(POWERCAP, "intel-rapl:0", "energy_uj", to=counts)
    readings, _ = record(Recorded(tree), lambda f: find_rapl(f, "/t"))
    assert readings.energy_of((1, 8)) == pytest.approx(0.7)


def test_without_the_right_to_read_a_package():
    tree = changed(POWERCAP, "intel-rapl:0", "energy_uj", to="!Permission denied")
    with pytest.raises(
        MeterError, match=r"^meter rapl: you may not read /t/intel-rapl:0/energy_uj: .*sudo chmod"
    ):
        PolledMeter("rapl", Recorded(tree), lambda f: find_rapl(f, "/t")).setup()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(files, tmp_path):
    tree = plant(tmp_path, POWERCAP)
    (tree / "intel-rapl:0/energy_uj").chmod(0)
    with pytest.raises(MeterError, match="you may not read"):
        PolledMeter("rapl", files, lambda f: find_rapl(f, str(tree))).setup()


def test_the_packages_of_this_machine():
    meter = PolledMeter("rapl", LocalFiles(), find_rapl)
    try:
        meter.setup()
    except MeterError as error:
        pytest.skip(str(error))
    meter.start()
    time.sleep(0.3)
    meter.stop()
    readings = meter.get_data()
    assert 0.1 < readings.energy_j[-1] / (readings.time_s[-1] - readings.time_s[0]) < 5000


def test_rails_of_the_processor(files, tmp_path):
    gauge = find_rails(files, str(plant(tmp_path, ODPM)))
    assert gauge.values(files.read(gauge.paths)) == (33000000, 21000000, 44000000, 12000000)
    assert "S4M_VDD_CPUCL0" in gauge.description.covers
    assert "MODEM" not in gauge.description.covers


def test_rails_count_microjoules():
    later = (
        RAILS.replace("33000000", "33500000").replace("12000000", "12250000").replace("80312223", "99999999")
    )
    tree = changed(ODPM, "iio:device0", "energy_value", to=[RAILS, later, later, later])
    readings, _ = record(Recorded(tree), lambda f: find_rails(f, "/t"), polls=4)
    assert readings.energy_of((1, 4)) == pytest.approx(0.75)


def test_a_phone_without_readable_rails_has_a_battery(monkeypatch):
    monkeypatch.setattr("edgegrow.measure.meters.odpm.FOLDER", "/t")
    hidden = Recorded(changed(ODPM, "iio:device0", "energy_value", to="!Permission denied"))
    with pytest.raises(MeterError, match="Permission denied: only root may read it"):
        find_rails(hidden, "/t")
    with pytest.raises(MeterError, match=r"power rails: .*; battery: "):
        find_android(Recorded({}))
    assert find_battery(Recorded(BATTERY), "/t").description.name == "android battery"


@pytest.mark.parametrize(
    ("current", "voltage", "doubt"),
    [
        ("-412500", "3987500", ""),
        ("412500", "3987500", ""),
        ("-412500", "3987", ""),
        ("-412", "3987500", "as mA"),
    ],
)
def test_batteries_of_several_vendors(files, tmp_path, current, voltage, doubt):
    tree = changed(
        changed(BATTERY, "battery", "current_now", to=current), "battery", "voltage_now", to=voltage
    )
    gauge = find_battery(files, str(plant(tmp_path, tree)))
    values = np.array([gauge.values(files.read(gauge.paths))] * 3, object)
    energy = gauge.energy_j(np.array([0.0, 1.0, 2.0]), values)
    assert energy == pytest.approx([0, 1.645, 3.29], rel=2e-3)
    assert doubt in " ".join(gauge.doubts(values))
    assert bool(doubt) == bool(gauge.doubts(values))


def test_a_battery_that_is_charged_is_refused_and_one_that_is_plugged_in_is_told(files, tmp_path):
    charging = changed(BATTERY, "battery", "status", to="Charging")
    gauge = find_battery(files, str(plant(tmp_path / "a", charging)))
    with pytest.raises(MeterError, match=r"charging: .*unplug it"):
        gauge.values(files.read(gauge.paths))
    plugged = changed(BATTERY, "usb", "online", to="1")
    gauge = find_battery(files, str(plant(tmp_path / "b", plugged)))
    values = np.array([gauge.values(files.read(gauge.paths))] * 2, object)
    assert "plugged in" in gauge.doubts(values)[0]


def test_the_constant_meter_is_a_prediction(files):
    power = ActivePower(0.0429, 0.12, "1.8 V", 1.8)
    meter = PolledMeter("constant", files, lambda f: find_constant(f, power))
    meter.setup()
    meter.start()
    time.sleep(0.1)
    meter.stop()
    readings, described = meter.get_data(), meter.description
    seconds = readings.time_s[-1] - readings.time_s[0]
    assert readings.energy_j[-1] == pytest.approx(0.0429 * seconds)
    assert (described.evidence, described.error, described.voltage_v) == ("predicted", 0.12, 1.8)


def test_a_counter_that_really_counts(files, tmp_path):
    folder = plant(tmp_path, {"hwmon0": {"name": "meter", "energy1_input": "5"}}) / "hwmon0"
    meter = PolledMeter("hwmon", files, lambda f: find_hwmon(f, str(folder)))
    meter.setup()
    for start, end in ((10_000, 2_510_000), (3_000_000, 3_000_001)):  # the second knows nothing of the first
        (folder / "energy1_input").write_text(f"{start}\n")
        meter.reset()
        meter.start()
        time.sleep(0.1)
        (folder / "new").write_text(f"{end}\n")
        (folder / "new").replace(folder / "energy1_input")
        meter.stop()
        readings = meter.get_data()
        assert readings.energy_j[-1] == pytest.approx((end - start) / 1e6)
        assert readings.time_s[-1] - readings.time_s[0] >= 0.09
    meter.close()


def test_a_file_that_vanishes_is_told_when_the_recording_ends(files, tmp_path):
    folder = plant(tmp_path, {"hwmon0": {"name": "meter", "power1_input": "1000"}}) / "hwmon0"
    meter = PolledMeter("hwmon", files, lambda f: find_hwmon(f, str(folder)))
    meter.setup()
    meter.start()
    (folder / "power1_input").unlink()
    time.sleep(0.5)
    meter.stop()
    with pytest.raises(MeterError, match=r"^meter hwmon: .*power1_input: cannot read it: No such file"):
        meter.get_data()


TREES = {"hwmon": HWMON, "rapl": POWERCAP, "rails": ODPM, "battery": BATTERY}
FINDERS = {
    "hwmon": lambda files: find_hwmon(files, "/t/hwmon2"),
    "rapl": lambda files: find_rapl(files, "/t"),
    "rails": lambda files: find_rails(files, "/t"),
    "battery": lambda files: find_battery(files, "/t"),
}


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(TREES)), st.data())
def test_whatever_the_files_hold_it_is_energy_or_one_line(kind, data):
    paths = sorted((folder, name) for folder, files in TREES[kind].items() for name in files)
    tree = {folder: dict(files) for folder, files in TREES[kind].items()}
    for folder, name in data.draw(st.lists(st.sampled_from(paths), max_size=4)):
        content = st.one_of(
            st.text(max_size=30),
            st.integers(-(10**25), 10**25).map(str),
            st.sampled_from(
                ["!Permission denied", "", "1e5", "0x10", "nan", "-0", "٣", "t=1\nCH0(T=1)[CPU], 5"]
            ),
        )
        tree[folder][name] = data.draw(st.one_of(content, st.lists(content, min_size=1, max_size=3)))
    files = Recorded(tree)

    def use():
        gauge = FINDERS[kind](files)
        values = np.empty((4, len(gauge.values(files.read(gauge.paths)))), object)
        for row in values:
            row[:] = gauge.values(files.read(gauge.paths))
        gauge.doubts(values)
        Readings(np.arange(4.0), gauge.energy_j(np.arange(4.0), values))

    message = refusal(use)
    assert "\n" not in message
    assert len(message) < 700


@settings(deadline=None)
@given(st.integers(1, 2**64 - 1), st.lists(st.integers(0, 2**64), min_size=1, max_size=30), st.data())
def test_counters_that_wrap_count_on(limit, steps, data):
    steps = [step % limit for step in steps]
    total = data.draw(st.integers(0, limit - 1)) + np.cumsum(np.array([0, *steps], object))
    counts = np.array([[n % limit] for n in total], object)
    assert list(unwrapped(counts, (limit,))[:, 0]) == [n - total[0] for n in total]
    assert list(unwrapped(total[:, None], (None,))[:, 0]) == [n - total[0] for n in total]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1e3)), min_size=2, max_size=20))
def test_energies_of_powers(samples):
    steps, powers = (np.array(column) for column in zip(*samples, strict=True))
    times = np.cumsum(steps)
    energies = integrated(times, powers)
    assert energies[0] == 0
    assert energies[-1] == pytest.approx(np.trapezoid(powers, times), rel=1e-9, abs=1e-12)
    assert (np.diff(energies) >= 0).all()
