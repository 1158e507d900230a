"""Ladders and goals against their alternatives: one training a rung, and a search over widths from scratch.

    python scripts/goal_and_ladder.py [--tasks NAME,...] [--seeds 0,1,2] [--epochs N] [--goals TASK=90,...]

A ladder of five rungs competes with uniform networks that are trained from scratch for all epochs, one for
every rung; growing to a goal with a bisection over uniform widths, each trained from scratch. Two cells run
at a time, each in a process of its own; a finished cell is ``runs/goal-and-ladder/TASK/KIND/seed-N.json``
and is not made again; a growth that was interrupted goes on. At the end all that is finished is written to
``docs/results/goal-and-ladder.md``, and ``.json`` for machines.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from growth.cells import alone
from growth.claims import Claim, written
from growth.runner import Failure, run_cells
from growth.statistics import paired
from growth.tasks import SMOKE, TASKS, Arm
from results import FOLDER, table, write_results

from edgegrow import api
from edgegrow.baselines.bisection import bisect_uniform
from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.scratch import train_rungs
from edgegrow.budget import Budget, Goal, Ladder
from edgegrow.config import RunConfig, resolve_config
from edgegrow.errors import EdgegrowError, InputError
from edgegrow.files import write_atomic
from edgegrow.listener import Silent
from edgegrow.result import Run
from edgegrow.setting import Setting
from edgegrow.training import evaluate
from edgegrow.versions import versions

POINTS = 100
"""Of accuracy in one."""


@dataclass(frozen=True)
class Aims:
    """What is asked of a task's network: rungs, and a goal of validation accuracy in percent.

    The goal is one that uniform networks of a quarter to a half of the budget reach: bisecting has to begin
    with the whole budget, and a user who knew the size would not search.
    """

    ladder: str
    goal: float


AIMS = {
    "mnist1d-conv1d-16k": Aims("macs=1k,2k,4k,8k,16k", 90.0),
    "fashion-mnist-dscnn-60k": Aims("macs=15k,21k,30k,42k,60k", 84.0),  # its narrowest network takes 11k
    "fashion-mnist-dscnn-250k": Aims("macs=16k,31k,62k,125k,250k", 88.0),
    "digits-mlp-5k": Aims("macs=600,1k,1700,3k,5k", 95.0),  # to try this script on in seconds
}
DEFAULT = ("mnist1d-conv1d-16k", "fashion-mnist-dscnn-60k")

KINDS = ("ladder", "rungs-from-scratch", "goal", "bisection")

COST, WITHIN, CLOSE, SHARE = 2.0, 0.3, 1.15, 0.5
"""What is claimed: a ladder's cost and how close in points its rungs are to their controls; how close in size
goal mode is to the bisection, and the share of its training that it takes."""


@dataclass(frozen=True)
class Cell:
    """One task, kind and seed, and what decides it."""

    task_name: str
    kind: str
    seed: int
    epochs: float | None
    goal: float
    runs: Path

    @property
    def arm(self) -> Arm:
        """As the runner knows it: it needs no other cell."""
        return Arm(self.kind)

    @property
    def label(self) -> str:
        """Name it on one line."""
        return f"{self.task_name} {self.kind} seed {self.seed}"

    @property
    def file(self) -> Path:
        """Its result; there once the cell is finished."""
        return self.runs / self.task_name / self.kind / f"seed-{self.seed}.json"

    @cached_property
    def config(self) -> RunConfig:
        """What it runs with; the two from scratch have the configuration of what they are compared with."""
        task = (TASKS | SMOKE)[self.task_name]
        budget, ladder = Budget.parse(task.budget), Ladder.parse(AIMS[self.task_name].ladder)
        aim = (
            {"ladder": ladder.model_dump(), "budget": _without(budget.limits, ladder.metric)}
            if self.kind in KINDS[:2]
            else {"goal": Goal(accuracy=self.goal / POINTS).model_dump(), "budget": budget.limits}
        )
        named = {"data.name": task.data, "net.name": task.net, "target": task.target}
        return resolve_config(
            values={**named, **aim, "seed": self.seed, "train.epochs": self.epochs},
        )

    def result(self) -> dict[str, Any] | None:
        """Read the result; None where the cell is not finished.

        Raises
        ------
        InputError
            If it was made with other settings.
        """
        if not self.file.exists():
            return None
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        if found["settings"] != self.config.model_dump(mode="json", exclude_none=True):
            raise InputError(f"{self.file}: made with other settings: give another --runs, or delete it")
        return found

    def run(self) -> None:
        """Make the cell and write its file; a growth that was interrupted goes on.

        Raises
        ------
        InputError
            If another process is making it.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with alone(self.file.with_suffix(".lock"), self.label):
            self._run()

    def _run(self) -> None:
        started = time.monotonic()
        figures = {
            "ladder": self._ladder, "rungs-from-scratch": self._rungs_from_scratch,
            "goal": self._goal, "bisection": self._bisection,
        }[self.kind]()  # fmt: skip
        content = {
            "task": self.task_name,
            "kind": self.kind,
            "seed": self.seed,
            **figures,
            "seconds_since_last_interruption": time.monotonic() - started,
            "versions": versions(),
            "settings": self.config.model_dump(mode="json", exclude_none=True),
        }
        write_atomic(self.file, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @property
    def _folder(self) -> Path:
        return self.file.with_suffix("")

    @property
    def _begun(self) -> bool:
        return (self._folder / "config.toml").exists()

    def _ladder(self) -> dict[str, Any]:
        family = (
            api.resume_ladder(self._folder) if self._begun else api.grow_ladder(self.config, self._folder)
        )
        training = family.training()
        return {
            "rungs": [_delivered(run) for run in family.rungs.values()],
            "macs_trained": training["macs_trained"],
            "trunk_macs_trained": training["trunk_macs_trained"],
            "cost": training["cost"],
        }

    def _rungs_from_scratch(self) -> dict[str, Any]:
        setting = Setting(list(self.config.rungs().values())[-1], Silent())
        ladder = self.config.ladder
        assert ladder is not None
        trained = train_rungs(_problem(setting), ladder.rungs, ladder.metric)
        return {
            "rungs": [
                {
                    "macs": macs_of(one.trace),
                    "validation_accuracy": one.validation_accuracy,
                    "test_accuracy": evaluate(one.trace.graph, setting.data.test)[1],
                }
                for one in trained
            ],
            "macs_trained": sum(one.macs_trained for one in trained),
        }

    def _goal(self) -> dict[str, Any]:
        run = api.resume(self._folder) if self._begun else api.grow(self.config, self._folder)
        search = run.search()
        assert search is not None
        return {
            **_delivered(run),
            "reached": search["reached"],
            "tries": [asdict(one) for one in run.tries()],
            "trunk_macs_trained": search["trunk_macs_trained"],
            "macs_trained": run.training()["macs_trained"],
        }

    def _bisection(self) -> dict[str, Any]:
        setting = Setting(self.config, Silent())
        found = bisect_uniform(_problem(setting), self.goal / POINTS)
        return {
            "macs": macs_of(found.smallest.trace),
            "validation_accuracy": found.smallest.validation_accuracy,
            "test_accuracy": evaluate(found.smallest.trace.graph, setting.data.test)[1],
            "reached": True,
            "tries": [asdict(probe) for probe in found.probes],
            "macs_trained": found.macs_trained,
        }


def _without(limits: Mapping[str, float], metric: str) -> dict[str, float]:
    return {key: value for key, value in limits.items() if key != metric}


def _problem(setting: Setting) -> Problem:
    config = setting.config
    return Problem(
        setting.net, setting.data, setting.costs, setting.limits, setting.train_config, config.seed
    )


def _delivered(run: Run) -> dict[str, Any]:
    profile = next(iter(run.profiles.values()))
    macs, accuracy = profile.find("macs"), profile.find("float_accuracy")
    assert macs is not None
    assert accuracy is not None
    search = run.search()
    epochs = list(run.folder.history("epoch"))
    return {
        "macs": int(macs.value),
        "validation_accuracy": (search or epochs[-1])["validation_accuracy"],
        "test_accuracy": accuracy.value,
    }


Results = Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]
"""``{task: {kind: {seed: figures}}}``."""


