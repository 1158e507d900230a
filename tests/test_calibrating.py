"""Calibrations by clock and emulator: kept, continued, used by growth, refused when stale."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from edgegrow import api, calibrating
from edgegrow.calibrating import Effort, calibrate_latencies, emulate_trials, latency_path, trials_path
from edgegrow.config import Budget, resolve_config
from edgegrow.cost.calibration import read_latencies
from edgegrow.cost.clock import ArtifactClock
from edgegrow.cost.latency import LatencyModel
from edgegrow.cost.model import LayerCosts
from edgegrow.delivery import STRUCTURE_SAMPLES, flash_model
from edgegrow.deploy.lower import lower
from edgegrow.deploy.tflite import tflite_bytes
from edgegrow.growth.groups import trace
from edgegrow.growth.seed import build_network
from edgegrow.listener import Silent
from edgegrow.measuring import turns_of
from edgegrow.nets import load_net
from edgegrow.pricing import board_costs, timed_costs
from edgegrow.targets import load_target

sys.path.append(str(Path(__file__).resolve().parent / "deploy"))
import families

TINY = Effort(widest=0.5, rounds=2, seconds=0.001, networks=4, emulated=2)
METRICS = ("macs", "latency_ms", "ram_bytes")
needs_emulator = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ziglang", "unicorn", "capstone")),
    reason="pip install edgegrow[mcu]",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgegrow" / "calibrations"


def subject_of(digits, net="mlp"):
    trace = build_network(load_net(net), digits.input_shape, digits.classes, None, 0)
    graph = lower(trace.graph, digits.input_shape)
    return calibrating.Subject(trace, graph, digits.calibration(STRUCTURE_SAMPLES), net, "digits")


def clock_of(subject):
    """The host's clock."""
    take_turns = turns_of(load_target("host"), "tflite")
    return ArtifactClock(subject.quantized(subject.trace.widths()), tflite_bytes, take_turns)


