import pytest

from edgegrow.measure import identity
from edgegrow.measure.identity import (
    State,
    cpu_model,
    describe_load,
    host_identity,
    ranges,
    warnings,
)

X86 = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 207\nmodel name\t: Intel(R) N100\ncpu MHz\t: 800\n"
)
PI = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"


@pytest.mark.parametrize(
    ("text", "model"),
    [(X86, "Intel(R) N100"), (PI, "Raspberry Pi 4"), (ARM, "implementer 0x41 part 0xd08")],
)
def test_cpu_model(text, model):
    assert cpu_model(text) == model


def test_ranges():
    assert ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"
    assert ranges(()) == ""


def test_identity_of_this_machine():
    found = host_identity("litert", "2.3.0", "XNNPACK", 2)
    assert (found.runtime, found.version, found.kernels, found.threads) == ("litert", "2.3.0", "XNNPACK", 2)
    assert found.cpu
    assert found.os
    assert found.affinity


@pytest.fixture
def cpufreq(tmp_path, monkeypatch):
    """Files of a processor's clock, in kHz."""
    monkeypatch.setattr(identity, "_CPU", tmp_path)
    folder = tmp_path / f"cpu{min(identity.processors())}" / "cpufreq"
    folder.mkdir(parents=True)

    def write(slowest, fastest, current):
        values = {"scaling_min_freq": slowest, "scaling_max_freq": fastest, "scaling_cur_freq": current}
        for name, value in values.items():
            (folder / name).write_text(f"{value}\n")
        (folder / "scaling_governor").write_text("schedutil\n")

    return write


def test_only_a_fixed_clock_is_part_of_the_identity(cpufreq):
    cpufreq(600000, 1500000, 900000)
    found = host_identity(None, None, None, 1)
    assert (found.clock_hz, found.governor) == (None, "schedutil")
    assert State.now().clock_hz == 9e8
    cpufreq(1500000, 1500000, 1500000)
    assert host_identity(None, None, None, 1).clock_hz == 1.5e9


def test_a_quiet_machine_gives_no_warning():
    before = State(time_s=0, load=1.9, busy_s=100, stolen_s=0, clock_hz=1e9)
    assert warnings(before, State(time_s=2, load=1.9, busy_s=102.1, stolen_s=0.01, clock_hz=0.99e9)) == ()
    assert warnings(State(time_s=0), State(time_s=1)) == ()


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (State(time_s=2, busy_s=104, stolen_s=0), "others used 1.0 processors"),
        (State(time_s=2, busy_s=102, stolen_s=0.5), "took 25% of a processor"),
        (State(time_s=2, busy_s=102, stolen_s=0, throttled=1), "slowed down"),
        (State(time_s=2, busy_s=102, stolen_s=0, clock_hz=8e8), "slowed down"),
    ],
)
def test_a_disturbed_machine_gives_one_line(after, words):
    (line,) = warnings(State(time_s=0, busy_s=100, stolen_s=0, clock_hz=1e9), after)
    assert words in line
    assert "\n" not in line


def test_load_average_stands_in_elsewhere():
    (line,) = warnings(State(time_s=0, load=3.0), State(time_s=1, load=3.0))
    assert "others used 2.0 processors" in line
    assert describe_load(State(time_s=0, load=3.0), State(time_s=1, load=2.5)) == (
        "load average 3.00 before, 2.50 after"
    )
    assert describe_load(State(time_s=0), State(time_s=1)) == "load average not known"


def test_state_of_this_machine():
    state = State.now()
    assert state.busy_s is None or state.busy_s > 0
