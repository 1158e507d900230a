"""Whole trainings that growing is compared with: those of the small task, and the large comparison's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from growth.cells import Cell, run_cell
from growth.claims import Results
from growth.runner import with_needs
from growth.tasks import DEFAULT, PRUNING, SMOKE, TASKS

from claims.effort import Effort
from edgegrow.errors import InputError
from edgegrow.run import RunFolder

TASK = "mnist1d-conv1d-4k"
"""The small task: a 1-D convolutional network of 4,000 multiply-accumulates on 12,000 signals."""

Figures = Mapping[str, Any]
"""Of one cell."""

PRUNED = ("prune-l1", "prune-taylor")
"""Pruning arms of the small task, which share a large network."""


def cell(effort: Effort, arm: str, seed: int) -> Cell:
    """Name one whole training of the small task."""
    return Cell(TASK, (TASKS | SMOKE)[TASK], arm, seed, effort.epochs, Path("none"), effort.runs / "cells")


def trained(effort: Effort, arms: Sequence[str]) -> Results:
    """Train what is not yet trained of some arms of the small task: ``{task: {arm: {seed: figures}}}``."""
    wanted = with_needs([cell(effort, arm, seed) for seed in effort.seeds for arm in arms])
    for one in wanted:
        if one.result() is None:
            print(f"{one.label}: started", file=sys.stderr, flush=True)
            run_cell(one)
    found = {
        arm: {s: r for s in effort.seeds if (r := cell(effort, arm, s).result()) is not None} for arm in arms
    }
    return {TASK: found}


def growth_steps(effort: Effort, seed: int) -> list[dict[str, Any]]:
    """Read what a grown run of the small task has recorded of its growth steps."""
    return list(RunFolder.open(cell(effort, DEFAULT, seed).folder).history("growth"))


def large_comparison(file: Path) -> Results:
    """Read the table of ``scripts/growth_table.py``; nothing where it has not been run.

    Only tasks with the default and a pruning arm of at least two common seeds are of use.

    Raises
    ------
    InputError
        If the file is not what that script writes.
    """
    if not file.exists():
        return {}
    try:
        tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"]
        results = {
            task: {arm: {cell["seed"]: cell for cell in cells} for arm, cells in found["cells"].items()}
            for task, found in tasks.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: it is not what scripts/growth_table.py writes: make it anew") from error
    return {task: arms for task, arms in results.items() if best_pruning(arms) is not None}


def best_pruning(arms: Mapping[str, Mapping[int, Figures]]) -> str | None:
    """Return the pruning arm of a task that is best on validation data, of those that can be compared."""
    own = set(arms.get(DEFAULT, {}))
    able = [arm for arm in PRUNING if len(own & set(arms.get(arm, {}))) >= 2]

    def validation(arm: str) -> float:
        return fmean(figures["validation_accuracy"] for figures in arms[arm].values())

    return max(able, key=validation, default=None)


def alike(arms: Mapping[str, Mapping[int, Figures]], arm: str) -> tuple[list[Figures], list[Figures]]:
    """Cells of the default and of another arm, of the seeds that both have."""
    seeds = sorted(set(arms[DEFAULT]) & set(arms[arm]))
    return [arms[DEFAULT][seed] for seed in seeds], [arms[arm][seed] for seed in seeds]


def evidence(figures: Mapping[str, Any]) -> tuple[Results, str]:
    """Choose what a claim is judged by: the large comparison where it is there, else the small task.

    Parameters
    ----------
    figures : mapping
        With ``small`` and ``large``, as of `slim`.
    """
    large = wide(figures["large"])
    if large:
        return large, f"the large comparison (docs/results/growth.json, {len(large)} tasks)"
    return wide(figures["small"]), "the small task alone, since the large comparison has not been run yet"


def slim(results: Results) -> dict[str, Any]:
    """Keep of every training what the claims are judged by, as plain values."""
    keys = ("seed", "validation_accuracy", "test_accuracy", "macs", "macs_trained", "large_macs_trained",
            "widths")  # fmt: skip
    return {
        task: {
            arm: [{key: cells[seed][key] for key in keys if key in cells[seed]} for seed in sorted(cells)]
            for arm, cells in arms.items()
        }
        for task, arms in results.items()
    }


def wide(figures: Mapping[str, Any]) -> Results:
    """Undo `slim`."""
    return {
        task: {arm: {cell["seed"]: cell for cell in cells} for arm, cells in arms.items()}
        for task, arms in figures.items()
    }


def mean(cells: Iterable[Figures], key: str) -> float:
    """Mean of a figure over cells."""
    return fmean(float(figures[key]) for figures in cells)