@pytest.fixture
def subject(digits):
    return subject_of(digits)


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A small calibration of the host, by its clock: the text of its file."""
    subject, path = subject_of(digits), tmp_path_factory.mktemp("host") / "mlp.json"
    clock = clock_of(subject)
    calibrate_latencies(load_target("host"), subject, clock, Silent(), path, TINY, "a test")
    return path.read_text()


def keep(text, subject):
    path = latency_path(load_target("host"), subject)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def counted(subject, digits):
    return LayerCosts(["macs", "ram_bytes"], flash_model(subject.trace, digits), subject.graph)


def test_a_calibration_tells_what_it_was_made_with(finished):
    tree = json.loads(finished)
    assert tree["identity"]["runtime"] == "litert"
    assert tree["identity"]["threads"] == 1
    assert tree["identity"]["version"]
    assert (tree["target"], tree["net"], tree["data"], tree["command"]) == ("host", "mlp", "digits", "a test")
    assert tree["finished"]
    assert tree["error"] >= 0
    assert tree["spread"] >= 0
    assert {row["kind"].split()[0] for row in tree["layers"]} == {"FullyConnected"}
    assert len(tree["networks"]) == TINY.networks


def test_growth_on_the_host_has_a_latency_that_the_clock_corrects(finished, subject, digits):
    keep(finished, subject)
    costs = timed_costs(METRICS, counted(subject, digits), load_target("host"), subject, Silent())
    layers = subject.trace.shapes({name: width // 3 for name, width in subject.trace.widths().items()})
    before = costs(layers)
    found = costs.check(layers)
    assert costs(layers) == pytest.approx(found)
    assert before.keys() == found.keys() == set(METRICS)
    assert 0.3 < found["latency_ms"] / before["latency_ms"] < 3  # the same machine, a moment later
    learnt = costs.learnt()
    costs.recall({})
    assert costs(layers) == before
    costs.recall(json.loads(json.dumps(learnt)))
    assert costs(layers) == pytest.approx(found)
    # What is promised is above what the clock has said, by the margin that is stated.
    assert 0.02 <= costs.margin <= 0.03
    assert costs.model(calibrating.resize_graph(subject.graph, layers)) * costs.factor * (
        1 + costs.margin
    ) == pytest.approx(found["latency_ms"])


def test_an_interrupted_calibration_keeps_what_it_has_and_goes_on(subject, cache):
    class Impatient(Silent):
        def step(self, stage, step, steps, figures):
            raise KeyboardInterrupt

    target, clock = load_target("host"), clock_of(subject)
    with pytest.raises(KeyboardInterrupt):
        calibrate_latencies(target, subject, clock, Impatient(), effort=TINY)
    (path,) = cache.iterdir()
    kept = read_latencies(path)
    assert not kept.finished
    assert len(kept.layers) == calibrating._BATCH
    whole = calibrate_latencies(target, subject, clock, Silent(), effort=TINY)
    assert whole.finished
    assert whole.layers[: len(kept.layers)] == kept.layers  # not measured again
    assert read_latencies(path) == whole
    again = calibrate_latencies(target, subject, clock, Silent(), effort=TINY)  # a finished one is made anew
    assert again.layers[0] != whole.layers[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": "', '"version": "0.', "version was 0."),
        ('"cpu": "', '"cpu": "Other ', "cpu was Other "),
        ('"threads": 1', '"threads": 4', "threads was 4, it is 1 now"),
        ('"structure": "', '"structure": "0', "structure"),
        ('"finished"', '"finish', "not JSON|unknown key"),
    ],
)
def test_growth_refuses_what_was_measured_with_something_else(
    old, new, message, finished, subject, run_cli, tmp_path
):
    place = keep(finished.replace(old, new, 1), subject)
    code, out, err = run_cli(
        "grow", "--net", "mlp", "--budget", "latency=1ms", "--out", tmp_path / "run", "-q"
    )
    assert (code, out) == (2, "")
    assert err.startswith(f"error: calibration {place}: ")
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert "calibrate again" in err
    assert not (tmp_path / "run").exists()


def test_a_targets_own_table_is_used_and_missed(finished, subject, run_cli, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "host"\nkind = "linux"\ndescription = "mine"\n[runtime]\nnames = ["litert"]\n'
        '[cost]\nlatency_table = "table.json"\n'
    )
    arguments = (
        "grow",
        "--net",
        "mlp",
        "--target",
        tmp_path / "mine.toml",
        "--budget",
        "latency=1ps,macs=1G",
    )
    code, _, err = run_cli(*arguments[:-1], "latency=1ms", "--out", tmp_path / "run", "-q")
    assert code == 2
    assert f"its latency table {tmp_path / 'table.json'} is not there" in err
    assert f"--out {tmp_path / 'table.json'}" in err
    code, _, err = run_cli(*arguments[:-1], "latency=1ms", "--moves", "weigh,trim", "--out", tmp_path / "run")
    assert code == 2
    assert "prices one structure alone" in err
    _, _, err = run_cli(*arguments[:-1], "latency=1ms", "--moves", "split,trim", "--out", tmp_path / "run")
    assert "by its table: no trim" in err
    (tmp_path / "table.json").write_text(finished)
    # It is read, and tells that no network is so fast.
    code, _, err = run_cli(*arguments[:-1], "latency=0.000001us", "--out", tmp_path / "run", "-q")
    assert code == 2
    assert "budget latency_ms: impossible" in err


def test_a_latency_budget_is_kept_and_the_miss_of_a_model_written_down(finished, subject, tmp_path):
    """A whole growth. The clock of a busy machine may err, the choice and its record may not."""
    keep(finished, subject)
    values = {"data.name": "digits", "net.name": "mlp", "train.epochs": 2.0,
              "budget": Budget.parse("latency=1ms,macs=6k,ram=1kB").limits}  # fmt: skip
    run = api.grow(
        resolve_config(values=values, settings=("grow.steps=1", "grow.samples=64")), tmp_path / "run"
    )
    run.check_budget()
    evidence = {metric: m.evidence for metric, m in run.delivered().items()}
    assert evidence == {"latency_ms": "measured", "macs": "predicted", "ram_bytes": "predicted"}
    assert 0.95 * 6000 <= run.costs()["macs"] <= 6000
    (step, *_) = run.folder.history("growth")
    assert len(step["checked"]) == len(step["model_errors"]) >= 1
    assert step["checked"][0]["latency_ms"] > 0
    assert step["model_errors"][0]["macs"] == 0
    assert step["gain"] <= step["gain_bound"] * (1 + 1e-9)


def test_calibrate_writes_where_it_is_told(digits, run_cli, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(calibrating, "Effort", lambda: TINY)  # a whole one takes half a minute
    out = tmp_path / "table.json"
    code, text, err = run_cli("targets", "calibrate", "host", "--net", "mlp", "--out", out, "--json")
    assert code == 0, err
    told = json.loads(text)
    assert told["file"] == str(out)
    assert told["finished"]
    assert "networks: step" in err
    assert read_latencies(out).command == "edgegrow targets calibrate host --net mlp --data digits"
    assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ethos-u55-128",), "cannot be calibrated from here yet"),
        (("nowhere",), "target nowhere: unknown"),
        (("host", "--net", "mpl"), "net mpl"),
        (("host", "--data", "nothing.npz"), "nothing.npz"),
        (("host", "--out", "{tmp}/text.json"), "not JSON"),
    ],
)
def test_calibrate_refuses_in_a_line(arguments, message, run_cli, tmp_path):
    (tmp_path / "text.json").write_text("something of the user's")
    code, out, err = run_cli("targets", "calibrate", *(a.format(tmp=tmp_path) for a in arguments), "-q")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert (tmp_path / "text.json").read_text() == "something of the user's"


@needs_emulator
def test_emulated_networks_are_kept_and_give_the_same_prices(subject, cache):
    target = load_target("nucleo-l4r5zi")
    made = emulate_trials(target, subject, Silent(), effort=TINY)
    (path,) = cache.iterdir()
    assert path == trials_path(target, subject)
    before = path.stat().st_mtime_ns
    assert emulate_trials(target, subject, Silent(), effort=TINY) == made
    assert path.stat().st_mtime_ns == before  # read, not emulated again
    layers = subject.trace.shapes(subject.trace.widths())
    more = emulate_trials(target, subject, Silent(), effort=Effort(emulated=3))  # goes on where it stood
    assert more.trials[:2] == made.trials
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "trials": json.loads(path.read_text())["trials"] * 2})
    )
    metrics = ("macs", "latency_ms", "ram_bytes", "flash_bytes")
    costs = board_costs(metrics, target, subject, Silent())
    assert costs(layers) == board_costs(metrics, target, subject, Silent())(layers)


@needs_emulator
def test_emulated_networks_of_other_operators_are_refused(subject, cache):
    target = load_target("nucleo-l4r5zi")
    emulate_trials(target, subject, Silent(), effort=TINY)
    (path,) = cache.iterdir()
    tree = json.loads(path.read_text())
    for change in ({"cycles": [7]}, {"cycles": [0, 1, 1]}, {"widths": {"other": 4}}):
        path.write_text(json.dumps({**tree, "trials": [{**trial, **change} for trial in tree["trials"]]}))
        with pytest.raises(calibrating.InputError, match="calibrate again"):
            emulate_trials(target, subject, Silent(), effort=TINY)


@needs_emulator
def test_another_board_of_the_same_core_shares_them_and_other_samples_do_not(subject, digits):
    target = load_target("nucleo-l4r5zi")
    assert trials_path(target, subject) == trials_path(load_target("nano33ble"), subject)
    assert trials_path(target, subject) != trials_path(load_target("nrf5340dk"), subject)
    other = calibrating.Subject(subject.trace, subject.graph, 2 * subject.samples, "mlp", "digits")
    assert trials_path(target, subject) != trials_path(target, other)
    assert trials_path(target, subject) != trials_path(target, subject_of(digits, "dscnn"))


@needs_emulator
def test_other_kernels_or_compilers_are_refused_and_replaced(subject, tmp_path):
    target, path = load_target("nucleo-l4r5zi"), tmp_path / "trials.json"
    made = emulate_trials(target, subject, Silent(), path, TINY)
    tree = json.loads(path.read_text())
    for part in ("kernels", "compiler", "version"):
        changed = {**tree, "identity": {**tree["identity"], part: "other"}}
        path.write_text(json.dumps(changed))
        with pytest.raises(calibrating.InputError, match=f"{part} was other, it is .* now: calibrate again"):
            emulate_trials(target, subject, Silent(), path, TINY)
    assert emulate_trials(target, subject, Silent(), path, TINY, replace=True).trials == made.trials


@pytest.mark.parametrize("name", ["squeeze and excite", "dense"])
def test_networks_that_branch_can_be_calibrated(name, tmp_path):
    """By the clock, with little effort on a busy machine: tests/cost/test_latency.py has the mathematics.

    The target tells the width of steps, so that they need not be looked for.
    """
    build, widths = families.FAMILIES[name]
    shape = families.SHAPE
    traced = trace(build(*widths), shape)
    samples = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    subject = calibrating.Subject(traced, lower(traced.graph, shape), samples, name, "noise")
    clock, host = clock_of(subject), load_target("host")
    target = host.model_copy(update={"cost": host.cost.model_copy(update={"channel_block": 8})})
    calibration = calibrate_latencies(target, subject, clock, Silent(), tmp_path / "f.json", TINY)
    plan = calibrating.latency_plan(subject, calibration, 8)
    model = LatencyModel(subject.graph, plan, calibration, traced.shapes)
    doubled = subject.at({group: 2 * width for group, width in traced.widths().items()})
    assert {layer.kind.split()[0] for layer in plan.layers.values()} >= {"Conv2D", "DepthwiseConv2D"}
    assert 0 < model(subject.at(subject.narrowest)) < 3 * model(doubled)
    slowest = max(model.table.layers_ns(doubled)) / 1e6
    assert slowest <= model(doubled) < 100 * slowest
