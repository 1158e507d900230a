"""The table of growing: its statistics against SciPy, its claims on made-up numbers, its cells for real."""

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from edgegrow.errors import InputError
from edgegrow.listener import Silent
from edgegrow.run import RunFolder
from edgegrow.setting import Setting

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import growth_table  # noqa: E402
from growth import cells as growth_cells  # noqa: E402
from growth import tasks as growth_tasks  # noqa: E402
from growth.claims import claims, pooled_difference, task_differences  # noqa: E402
from growth.report import contents, markdown, summary  # noqa: E402
from growth.restoring import restore  # noqa: E402
from growth.runner import run_cells, with_needs  # noqa: E402
from growth.statistics import paired, pooled, spread  # noqa: E402

from ..killed import killed_at  # noqa: E402

SMOKE = "digits-mlp-5k"


def test_an_interval_of_one_task_is_students():
    rng = np.random.default_rng(0)
    default, other = rng.normal(90, 1, 5), rng.normal(89, 1, 5)
    expected = stats.ttest_rel(default, other).confidence_interval(0.95)
    found = paired(list(default - other))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(default - other))
    assert spread(list(default)) == pytest.approx(np.std(default, ddof=1))


def test_an_interval_over_tasks_is_welchs():
    """Welch's interval of a difference of means is that of a sum, one side's sign changed."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(1, 0.2, 3), rng.normal(2, 3.0, 6)
    expected = stats.ttest_ind(first, -second, equal_var=False).confidence_interval(0.95)
    found = pooled([list(first), list(second)])
    assert (2 * found.low, 2 * found.high) == pytest.approx((expected.low, expected.high))
    assert found.pairs == 9


def test_one_pair_tells_no_interval():
    found = paired([0.7])
    assert (found.mean, found.low, found.high) == (0.7, None, None)
    assert not found.above
    assert not found.below


def figures(accuracy, macs_trained=1e12):
    return {
        "validation_accuracy": accuracy, "test_accuracy": accuracy, "int8_accuracy": accuracy,
        "macs": 1000, "params": 100, "macs_trained": macs_trained, "epochs_of_final_network": 20.0,
        "seconds": 1.0, "share_used": 0.99, "widths": {"a": 3}, "versions": {},
    }  # fmt: skip


def made_up(gains):
    """Results where the default's accuracy is ``arm: (gain in points, spread of it, training)`` above."""
    tasks = list(growth_tasks.TASKS)
    results = {}
    for number, task in enumerate(tasks):
        base = [0.9 + 0.01 * number + 0.001 * seed for seed in range(3)]
        results[task] = {"default": {seed: figures(value) for seed, value in enumerate(base)}}
        for arm, (gain, around, training) in gains.items():
            results[task][arm] = {
                seed: figures(value - (gain + around * (seed - 1)) / 100, training)
                for seed, value in enumerate(base)
            }
    return results


def verdicts(gains, tasks=None, scoring=0.09):
    results = made_up(gains)
    for arms in results.values():
        for cell in arms["default"].values():
            cell["growth"] = [{"scoring_seconds": scoring / 2}, {"scoring_seconds": scoring / 2}]
    return [claim.holds for claim in claims(results, tasks or list(growth_tasks.TASKS))]


def test_claims_hold_where_the_numbers_say_so():
    gains = {
        "scratch": (0.6, 0.1, 1e12), "grown-scratch": (0.0, 0.1, 1e12),
        "prune-l1": (2.0, 0.1, 3e12), "prune-bn": (0.7, 0.1, 3e12), "split": (0.1, 0.3, 1e12),
        "default-twice": (-0.4, 0.1, 2e12),
    }  # fmt: skip
    assert verdicts(gains) == [True] * 8


def test_claims_fail_where_the_numbers_say_so():
    gains = {
        "scratch": (-0.6, 0.1, 1e12), "grown-scratch": (-0.6, 0.1, 1e12),
        "prune-l1": (2.0, 0.1, 9e12), "prune-bn": (0.3, 0.1, 1.5e12), "split": (-0.4, 0.1, 1e12),
        "default-twice": (0.9, 0.1, 2e12),
    }  # fmt: skip
    assert verdicts(gains, scoring=0.11) == [False] * 8
    best = next(claim for claim in claims(made_up(gains), []) if "best pruning" in claim.text)
    assert "prune-bn" in best.evidence