def _pairs(results: Results, task: str, ours: str, control: str) -> dict[int, tuple[Any, Any]]:
    """Finished cells of two kinds, by the seeds that both have."""
    first, second = results[task].get(ours, {}), results[task].get(control, {})
    return {seed: (first[seed], second[seed]) for seed in sorted(set(first) & set(second))}


def claims(results: Results) -> list[Claim]:
    """Judge what ladders and goals promise, on means over seeds of every task."""
    found = []
    for task in results:
        if ladders := results[task].get("ladder"):
            costs = [one["cost"] for one in ladders.values()]
            found.append(
                Claim(
                    f"{task}: the ladder costs at most {COST:g} times the training of its largest rung",
                    max(costs) <= COST,
                    f"at most {max(costs):.3f}",
                )
            )
        if pairs := _pairs(results, task, "ladder", "rungs-from-scratch"):
            means = [paired(d).mean for d in _rung_differences(pairs).values()]
            found.append(
                Claim(
                    f"{task}: every rung is within {WITHIN:g} points of its own from-scratch control",
                    min(means) >= -WITHIN,
                    f"the worst differs by {min(means):+.2f} points",
                )
            )
        if pairs := _pairs(results, task, "goal", "bisection"):
            sizes = [ours["macs"] / control["macs"] for ours, control in pairs.values()]
            shares = [ours["macs_trained"] / control["macs_trained"] for ours, control in pairs.values()]
            reached = all(ours["reached"] for ours, _ in pairs.values())
            found.append(
                Claim(
                    f"{task}: goal mode ends within {CLOSE:g} times the MACs of the bisection",
                    reached and fmean(sizes) <= CLOSE,
                    f"mean {fmean(sizes):.2f}, of {', '.join(f'{size:.2f}' for size in sizes)}"
                    + ("" if reached else "; the goal is not always reached"),
                )
            )
            found.append(
                Claim(
                    f"{task}: goal mode takes at most {SHARE:g} of the bisection's training",
                    fmean(shares) <= SHARE,
                    f"mean {fmean(shares):.2f}, of {', '.join(f'{share:.2f}' for share in shares)}",
                )
            )
    return found


