"""Growing for a Linux board by counts, its artifacts measured on it: this machine stands for one."""

import pytest

from edgegrow import api
from edgegrow.config import resolve_config
from edgegrow.measure.protocol import Profile

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
