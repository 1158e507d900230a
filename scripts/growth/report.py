"""The table as it is kept: ``growth.json`` for machines, ``growth.md`` to read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from results import table

from growth.claims import (
    POINTS,
    Results,
    claims,
    grown_arms,
    pooled_difference,
    task_differences,
    written,
)
from growth.gains import gain_rows
from growth.runner import Failure
from growth.statistics import spread
from growth.tasks import ARMS, DEFAULT, SMOKE, TASKS

_GIGA = 1e9

_TRIED = Path(__file__).with_name("tried.md")


def contents(results: Results, failures: Sequence[Failure]) -> dict[str, Any]:
    """Everything that the Markdown says, and every cell's own figures, as plain values."""
    return {
        "processor": _processor(),
        "tasks": {
            name: {
                "task": asdict((TASKS | SMOKE)[name]),
                "arms": {arm: summary(cells) for arm, cells in arms.items()},
                "cells": {arm: [cells[seed] for seed in sorted(cells)] for arm, cells in arms.items()},
            }
            for name, arms in results.items()
        },
        "differences": {
            arm: {
                "tasks": {
                    task: asdict(interval) for task, interval in task_differences(results, arm).items()
                },
                "pooled": asdict(pool) if (pool := pooled_difference(results, arm)) else None,
            }
            for arm in _others(results)
        },
        "gains": gain_rows(results),
        "claims": [asdict(claim) for claim in claims(results, list(TASKS))],
        "not_run": [asdict(failure) for failure in failures],
    }