def test_claims_are_open_where_a_task_is_missing():
    gains = {"scratch": (0.6, 0.1, 1e12), "grown-scratch": (0.1, 0.1, 1e12)}
    assert verdicts(gains, [*growth_tasks.TASKS, "another"])[:4] == [None, True, None, None]


def test_one_seed_decides_nothing_about_accuracy():
    results = made_up({"scratch": (-5, 0, 1e12), "grown-scratch": (-5, 0, 1e12), "prune-l1": (-5, 0, 3e12)})
    for arms in results.values():
        for cells in arms.values():
            del cells[1], cells[2]
    found = claims(results, list(growth_tasks.TASKS))
    assert [claim.holds for claim in found] == [None, None, None, None, True, None, None]


def test_differences_pair_equal_seeds_alone():
    results = made_up({"scratch": (0.5, 0.0, 1e12)})
    task = next(iter(results))
    del results[task]["default"][0], results[task]["scratch"][2]
    found = task_differences(results, "scratch")[task]
    assert (found.pairs, found.low) == (1, None)
    assert found.mean == pytest.approx(0.5)
    assert pooled_difference(results, "prune-l1") is None


def test_shares_of_training_pair_equal_seeds_alone():
    results = made_up({"prune-l1": (1.0, 0.1, 2e12)})
    for arms in results.values():
        arms["default"][9] = figures(0.9, 3e12)
    (claim,) = (claim for claim in claims(results, []) if "At most half" in claim.text)
    assert claim.holds
    assert f"{next(iter(results))} 0.500" in claim.evidence


def test_a_pruning_arm_of_one_task_is_not_the_best_of_all():
    results = made_up({"prune-l1": (0.2, 0.1, 2e12), "prune-bn": (0.1, 0.1, 2e12)})
    next(iter(results.values()))["prune-l1-whole"] = {0: figures(0.999, 5e12)}
    (claim,) = (claim for claim in claims(results, []) if "best pruning arm on average" in claim.text)
    assert "best by validation is prune-bn" in claim.evidence
    assert f"over {3 * len(results)} pairs" in claim.evidence


def cell(runs, arm, seed=0, epochs=2.0):
    task = growth_tasks.SMOKE[SMOKE]
    return growth_cells.Cell(SMOKE, task, arm, seed, epochs, Path("none.npz"), runs)


def numbers(one):
    result = one.result()
    # Versions name the state of the checkout, which may be worked on meanwhile.
    return {key: value for key, value in result.items() if not key.startswith(("seconds", "versions"))}


ARMS = ("default", "scratch", "grown-scratch", "large", "prune-l1", "prune-bn", "prune-taylor")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("cells")
    for arm in ARMS:
        growth_cells.run_cell(cell(runs, arm))
    return runs


def test_a_cell_run_twice_gives_the_same_numbers(finished, tmp_path):
    for arm in ARMS:
        growth_cells.run_cell(cell(tmp_path, arm))
        assert numbers(cell(tmp_path, arm)) == numbers(cell(finished, arm))


def test_every_arm_keeps_the_budget_and_the_controls_train_no_more_than_the_default(finished):
    found = {arm: cell(finished, arm).result() for arm in ARMS}
    for arm in set(ARMS) - {"large"}:
        assert 0.95 <= found[arm]["share_used"] <= 1
        assert found[arm]["costs"] == {"macs": found[arm]["macs"]}
    assert 3.8 <= found["large"]["share_used"] <= 4
    given = found["default"]["macs_trained"]
    for arm in ("scratch", "grown-scratch"):
        step = 3 * 64 * found[arm]["macs"]
        assert given - step < found[arm]["macs_trained"] <= given
    assert found["grown-scratch"]["widths"] == found["default"]["widths"]
    assert found["grown-scratch"]["test_accuracy"] != found["default"]["test_accuracy"]
    for arm in ("prune-l1", "prune-taylor"):
        assert found[arm]["large_macs_trained"] == found["large"]["macs_trained"]
        assert found[arm]["macs_trained"] > found["large"]["macs_trained"] + 0.8 * given


