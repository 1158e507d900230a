"""The founding claims: their verdicts on made-up figures, their resuming, and their pieces at tiny effort."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgegrow.baselines.problem import Problem
from edgegrow.baselines.widths import share_used
from edgegrow.config import resolve_config
from edgegrow.errors import InputError
from edgegrow.growth.splitting import ChannelBlock
from edgegrow.listener import Silent
from edgegrow.setting import Setting
from edgegrow.training import generator

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

from claims import (  # noqa: E402
    cheaper_than_pruning,
    cheaper_than_search,
    cliff,
    comparisons,
    dynamic_graphs,
    eigenpair_costs,
    kept,
    more_accurate_than_pruning,
    report,
)
from claims.effort import Effort  # noqa: E402
from claims.parts import Part, Verdict, verdict  # noqa: E402
from claims.toys import bells, disc_mlp, split  # noqa: E402

HELD, LOST = Part("a", "1", "1", True), Part("b", "2", "1", False)
BOUND = Part("c", "3", "1", False, "the moon is full")


def test_a_claim_holds_with_all_of_its_parts():
    assert verdict([HELD, HELD]) == Verdict("holds")
    assert str(verdict([HELD])) == "**holds**"


def test_a_claim_fails_with_any_part_that_names_no_condition():
    assert verdict([HELD, LOST, BOUND]) == Verdict("fails", "b: 2")


def test_a_claim_holds_under_the_conditions_of_the_parts_that_fail():
    other = Part("d", "4", "1", False, "it rains")
    found = verdict([BOUND, HELD, other, BOUND])
    assert str(found) == "**holds when** the moon is full; and it rains"


def test_nothing_tested_is_no_verdict():
    with pytest.raises(ValueError, match="nothing"):
        verdict([])


class Counted:
    """A claim that counts how often it is examined."""

    CLAIM = "It counts."

    def __init__(self):
        self.examined, self.depends_on = 0, {"table": 1}

    def inputs(self, effort):
        return self.depends_on

    def examine(self, effort):
        self.examined += 1
        return {"by_seed": {0: 1.5}, "pair": (1, 2)}

    def parts(self, figures):
        return [Part("counted", str(figures["by_seed"]["0"]), "1", figures["by_seed"]["0"] > 1)]

    def section(self, figures):
        return [f"pair {figures['pair']}"]


def test_a_finished_claim_is_not_examined_again(tmp_path):
    claim, effort = Counted(), Effort(runs=tmp_path)
    assert kept.kept(7, claim, effort) is None
    first = kept.finished(7, claim, effort)
    assert kept.finished(7, claim, effort) == first == kept.kept(7, claim, effort)
    assert claim.examined == 1
    assert first["figures"] == {"by_seed": {"0": 1.5}, "pair": [1, 2]}  # as JSON gives them back, at once


def test_a_claim_is_examined_again_when_what_it_depends_on_has_changed(tmp_path):
    claim, effort = Counted(), Effort(runs=tmp_path)
    kept.finished(7, claim, effort)
    claim.depends_on = {"table": 2}
    kept.finished(7, claim, effort)
    kept.finished(7, claim, Effort(runs=tmp_path, epochs=3.0))
    assert claim.examined == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}'])
def test_a_damaged_record_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "claim-7.json").write_text(text)
    with pytest.raises(InputError, match=r"claim-7\.json: damaged: delete it"):
        kept.kept(7, Counted(), Effort(runs=tmp_path))


def test_the_page_tells_of_every_claim_also_of_those_not_run(tmp_path):
    claim = Counted()
    record = kept.finished(7, claim, Effort(runs=tmp_path))
    report.write({7: claim, 8: claim}, {7: record}, "the command", tmp_path / "results")
    text = (tmp_path / "results" / "claims.md").read_text()
    assert "| 7 | It counts. | **holds** |" in text
    assert "| 8 | It counts. | not run yet |" in text
    assert "pair [1, 2]" in text
    found = json.loads((tmp_path / "results" / "claims.json").read_text())
    assert found["claims"]["7"]["verdict"]["word"] == "holds"
    assert found["not_finished"] == [8]


def test_paragraphs_are_filled_and_tables_left_alone():
    long = "| " + "x" * 200 + " |"
    found = report.filled(["a b", "c", "", long, "", *["word"] * 60])
    assert found[:4] == ["a b c", "", long, ""]
    assert [len(line) <= report.WIDTH for line in found[4:]] == [True] * 3
    assert " ".join(found[4:]).split() == ["word"] * 60


def results(gains, pruning=3e12, task="a-task", spread=0.1):
    """Grown networks ahead of pruned ones by so many points, on tasks of three seeds."""
    return {
        f"{task}-{number}": {
            arm: [
                {"seed": seed, "validation_accuracy": 0.9 - behind, "macs": 1000,
                 "test_accuracy": 0.9 - (behind and (gain + spread * (seed - 1)) / 100),
                 "macs_trained": trained, "large_macs_trained": 0.8 * trained}
                for seed in range(3)
            ]
            for arm, behind, trained in (("default", 0, 1e12), ("prune-l1", 0.01, pruning))
        }
        for number, gain in enumerate(gains)
    }  # fmt: skip


def accuracy_verdict(gains, large=()):
    figures = {"small": results(gains), "large": results(large, task="large")}
    return verdict(more_accurate_than_pruning.parts(figures))


def test_growing_is_more_accurate_only_where_the_interval_says_so():
    assert accuracy_verdict([1.0]).word == "holds"
    assert accuracy_verdict([-1.0]).word == "fails"
    assert accuracy_verdict([0.05]).word == "fails"  # not shown
    some = accuracy_verdict([1.0, -1.1])
    assert (some.word, "a-task-0" in some.reason, "a-task-1" in some.reason) == ("holds when", True, False)


def test_the_large_comparison_decides_where_it_is_there():
    assert accuracy_verdict([1.0], large=[-1.0, -0.5]).word == "fails"
    assert accuracy_verdict([-1.0], large=[1.0, 0.5]).word == "holds"


def cost_verdict(pruning, on_the_way=800):
    small = {comparisons.TASK: results([0.0], pruning)["a-task-0"]}
    figures = {"small": small, "large": {}, "macs_on_the_way": {"0": [400, on_the_way], "2": [1000]}}
    return verdict(cheaper_than_pruning.parts(figures))


def test_growing_is_cheaper_only_if_its_training_is_and_its_networks_stay_small():
    assert cost_verdict(3e12).word == "holds"
    assert cost_verdict(1.1e12).word == "holds when"  # the large network alone costs 0.88e12
    assert cost_verdict(0.9e12).word == "fails"
    assert cost_verdict(3e12, on_the_way=1200).word == "fails"


def test_the_table_of_growing_is_read_or_refused(tmp_path):
    file = tmp_path / "growth.json"
    assert comparisons.large_comparison(file) == {}
    cells = results([0.5, 0.2])
    alone = {"default": cells["a-task-1"]["default"]}
    tasks = {"both": {"cells": cells["a-task-0"]}, "no pruning": {"cells": alone}}
    file.write_text(json.dumps({"tasks": tasks}))
    found = comparisons.large_comparison(file)
    assert list(found) == ["both"]
    assert found["both"]["prune-l1"][2]["macs_trained"] == 3e12
    assert comparisons.wide(comparisons.slim(found)) == found
    file.write_text(json.dumps({"tasks": [1]}))
    with pytest.raises(InputError, match=r"growth\.json: it is not what"):
        comparisons.large_comparison(file)


def test_the_best_pruning_arm_is_the_one_of_the_best_validation():
    cells = comparisons.wide(results([0.5]))["a-task-0"]
    better = {seed: {**figures, "validation_accuracy": 0.95} for seed, figures in cells["prune-l1"].items()}
    assert comparisons.best_pruning({**cells, "prune-bn": better}) == "prune-bn"
    one = {0: better[0]}
    assert comparisons.best_pruning({**cells, "prune-bn": one}) == "prune-l1"  # one seed tells no interval


def search_verdict(ahead, steps=(2, 4, 6), spread=0.1):
    """Searches of 1, 4, 20 networks at 1, 1.4 and 3 times growing's cost, ahead by so many points."""

    def run(seed):
        search = {
            tried: {"test_accuracy": 0.9 + (points + spread * seed) / 100, "macs_trained": cost}
            for (tried, cost), points in zip({"1": 1e9, "4": 1.4e9, "20": 3.1e9}.items(), ahead, strict=True)
        }
        return {"grown": {"test_accuracy": 0.9, "macs_trained": 1e9}, "search": search}

    growth = [{"macs": 1.0, "added": a, "steps": s} for a, s in zip((4, 16, 64), steps, strict=True)]
    return verdict(cheaper_than_search.parts({"runs": [run(-1), run(0), run(1)], "growth": growth}))


