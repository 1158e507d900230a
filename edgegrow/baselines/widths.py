"""Widths in the net's own proportions that fill a budget, and choices that a check on the target upholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgegrow.baselines.problem import Problem
from edgegrow.errors import InputError
from edgegrow.growth.seed import NARROWEST
from edgegrow.growth.select import CheckedCostModel
from edgegrow.units import format_quantity

Widths = dict[str, int]

_FULL = 0.98
"""Share of the binding limit at which no further choice is tried on the target."""

_CHECKS = 6
"""Choices that are tried on the target at most: each one's figures bring the next closer."""

_BISECTIONS, _WIDEST = 40, 64.0
"""Halvings of the scale's interval, and its upper end."""

_STAIRCASE = 1.3
"""Scales above the bisected one that are tried too: where costs are staircases, wider can be cheaper."""


def share(costs: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Largest share of any limit that costs take: 1 at a limit."""
    return max(costs[metric] / limit for metric, limit in limits.items())


def share_used(problem: Problem, widths: Mapping[str, int]) -> float:
    """Predict the largest share of any limit that a network of these widths takes."""
    return share(problem.costs(problem.example.shapes(widths)), problem.limits)


def uniform_widths(problem: Problem) -> Widths:
    """Find the widest network of the net's own proportions that keeps every limit.

    The scale is the largest whose costs keep the limits; what is left is filled by single channels, each
    given to the group that a larger scale would round up next.

    Returns
    -------
    dict
        ``{group name: channels}``.

    Raises
    ------
    InputError
        If even the narrowest network is above a limit.
    """
    return upheld(problem, lambda: _uniform(problem))


def _uniform(problem: Problem) -> Widths:
    own = problem.example.widths()

    def scaled(scale: float) -> Widths:
        return {name: max(NARROWEST, round(scale * width)) for name, width in own.items()}

    check_possible(problem)
    low, high = 0.0, _WIDEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if share_used(problem, scaled(middle)) <= 1 else (low, middle)
    for scale in _roundings(own, low, _STAIRCASE * low):
        if share_used(problem, scaled(scale)) <= 1:
            low = scale
    widths = scaled(low)
    while True:
        for name in sorted(own, key=lambda name: (widths[name] + 0.5) / own[name]):
            wider = {**widths, name: widths[name] + 1}
            if share_used(problem, wider) <= 1:
                widths = wider
                break
        else:
            return widths


def _roundings(own: Mapping[str, int], low: float, high: float) -> list[float]:
    """Scales between two at which some group's width is rounded to one channel more."""
    found = (
        (channels + 0.5) / width * (1 + 1e-9)
        for width in own.values()
        for channels in range(int(low * width), int(high * width) + 1)
    )
    return sorted({scale for scale in found if low < scale <= high})


def check_possible(problem: Problem) -> None:
    """Refuse limits that even the narrowest network is above.

    Raises
    ------
    InputError
        Which limit, and what would be needed.
    """
    narrowest = dict.fromkeys(problem.example.widths(), NARROWEST)
    needed = problem.costs(problem.example.shapes(narrowest))
    for metric, limit in problem.limits.items():
        if needed[metric] > limit:
            raise InputError(
                f"budget {metric}: impossible: net {problem.net.name} at {NARROWEST} channels a group needs "
                f"{format_quantity(metric, needed[metric])}, the limit is {format_quantity(metric, limit)}: "
                "raise the budget"
            )


def upheld(problem: Problem, choose: Callable[[], Widths]) -> Widths:
    """Choose widths by the cost model; where it can try them on the target, until a try keeps the limits.

    Parameters
    ----------
    problem : Problem
        Its costs are corrected by each try.
    choose : callable
        Chooses by the cost model as it is now.

    Returns
    -------
    dict
        Of the tried choices that keep every limit, the fullest; the cost model agrees with the target there.

    Raises
    ------
    InputError
        If no tried choice keeps the limits.
    """
    costs = problem.costs
    if not isinstance(costs, CheckedCostModel):
        return choose()
    best: Widths | None = None
    fullest, learnt = 0.0, costs.learnt()
    for _ in range(_CHECKS):
        widths = choose()
        used = share(costs.check(problem.example.shapes(widths)), problem.limits)
        if fullest < used <= 1:
            best, fullest, learnt = widths, used, costs.learnt()
        if _FULL <= used <= 1:
            break
    if best is None:
        raise InputError(
            f"net {problem.net.name}: none of {_CHECKS} networks that were tried on the target keeps the "
            "budget: raise it"
        )
    costs.recall(learnt)
    return best
