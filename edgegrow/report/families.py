"""Tables of what is more than one network: the rungs of a ladder, the tries of a search for a goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from edgegrow.budget import TargetLadder
from edgegrow.family import Family
from edgegrow.measure.protocol import Profile
from edgegrow.report.terminal import BUDGETED, measurement_text, new_table, used_text
from edgegrow.result import Try
from edgegrow.units import format_quantity

_ACCURACIES = {"float": "float_accuracy", "int8": "accuracy"}
"""Kind of network -> the figure of its profile."""


def ladder_table(family: Family) -> RenderableType:
    """One line for every rung and metric: what was asked for and delivered, how accurate, at what cost."""
    profiles = {name: next(iter(run.profiles.values())) for name, run in family.rungs.items()}
    evidences = {
        metric: {found.evidence for profile in profiles.values() if (found := profile.find(metric))}
        for metric in _ACCURACIES.values()
    }
    # One evidence for all rungs stands above them, as that of one target does; others stand with the figures.
    above = {metric: next(iter(found)) for metric, found in evidences.items() if len(found) == 1}
    accuracies = [f"{kind}\n{above.get(metric, '')}" for kind, metric in _ACCURACIES.items()]
    columns = ("<rung", "<metric", "budget", "delivered", "used", "<evidence", *accuracies, "training MACs")
    table = new_table("ladder: budgets, and accuracy on test samples", *columns)
    over_targets = isinstance(family.config.ladder, TargetLadder)
    own = family.training()["rungs_macs_trained"]
    for name, run in family.rungs.items():
        target = profiles[name].target.name
        rung = name if not over_targets or name == target else f"{name}: {target}"
        last = [_accuracy_text(profiles[name], metric, metric in above) for metric in _ACCURACIES.values()]
        last.append(f"{own[name]:.3g}")
        for metric, measured in run.delivered().items():
            limit = run.config.budget.limits[metric]
            table.add_row(
                rung,
                BUDGETED[metric],
                format_quantity(metric, limit),
                format_quantity(metric, measured.value),
                used_text(measured.value, limit),
                measured.evidence,
                *last,
            )
            rung, last = "", [""] * len(last)
    return table


def _accuracy_text(profile: Profile, metric: str, evidence_above: bool) -> str:
    found = profile.find(metric)
    if found is None:
        return "-"
    return measurement_text(found) + ("" if evidence_above else f" ({found.evidence})")


def ladder_footer(family: Family) -> str:
    """Tell what all of a ladder took, as text."""
    training = family.training()
    return (
        f"training: {training['cost']:.2f} times that of the largest rung alone "
        f"({training['macs_trained']:.3g} MACs, counted), of which growing through all rungs took "
        f"{training['trunk_macs_trained']:.3g}\n"
        f"everything about them: {family.folder.path}\n"
    )


def tries_table(search: Mapping[str, Any], tries: Sequence[Try]) -> RenderableType:
    """List the networks that were trained in search of a goal, the smallest first."""
    goal = f"{100 * search['accuracy']:g} %"
    title = f"search for the smallest network of {goal} validation accuracy, as measured in training"
    table = new_table(title, "<trained", "MACs", "validation accuracy", f"{goal}", "training MACs", "<")
    for one in sorted(tries, key=lambda one: one.macs):
        table.add_row(
            one.name,
            f"{one.macs:,}",
            f"{100 * one.validation_accuracy:.2f} %",
            Text("reached", style="green") if one.reached else Text("missed", style="red"),
            f"{one.macs_trained:.3g}",
            "delivered" if one.name == search["try"] else "collapsed" if one.collapsed else "",
        )
    return table
