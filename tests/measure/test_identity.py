import pytest

from edgegrow.measure.answers import Opened, State, System
from edgegrow.measure.identity import (
    cpu_model,
    describe,
    host_identity,
    identity_of,
    numbers,
    ranges,
    warnings,
)
from edgegrow.measure.runner import machine

TENSOR = {"name": "x", "shape": [1, 2], "dtype": "int8", "scale": None, "zero_point": None}


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ({"vendor_id": "GenuineIntel", "model name": "Intel(R) N100"}, "Intel(R) N100"),
        ({"CPU implementer": "0x41", "CPU part": "0xd08", "Model": "Raspberry Pi 4"}, "Raspberry Pi 4"),
        ({"CPU implementer": "0x41", "CPU part": "0xd05, 0xd0b"}, "implementer 0x41 part 0xd05, 0xd0b"),
        ({}, None),
    ],
)
def test_cpu_model(cpuinfo, model):
    assert cpu_model(cpuinfo) == model


def test_ranges():
    assert ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"
    assert ranges(()) == ""
    assert numbers("0-2,5,7-8") == (0, 1, 2, 5, 7, 8)
    assert numbers("3") == (3,)


def test_identity_of_this_machine():
    found = host_identity("litert", "2.3.0", "XNNPACK", 2)
    assert (found.runtime, found.version, found.kernels, found.threads) == ("litert", "2.3.0", "XNNPACK", 2)
    assert found.cpu
    assert found.os
    assert found.affinity
    assert found.python


def test_identity_of_a_phone():
    opened = Opened(
        input=TENSOR, output=TENSOR, runtime="litert", version="2.3.0", kernels="XNNPACK", metadata={},
        python="3.12.1", affinity=(4, 5),
        system=System(
            os="Linux 5.10", machine="aarch64", cpuinfo={"CPU part": "0xd05, 0xd0b"}, cpu_count=8,
            governor="sched_pixel", fixed_hz=None,
            android={"ro.soc.model": "Tensor", "ro.build.fingerprint": "google/oriole/oriole:13/1"},
        ),
    )  # fmt: skip
    found = identity_of(opened, 2)
    assert (found.cpu, found.affinity, found.governor) == ("Tensor", "4-5", "sched_pixel")
    assert found.os == "Linux 5.10 aarch64, google/oriole/oriole:13/1"
    assert (found.python, found.threads) == ("3.12.1", 2)


@pytest.fixture
def sysfs(tmp_path, monkeypatch):
    """A tree like Linux's /sys: the clock of a processor, in kHz, thermal zones and cooling devices."""
    monkeypatch.setattr(machine, "SYS", tmp_path)

    def write(**values):
        for name, value in values.items():
            path = tmp_path / name.replace("CPU", f"devices/system/cpu/cpu{machine.processors()[0]}/cpufreq")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    write(**{"CPU/scaling_governor": "schedutil"})
    return write


def clock(slowest, fastest, current):
    names = ("scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
    return {f"CPU/{name}": value for name, value in zip(names, (slowest, fastest, current), strict=True)}


def test_only_a_fixed_clock_is_part_of_the_identity(sysfs):
    sysfs(**clock(600000, 1500000, 900000))
    found = host_identity(None, None, None, 1)
    assert (found.clock_hz, found.governor) == (None, "schedutil")
    assert set(machine.state()["frequency_hz"].values()) == {9e8}
    sysfs(**clock(1500000, 1500000, 1500000))
    assert host_identity(None, None, None, 1).clock_hz == 1.5e9


def test_temperature_and_what_holds_the_clock_back(sysfs):
    assert machine.state()["throttled"] is None
    zone, cooling = "class/thermal/thermal_zone0", "class/thermal/cooling_device1"
    firmware = "devices/platform/soc/soc:firmware/get_throttled"
    sysfs(**{f"{zone}/temp": 61234, f"{zone}/type": "cpu-thermal"})
    assert machine.state()["temperature_c"] == {"0 cpu-thermal": 61.234}
    sysfs(**{f"{cooling}/type": "thermal-cpufreq-0", f"{cooling}/cur_state": 0})
    assert machine.state()["throttled"] is False
    sysfs(**{f"{cooling}/cur_state": 2})
    assert machine.state()["throttled"] is True
    sysfs(**{f"{cooling}/type": "pwm-fan"})
    assert machine.state()["throttled"] is None
    sysfs(**{firmware: "50000"})  # it was, since the start
    assert machine.state()["throttled"] is False
    sysfs(**{firmware: "50005"})
    assert machine.state()["throttled"] is True


def state(time_s, clock_hz=None, **figures):
    return State(time_s=time_s, frequency_hz={} if clock_hz is None else {"0": clock_hz}, **figures)


def test_a_quiet_machine_gives_no_warning():
    before = state(0, 1e9, load=1.9, busy_s=100, stolen_s=0)
    assert warnings(before, state(2, 0.99e9, load=1.9, busy_s=102.1, stolen_s=0.01)) == ()
    assert warnings(state(0), state(1)) == ()


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (state(2, busy_s=104, stolen_s=0), "others used 1.0 processors"),
        (state(2, busy_s=102, stolen_s=0.5), "took 25% of a processor"),
        (state(2, busy_s=102, stolen_s=0, throttle_events=1), "slowed down"),
        (state(2, busy_s=102, stolen_s=0, throttled=True), "slowed down"),
        (state(2, 8e8, busy_s=102, stolen_s=0), "slowed down"),
    ],
)
def test_a_disturbed_machine_gives_one_line(after, words):
    (line,) = warnings(state(0, 1e9, busy_s=100, stolen_s=0), after)
    assert words in line
    assert "\n" not in line


def test_load_average_stands_in_elsewhere():
    (line,) = warnings(state(0, load=3.0), state(1, load=3.0))
    assert "others used 2.0 processors" in line


def test_states_in_words():
    before = state(0, 6e8, load=3.0, temperature_c={"0 cpu": 40.0, "1 gpu": 35.5})
    after = state(1, 1.5e9, load=2.5, temperature_c={"0 cpu": 61.25})
    assert describe(before, after) == (
        "load average 3 before, 2.5 after; clock 600 MHz before, 1500 MHz after; "
        "temperature 40 °C before, 61.25 °C after"
    )
    assert describe(state(0), state(1)) == "load average not known; clock not known; temperature not known"


def test_what_this_machine_tells_is_accepted():
    assert State.model_validate(machine.state()).busy_s != 0
    assert System.model_validate(machine.system()).cpu_count >= len(machine.processors())
