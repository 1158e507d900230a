"""A ladder delivers a network for every rung, at the price of two: budgets, costs, interruptions, reports."""

import json
import shutil
from itertools import pairwise

import pytest

from edgegrow import api
from edgegrow.budget import Budget, Ladder
from edgegrow.config import resolve_config
from edgegrow.errors import BudgetError, InputError
from edgegrow.family import Family
from edgegrow.growth.stretch import Trainer
from edgegrow.ladder import LadderGrowth
from edgegrow.listener import Silent
from edgegrow.result import Run
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import evaluate

from .crashes import fingerprint, until_finished

BATCH, BATCHES = 64, 16
"""Of the digits."""


def config(ladder, **more):
    return resolve_config(
        values={
            "net.name": "mlp",
            "ladder": Ladder.parse(ladder).model_dump(),
            "train.epochs": 6.0,
            "grow.samples": 32,
            **more,
        }
    )


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    wanted = config("macs=6k,2k,3k", budget=Budget.parse("flash=20kB").limits)
    return api.grow_ladder(wanted, tmp_path_factory.mktemp("ladder") / "run")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two rungs, uninterrupted; the quantization-aware epoch counts too."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return api.grow_ladder(config("macs=1500,3k", **{"quantize.qat_epochs": 1}), folder)


def events(run, kind):
    return list(run.folder.history(kind))


def test_every_rung_keeps_its_budget_and_fills_it(family):
    assert list(family.rungs) == ["macs-2000", "macs-3000", "macs-6000"]
    for run, limit in zip(family.rungs.values(), (2e3, 3e3, 6e3), strict=True):
        assert run.config.budget.limits == {"macs": limit, "flash_bytes": 20e3}
        assert 0.95 * limit <= run.costs()["macs"] <= limit
        assert run.costs()["flash_bytes"] == (run.folder.path / "model.tflite").stat().st_size
    family.check()


def test_rungs_grow_out_of_each_other(family):
    widths = [run.folder.load_checkpoint().widths for run in family.rungs.values()]
    for narrow, wide in pairwise(widths):
        assert all(wide[name] >= width for name, width in narrow.items())


def test_all_training_counts_and_is_at_most_twice_that_of_the_largest_rung(family):
    training = family.training()
    trunk = events(family, "epoch")[-1]["macs_trained"]
    assert training["trunk_macs_trained"] >= trunk
    steps = set()
    for name, run in family.rungs.items():
        annealed = [epoch for epoch in events(run, "epoch") if epoch["stage"] == "anneal"]
        taken = sum(epoch["steps"] for epoch in annealed)
        assert training["rungs_macs_trained"][name] == taken * 3 * run.costs()["macs"] * BATCH
        assert annealed == events(run, "epoch")
        steps.add(taken)
    (taken,) = steps  # one common factor
    step_macs = [3 * run.costs()["macs"] * BATCH for run in family.rungs.values()]
    bound = 2 * 6.0 * BATCHES * step_macs[-1]
    spent = training["trunk_macs_trained"] + taken * sum(step_macs)
    assert training["macs_trained"] == spent <= bound < spent + sum(step_macs)
    assert training["cost"] == pytest.approx(2 * spent / bound)


def test_rungs_far_apart_are_trained_for_all_epochs(small):
    """Nothing is cut where the bound allows it, and quantization-aware epochs come on top."""
    for run in small.rungs.values():
        stages = [epoch["stage"] for epoch in events(run, "epoch")]
        assert stages == ["anneal"] * 6 + ["quantization-aware"]
    assert 1.5 < small.training()["cost"] < 2


def test_a_ladder_that_crashes_again_and_again_ends_the_same(small, tmp_path, monkeypatch):
    """In the trunk, between rungs and inside them; finished rungs are not trained again."""
    folder = tmp_path / "run"
    found, crashes = until_finished(
        lambda: api.grow_ladder(small.config, folder), lambda: api.resume_ladder(folder), monkeypatch
    )
    assert crashes > 3
    assert fingerprint(folder) == fingerprint(small.folder.path)
    assert found.training() == small.training()
    assert not list(folder.rglob("*.partial"))


def test_a_finished_ladder_is_read_back(family, run_cli):
    before = fingerprint(family.folder.path)
    code, out, _ = run_cli("grow", "--resume", family.folder.path)
    assert (code, out) == (0, run_cli("report", family.folder.path)[1])
    assert fingerprint(family.folder.path) == before


