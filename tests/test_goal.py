"""Growing to a goal delivers the smallest trained network that reaches it; what cannot is said."""

import json
import re
from itertools import pairwise

import pytest

from edgegrow import api, goal
from edgegrow.budget import Budget, Goal
from edgegrow.config import resolve_config
from edgegrow.errors import BudgetError
from edgegrow.growth.goal_search import CLOSE
from edgegrow.growth.grow import Grower
from edgegrow.run import RunFolder

from .crashes import fingerprint, until_finished

STEPS = 8 * 16
"""Optimiser steps of a whole training."""


def config(budget, goal):
    return resolve_config(
        values={
            "net.name": "mlp",
            "budget": Budget.parse(budget).limits,
            "goal": Goal.parse(goal).model_dump(),
            "train.epochs": 8.0,
            "grow.samples": 32,
        }
    )


@pytest.fixture(scope="module")
def reached(tmp_path_factory):
    return api.grow(config("macs=8k", "accuracy=95%"), tmp_path_factory.mktemp("goal") / "run")


@pytest.fixture(scope="module")
def missed(tmp_path_factory):
    return api.grow(config("macs=900", "accuracy=99.9%"), tmp_path_factory.mktemp("goal") / "run")


def test_the_smallest_trained_network_that_reaches_the_goal_is_delivered(reached):
    reached.check()
    tries = reached.tries()
    assert all(one.reached == (one.validation_accuracy >= 0.95) for one in tries)
    best = min((one for one in tries if one.reached), key=lambda one: one.macs)
    assert reached.costs()["macs"] == best.macs < 0.95 * 8e3
    assert reached.search()["try"] == best.name
    assert reached.search()["validation_accuracy"] == best.validation_accuracy


def test_the_smallest_is_bracketed_by_one_that_does_not_reach_it(reached):
    tries = reached.tries()
    smallest = min(one.macs for one in tries if one.reached)
    below = max(one.macs for one in tries if not one.reached and one.macs < smallest)
    assert smallest <= CLOSE * below
    assert 2 <= len(tries) <= 8


def test_every_try_is_trained_for_all_epochs_and_counted(reached):
    tries = reached.tries()
    for one in tries:
        assert one.macs_trained == STEPS * 3 * one.macs * 64
        folder = reached.folder.path / "tries" / one.name
        assert {file.name for file in folder.iterdir()} == {"config.toml", "history.jsonl", "checkpoints"}
    parts = sum(one.macs_trained for one in tries) + reached.search()["trunk_macs_trained"]
    assert reached.training()["macs_trained"] == parts


def test_blocks_are_decided_on_before_anything_is_trained_for_all_epochs(tmp_path):
    """A network with places for blocks takes a growth step first; a try has the blocks of its snapshot."""
    values = {
        "net.name": "dscnn", "budget": {"macs": 40e3}, "goal": {"accuracy": 0.3}, "train.epochs": 4.0,
        "grow.samples": 32, "grow.moves": ("deepen",), "grow.allocations": ("gain",),
    }  # fmt: skip
    run = api.grow(resolve_config(values=values), tmp_path / "run")
    events = list(run.folder.history())
    kinds = [event["event"] for event in events]
    assert kinds.index("growth") < kinds.index("try")
    taken = {event["step"]: event["insertions"] for event in events if event["event"] == "snapshot"}
    assert {0, 1} <= taken.keys()
    for one in run.tries():
        checkpoint = RunFolder(run.folder.path / "tries" / one.name).load_checkpoint()
        assert list(checkpoint.progress.insertions) == taken[one.snapshot]


def test_growing_stops_far_below_a_budget_that_is_not_needed(reached):
    """The trunk ends where the largest try needed it, not at the budget."""
    snapshots = [event["macs"] for event in reached.folder.history("snapshot")]
    largest = max(one.macs for one in reached.tries())
    assert snapshots == sorted(snapshots)
    assert all(macs < 1.02 * largest for macs in snapshots[:-1])
    assert all(wide <= 1.45 * narrow for narrow, wide in pairwise(snapshots[1:]))


def test_a_goal_out_of_reach_delivers_the_most_accurate_and_says_the_nearest(missed):
    assert not any(one.reached for one in missed.tries())
    best = max(missed.tries(), key=lambda one: one.validation_accuracy)
    assert max(one.macs for one in missed.tries()) >= 0.95 * 900  # the budget was filled before giving up
    assert missed.costs()["macs"] == best.macs
    missed.check_budget()
    with pytest.raises(BudgetError, match=r"^goal accuracy=99.9%: missed by \d+\.\d\d points: ") as told:
        missed.check()
    nearest = Goal.parse(re.search(r"accuracy=[\d.]+%$", str(told.value))[0]).accuracy
    assert best.validation_accuracy - 1e-4 < nearest <= best.validation_accuracy


def test_the_report_shows_every_try(reached, missed, run_cli):
    code, table, _ = run_cli("report", reached.folder.path)
    assert code == 0
    assert "smallest network of 95 %" in table
    for one in reached.tries():
        assert one.name in table
    result = json.loads(run_cli("report", missed.folder.path, "--json")[1])
    assert result["goal"]["reached"] is False
    assert [one["macs"] for one in result["goal"]["tries"]] == [one.macs for one in missed.tries()]
    assert result["delivered"]["macs"] <= 900
    code, _, err = run_cli("grow", "--resume", missed.folder.path, "-q")
    assert code == 1
    assert "goal accuracy=99.9%: missed by" in err


def test_a_search_that_crashes_again_and_again_ends_the_same(missed, tmp_path, monkeypatch):
    """In the trunk, between tries and inside them."""
    folder = tmp_path / "run"
    found, crashes = until_finished(
        lambda: api.grow(missed.config, folder), lambda: api.resume(folder), monkeypatch
    )
    assert crashes > 5
    assert fingerprint(folder) == fingerprint(missed.folder.path)
    assert found.to_json()["goal"] == missed.to_json()["goal"]
    assert found.training() == missed.training()


def test_the_delivered_network_is_exported_again_to_the_byte(reached, run_cli, tmp_path):
    assert run_cli("export", reached.folder.path, "--out", tmp_path, "-q")[0] == 0
    assert (tmp_path / "model.tflite").read_bytes() == (reached.folder.path / "model.tflite").read_bytes()


def test_a_training_that_collapses_is_made_once_more_from_other_weights(tmp_path, monkeypatch):
    """A network that ends below its short training: its size is tried again, and it tells nothing itself."""
    real, trained = goal.evaluate, []

    def anneal(grower, progress):
        Grower.anneal(grower, progress)
        trained.append(grower.trace.graph)

    def evaluate(model, split):
        loss, accuracy = real(model, split)
        return loss, 0.0 if trained and model is trained[0] else accuracy

    monkeypatch.setattr(goal, "evaluate", evaluate)
    monkeypatch.setattr("edgegrow.setting.Grower", type("Ending", (Grower,), {"anneal": anneal}))
    run = api.grow(config("macs=8k", "accuracy=90%"), tmp_path / "run")
    first, second, *others = run.tries()
    assert (first.collapsed, first.reached, first.validation_accuracy) == (True, False, 0.0)
    assert second.macs == first.macs
    assert not any(one.collapsed for one in (second, *others))
    seeds = [RunFolder.open(run.folder.path / "tries" / one.name).config().seed for one in (first, second)]
    assert seeds[0] == 0 != seeds[1]
    assert all(one.validation_accuracy > 0.3 for one in others)
