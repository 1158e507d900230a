"""One cell of the table: one task, arm and seed, made in a process of its own and kept as a JSON file."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isclose
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from edgegrow import api
from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.prune import LARGE, prune_to_budget, train_large
from edgegrow.baselines.scratch import Trained, train_from_scratch
from edgegrow.config import Budget, RunConfig, resolve_config
from edgegrow.cost.layers import count_macs, count_params
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.errors import InputError
from edgegrow.files import write_atomic
from edgegrow.growth.architecture import Records, initialise
from edgegrow.growth.select import CheckedCostModel, share
from edgegrow.listener import Silent
from edgegrow.profiling import accuracy, simulated_logits
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import evaluate
from edgegrow.versions import versions
from growth.tasks import ARMS, DEFAULT, KEYWORDS, Arm, Task

Figures = dict[str, Any]

EQUAL = 0.01
"""Relative difference within which two trainings are equal: networks fill a budget by whole channels."""


@dataclass(frozen=True)
class Cell:
    """Where a cell is in the table, and what decides it.

    Attributes
    ----------
    task_name, arm_name : str
    task : Task
    seed : int
    epochs : float or None
        Of every whole training; the configuration's default where None.
    keywords : Path
        The file of the keyword task.
    runs : Path
        Folder of all cells.
    """

    task_name: str
    task: Task
    arm_name: str
    seed: int
    epochs: float | None
    keywords: Path
    runs: Path

    @property
    def arm(self) -> Arm:
        """What it does."""
        return ARMS[self.arm_name]

    @property
    def file(self) -> Path:
        """Its result; there once the cell is finished."""
        return self.runs / self.task_name / self.arm_name / f"seed-{self.seed}.json"

    @property
    def folder(self) -> Path:
        """The run folder of a growth."""
        return self.file.with_suffix("")

    @property
    def weights(self) -> Path:
        """The weights of a large network."""
        return self.file.with_suffix(".safetensors")

    @property
    def label(self) -> str:
        """Name it on one line."""
        return f"{self.task_name} {self.arm_name} seed {self.seed}"

    def of(self, arm_name: str) -> Cell:
        """Return the cell of another arm, of the same task and seed."""
        values = self.__dict__ | {"arm_name": arm_name}
        return Cell(**{name: values[name] for name in self.__dataclass_fields__})

    @cached_property
    def config(self) -> RunConfig:
        """What it runs with.

        Raises
        ------
        InputError
            If there is no such setting (yet), or it is wrong.
        """
        values = self.task.settings(self.seed, self.epochs)
        if self.task.data == KEYWORDS:
            values["data.name"] = str(self.keywords)
        budget = Budget.parse(self.task.budget).limits
        config = resolve_config(values={**values, "budget": budget, **self.arm.settings})
        if self.arm.kind == "grow" and self.arm.times != 1:
            train = Setting(config, Silent()).train_config  # its epochs are a number
            assert train.epochs is not None
            longer = train.model_copy(update={"epochs": self.arm.times * train.epochs})
            config = config.model_copy(update={"train": longer})
        return config

    def result(self) -> Figures | None:
        """Read the result; None where the cell is not finished, or one that it needs has been made anew.

        Raises
        ------
        InputError
            If it was made with other settings.
        """
        if not self.file.exists():
            return None
        try:
            found: Figures = json.loads(self.file.read_text(encoding="utf-8"))
            made_with, needed = found["settings"], found["needs"]
        except (ValueError, KeyError) as error:
            raise InputError(f"{self.file}: damaged: delete it to run the cell again") from error
        if made_with != self.settings:
            raise InputError(
                f"{self.file}: made with other settings (epochs, or defaults that have changed since): "
                "give another --runs, or delete it and its folder"
            )
        needs = self.needs()
        same = needed.keys() == needs.keys() and all(_as_before(needed[name], needs[name]) for name in needs)
        return found if same else None

    @property
    def settings(self) -> dict[str, Any]:
        """All of the configuration that the cell depends on, as plain values."""
        values = self.config.model_dump(mode="json", exclude_none=True)
        if self.arm.kind != "grow":
            del values["grow"]
        return values

    def needs(self) -> dict[str, Figures | None]:
        """Tell what it stands on of the cells that it needs; None where one is not finished."""
        results = {name: self.of(name).result() for name in self.arm.needs}
        told = _STOOD_ON[self.arm.kind]
        return {name: result and {key: result[key] for key in told} for name, result in results.items()}


_NETWORK = ("macs_trained", "widths", "validation_accuracy")
"""What tells the network of a cell from that of the same cell made anew."""

_STOOD_ON = {
    "scratch": ("macs_trained",),
    "grown-scratch": _NETWORK,
    "prune": _NETWORK,
    "grow": (),
    "large": (),
}
"""What a kind of cell takes of those that it needs: their training, or their network too."""


def _as_before(before: Figures | None, now: Figures | None) -> bool:
    """Whether a cell that is needed is what it was, its training within what counts as equal."""
    # What was written before networks were told apart has a number here: the cell is made again.
    if not (isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys()):
        return before == now
    return all(
        isclose(before[key], now[key], rel_tol=EQUAL) if key == "macs_trained" else before[key] == now[key]
        for key in now
    )


def run_cell(cell: Cell) -> None:
    """Make a cell and write its file; a growth that was interrupted goes on.

    Raises
    ------
    InputError
        If another process is making it, or anything it needs is missing or wrong.
    """
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    with alone(cell.file.with_suffix(".lock"), cell.label):
        figures = _KINDS[cell.arm.kind](cell)
        content = {
            "task": cell.task_name,
            "arm": cell.arm_name,
            "seed": cell.seed,
            **figures,
            "budget": cell.config.budget.limits,
            "share_used": share(figures["costs"], cell.config.budget.limits),
            "needs": cell.needs(),
            "versions": versions(),
            "settings": cell.settings,
        }
        write_atomic(cell.file, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextmanager
def alone(file: Path, label: str) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{label}: another process is making it: wait for it, or end it") from error
        yield
    file.unlink(missing_ok=True)


def _grow(cell: Cell) -> Figures:
    started = time.monotonic()
    if (cell.folder / "config.toml").exists():
        _check_resumable(cell)
        run = api.resume(cell.folder)
    else:
        run = api.grow(cell.config, cell.folder)
    whole = time.monotonic() - started
    profile = next(iter(run.profiles.values()))
    figures = {metric: profile.find(metric) for metric in ("float_accuracy", "accuracy", "macs", "params")}
    every = list(run.folder.history())
    checkpoint = run.folder.load_checkpoint()
    assert checkpoint is not None
    simulated = next(m for m in profile.measurements if m.metric == "accuracy" and m.evidence == "emulated")
    return {
        "validation_accuracy": [e for e in every if e["event"] == "epoch"][-1]["validation_accuracy"],
        "test_accuracy": figures["float_accuracy"].value,
        "int8_accuracy": simulated.value,
        "macs": int(figures["macs"].value),
        "params": int(figures["params"].value),
        "costs": run.costs(),
        "widths": checkpoint.widths,
        **run.training(),
        "seconds": sum(e["seconds"] for e in every if _counts(e)),
        "seconds_with_delivery": whole,
    }


def _counts(event: Figures) -> bool:
    """Whether an event's seconds are no part of another's: a growth step has those of its short trainings."""
    return event["event"] == "growth" or (
        event["event"] == "epoch" and not event["stage"].startswith("grow ")
    )


def _check_resumable(cell: Cell) -> None:
    """Refuse to finish under this cell's name what was begun with other settings."""
    begun, wanted = RunFolder.open(cell.folder).config(), cell.config
    if wanted.train.epochs is None:
        wanted = wanted.model_copy(
            update={"train": wanted.train.model_copy(update={"epochs": begun.train.epochs})}
        )
    if begun != wanted:
        raise InputError(f"{cell.folder}: begun with other settings: delete it, or give another --runs")