def test_growing_is_far_cheaper_only_than_a_search_that_is_as_accurate():
    assert search_verdict((-2, -1, 0)).word == "holds"
    assert search_verdict((-2, -1, -0.8)).word == "holds"
    assert search_verdict((-2, 0.1, 0.5)).word == "fails"
    assert search_verdict((-2, -1, 0), steps=(1, 4, 20)).word == "fails"  # faster than linear


def test_a_search_is_behind_only_where_the_seeds_agree():
    """A cheap one whose accuracies scatter by more than its mean is behind is not shown to be behind."""
    assert search_verdict((-2, -1, 0), spread=5).word == "fails"


def test_random_widths_keep_the_budget_and_fill_it():
    values = {"data.name": "digits", "net.name": "mlp", "budget": {"macs": 5000.0}, "train.epochs": 1.0}
    setting = Setting(resolve_config(values=values), Silent())
    problem = Problem(setting.net, setting.data, setting.costs, setting.limits, setting.train_config, 0)
    rng = generator(0)
    drawn = [cheaper_than_search.random_widths(problem, rng) for _ in range(10)]
    assert all(0.97 < share_used(problem, widths) <= 1 for widths in drawn)
    assert len({tuple(widths.values()) for widths in drawn}) > 5


def dense(neurons=5, size=12):
    matrices = torch.randn(neurons, size, size, generator=generator(0))
    blocks = [ChannelBlock(None, [nn.Parameter(torch.ones(neurons, size))], [torch.arange(neurons)[:, None]])]
    return eigenpair_costs.Dense(blocks, [matrices + matrices.mT])


