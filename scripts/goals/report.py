"""What ladders and goals are claimed to do, and the tables to read it from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Any

from growth.claims import POINTS, Claim, written
from growth.runner import Failure
from growth.statistics import paired
from results import table

from edgegrow.baselines.bisection import RESOLUTION
from goals.cells import AIMS

COST, WITHIN, CLOSE, SHARE = 2.0, 0.3, 1.15, 0.5
"""What is claimed: a ladder's cost and how close in points its rungs are to their controls; how close in size
goal mode is to the bisection, and the share of its training that it takes."""


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
            worst = min(map(paired, _rung_differences(pairs).values()), key=lambda found: found.mean)
            found.append(
                Claim(
                    f"{task}: every rung is within {WITHIN:g} points of its own from-scratch control",
                    round(worst.mean, 6) >= -WITHIN,  # in hundredths of points but for rounding
                    f"the worst differs by {written(worst)} points on the mean",
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
        "in points of test accuracy, with Student's 95 % interval. All cells that are finished are in the",
        "tables, whichever seeds the command asks for.",
        _made_by(results),
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


def _made_by(results: Results) -> str:
    cells = (cell for kinds in results.values() for seeds in kinds.values() for cell in seeds.values())
    commits = sorted({str(cell["versions"].get("edgegrow_commit", "unknown")) for cell in cells})
    return f"Commits of edgegrow: {', '.join(commits)}."


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
                f"{min(differences):+.2f} to {max(differences):+.2f}",
            )
        )
    first, second = ([pair[side] for pair in pairs.values()] for side in (0, 1))
    spent = [fmean(one["macs_trained"] for one in cells) for cells in (first, second)]
    return [
        "",
        f"Ladder `{AIMS[task].ladder}`, seeds {', '.join(map(str, pairs))}:",
        "",
        *table(("MACs", "test", "control's MACs", "control's test", "difference", "single seeds"), rows),
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
    shares = [
        ours["macs_trained"] / (_share_until(control["tries"], goal, CLOSE) * control["macs_trained"])
        for ours, control in pairs.values()
    ]
    return [
        "",
        f"Goal of {POINTS * goal:g} % of validation samples:",
        "",
        *table(("seed", *columns, *(f"bisection's {column}" for column in columns)), rows),
        "",
        f"The bisection ends at a ratio of {RESOLUTION:g} between sizes, goal mode at {CLOSE:g}.",
        f"Had the former ended at {CLOSE:g} as well, goal mode's share of its training were",
        f"{fmean(shares):.2f} (mean, of {', '.join(f'{share:.2f}' for share in shares)}).",
    ]


def _share_until(tries: Sequence[Mapping[str, Any]], goal: float, ratio: float) -> float:
    """Share of a bisection's training when sizes that reach and miss the goal are within a ratio.

    Every network is trained for as many samples, so training goes by MACs.
    """
    low, high, spent = 0.0, inf, 0.0
    for one in tries:
        if high <= ratio * low:
            break
        spent += one["macs"]
        if one["validation_accuracy"] >= goal:
            high = one["macs"]
        else:
            low = one["macs"]
    return spent / sum(one["macs"] for one in tries)


def _percent(cells: Sequence[Mapping[str, Any]]) -> str:
    return f"{POINTS * fmean(one['test_accuracy'] for one in cells):.2f} %"
