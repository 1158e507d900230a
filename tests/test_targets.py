import json
import tomllib
from importlib import resources

import pytest

from edgegrow.errors import InputError
from edgegrow.targets import Target, list_targets, load_target, target_names, target_schema

BOARD = """
name = "board"
kind = "mcu"
description = "A board"
[soc]
core = "Cortex-M4"
clock_hz = 80000000
isa = ["dsp", "fpu"]
[memory]
ram_bytes = 655360
[runtime]
names = ["tflm"]
kernels = "CMSIS-NN"
[transport]
kind = "serial"
baud = 115200
[[sources]]
field = "soc.clock_hz"
url = "https://example.org/board"
date = 2026-01-31
[[sources]]
field = "memory.ram_bytes"
document = "Reference manual, table 3"
date = "2026-01-31"
"""


def write(tmp_path, text=BOARD):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return path


def refused(path):
    with pytest.raises(InputError) as caught:
        load_target(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shipped_targets():
    assert "host" in target_names()
    targets = list_targets()
    assert tuple(target.name for target in targets) == target_names(), "each file is named as its target"


MEMORY = {
    # Core, MHz, KiB of flash, KiB of RAM, as the datasheets have them.
    "nucleo-l4r5zi": ("cortex-m4", 120, 2048, 640),
    "nrf5340dk": ("cortex-m33", 128, 1024, 512),
    "nucleo-u575zi": ("cortex-m33", 160, 2048, 768),
    "nucleo-h7a3zi": ("cortex-m7", 280, 2048, 1024),
    "nano33ble": ("cortex-m4", 64, 1024, 256),
    "rp2040": ("cortex-m0plus", 125, 2048, 264),
    "esp32-c3": ("rv32imc", 160, 4096, 384),
    "corstone-300": ("cortex-m55", 32, 2048, 2048),
}


@pytest.mark.parametrize("target", [t for t in list_targets() if t.kind == "mcu"], ids=lambda t: t.name)
def test_a_microcontroller_says_what_its_figures_hold_for(target):
    board = target.board()
    core, clock_mhz, flash_kib, ram_kib = MEMORY[target.name]
    assert (board.core.name, board.clock_hz) == (core, clock_mhz * 1e6)
    assert (board.flash_bytes, board.ram_bytes) == (flash_kib * 1024, ram_kib * 1024)
    assert {source.field for source in target.sources} == set(target.numbers())
    # A prediction never comes without what it was calibrated on, and how far off it may be.
    cost, power = target.cost, target.power
    assert (cost.cycle_scale is None) == (cost.calibration is None) == (cost.error is None)
    assert (power.active_w is None) == (power.conditions is None) == (power.error is None)
    if power.active_w is not None:
        assert f"{target.soc.voltage_v:g}" in power.conditions
        assert f"{clock_mhz} MHz" in power.conditions
    if "borrowed" in (cost.calibration or ""):
        assert cost.error >= 0.25


ARM = {
    # Core, MHz, QEMU's name of the core, CPU part in /proc/cpuinfo.
    "raspberry-pi-2": ("Cortex-A7", 900, "cortex-a7", "0xc07"),
    "raspberry-pi-zero-2": ("Cortex-A53", 1000, "cortex-a53", "0xd03"),
    "raspberry-pi-3": ("Cortex-A53", 1200, "cortex-a53", "0xd03"),
    "raspberry-pi-4": ("Cortex-A72", 1500, "cortex-a72", "0xd08"),
    "raspberry-pi-5": ("Cortex-A76", 2400, "cortex-a76", "0xd0b"),
    "pixel-6": ("Cortex-A76", 2253, "cortex-a76", "0xd0b"),
    "galaxy-a24": ("Cortex-A76", 2200, "cortex-a76", "0xd0b"),
}


@pytest.mark.parametrize("name", ARM)
def test_an_arm_target_says_which_core_it_is(name):
    target = load_target(name)
    core, clock_mhz, cpu, part = ARM[name]
    assert (target.soc.core, target.soc.clock_hz) == (core, clock_mhz * 1e6)
    assert (target.emulator.cpu, target.emulator.part) == (cpu, part)
    assert ("asimddp" in target.soc.isa) == (cpu == "cortex-a76"), "which has the dot product"
    assert {source.field for source in target.sources} == {"soc.clock_hz"}
    assert target.kind in ("linux", "android")


def test_every_target_has_an_expected_core():
    named = {target.name for target in list_targets() if target.kind in ("linux", "android")}
    assert named == {"host", *ARM}


def test_host_invents_nothing():
    host = load_target("host")
    assert (host.kind, host.runtime.names, host.runtime.threads) == ("linux", ("litert", "onnxruntime"), 1)
    assert list(host.numbers()) == []
    assert host.soc.clock_hz is None


def test_a_file_of_ones_own(tmp_path):
    path = write(tmp_path)
    board = load_target(path)
    assert board == load_target(str(path))
    assert (board.soc.clock_hz, board.memory.ram_bytes, board.soc.isa) == (80e6, 655360, ("dsp", "fpu"))
    assert sorted(board.numbers()) == ["memory.ram_bytes", "soc.clock_hz"]
    assert board.sources[0].date == board.sources[1].date


def test_reference_is_of_the_file(tmp_path):
    first = load_target(write(tmp_path)).reference
    again = load_target(write(tmp_path, BOARD + "# a comment\n")).reference
    assert first.name == again.name == "board"
    assert first.sha256 != again.sha256
    made = Target.model_validate({**tomllib.loads(BOARD), "name": "made"})
    assert made.reference == Target.model_validate({**tomllib.loads(BOARD), "name": "made"}).reference


def test_targets_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load_target(write(tmp_path)).name = "other"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind =", "knd =", "unknown key, did you mean kind?"),
        ("ram_bytes = 655360", "ram_byte = 655360", "memory.ram_byte: unknown key, did you mean ram_bytes?"),
        ("80000000", '"80 MHz"', "soc.clock_hz"),
        ("80000000", "nan", "soc.clock_hz"),
        ("80000000", "-1", "soc.clock_hz"),
        ("80000000", "1e-300", "soc.clock_hz"),
        ("80000000", "1e300", "soc.clock_hz"),
        ("655360", "655360.5", "memory.ram_bytes"),
        ("655360", "true", "memory.ram_bytes"),
        ('"mcu"', '"toaster"', "kind"),
        ('"board"', '"../board"', "name"),
        ('["tflm"]', "[]", "runtime.names"),
        ('field = "soc.clock_hz"', 'field = "soc.clock"', "soc.clock_hz has no source"),
        ('core = "Cortex-M4"', 'core = "Cortex-M4"\nvoltage_v = 3.3', "soc.voltage_v has no source"),
        ("ram_bytes = 655360", "", "sources: memory.ram_bytes is no number of this target"),
        ('document = "Reference manual, table 3"', "", "it needs a url or a document"),
        ('"https://example.org/board"', '"example"', "sources.0.url"),
        ('"2026-01-31"', '"soon"', "sources.1.date"),
        ("[soc]", "[soc", "not TOML"),
        ("[runtime]", "[runtimes]", "did you mean runtime?"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, words):
    assert old in BOARD
    message = refused(write(tmp_path, BOARD.replace(old, new, 1)))
    assert words in message
    assert "board.toml" in message


def test_unknown_names_and_files(tmp_path):
    assert refused("hots") == "target hots: unknown: did you mean host?"
    assert f"choose {', '.join(target_names())}" in refused("quantum")
    assert "No such file" in refused(tmp_path / "none.toml")
    assert "No such file" in refused("nowhere/board")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "not TOML" in refused(tmp_path / "binary.toml")
    assert "no file" in refused("/dev/zero")
    assert "no file" in refused(tmp_path)


def test_published_schema_is_the_models():
    published = resources.files("edgegrow").joinpath("target.schema.json").read_text()
    assert json.loads(published) == target_schema()
