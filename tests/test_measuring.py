"""Measuring for microcontrollers, as a user asks for it: by emulation, with what it predicts."""

import importlib.util
import json
import re
import shutil

import pytest

from edgegrow.deploy.c import write_c
from edgegrow.deploy.tflite import write_tflite
from edgegrow.errors import InputError
from edgegrow.measure.protocol import Artifact, Profile
from edgegrow.targets import load_target

from .deploy.c_packages import Layers

for name in ("ziglang", "unicorn", "capstone"):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)


OF_THE_FILE = {"macs", "scratch", "tflm_arena"}
"""What a package does not tell."""


# This network on a Cortex-M4 is one that unicorn 2.1.4 gets wrong with hooks of reads and writes together.
@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network as a .tflite file and as a C package."""
    folder = tmp_path_factory.mktemp("model")
    graph = (
        Layers(6, 5, 3).conv(8, (3, 3), activation="relu").conv(8, (3, 3), depthwise=True).linear(4).graph()
    )
    write_tflite(graph, folder / "model.tflite")
    write_c(graph, folder / "c")
    return folder, graph


@pytest.fixture
def measure(run_cli):
    def measure(*arguments):
        code, out, err = run_cli("measure", *arguments, "--json", "-q")
        assert code == 0, err
        return Profile.model_validate_json(out), err

    return measure


def test_a_board_whose_time_and_power_are_known(model, measure):
    folder, graph = model
    target = load_target("nucleo-l4r5zi")
    profile, _ = measure(folder / "model.tflite", "--target", "nucleo-l4r5zi")
    found = {m.metric: m for m in profile.measurements if m.aggregation in ("exact", "median")}
    instructions, cycles = found["instructions"], found["cycles"]
    latency, energy = found["latency"], found["energy"]
    assert graph.macs / 4 < instructions.value < 20 * graph.macs
    assert latency.value == pytest.approx(1e3 * cycles.value * target.cost.cycle_scale / 120e6)
    assert energy.value == pytest.approx(latency.value * target.power.active_w)
    evidence = {name: m.evidence for name, m in found.items() if ":" not in name}
    assert {name for name, kind in evidence.items() if kind == "emulated"} == {
        "instructions", "flash", "ram", "arena", "stack",
    }  # fmt: skip
    assert {name for name, kind in evidence.items() if kind == "predicted"} == {
        "latency", "energy", "cycles", "macs", "scratch", "tflm_arena",
    }  # fmt: skip
    assert latency.error == target.cost.error > 0
    assert energy.error == pytest.approx(target.cost.error + target.power.error)
    assert (instructions.error, cycles.error) == (None, None)
    assert (latency.identity.clock_hz, energy.identity.voltage_v) == (120e6, 1.8)
    assert (instructions.identity.clock_hz, latency.identity.voltage_v) == (None, None)
    assert latency.identity.cpu == "Cortex-M4"
    assert latency.identity.compiler.startswith("zig ")
    assert target.cost.calibration in latency.method
    assert target.power.conditions in energy.method
    assert found["macs"].value == graph.macs
    assert 0 < found["scratch"].value < found["arena"].value < found["tflm_arena"].value
    assert profile.unavailable == ()
    rows = [m.value for name, m in found.items() if name.startswith("instructions:")]
    assert len(rows) == len(graph.operators) + 1
    assert profile.target.sha256 == target.reference.sha256


def test_a_package_takes_what_its_file_takes(model, measure):
    folder, _ = model
    counts = []
    for artifact in (folder / "model.tflite", folder / "c"):
        profile, err = measure(artifact, "--target", "nrf5340dk", "--via", "emulator")
        assert err == ""
        counts.append({m.metric: m.value for m in profile.measurements if m.metric not in OF_THE_FILE})
        assert [missing.metric for missing in profile.unavailable] == ["energy"]
        assert "power" in profile.unavailable[0].reason
    assert counts[0] == counts[1]
    assert profile.artifact.format == "c"


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("rp2040", {"latency": "no published time of rp2040", "energy": "latency"}),
        ("esp32-c3", {"latency": "RV32IMC", "energy": "latency", "cycles": "RV32IMC"}),
        ("nucleo-h7a3zi", {"latency": "Cortex-M7", "energy": "latency", "cycles": "Cortex-M7"}),
    ],
)
def test_what_is_not_known_of_a_board_is_not_invented(model, measure, target, missing):
    profile, _ = measure(model[0] / "model.tflite", "--target", target)
    assert {absent.metric for absent in profile.unavailable} == set(missing)
    for absent in profile.unavailable:
        assert missing[absent.metric] in absent.reason
        assert profile.find(absent.metric) is None
    assert profile.find("instructions").evidence == "emulated"


def test_the_terminal_shows_evidence_and_error(model, run_cli):
    folder, _ = model
    code, out, _ = run_cli("measure", folder / "c", "--target", "nucleo-l4r5zi", "-q", "-v")
    assert code == 0
    assert re.search(r"latency +│ +[\d.]+ ms( \(median\))? +│ ±15 % +│ predicted", out)
    assert re.search(r"instructions +│ +[\d,]+( \(median\))? +│ +│ emulated", out)
    assert re.search(r"op_00_conv2d +│ +[\d,]+ +│ +[\d.]+ %", out)
    assert "op_00" not in run_cli("measure", folder / "c", "--target", "nucleo-l4r5zi", "-q")[1]


def test_gcc_is_told_apart(model, measure):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    profile, _ = measure(model[0] / "c", "--target", "rp2040", "--compiler", "gcc")
    assert profile.find("instructions").identity.compiler.startswith("arm-none-eabi-gcc ")


def test_a_package_that_computes_something_else_is_refused(model, run_cli, tmp_path):
    package = tmp_path / "c"
    shutil.copytree(model[0] / "c", package)
    selftest = package / "src" / "model_selftest.c"
    text = selftest.read_text()
    start = text.index("expected[")
    selftest.write_text(text[:start] + re.sub(r"\{\n +(-?\d+)", "{\n    (\\1) ^ 1", text[start:], count=1))
    code, out, err = run_cli("measure", package, "--target", "rp2040", "-q")
    assert (code, out) == (2, "")
    assert "model_selftest returned 1" in err
    selftest.unlink()
    code, out, err = run_cli("measure", package, "--target", "rp2040")
    assert code == 0
    assert "no self-test" in err


@pytest.mark.parametrize(("key", "value", "word"), [("flash", 2048, "of flash"), ("ram", 256, "of RAM")])
def test_what_exceeds_a_board_is_refused(model, run_cli, tmp_path, key, value, word):
    shown = run_cli("targets", "show", "rp2040")[1]
    file = tmp_path / "tiny.toml"
    file.write_text(re.sub(rf"{key}_bytes = \d+", f"{key}_bytes = {value}", shown))
    for artifact in ("model.tflite", "c"):
        code, out, err = run_cli("measure", model[0] / artifact, "--target", file, "-q")
        assert (code, out) == (2, "")
        assert word in err
        assert f"rp2040 has {value:,}" in err
        assert str(model[0] / artifact) in err
        assert len(err.splitlines()) == 1


def test_the_identity_of_a_package(model, tmp_path):
    first = Artifact.of_package(model[0] / "c")
    shutil.copytree(model[0] / "c", tmp_path / "copy")
    again = Artifact.of_package(tmp_path / "copy")
    assert (first.sha256, first.bytes, first.format) == (again.sha256, again.bytes, "c")
    (tmp_path / "copy/src/model.c").rename(tmp_path / "copy/src/net.c")
    assert Artifact.of_package(tmp_path / "copy").sha256 != first.sha256
    hashes = set()
    for i, files in enumerate(({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "", "bc": ""})):
        folder = tmp_path / str(i)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
        hashes.add(Artifact.of_package(folder).sha256)
    assert len(hashes) == 4
    with (tmp_path / "0" / "huge").open("wb") as huge:
        huge.truncate(2**29)  # it takes no room on the disk
    with pytest.raises(InputError, match="export"):
        Artifact.of_package(tmp_path / "0")


def test_the_npu_is_estimated(model, run_cli, tmp_path):
    if importlib.util.find_spec("ethosu") is None:
        pytest.skip("ethos-u-vela is not installed")
    code, out, err = run_cli(
        "measure", model[0] / "model.tflite", "--target", "ethos-u55-128", "--json", "-q"
    )
    assert code == 0, err
    profile = Profile.model_validate_json(out)
    assert {m.evidence for m in profile.measurements} == {"predicted"}
    latency, cycles = profile.find("latency"), profile.find("cycles")
    assert latency.value == pytest.approx(1e3 * cycles.value / 500e6)
    assert (latency.identity.runtime, latency.identity.clock_hz) == ("vela", 500e6)
    assert "Ethos_U55_High_End_Embedded" in latency.identity.kernels
    assert profile.find("processor_operators").value == 0
    assert profile.find("ram").value > 0
    assert [missing.metric for missing in profile.unavailable] == ["energy"]
    broken = tmp_path / "--help.tflite"
    broken.write_bytes((model[0] / "model.tflite").read_bytes()[:300])
    code, out, err = run_cli("measure", "--target", "ethos-u55-128", "-q", "--", broken)
    assert (code, out) == (2, "")
    assert "Vela cannot compile it" in err
    assert len(err.splitlines()) == 1
    shown = run_cli("targets", "show", "ethos-u55-128")[1]
    file = tmp_path / "slow.toml"
    file.write_text(shown.replace("500000000", "200000000"))
    err = run_cli("measure", model[0] / "model.tflite", "--target", file, "-q")[2]
    assert "correct soc.clock_hz" in err


def test_json_names_what_is_absent(model, run_cli):
    out = run_cli("measure", model[0] / "c", "--target", "esp32-c3", "--json", "-q")[1]
    assert {absent["metric"] for absent in json.loads(out)["unavailable"]} == {"latency", "energy", "cycles"}
