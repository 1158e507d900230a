"""Runs interrupted at every kind of place: they end as if they had never stopped, history and all."""

import json
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from edgegrow import api
from edgegrow.config import resolve_config
from edgegrow.growth.groups import trace
from edgegrow.growth.progress import Progress
from edgegrow.listener import Silent
from edgegrow.nets import load_net
from edgegrow.run import RunFolder

from .growth.test_trim import signals

ARTIFACTS = ("model.tflite", "model.onnx")


def configuration():
    return resolve_config(
        values={
            "net.name": "mlp", "budget": {"macs": 5e3}, "train.epochs": 30.0, "grow.samples": 64,
            "grow.moves": ("split", "deepen"), "grow.interval": 0.05,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return api.grow(configuration(), tmp_path_factory.mktemp("whole") / "run")


def events(run):
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "scoring_seconds")} for line in lines]


class Stopping(Silent):
    """Interrupts at a step of a stage."""

    def __init__(self, stage, at):
        self.stage, self.at = stage, at

    def step(self, stage, step, steps, figures):
        if stage == self.stage and step == max(1, round(self.at * steps)):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("seed", 0.7), ("grow 1, gain", 0.5), ("grow 2, proportional", 1.0), ("grow 2, deepen", 0.1),
        ("anneal", 0.6),
    ],
)  # fmt: skip
def test_an_interrupted_run_resumes_to_the_very_same(stage, at, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.grow(configuration(), folder, Stopping(stage, at))
    api.resume(folder)
    for name in ARTIFACTS:
        assert (folder / name).read_bytes() == (whole.folder.path / name).read_bytes()
    assert events(folder) == events(whole.folder.path)


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path):
    run = RunFolder.create(tmp_path / "run", configuration(), {})
    network = trace(load_net("mlp").build((1, 8, 8), 10, None), (1, 8, 8))
    optimizer = torch.optim.SGD(network.graph.parameters())
    run.save_checkpoint(Progress(waited=1), network, optimizer)
    for file in list(run.checkpoints.iterdir()):
        file.rename(file.with_stem("9999"))
    for step in (2, 3):
        run.save_checkpoint(Progress(waited=step), network, optimizer)
        assert run.load_checkpoint().progress.waited == step
    assert sorted(file.stem for file in run.checkpoints.glob("*.json")) == ["10000", "10001"]


def test_layers_that_share_a_parameter_are_kept_and_come_back(tmp_path):
    def build():
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)]
        layers[5].weight = layers[3].weight
        return trace(nn.Sequential(*layers, nn.ReLU(), nn.Linear(16, 10)), (1, 8, 8))

    run, network, again = RunFolder.create(tmp_path / "run", configuration(), {}), build(), build()
    optimizer = torch.optim.SGD(network.graph.parameters(), lr=0.1, momentum=0.9)
    network.graph(torch.ones(2, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    run.save_checkpoint(Progress(), network, optimizer)
    checkpoint = run.load_checkpoint()
    restored = checkpoint.build(again)
    assert restored.module("3").weight is restored.module("5").weight
    for before, after in zip(network.graph.parameters(), restored.graph.parameters(), strict=True):
        assert torch.equal(before, after)
    other = torch.optim.SGD(restored.graph.parameters(), lr=0.1, momentum=0.9)
    checkpoint.restore_optimizer(restored.graph, other)
    shared = other.state[restored.module("5").weight]["momentum_buffer"]
    assert torch.equal(shared, optimizer.state[network.module("3").weight]["momentum_buffer"])


def test_a_run_interrupted_again_and_again_is_still_the_same(whole, tmp_path):
    """The best option of a step is known from one life, its network is made anew in another."""
    folder = tmp_path / "run"
    stages = ["grow 1, proportional", "grow 1, gain", "grow 1, deepen", "grow 2, gain", "grow 2, deepen"]
    for start in (lambda listener: api.grow(configuration(), folder, listener),
                  *[lambda listener: api.resume(folder, listener)] * 4):  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            start(Stopping(stages.pop(0), 0.5))
    api.resume(folder)
    for name in ARTIFACTS:
        assert (folder / name).read_bytes() == (whole.folder.path / name).read_bytes()
    assert events(folder) == events(whole.folder.path)


class AtOnce(Silent):
    """Interrupts whatever is trained first."""

    def step(self, stage, step, steps, figures):
        raise KeyboardInterrupt


def test_two_processes_do_not_go_on_with_one_run_but_the_second_does_once_the_first_is_killed(
    run_cli, tmp_path
):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "edgegrow", "grow", "--net=mlp", "--budget=macs=5k", "--epochs=9000"]
    growing = subprocess.Popen([*command, "--quiet", "--out", folder])
    try:
        while not any(folder.glob("checkpoints/*.json")):
            assert growing.poll() is None
            time.sleep(0.05)
        code, out, err = run_cli("grow", "--resume", folder)
        assert (code, out) == (2, "")
        message = "another process goes on with this run: wait for its end, or stop it"
        assert err == f"error: {folder}: {message}\n"
        assert growing.poll() is None
    finally:
        growing.kill()
        growing.wait()
    with pytest.raises(KeyboardInterrupt):
        api.resume(folder, AtOnce())


def trimming():
    """Kernels of five are narrowed here: three taps tell the classes apart."""
    return resolve_config(
        values={
            "data.name": f"{signals.__module__}:signals", "net.name": "conv1d", "budget": {"macs": 3e3},
            "train.epochs": 60.0, "grow.samples": 64, "grow.moves": ("split", "trim"), "grow.interval": 0.04,
        }
    )  # fmt: skip


def test_a_run_whose_kernels_are_narrowed_resumes_to_the_very_same(tmp_path):
    """Interrupted where that is tried, where it is looked at, and behind."""
    whole, folder = api.grow(trimming(), tmp_path / "whole"), tmp_path / "run"
    taken = [event["allocation"] for event in events(whole.folder.path) if event["event"] == "growth"]
    assert taken[-1] == "trim"
    with pytest.raises(KeyboardInterrupt):
        api.grow(trimming(), folder, Stopping("grow 2, trim", 0.5))
    for stage in ("grow 2, trim, few samples without", "grow 2, trim, few samples with", "anneal"):
        with pytest.raises(KeyboardInterrupt):
            api.resume(folder, Stopping(stage, 0.5))
    api.resume(folder)
    for name in ARTIFACTS:
        assert (folder / name).read_bytes() == (whole.folder.path / name).read_bytes()
    assert events(folder) == events(whole.folder.path)