def _rung_differences(pairs: Mapping[int, tuple[Any, Any]]) -> dict[int, list[float]]:
    """Test accuracy of every rung minus its control's, in points, one a seed."""
    rungs = range(len(next(iter(pairs.values()))[0]["rungs"]))
    return {
        rung: [
            POINTS * (ours["rungs"][rung]["test_accuracy"] - control["rungs"][rung]["test_accuracy"])
            for ours, control in pairs.values()
        ]
        for rung in rungs
    }


def markdown(results: Results, failures: Sequence[Failure], command: str) -> list[str]:
    """Lines of the readable tables."""
    lines = [
        "# Ladders and goals against their alternatives",
        "",
        f"Command: `{command}`.",
        "Accuracies are the float network's, measured, means over seeds; goals are of validation accuracy.",
        "MACs are counted (predicted). Training counts everything: a step is three forward passes; growth,",
        "scoring, line searches and every try are in. Differences are ours minus the control's, same seed,",
        "in points of test accuracy, with Student's 95 % interval.",
        "",
        "## Claims",
        "",
        *(f"- {claim}" for claim in claims(results)),
    ]
    for task in results:
        lines += ["", f"## {task}", *_ladder_lines(results, task), *_goal_lines(results, task)]
    if failures:
        lines += ["", "## Not finished", "", *(f"- {one.what}: {one.reason}" for one in failures)]
    return lines


def _ladder_lines(results: Results, task: str) -> list[str]:
    pairs = _pairs(results, task, "ladder", "rungs-from-scratch")
    if not pairs:
        return []
    rows = []
    for rung, differences in _rung_differences(pairs).items():
        ours, control = ([pair[side]["rungs"][rung] for pair in pairs.values()] for side in (0, 1))
        rows.append(
            (
                f"{fmean(one['macs'] for one in ours):,.0f}",
                _percent(ours),
                f"{fmean(one['macs'] for one in control):,.0f}",
                _percent(control),
                written(paired(differences)),
            )
        )
    first, second = ([pair[side] for pair in pairs.values()] for side in (0, 1))
    spent = [fmean(one["macs_trained"] for one in cells) for cells in (first, second)]
    return [
        "",
        f"Ladder `{AIMS[task].ladder}`, seeds {', '.join(map(str, pairs))}:",
        "",
        *table(("MACs", "test", "control's MACs", "control's test", "difference"), rows),
        "",
        f"Training: {spent[0]:.3g} MACs, {fmean(one['cost'] for one in first):.2f} times the largest rung's "
        f"({fmean(one['trunk_macs_trained'] / one['macs_trained'] for one in first):.0%} of it growing); all "
        f"controls {spent[1]:.3g}.",
    ]


