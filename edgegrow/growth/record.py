"""What the history keeps of a growth step: every option, its promise, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgegrow.growth.allocations import Option
from edgegrow.growth.moves import Move
from edgegrow.growth.probe import Figures


def growth_event(
    number: int,
    best: Option,
    options: Sequence[Option],
    figures: Mapping[str, Figures],
    widths_before: Mapping[str, int],
    moves: Sequence[Move],
) -> dict[str, Any]:
    """Describe a growth step.

    Parameters
    ----------
    number : int
        From 1.
    best : Option
        What was taken.
    options : sequence of Option
        All that were tried.
    figures : mapping
        Theirs, by name.
    widths_before : mapping
        Before the step.
    moves : sequence of Move
        All that were offered.
    """
    return {
        "step": number,
        "allocation": best.name,
        "kinds": dict(Counter(move.kind for move in best.moves)),
        "channels": _added(widths_before, best.selection.widths),
        "blocks": [move.group for move in best.moves if not move.channels],
        "widths_before": dict(widths_before),
        "widths": dict(best.selection.widths),
        **_described(figures[best.name]),
        "options": [
            {
                "allocation": option.name,
                "widths": dict(option.selection.widths),
                "blocks": len(option.insertions),
                **_described(figures[option.name]),
            }
            for option in options
        ],
        "gains": _gains(moves),
        "gain_bound": best.selection.bound,
        "checked": list(best.selection.checked),
        "model_errors": list(best.selection.errors),
    }


def _described(figures: Figures) -> dict[str, float]:
    return {
        **figures.to_json(),
        "realised_loss_change": figures.realised_loss_change,
        "won_back": figures.won_back,
    }


def _added(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: width - before[name] for name, width in after.items() if width > before[name]}


def _gains(moves: Sequence[Move]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for move in moves:
        found.setdefault(move.group, []).append(move.gain)
    return found
