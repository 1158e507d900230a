"""Energy as a user asks for it: ``measure --meter`` on this machine, a device, and a board."""

import importlib.util
import shutil

import pytest
from boards import Line, Qemu, compile_firmware
from metered import Kit, Switch, plant

from edgegrow.deploy.c import write_c
from edgegrow.measure.device import LocalDevice
from edgegrow.measure.meters.opening import make_meter
from edgegrow.measure.protocol import Profile
from edgegrow.measure.remote import measure_on
from edgegrow.measure.timing_plan import TimingPlan
from edgegrow.measure.window_plan import Windows
from edgegrow.targets import load_target


@pytest.fixture
def rail(tmp_path):
    """A sensor that shows 2 W."""
    return plant(tmp_path / "sys", {"hwmon0": {"name": "meter", "power1_input": "2000000"}}) / "hwmon0"


def check(profile, watts):
    """Energy must be power times the time of an inference; both times are of the same runtime."""
    energy, power = profile.find("energy"), profile.find("power")
    assert power.value == pytest.approx(watts, rel=1e-6)
    assert len(energy.samples) == len(power.samples) == 5
    assert profile.find("energy", "min").value <= energy.value <= profile.find("energy", "max").value
    assert profile.unavailable == ()
    ms = energy.value / power.value
    assert 0.2 * profile.find("latency", "min").value < ms < 50 * profile.find("latency").value
    return energy


def test_a_rail_of_this_machine(files, rail, run_cli, tmp_path):
    out = tmp_path / "profile.json"
    options = ("--meter", f"hwmon:{rail}", "--seconds", "0.3", "--out", out)
    code, printed, error = run_cli("measure", files.tflite, *options)
    assert code == 0, error
    energy = check(Profile.read(out), 2)
    assert energy.identity.meter == "hwmon meter, resolution 1 uW in its file, 20 readings/s"
    assert "shorter than the 10 s" in " ".join(error.split())
    assert "shorter than the 10 s" in energy.method
    assert "meter hwmon meter" in printed


def test_a_rail_of_a_device(files, rail):
    """Its files are read by its programs, while its runner infers; its own clock stamps both."""
    device = LocalDevice(name="ssh://pi@board")
    meter = make_meter(f"hwmon:{rail}", device=device)
    meter.setup()
    profile = measure_on(
        device,
        files.tflite,
        target=load_target("host").reference,
        meter=meter,
        windows=Windows(min_seconds=0.6),
        plan=TimingPlan(min_seconds=0.1),
    )
    meter.close()
    assert "found by the device's clock" in check(profile, 2).method


def test_a_predicted_energy(files, run_cli, tmp_path):
    target = tmp_path / "board.toml"
    source = '[[sources]]\nfield = "power.{}"\ndocument = "a guess"\ndate = 2026-01-01\n'
    power = '[power]\nactive_w = 3.5\nerror = 0.2\nconditions = "all cores"\n'
    host = run_cli("targets", "show", "host")[1]
    sources = source.format("active_w") + source.format("error")
    target.write_text(host.replace("[power]\n", power).replace("sources = []\n", "") + sources)
    options = ("--target", target, "--meter", "constant", "--seconds", "0.05", "--json", "-q")
    code, printed, error = run_cli("measure", files.onnx, *options)
    assert code == 0, error
    profile = Profile.model_validate_json(printed)
    energy = check(profile, 3.5)
    assert profile.find("power").value == pytest.approx(3.5)
    assert (energy.evidence, energy.error) == ("predicted", 0.2)
    assert "all cores" in energy.method
    assert profile.find("idle_power") is None


@pytest.mark.parametrize(
    ("meter", "message"),
    [
        ("hwmon:/none", "nothing there measures power"),
        ("constant", "power.active_w"),
        ("ppk2:/dev/none", "soc.voltage_v"),
        ("ppk2", "use ppk2:PORT"),
        ("rapl:0", "use rapl"),
        ("wattmeter", "use constant, hwmon"),
    ],
)
def test_meters_that_are_none(files, run_cli, meter, message):
    code, out, error = run_cli("measure", files.tflite, "--meter", meter, "-q")
    assert (code, out) == (2, "")
    assert error.startswith(f"error: meter {meter}: ")
    assert message in error
    assert error.count("\n") == 1


def test_an_emulator_has_no_meter(files, run_cli):
    options = ("--target", "nucleo-l4r5zi", "--via", "emulator", "--meter", "constant")
    code, _, error = run_cli("measure", files.tflite, *options, "-q")
    assert code == 2
    assert "--meter: it means nothing to --via emulator" in error


needs_board = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None
    or any(importlib.util.find_spec(name) is None for name in ("ziglang", "serial", "termios")),
    reason="needs qemu-system-arm, pseudo-terminals, and pip install 'edgegrow[mcu,serial]'",
)

MARK = r"""
static void mark(int on) {
    for (const char *c = on ? "\r\nm-on\r\n" : "\r\nm-off\r\n"; *c; c++) {
        put(*c);
    }
}

"""


@pytest.fixture
def board(files, tmp_path):
    """A board that is no emulator by its name, and a kit in its supply; its marker is told on the line."""
    package, started, busy = tmp_path / "package", [], Switch()
    write_c(files.graph, package)

    unread = bytearray()

    def watch(content):
        unread.extend(content)
        *lines, rest = unread.split(b"\n")
        for line in lines:
            if line.strip() in (b"m-on", b"m-off"):
                busy.set(line.strip() == b"m-on")
        unread[:] = rest
        return content

    def start(**options):
        changes = {
            "name": ('"qemu mps2-an386"', '"some board"'),
            "mark": ("int main(void)", MARK + "int main(void)"),
            "use": (".microseconds = microseconds,", ".microseconds = microseconds, .mark = mark,"),
        }
        elf = compile_firmware(package, tmp_path / "board.elf", **changes)
        qemu, line, kit = Qemu(elf, tmp_path), Line(), Kit(busy=busy, **options)
        started.extend([kit, qemu, line])
        line.bridge(qemu.connection, to_host=watch)
        return package, line.port, kit.port

    yield start
    for thing in reversed(started):
        thing.stop()


@needs_board
def test_a_board_and_a_kit(board, run_cli, monkeypatch):
    # From the board to the kit there are threads instead of a wire, which a busy machine delays.
    monkeypatch.setattr("edgegrow.measure.meters.recording.DELAY_S", 1.0)
    package, port, kit = board(marked=True)
    options = ("--target", "nucleo-l4r5zi", "--via", f"serial:{port}", "--seconds", "0.4")
    for _ in range(3):
        code, printed, error = run_cli("measure", package, *options, "--meter", f"ppk2:{kit}", "--json", "-q")
        assert code == 0, error
        profile = Profile.model_validate_json(printed)
        if not profile.unavailable:
            break
    energy, power, latency = (profile.find(metric) for metric in ("energy", "power", "latency"))
    assert profile.unavailable == ()
    assert {m.evidence for m in (energy, power, latency)} == {"measured"}
    assert energy.value == pytest.approx(power.value * latency.value, rel=1.0)
    assert power.value > 5 * profile.find("idle_power").value
    assert "marker input" in energy.method
    assert energy.identity.voltage_v == 1.8