def summary(cells: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds of one arm."""

    def values(key: str) -> list[float]:
        return [float(cells[seed][key]) for seed in sorted(cells)]

    accuracies = ("validation_accuracy", "test_accuracy", "int8_accuracy")
    means = ("macs", "params", "macs_trained", "epochs_of_final_network", "seconds")
    return {
        "seeds": sorted(cells),
        **{key: {"mean": fmean(values(key)), "spread": spread(values(key))} for key in accuracies},
        **{key: fmean(values(key)) for key in means},
        "share_used": [min(values("share_used")), max(values("share_used"))],
    }


def markdown(results: Results, failures: Sequence[Failure], command: str) -> list[str]:
    """Lines of the readable table."""
    lines = [
        "# Growing against its controls",
        "",
        f"Command: `{command}`.",
        "Accuracies are the float network's, measured, mean ± sample standard deviation over seeds; int8 is",
        "emulated, bit for bit as TensorFlow Lite Micro computes, after training, on all test",
        "samples. MACs are counted (predicted); latency is emulated. Training counts everything: a step is",
        "three forward passes; scoring, line searches, large networks and retraining are in. Seconds are",
        "wall time on one of two busy cores. Differences are the default's test accuracy minus the arm's,",
        "same seed, in points, with Student's 95 % interval; pooled ones average the tasks, which are held",
        "fixed, with Welch's degrees of freedom. `large` is not within the budget: it is what is pruned, and",
        "it is given as much training as the final network is afterwards, so that pruning takes twice the",
        "default's by design, as much as the `twice` arms. All cells that are finished are in the tables,",
        "whichever the command asks for.",
        _made_with(results),
        "",
        "## Claims",
        "",
        *(f"- {claim}" for claim in claims(results, list(TASKS))),
        "",
        "We report against ourselves: a claim fails as soon as one task's interval lies wholly on the wrong",
        "side, and is open where there are too few seeds to tell. Where nothing differs, one interval of 40",
        f"lies there by chance: the claims about kinds of moves stand on {_intervals_of_kinds(results)}.",
        "",
        "## Pooled over tasks",
        "",
        *table(
            ["arm", "default minus arm, points", "pairs"],
            [
                [arm, written(pool), str(pool.pairs)]
                for arm in _others(results)
                if (pool := pooled_difference(results, arm)) is not None
            ],
        ),
    ]
    if rows := gain_rows(results):
        lines += ["", *_gains_table(rows)]
    for task, arms in results.items():
        lines += ["", f"## {task}", "", *_task_table(results, task, arms)]
    lines += ["", *_TRIED.read_text(encoding="utf-8").splitlines()]
    if failures:
        lines += ["", "## Not run", ""]
        lines += [f"- {failure.what}: {failure.reason}" for failure in failures]
    return lines


def _intervals_of_kinds(results: Results) -> int:
    arms = [arm for arm in grown_arms(results) if arm != "inherited"]  # it has the default's moves
    return sum(len(task_differences(results, arm)) for arm in arms)


def _gains_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:+.2f}"

    header = ["task", "arm", "tries", "with the loss right after", "with what training won", "pairs",
              "the better promise won"]  # fmt: skip
    return [
        "## Do predicted gains tell what training wins back?",
        "",
        "Spearman's rank correlation of predicted loss changes over all tries with inherited weights, all",
        "seeds; and of pairs of options of one growth step, equal in cost, the share of which the one that",
        "promised more also won more validation loss back by a short training (one half: promises tell",
        "nothing). Correlations are left empty below four tries, or where all promised the same.",
        "",
        *_default_promises(rows),
        *table(
            header,
            [
                [
                    row["task"], row["arm"], str(row["tries"]),
                    number(row["with_realised"]), number(row["with_won_back"]), str(row["pairs"]),
                    "" if row["better_promise"] is None else f"{100 * row['better_promise']:.0f} %",
                ]
                for row in rows
            ],
        ),
    ]  # fmt: skip


def _default_promises(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the table comes to for the default."""
    own = [row for row in rows if row["arm"] == DEFAULT]
    won = [row["with_won_back"] for row in own if row["with_won_back"] is not None]
    if not won:
        return []
    kept, pairs = (sum(row[key] for row in own) for key in ("promises_kept", "pairs"))
    return [
        f"Of the default's pairs the better promise won {kept} of {pairs}; rank correlations with what",
        f"training won are {min(won):+.2f} to {max(won):+.2f} over tasks. A promise tells something, but not",
        "everywhere: options are trained a little, and validation decides.",
        "",
    ]


def _task_table(
    results: Results, task: str, arms: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> list[str]:
    header = ["arm", "seeds", "validation", "test", "int8 test", "default minus arm", "MACs", "of the budget",
              "training, GMACs", "epochs of its size", "seconds", "widths"]  # fmt: skip
    rows = []
    for arm, cells in arms.items():
        found = summary(cells)
        against = task_differences(results, arm).get(task) if arm in _others(results) else None
        low, high = found["share_used"]
        first = cells[found["seeds"][0]]
        rows.append(
            [
                arm,
                str(len(cells)),
                _percent(found["validation_accuracy"]),
                _percent(found["test_accuracy"]),
                _percent(found["int8_accuracy"]),
                "" if against is None else written(against),
                f"{found['macs']:,.0f}",
                f"{100 * low:.1f} to {100 * high:.1f} %",
                f"{found['macs_trained'] / _GIGA:,.1f}",
                f"{found['epochs_of_final_network']:.1f}",
                f"{found['seconds']:,.0f}",
                " ".join(str(width) for width in first["widths"].values()),
            ]
        )
    return table(header, rows)


def _percent(found: Mapping[str, float | None]) -> str:
    around = "" if found["spread"] is None else f" ± {POINTS * found['spread']:.2f}"
    return f"{POINTS * (found['mean'] or 0.0):.2f}{around}"


def _others(results: Results) -> list[str]:
    seen = {arm for arms in results.values() for arm in arms}
    return [arm for arm in ARMS if arm in seen and not (arm == DEFAULT or ARMS[arm].kind == "large")]


def _made_with(results: Results) -> str:
    every = [cell for arms in results.values() for cells in arms.values() for cell in cells.values()]
    keys = ("edgegrow", "edgegrow_commit", "torch", "numpy")
    found = {key: sorted({cell["versions"].get(key, "unknown") for cell in every}) for key in keys}
    commits = ", ".join(found["edgegrow_commit"])
    packages = ", ".join(f"{key} {'/'.join(found[key])}" for key in keys if key != "edgegrow_commit")
    return f"{packages} (commit {commits}); {_processor()}, 1 thread."


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return f"unknown processor ({os.uname().machine})"