def test_the_table_tells_of_every_arm(finished):
    results = {SMOKE: {arm: {0: cell(finished, arm).result()} for arm in ARMS}}
    text = "\n".join(markdown(results, [], "command"))
    for arm in ARMS:
        row = next(line for line in text.splitlines() if line.startswith(f"| {arm} | 1 |"))
        found = summary(results[SMOKE][arm])
        assert f"| {100 * found['test_accuracy']['mean']:.2f} |" in row
        assert f"| {found['macs']:,.0f} |" in row
    kept = json.loads(json.dumps(contents(results, [])))
    assert kept["tasks"][SMOKE]["cells"]["scratch"][0]["needs"] == {
        "default": {"macs_trained": results[SMOKE]["default"][0]["macs_trained"]}
    }


def test_cells_that_others_need_come_first(tmp_path):
    wanted = [cell(tmp_path, arm) for arm in ("prune-taylor", "scratch", "prune-l1", "grown-scratch")]
    order = [one.arm_name for one in with_needs(wanted)]
    assert order == ["large", "prune-taylor", "default", "scratch", "prune-l1", "grown-scratch"]


def test_a_cell_whose_need_is_missing_says_so(tmp_path):
    with pytest.raises(InputError, match="it needs digits-mlp-5k default seed 0, which is not finished"):
        growth_cells.run_cell(cell(tmp_path, "scratch"))


def test_a_cell_made_with_other_settings_is_not_taken_for_this_one(finished):
    with pytest.raises(InputError, match="made with other settings"):
        cell(finished, "prune-bn", epochs=3.0).result()
    with pytest.raises(InputError, match="begun with other settings"):
        growth_cells.run_cell(cell(finished, "default", epochs=3.0))


def test_a_control_of_another_default_is_not_finished(tmp_path):
    for arm in ("default", "scratch"):
        growth_cells.run_cell(cell(tmp_path, arm))
    default = cell(tmp_path, "default")
    changed = json.loads(default.file.read_text()) | {"macs_trained": 1e9}
    default.file.write_text(json.dumps(changed))
    assert cell(tmp_path, "scratch").result() is None


