"""Claim 2: at the same size growing is more accurate than pruning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from growth.claims import POINTS, Results, differences, written
from growth.statistics import Interval, paired, pooled
from growth.tasks import DEFAULT
from results import table

from claims.comparisons import (
    PRUNED,
    Figures,
    alike,
    best_pruning,
    evidence,
    large_comparison,
    mean,
    slim,
    trained,
    wide,
)
from claims.effort import Effort
from claims.parts import Part

CLAIM = "At the same size it is more accurate than pruning."

SAME_SIZE = 0.05
"""How far the mean MACs of the two may lie apart, in units of pruning's."""

SCRATCH = "scratch"


def inputs(effort: Effort) -> dict[str, Any]:
    """Return what the figures depend on beside the effort."""
    return slim(large_comparison(effort.table))


def examine(effort: Effort) -> dict[str, Any]:
    """Train the small task's networks, and read the large comparison."""
    return {"small": slim(trained(effort, (DEFAULT, *PRUNED, SCRATCH))), "large": inputs(effort)}


def parts(figures: Mapping[str, Any]) -> list[Part]:
    """Judge by the interval of the paired differences, over all tasks and on each.

    The claim holds if the pooled interval lies above 0 and no task's below; it holds on the tasks whose own
    interval lies above 0 if there are any; else it has not been shown, and fails.
    """
    results, source = evidence(figures)
    found = _against_pruning(results)
    whole = pooled([values for _, values, _ in found.values()])
    better = [task for task, (_, _, interval) in found.items() if interval.above]
    worse = [task for task, (_, _, interval) in found.items() if interval.below]
    size = max(abs(_size_ratio(results, task, arm) - 1) for task, (arm, _, _) in found.items())
    return [
        Part(
            "Both have the same size",
            f"MACs differ by {100 * size:.1f} % at most",
            f"at most {100 * SAME_SIZE:g} %",
            size <= SAME_SIZE,
        ),
        Part(
            "It is more accurate than the best pruning arm",
            f"{written(whole)} points of test accuracy over {whole.pairs} pairs (95 % interval; by {source})"
            + (f"; behind on {', '.join(worse)}" if worse else ""),
            "the interval over all tasks above 0, no task's below 0",
            whole.above and not worse,
            f"the task is one of {', '.join(better)}" if better else "",
        ),
    ]


def _against_pruning(results: Results) -> dict[str, tuple[str, list[float], Interval]]:
    found = {}
    for task, arms in results.items():
        arm = best_pruning(arms)
        assert arm is not None
        values = differences(results, task, arm)
        found[task] = arm, values, paired(values)
    return found


def _size_ratio(results: Results, task: str, arm: str) -> float:
    grown, pruned = alike(results[task], arm)
    return mean(grown, "macs") / mean(pruned, "macs")


def section(figures: Mapping[str, Any]) -> list[str]:
    """Lines of the readable page."""
    results = {**wide(figures["small"]), **wide(figures["large"])}
    rows = []
    for task, (arm, _, interval) in _against_pruning(results).items():
        arms = results[task]
        scratch = ["", ""]
        if values := differences(results, task, SCRATCH) if SCRATCH in arms else []:
            scratch = [_accuracy(alike(arms, SCRATCH)[1]), written(paired(values))]
        grown, pruned = alike(arms, arm)
        rows.append([task, _accuracy(grown), arm, _accuracy(pruned), written(interval), *scratch])
    header = ["task", "grown", "best pruning arm", "pruned", "difference", "from scratch", "difference"]
    return [
        "Test accuracy of the float networks, measured, in per cent, means over seeds; differences are",
        "growing's minus the other's at equal seeds, in points, with Student's 95 % interval. From scratch:",
        "uniform widths trained with the grown run's own training MACs, the control that belongs beside it,",
        "at all seeds that growing and it have; grown and pruned are means over those of these two.",
        "",
        *table(header, rows),
    ]


def _accuracy(cells: Iterable[Figures]) -> str:
    return f"{POINTS * mean(cells, 'test_accuracy'):.2f}"
