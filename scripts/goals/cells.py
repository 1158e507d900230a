"""One cell: one task, kind and seed, made in a process of its own and kept as a JSON file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from growth.cells import alone
from growth.claims import POINTS
from growth.tasks import SMOKE, TASKS, Arm

from edgegrow import api
from edgegrow.baselines.bisection import bisect_uniform
from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.scratch import train_rungs
from edgegrow.budget import Budget, Goal, Ladder
from edgegrow.config import RunConfig, resolve_config
from edgegrow.errors import InputError
from edgegrow.files import write_atomic
from edgegrow.listener import Silent
from edgegrow.result import Run
from edgegrow.setting import Setting
from edgegrow.training import evaluate
from edgegrow.versions import versions


@dataclass(frozen=True)
class Aims:
    """What is asked of a task's network: rungs, and a goal of validation accuracy in percent; and epochs.

    The goal is one that uniform networks well within the budget reach: bisecting has to begin with the whole
    of it, and a user who knew the size would not search.
    """

    ladder: str
    goal: float
    epochs: float | None = None


AIMS = {
    "mnist1d-conv1d-16k": Aims("macs=1k,2k,4k,8k,16k", 90.0),
    "fashion-mnist-dscnn-60k": Aims("macs=15k,21k,30k,42k,60k", 84.0, epochs=6),  # the narrowest takes 11k
    "fashion-mnist-dscnn-250k": Aims("macs=16k,31k,62k,125k,250k", 88.0),
    "digits-mlp-5k": Aims("macs=600,1k,1700,3k,5k", 95.0),  # to try this script on in seconds
}
DEFAULT = ("mnist1d-conv1d-16k", "fashion-mnist-dscnn-60k")

KINDS = ("ladder", "rungs-from-scratch", "goal", "bisection")


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

    def of_all_seeds(self) -> list[Cell]:
        """All that there is of the same task and kind, by seed."""
        names = (file.stem.removeprefix("seed-") for file in self.file.parent.glob("seed-*.json"))
        return [replace(self, seed=seed) for seed in sorted(int(name) for name in names if name.isdigit())]

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
        return resolve_config(
            values={**task.settings(self.seed, self.epochs or AIMS[self.task_name].epochs), **aim}
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
        assert isinstance(ladder, Ladder)
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