class _Baseline:
    """What all other kinds of cell start from."""

    def __init__(self, cell: Cell, insertions: Records = ()) -> None:
        setting = Setting(cell.config, Silent())
        self.config, self.data, self.setting = cell.config, setting.data, setting
        costs = setting.pricing(insertions)
        self.problem = Problem(
            setting.net, setting.data, costs, setting.limits, setting.train_config, cell.seed
        )

    def figures(self, trained: Trained, macs_trained: float, **more: Any) -> Figures:
        """Tell what came of it, as `_grow` does."""
        trace, data = trained.trace, self.data
        shapes = trace.shapes(trace.widths())
        graph = quantize(
            lower(trace.graph, data.input_shape), data.calibration(self.config.quantize.calibration_samples)
        )
        costs = self.problem.costs
        found = costs.check(shapes) if isinstance(costs, CheckedCostModel) else costs(shapes)
        return {
            "validation_accuracy": trained.validation_accuracy,
            "test_accuracy": evaluate(trace.graph, data.test)[1],
            "int8_accuracy": accuracy(simulated_logits(graph, data.test.x), data.test),
            "macs": count_macs(shapes),
            "params": count_params(shapes),
            "costs": {metric: found[metric] for metric in self.config.budget.limits},
            "widths": trace.widths(),
            "macs_trained": macs_trained,
            "epochs_of_final_network": macs_trained / self.problem.training_macs(trace, 1),
            "seconds": trained.seconds,
            **more,
        }


