"""Runs with quantization-aware epochs: counted, recorded, resumed and exported like any other."""

import json
from itertools import pairwise

import pytest

from edgegrow import api
from edgegrow.config import resolve_config
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.errors import InputError
from edgegrow.listener import Silent
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import TRAIN_PASSES

from .conftest import QUICK

EPOCHS = 3
ARTIFACTS = ("model.tflite", "model.onnx")


def configuration(epochs):
    return resolve_config(
        values={
            "net.name": "mlp", "budget": {"macs": 5e3}, "train.epochs": 3.0, "grow.samples": 64,
            "quantize.qat_epochs": epochs,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return api.grow(configuration(EPOCHS), tmp_path_factory.mktemp("qat") / "run")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return api.grow(configuration(0), tmp_path_factory.mktemp("no-qat") / "run")


def events(run):
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "scoring_seconds")} for line in lines]


def test_the_artifacts_without_are_those_of_post_training_quantization(untrained, digits):
    checkpoint = untrained.folder.load_checkpoint()
    example = checkpoint.build(Setting(untrained.config, Silent()).fresh())
    graph = quantize(lower(example.graph, digits.input_shape), digits.calibration(512))
    assert (untrained.folder.path / "model.tflite").read_bytes() == tflite_bytes(graph)
    assert not list(untrained.folder.history("qat"))


def test_epochs_are_recorded_and_counted(trained, untrained, digits):
    _, *without, _, _ = events(untrained.folder.path)
    growth, (start, *epochs), done = (part for part in split(events(trained.folder.path)))
    assert growth[1:] == without
    assert start["event"] == "qat"
    assert start["epochs"] == EPOCHS
    assert [epoch["stage"] for epoch in epochs] == ["quantization-aware"] * EPOCHS
    rates = [epoch["lr"] for epoch in epochs]
    assert rates[0] == pytest.approx(1e-3 * trained.config.train.lr)
    assert rates == sorted(rates, reverse=True)
    macs = trained.profiles["tflite"].find("macs").value
    steps = epochs[0]["steps"]
    assert steps == len(digits.train) // 64
    each = TRAIN_PASSES * macs * 64 * steps
    spent = [growth[-1]["macs_trained"], *(epoch["macs_trained"] for epoch in epochs)]
    assert [b - a for a, b in pairwise(spent)] == [each] * EPOCHS
    assert done["macs_trained"] == spent[-1]


def split(lines):
    first = next(i for i, line in enumerate(lines) if line["event"] == "qat")
    *epochs, budget, done = lines[first:]
    assert budget["event"] == "budget"
    return lines[:first], epochs, done


def test_they_train_the_network_and_keep_its_size(trained, untrained):
    for name in ARTIFACTS:
        before, after = (untrained.folder.path / name).read_bytes(), (trained.folder.path / name).read_bytes()
        assert before != after
        assert abs(len(before) - len(after)) <= 64
    _, (start, *epochs), _ = split(events(trained.folder.path))
    assert all(epoch["validation_loss"] < start["validation_loss"] for epoch in epochs)
    figure = trained.profiles["tflite"].find("float_accuracy")
    assert f"before {EPOCHS} quantization-aware epochs" in figure.method


class Stopping(Silent):
    """Interrupts at a step of the quantization-aware epochs."""

    def __init__(self, at):
        self.at = at

    def step(self, stage, step, steps, figures):
        if stage == "quantization-aware" and step == round(self.at * steps):
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [0.1, 0.5, 1.0])
def test_an_interrupted_run_resumes_to_the_very_same(at, trained, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.grow(configuration(EPOCHS), folder, Stopping(at))
    assert RunFolder(folder).load_checkpoint().progress.qat_epochs == int(at * EPOCHS - 1e-9)
    api.resume(folder)
    for name in ARTIFACTS:
        assert (folder / name).read_bytes() == (trained.folder.path / name).read_bytes()
    assert events(folder) == events(trained.folder.path)


def test_it_is_exported_again_as_it_was(trained, tmp_path):
    delivery = api.export(trained.folder.path, out=tmp_path)
    for name in ARTIFACTS:
        assert (tmp_path / name).read_bytes() == (trained.folder.path / name).read_bytes()
    assert delivery.qat_epochs == EPOCHS


def test_a_checkpoint_of_another_network_is_refused(trained):
    """As where the net's own code has changed."""
    other = Setting(configuration(EPOCHS), Silent())
    checkpoint = trained.folder.load_checkpoint()
    with pytest.raises(InputError, match="checkpoint: it does not fit the network: size mismatch") as error:
        other.finisher(other.example, checkpoint)  # at other widths
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "quantize.qat_epochs: input should be greater than or equal to 0"),
        ("20000", "less than or equal"),
        ("1.5", "qat"),
        ("many", "qat"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(value, message, run_cli, tmp_path):
    code, out, err = run_cli("grow", *QUICK, "--qat", value, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