def _goal_lines(results: Results, task: str) -> list[str]:
    pairs = _pairs(results, task, "goal", "bisection")
    if not pairs:
        return []
    rows = [
        (
            str(seed),
            *(
                cell
                for one in pair
                for cell in (
                    f"{one['macs']:,}",
                    f"{POINTS * one['validation_accuracy']:.2f} %",
                    str(len(one["tries"])),
                    f"{one['macs_trained']:.3g}",
                )
            ),
        )
        for seed, pair in pairs.items()
    ]
    columns = ("MACs", "validation", "trainings", "training MACs")
    goal = next(iter(pairs.values()))[0]["settings"]["goal"]["accuracy"]
    return [
        "",
        f"Goal of {POINTS * goal:g} % of validation samples:",
        "",
        *table(("seed", *columns, *(f"bisection's {column}" for column in columns)), rows),
    ]


def _percent(cells: Sequence[Mapping[str, Any]]) -> str:
    return f"{POINTS * fmean(one['test_accuracy'] for one in cells):.2f} %"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=_names, default=list(DEFAULT), help=f"of {', '.join(AIMS)}")
    parser.add_argument("--kinds", type=_names, default=list(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seeds", type=_names, default=["0", "1", "2"], help="comma-separated numbers")
    parser.add_argument("--epochs", type=float, help="of every whole training; by default edgegrow's own")
    parser.add_argument("--goals", type=_names, default=[], help="TASK=PERCENT,... instead of the defaults")
    parser.add_argument("--runs", type=Path, default=Path("runs/goal-and-ladder"), help="where the cells are")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)  # make one cell, here
    options = parser.parse_args()
    for what, names, known in (("task", options.tasks, AIMS), ("kind", options.kinds, KINDS)):
        for name in names:
            if name not in known:
                raise InputError(f"{what} '{name}': unknown: choose from {', '.join(known)}")
    for seed in options.seeds:
        if not seed.isdecimal():
            raise InputError(f"seed '{seed}': not a number")
    return options


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _goals(given: Sequence[str]) -> dict[str, float]:
    goals = {name: aims.goal for name, aims in AIMS.items()}
    for item in given:
        name, _, percent = item.partition("=")
        try:
            goals[name] = POINTS * Goal.parse(f"accuracy={percent.removesuffix('%')}%").accuracy
        except InputError as error:
            raise InputError(f"--goals {item}: write TASK=PERCENT, e.g. {DEFAULT[0]}=90") from error
    return goals


def main() -> None:
    """Run what is missing, then write the results."""
    options = _arguments()
    goals = _goals(options.goals)
    cells = [
        Cell(task, kind, int(seed), options.epochs, goals[task], options.runs)
        for task in options.tasks
        for seed in options.seeds
        for kind in options.kinds
    ]
    if options.cell:
        cells[0].run()
        return

    def command(cell: Cell) -> list[str]:
        epochs = [] if options.epochs is None else ["--epochs", str(options.epochs)]
        return [__file__, "--cell", "--tasks", cell.task_name, "--kinds", cell.kind,
                "--seeds", str(cell.seed), "--goals", f"{cell.task_name}={cell.goal:g}",
                "--runs", str(options.runs), *epochs]  # fmt: skip

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failures = run_cells(cells, command, _say)
    results: dict[str, dict[str, dict[int, Any]]] = {}
    for cell in cells:
        if (found := cell.result()) is not None:
            results.setdefault(cell.task_name, {}).setdefault(cell.kind, {})[cell.seed] = found
    if not results:
        raise InputError(f"{options.runs}: no cell is finished: nothing to write")
    line = f"python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    contents = {
        "claims": [asdict(claim) for claim in claims(results)],
        "cells": {
            task: {kind: list(cells.values()) for kind, cells in kinds.items()}
            for task, kinds in results.items()
        },
        "not_run": [asdict(failure) for failure in failures],
    }
    write_results("goal-and-ladder", contents, markdown(results, failures, line), options.results)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgegrowError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