def test_the_report_is_one_table_over_the_rungs(family, run_cli):
    code, table, _ = run_cli("report", family.folder.path)
    assert code == 0
    for word in (*family.rungs, "flash", "99.", "measured", "predicted", "times that of the largest rung"):
        assert word in table
    code, short, _ = run_cli("report", family.folder.path, "-q")
    assert code == 0
    assert short in table
    code, text, _ = run_cli("report", family.folder.path, "--json")
    result = json.loads(text)
    assert code == 0
    assert result["ladder"] == {"metric": "macs", "rungs": [2e3, 3e3, 6e3]}
    assert result["training"]["cost"] <= 2
    assert {name: rung["delivered"] for name, rung in result["rungs"].items()} == {
        name: run.costs() for name, run in family.rungs.items()
    }
    assert "tflite" in result["rungs"]["macs-3000"]["profiles"]


def test_every_rung_is_a_run_like_any_other(family, run_cli, tmp_path):
    rung = family.folder.path / "rungs" / "macs-3000"
    code, table, _ = run_cli("report", rung)
    assert code == 0
    assert "3,000" in table
    assert run_cli("export", rung, "--out", tmp_path, "-q")[0] == 0
    assert (tmp_path / "model.tflite").read_bytes() == (rung / "model.tflite").read_bytes()


def test_a_missed_rung_is_named_and_the_others_are_not(family):
    run = family.rungs["macs-3000"]
    tight = Run(run.folder, run.config.model_copy(update={"budget": Budget(macs=2500)}), run.profiles)
    missed = Family(family.folder, family.config, {**family.rungs, "macs-3000": tight})
    with pytest.raises(BudgetError, match=r"^rung macs-3000: budget macs: missed: [^;]*$"):
        missed.check()


@pytest.mark.parametrize("weights", ["fresh", "inherited"])
def test_every_rung_is_trained_on_from_the_weights_that_growth_passed_with(weights, tmp_path, digits):
    """Those of a plain growth's last step, whichever they are."""
    wanted = config("macs=1500,2k", **{"grow.weights": weights})
    setting = Setting(next(iter(wanted.rungs().values())), Silent())
    folder = RunFolder.create(tmp_path / "run", wanted, {})
    folder.record("start", {"fingerprint": setting.data.fingerprint})
    LadderGrowth(wanted, setting)._grow(folder)
    passed = {event["name"]: event for event in folder.history("rung")}
    assert len(passed) == 2
    for name in passed:
        checkpoint = RunFolder(tmp_path / "run" / "rungs" / name).load_checkpoint()
        trace = checkpoint.build(setting.fresh())
        won = [event for event in folder.history("growth") if event["widths"] == trace.widths()][-1]
        assert evaluate(trace.graph, digits.validation)[0] == pytest.approx(won["validation_loss"])
        assert checkpoint.progress.fresh == (weights == "fresh")
        assert (checkpoint.progress.grown, checkpoint.progress.anneal_total) == (True, 0)


@pytest.mark.parametrize("finished", [True, False])
def test_what_a_ladder_is_not(finished, family, run_cli, tmp_path):
    """It is no single run to be exported, nor one of its rungs to be resumed while it is in the making."""
    ladder = tmp_path / "copy"
    shutil.copytree(family.folder.path, ladder)
    if not finished:
        for history in (ladder / "history.jsonl", ladder / "rungs" / "macs-6000" / "history.jsonl"):
            text = history.read_text()
            history.write_text(text[: text.rindex('{"event": "done"')])
        assert "has not finished" in run_cli("report", ladder)[2]
        assert "part of a larger run" in run_cli("grow", "--resume", ladder / "rungs" / "macs-6000")[2]
    code, _, err = run_cli("export", ladder)
    assert code == 2
    assert "it is a ladder, of several runs" in err
    with pytest.raises(InputError, match="it is a ladder"):
        api.open_run(ladder)
    with pytest.raises(InputError, match="use grow_ladder"):
        api.grow(family.config)
    with pytest.raises(InputError, match="no ladder"):
        api.open_ladder(ladder / "rungs" / "macs-2000")
    assert run_cli("grow", "--resume", ladder / "rungs" / "macs-2000")[0] == 0


def test_an_interrupt_says_how_to_go_on(run_cli, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", interrupted)
    out = tmp_path / "run"
    code, _, err = run_cli("grow", "--net", "mlp", "--ladder", "macs=2k,4k", "--out", out, "-q")
    assert code == 130
    assert f"--resume {out}" in err.splitlines()[-1]


def test_rungs_of_one_size_are_warned_about(tmp_path):
    class Heard(Silent):
        warnings = ()

        def warn(self, line):
            self.warnings = (*self.warnings, line)

    heard = Heard()
    api.grow_ladder(config("macs=1500,1501", **{"train.epochs": 1.0}), tmp_path / "run", heard)
    (said,) = [line for line in heard.warnings if "the size of" in line]
    assert said.startswith("rung macs-1501: ")