def test_both_iterations_come_to_the_exact_gain_and_lanczos_sooner():
    operator = dense()
    exact = eigenpair_costs.lowest(operator)
    assert eigenpair_costs.share(exact, exact) == 1
    descent = [eigenpair_costs.share(v, exact) for v in eigenpair_costs.by_descent(operator, 0.03)]
    by_lanczos = [
        eigenpair_costs.share(eigenpair_costs.by_lanczos(operator, count), exact) for count in (4, 8, 12)
    ]
    assert by_lanczos[2] == pytest.approx(1, abs=1e-4)
    assert descent[0] < descent[20] < 1 + 1e-6
    assert descent[-1] > 0.9
    assert by_lanczos[1] > descent[7]


def test_an_exponent_is_the_slope_of_logarithms():
    times = {str(d): 2e-6 * d**3 for d in (72, 144, 288)}
    assert eigenpair_costs.exponent({"9": 5.0, **times}, 3) == pytest.approx(3)


def test_costs_of_a_product_are_counted(monkeypatch):
    monkeypatch.setattr(eigenpair_costs, "BATCH", 8)
    costs = eigenpair_costs.network_costs("conv1d", Effort(repeats=1))
    assert 0.6 < costs["product_macs"] / costs["pass_macs"] < 0.7  # two passes of about three
    assert costs["whole_ms"] > costs["product_ms"] > 0


TINY = Effort(steps=120, seeds=(0, 1))


def test_a_split_leaves_a_local_optimum_and_plain_copies_do_not():
    toy = cliff.ways_on(bells(2), TINY, 1, 0)
    assert toy["gradient_norm"] < 1e-4
    assert set(toy["arms"]) == set(cliff.ARMS)
    assert cliff.falls([toy], "copies") == pytest.approx(0, abs=1e-5)
    assert cliff.falls([toy], "split") > cliff.FALL
    assert cliff.falls([toy], "split", "right_after") > 0


def test_parametric_and_splitting_terms_decouple_and_the_more_the_smaller_the_moves():
    coupling = cliff.coupling(0, TINY)
    sizes = sorted(coupling, key=float)
    assert abs(coupling[sizes[0]]) < abs(coupling[sizes[-1]]) < 0.5
    assert abs(coupling[str(cliff.SHIFT)]) < cliff.COUPLING