def test_a_control_of_another_network_is_not_finished(finished, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    for needed, stands_on_it in (("default", "grown-scratch"), ("large", "prune-l1")):
        assert cell(runs, stands_on_it).result() is not None
        file = cell(runs, needed).file
        file.write_text(json.dumps(json.loads(file.read_text()) | {"validation_accuracy": 0.5}))
        assert cell(runs, stands_on_it).result() is None
    assert cell(runs, "scratch").result() is not None, "it takes the training alone"


def test_seconds_are_counted_once(finished):
    """A growth step's have those of its short trainings."""
    one = cell(finished, "default")
    events = list(RunFolder.open(one.folder).history())
    tries = sum(e["seconds"] for e in events if e["event"] == "epoch" and e["stage"].startswith("grow"))
    assert 0 < tries < sum(e["seconds"] for e in events if e["event"] == "growth")
    every = sum(e["seconds"] for e in events if e["event"] in ("epoch", "growth"))
    assert one.result()["seconds"] == pytest.approx(every - tries)
    assert one.result()["seconds"] < one.result()["seconds_with_delivery"]


def test_an_arm_whose_setting_does_not_exist_says_so_in_one_line(monkeypatch, tmp_path):
    arm = growth_tasks.Arm("grow", {"grow.wishes": ("three",)})
    monkeypatch.setitem(growth_tasks.ARMS, "wishing", arm)
    with pytest.raises(InputError, match=r"^configuration: unknown key 'grow.wishes'[^\n]*$"):
        assert cell(tmp_path, "wishing").config


@pytest.fixture
def _handlers():
    """What ends this process is what did before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handlers")
def test_a_killed_run_resumes(tmp_path, monkeypatch):
    """Killed while the default grows: the next run goes on from there, and ends like one never stopped."""
    runs, results = tmp_path / "runs", tmp_path / "results"
    one, uninterrupted = cell(runs, "default", epochs=3.0), cell(tmp_path / "whole", "default", epochs=3.0)
    one.file.parent.mkdir(parents=True)
    (left,) = killed_at([("grow 2, proportional", 1.0)], one.config, tmp_path / "killed")
    left.rename(one.folder)
    assert one.result() is None
    began = (one.folder / "config.toml").stat().st_mtime_ns
    assert any((one.folder / "checkpoints").iterdir())
    arguments = ["--tasks", SMOKE, "--arms", "default", "--seeds", "0", "--epochs", "3"]
    places = ["--runs", str(runs), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", [growth_table.__file__, *arguments, *places])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the cell is made by a process of its own
    growth_table.main()
    assert (one.folder / "config.toml").stat().st_mtime_ns == began  # not begun anew
    assert "## digits-mlp-5k" in (results / "growth.md").read_text()
    growth_cells.run_cell(uninterrupted)
    assert numbers(one) == numbers(uninterrupted)


def test_what_is_finished_is_not_run_again(finished):
    said = []
    failures = run_cells([cell(finished, arm) for arm in ARMS], lambda one: ["no-such-file"], said.append)
    assert (failures, said) == ([], [])


def test_a_cell_that_fails_says_why_and_takes_those_with_it_that_need_it(tmp_path):
    said = []
    order = with_needs([cell(tmp_path, "scratch"), cell(tmp_path, "prune-bn")])
    script = "import sys; print('noise', file=sys.stderr); sys.exit('error: no data')"
    failures = run_cells(order, lambda one: ["-c", script], said.append)
    assert [(failure.what, failure.reason) for failure in failures if "default" in failure.what] == [
        (f"{SMOKE} default seed 0", "no data")
    ]
    assert {failure.reason for failure in failures if "scratch" in failure.what} == {
        f"{SMOKE} default seed 0 did not finish"
    }
    assert len(failures) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--tasks", "moon"), "task 'moon': unknown"), (("--arms", "x"), "arm 'x': unknown"),
     (("--seeds", "a"), "seed 'a': not a number")],
)  # fmt: skip
def test_mistakes_end_in_one_line(arguments, words, capsys):
    with pytest.raises(InputError, match=words):
        growth_table.arguments(arguments)


def test_published_cells_count_as_finished_elsewhere(finished, tmp_path):
    """The table of one checkout restores the cells of another: nothing is made again."""
    results = {
        SMOKE: {
            arm: {0: cell(finished, arm).result() | ({"growth": []} if arm == "default" else {})}
            for arm in ("default", "scratch")
        }
    }
    table = tmp_path / "growth.json"
    table.write_text(json.dumps(contents(results, [])))
    runs = tmp_path / "elsewhere"
    known = lambda task, arm: arm in growth_tasks.ARMS  # noqa: E731
    assert restore(table, runs, known) == 2
    assert restore(table, runs, known) == 0
    assert [cell(runs, arm).result()["test_accuracy"] for arm in ("default", "scratch")] == [
        cell(finished, arm).result()["test_accuracy"] for arm in ("default", "scratch")
    ]
    failures = run_cells([cell(runs, "scratch")], lambda one: ["no-such-file"], print)
    assert failures == []
    assert restore(tmp_path / "none.json", runs, known) == 0


def test_a_restored_cell_whose_network_is_needed_says_what_to_delete(finished, tmp_path):
    results = {SMOKE: {"default": {0: cell(finished, "default").result()}}}
    table = tmp_path / "growth.json"
    table.write_text(json.dumps(contents(results, [])))
    restore(table, tmp_path / "elsewhere", lambda task, arm: True)
    with pytest.raises(InputError, match=r"delete .*seed-0\.json to grow it again"):
        growth_cells.run_cell(cell(tmp_path / "elsewhere", "grown-scratch"))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"tasks": {"a": {"cells": 1}}}', '{"tasks": {"a": {"cells": {"b": [{}]}}}}']
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path, content):
    table = tmp_path / "growth.json"
    table.write_text(content)
    with pytest.raises(InputError, match=r"^[^\n]*no table of cells[^\n]*$"):
        restore(table, tmp_path, lambda task, arm: True)


def test_a_cell_of_twice_the_training_has_twice_the_epochs(tmp_path):
    assert cell(tmp_path, "default-twice", epochs=3.0).config.train.epochs == 6.0
    default = Setting(cell(tmp_path, "default", epochs=None).config, Silent()).train_config.epochs
    assert cell(tmp_path, "default-twice", epochs=None).config.train.epochs == 2 * default
