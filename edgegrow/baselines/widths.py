"""Widths in the net's own proportions that fill a budget, and choices that a check on the target upholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from edgegrow.baselines.problem import Problem
from edgegrow.errors import InputError
from edgegrow.growth.proportional import Widths, proportional_widths
from edgegrow.growth.seed import NARROWEST
from edgegrow.growth.select import Selection, choose_checked, share
from edgegrow.units import format_quantity


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
    check_possible(problem)
    own = problem.example.widths()
    widths = proportional_widths(own, dict.fromkeys(own, NARROWEST), partial(share_used, problem))
    assert widths is not None  # the narrowest network is within the limits
    return widths


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
    selection = choose_checked(
        lambda: Selection((), choose(), 0.0, 0.0), {}, problem.example.shapes, problem.costs, problem.limits
    )
    if not selection.widths:
        raise InputError(
            f"net {problem.net.name}: none of {len(selection.checked)} network(s) that were tried on the "
            "target keeps the budget: raise it"
        )
    return selection.widths