def test_a_split_at_step_zero_keeps_a_toys_loss_and_a_random_direction_is_as_long():
    toy = disc_mlp(0)
    before = toy.loss()
    (index,) = toy.indices()
    everyone = [(index, torch.arange(2))]
    directions = split(toy.copy(), everyone, 0.0), split(toy.copy(), everyone, 0.0, generator(0))
    lengths = [torch.cat([d.flatten() for d in found.values()]).norm() for found in directions]
    assert lengths[0] == pytest.approx(lengths[1].item(), rel=1e-5)
    split(toy, everyone, 0.0)
    assert toy.loss() == pytest.approx(before, rel=1e-6)


def test_growing_in_place_keeps_what_the_claim_says():
    found = dynamic_graphs.network("conv1d", Effort(repeats=1))
    assert found["kept"]
    assert found["carried"]
    assert found["goes_on"]
    assert found["change"] < dynamic_graphs.UNCHANGED
    figures = {"networks": {"conv1d": found}}
    assert len(dynamic_graphs.parts(figures)) == 4
    broken = {"networks": {"conv1d": {**found, "carried": False}}}
    assert verdict(dynamic_graphs.parts(broken)).word == "fails"


def arguments(*given):
    path = list(sys.path)
    try:
        return runpy.run_path(str(ROOT / "scripts" / "claims" / "run.py"))["arguments"](given)
    finally:
        sys.path[:] = path


@pytest.mark.parametrize(
    ("given", "words"),
    [(("--claims", "9"), "claim 9: unknown"), (("--seeds", "1"), "one seed decides no claim")],
)
def test_mistakes_end_in_one_line(given, words):
    with pytest.raises(InputError, match=words):
        arguments(*given)


def test_claims_and_seeds_are_chosen_on_the_command_line():
    options = arguments("--claims", "1,4,4", "--seeds", "3,4")
    assert (options.claims, options.seeds) == ([1, 4], [3, 4])
    assert arguments().claims == [1, 2, 3, 4, 5, 6]


SMOKE = "digits-mlp-5k"


def test_claims_one_to_three_are_examined_on_real_trainings(tmp_path, monkeypatch):
    """On a task of seconds: figures that the claims can be judged by, and no training made twice."""
    for module in (comparisons, cheaper_than_pruning, cheaper_than_search):
        monkeypatch.setattr(module, "TASK", SMOKE)
    for module in (cheaper_than_pruning, more_accurate_than_pruning):
        monkeypatch.setattr(module, "PRUNED", ("prune-l1",))
    monkeypatch.setattr(cheaper_than_search, "TRIED", (1, 3))
    monkeypatch.setattr(cheaper_than_search, "BUDGETS", ("1200", "2400"))
    effort = Effort(epochs=2.0, seeds=(0, 1), runs=tmp_path, table=tmp_path / "growth.json")
    claims = (cheaper_than_pruning, more_accurate_than_pruning, cheaper_than_search)
    accuracies = more_accurate_than_pruning.examine(effort)
    cells = sorted((tmp_path / "cells").rglob("seed-*.json"))
    assert len(cells) == 8  # default, large, pruned, from scratch
    made = [file.stat().st_mtime_ns for file in cells]
    costs = cheaper_than_pruning.examine(effort)
    assert [file.stat().st_mtime_ns for file in cells] == made
    search = cheaper_than_search.examine(effort)
    for claim, figures in zip(claims, (costs, accuracies, search), strict=True):
        figures = json.loads(json.dumps(figures))
        assert verdict(claim.parts(figures)).word in ("holds", "fails", "holds when")
        assert all(line.count("|") > 2 for line in claim.section(figures) if line.startswith("|"))
    grown = json.loads(cells[0].read_text())
    assert max(costs["macs_on_the_way"]["0"]) == grown["macs"]
    for run in search["runs"]:
        one, three = run["search"]["1"], run["search"]["3"]
        assert 0.95 * 5000 < one["macs"] <= 5000
        assert three["macs_trained"] > 1.2 * one["macs_trained"]
    assert search["growth"][0]["steps"] >= 2
    assert search["growth"][0]["added"] > 2
