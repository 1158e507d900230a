"""Growing for a Linux board, its artifacts measured on it: this machine stands for one, or QEMU."""

import re
import shutil

import pytest

from edgegrow import api, calibrating
from edgegrow.calibrating import Effort
from edgegrow.config import resolve_config
from edgegrow.cost.calibration import read_latencies
from edgegrow.errors import InputError
from edgegrow.measure.arm.sysroot import find_sysroot
from edgegrow.measure.protocol import Profile

from .conftest import QUICK

TINY = Effort(widest=0.5, rounds=2, seconds=0.001, networks=4)
BOARD = """
name = "board"
kind = "linux"
description = "A board that edgegrow runs on itself"
[soc]
core = "cortex-a72"
[runtime]
names = [{runtimes}]
[transport]
kind = "local"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    (folder / "board.toml").write_text(BOARD.format(runtimes='"litert"'))
    values = {"data.name": "digits", "net.name": "mlp", "target": str(folder / "board.toml"),
              "train.epochs": 1.0, "budget": {"macs": 2000.0}}  # fmt: skip
    settings = ("grow.steps=1", "grow.samples=32")
    return api.grow(resolve_config(values=values, settings=settings), folder / "run")


def test_the_artifact_is_measured_on_the_board(run):
    profile = Profile.read(run.folder.path / "profile.json")
    assert profile.target.name == "board"
    assert profile.artifact.format == "tflite"
    latency = profile.find("latency")
    assert latency.evidence == "measured"
    assert "outputs of 4 random inputs" in latency.method
    assert profile.find("macs").value <= 2000
    assert "on the machine that edgegrow runs on" in profile.find("accuracy").method


def test_no_artifact_is_written_that_the_board_cannot_run(run):
    assert (run.folder.path / "model.tflite").is_file()
    assert not (run.folder.path / "model.onnx").exists()


def test_what_counting_takes_is_missed_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    values = {"data.name": "digits", "net.name": "mlp", "target": "raspberry-pi-4", "budget": {"macs": 2e3}}
    with pytest.raises(InputError, match=r"must be installed first, as root: apt-get install"):
        api.grow(resolve_config(values=values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(
    find_sysroot("aarch64") is None or shutil.which("qemu-aarch64") is None,
    reason="the emulator is not prepared: edgegrow doctor --fix emulator",
)
def test_a_growth_for_a_board_that_is_not_there_ends_with_counts_of_both_runtimes(
    tmp_path, run_cli, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "run"
    code, shown, said = run_cli(
        "grow", *QUICK, "--data", "digits", "--target", "raspberry-pi-4", "--out", out
    )
    assert code == 0, said
    for name, runtime in (("profile.json", "litert"), ("profile-onnx.json", "onnxruntime")):
        instructions = Profile.read(out / name).find("instructions")
        assert (instructions.evidence, instructions.identity.runtime) == ("emulated", runtime)
    assert re.search(r"instructions +│ +[\d,]+ .*│ +[\d,]+ .*│ emulated │", shown), shown
    assert "artifacts on raspberry-pi-4" in shown
    assert "test samples, on the machine that edgegrow runs on" in shown
    assert "instructions:load" not in shown, "kinds are in the profile"


def test_a_board_that_runs_onnx_files_is_timed_with_them(tmp_path, monkeypatch, run_cli):
    """The budget holds for the artifact of the runtime that the target's file names first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(calibrating, "Effort", lambda: TINY)  # a whole one takes minutes
    steps = '[cost]\nchannel_block = 16\n[[sources]]\nfield = "cost.channel_block"\ndocument = "none"\n'
    text = BOARD.format(runtimes='"onnxruntime", "litert"') + steps + "date = 2026-11-26\n"
    (tmp_path / "board.toml").write_text(text)
    asked = ("grow", "--net", "mlp", "--target", tmp_path / "board.toml", "--out", tmp_path / "run", "-q")
    code, _, said = run_cli(*asked, "--budget", "latency=100ms,flash=20kB")
    assert code == 2
    assert "board runs .onnx files, whose size is not predicted" in said
    quick = ("--moves", "split", "--epochs", "1", "--set", "grow.steps=1", "--set", "grow.samples=32")
    code, _, said = run_cli(*asked, "--budget", "latency=100ms,macs=2k", *quick)
    assert code in (0, 1), said  # how full it is, is a matter of tests of growing
    first, other = (Profile.read(tmp_path / "run" / f"profile{item}.json") for item in ("", "-tflite"))
    assert (first.artifact.format, other.artifact.format) == ("onnx", "tflite")
    assert first.find("latency").identity.runtime == "onnxruntime"
    (kept,) = (tmp_path / "cache" / "edgegrow" / "calibrations").iterdir()
    identity = read_latencies(kept).identity
    assert (identity.runtime, identity.version) == ("onnxruntime", first.find("latency").identity.version)
    assert list(api.open_run(tmp_path / "run").profiles) == ["onnx", "tflite"]