def _scratch(cell: Cell) -> Figures:
    spent = cell.arm.times * _needed(cell, DEFAULT)["macs_trained"]
    baseline = _Baseline(cell)
    trained = train_from_scratch(baseline.problem, macs=spent)
    return baseline.figures(trained, trained.macs_trained)


def _grown_scratch(cell: Cell) -> Figures:
    """Train what the default grew, from fresh weights for all of its training."""
    spent = _needed(cell, DEFAULT)["macs_trained"]
    grown = cell.of(DEFAULT)
    checkpoint = RunFolder.open(grown.folder).load_checkpoint() if grown.folder.exists() else None
    if checkpoint is None:
        raise InputError(f"{grown.folder}: what was grown is not here: delete {grown.file} to grow it again")
    architecture = checkpoint.architecture
    baseline = _Baseline(cell, architecture.insertions)
    trace = architecture.build(baseline.setting.fresh())
    initialise(trace, cell.seed)
    trained = train_from_scratch(baseline.problem, trace, spent)
    return baseline.figures(trained, trained.macs_trained)


def _large(cell: Cell) -> Figures:
    baseline = _Baseline(cell)
    trained = train_large(baseline.problem, "l1", _large_epochs(cell, baseline.problem))
    content = save({name: value.contiguous() for name, value in trained.trace.graph.state_dict().items()})
    write_atomic(cell.weights, content)
    return baseline.figures(trained, trained.macs_trained, validation_loss=trained.validation_loss)


def _prune(cell: Cell) -> Figures:
    baseline = _Baseline(cell)
    if cell.arm.needs:
        (name,) = cell.arm.needs
        large = _read_large(baseline.problem, cell.of(name), _needed(cell, name))
    else:
        epochs = _large_epochs(cell, baseline.problem)
        large = train_large(baseline.problem, cell.arm.criterion, epochs)
    large_macs = macs_of(large.trace)
    pruned = prune_to_budget(baseline.problem, large, cell.arm.criterion)
    parts: Mapping[str, Any] = {
        "seconds": large.seconds + pruned.tuned.seconds,
        "large_macs": large_macs,
        "large_macs_trained": pruned.large_macs_trained,
        "scoring_macs": pruned.scoring_macs,
    }
    return {**baseline.figures(pruned.tuned, pruned.macs_trained), **parts}


def _large_epochs(cell: Cell, problem: Problem) -> float:
    return cell.arm.large * problem.epochs / LARGE


def _read_large(problem: Problem, cell: Cell, result: Figures) -> Trained:
    if not cell.weights.exists():
        raise InputError(f"{cell.weights}: not here: delete {cell.file} to train the large network again")
    trace = problem.network(result["widths"])
    trace.graph.load_state_dict(load_file(cell.weights))
    return Trained(
        trace,
        result["macs_trained"],
        result["seconds"],
        result["validation_loss"],
        result["validation_accuracy"],
    )


def _needed(cell: Cell, arm_name: str) -> Figures:
    needed = cell.of(arm_name)
    result = needed.result()
    if result is None:
        raise InputError(f"{cell.label}: it needs {needed.label}, which is not finished: run that first")
    return result


_KINDS = {
    "grow": _grow,
    "scratch": _scratch,
    "grown-scratch": _grown_scratch,
    "large": _large,
    "prune": _prune,
}
