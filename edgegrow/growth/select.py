"""Which candidates to take: the gain they promise, weighed against what they cost, under several budgets.

A network's cost is no sum over its groups: a consumer's depends on two widths, and RAM is a peak. So costs
are made linear at some widths, group by group at every level (staircases stay what they are), the
multiple-choice knapsack is solved exactly by an integer programme, and the widths that come out are counted
as a whole network and mended; then it is solved again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.knapsack import Knapsack
from edgegrow.growth.menu import Candidate, Menu

Widths = dict[str, int]
Shapes = Callable[[Mapping[str, int]], Sequence[LayerShape]]
"""Layers of a network whose channel groups have some widths, as `NetworkTrace.shapes` gives them."""


class CostModel(Protocol):
    """What growth knows of costs: every budgeted metric of a network of these layers."""

    def __call__(self, layers: Sequence[LayerShape]) -> Mapping[str, float]:
        """Return ``{metric: value}``."""
        ...


@runtime_checkable
class CheckedCostModel(CostModel, Protocol):
    """A cost model that can try networks on the target, and learns from it."""

    def check(self, layers: Sequence[LayerShape]) -> Mapping[str, float]:
        """Return ``{metric: value}`` as found on the target; from then on the model agrees there."""
        ...

    def learnt(self) -> dict[str, Any]:
        """Return what checks have taught it, as plain values."""
        ...

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Put it into the state that `learnt` was returned in; that before any check where it is empty."""
        ...


@dataclass(frozen=True)
class Selection:
    """Candidates that were chosen.

    Attributes
    ----------
    chosen : tuple of Candidate
    widths : dict
        ``{group: width}`` with them.
    promise : float
        Sum of their gains.
    bound : float
        What no choice within the limits can promise more than; see `edgegrow.growth.knapsack`.
    checked : tuple of dict
        ``{metric: value}`` of every choice that was tried on the target, in order.
    errors : tuple of dict
        For each of these the relative error of the model before it learnt from it: found over predicted,
        less 1.
    """

    chosen: tuple[Candidate, ...]
    widths: Widths
    promise: float
    bound: float
    checked: tuple[dict[str, float], ...] = field(default=())
    errors: tuple[dict[str, float], ...] = field(default=())

    @property
    def gap(self) -> float:
        """Share of the bound that the choice may fall short of the best by; 0 where nothing is promised."""
        return max(0.0, 1 - self.promise / self.bound) if self.bound > 0 else 0.0

    def keys(self, group: str) -> list[Any]:
        """Keys of a group's chosen candidates."""
        return [candidate.key for candidate in self.chosen if candidate.group == group]


_CHECKS, _FULL = 4, 0.98
"""Choices of a growth step that are tried on the target at most; share of a limit that one should use."""


def share(costs: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Largest share of any limit that costs take: 1 at a limit."""
    return max(costs[metric] / limit for metric, limit in limits.items())


def choose_checked(
    choose: Callable[[], Selection],
    widths: Mapping[str, int],
    shapes: Shapes,
    costs: CostModel,
    limits: Mapping[str, float],
) -> Selection:
    """Choose, and where costs can be tried on the target, take the fullest choice within the limits.

    A try corrects the cost model at the network's size, so that the next choice comes closer.

    Parameters
    ----------
    choose : callable
        Chooses by the cost model as it is now.
    widths : mapping
        Present widths.
    shapes, costs, limits
        As of `select`.

    Returns
    -------
    Selection
        With no candidate where no choice kept the limits.
    """
    choice = first = choose()
    if not isinstance(costs, CheckedCostModel):
        return first
    kept = replace(first, chosen=(), widths=dict(widths), promise=0.0)
    fullest, learnt, tried = 0.0, None, list[Widths]()
    checked, errors = list[dict[str, float]](), list[dict[str, float]]()
    while choice.widths not in tried:  # otherwise nothing is left to choose, or to learn
        tried.append(choice.widths)
        layers = shapes(choice.widths)
        predicted = dict(costs(layers))
        found = dict(costs.check(layers))
        checked.append(found)
        errors.append({metric: found[metric] / value - 1 for metric, value in predicted.items() if value})
        used = share(found, limits)
        if fullest < used <= 1:
            kept, fullest, learnt = choice, used, costs.learnt()
        if _FULL <= used <= 1 or len(tried) == _CHECKS:
            break
        choice = choose()
    if learnt is not None:
        costs.recall(learnt)  # the model agrees with the target where the network will be
    return replace(kept, checked=tuple(checked), errors=tuple(errors))


def select_checked(
    widths: Mapping[str, int],
    shapes: Shapes,
    candidates: Sequence[Candidate],
    costs: CostModel,
    limits: Mapping[str, float],
    steps: Mapping[str, int] | None = None,
) -> Selection:
    """Choose candidates as `select` does, and as `choose_checked` upholds it."""
    return choose_checked(
        lambda: select(widths, shapes, candidates, costs, limits, steps), widths, shapes, costs, limits
    )


def select(
    widths: Mapping[str, int],
    shapes: Shapes,
    candidates: Sequence[Candidate],
    costs: CostModel,
    limits: Mapping[str, float],
    steps: Mapping[str, int] | None = None,
) -> Selection:
    """Choose the candidates that promise most within every limit, until no further one fits.

    Candidates that promise nothing come after all others, the cheapest first, so that a budget is filled all
    the same: what a step of a latency's staircase leaves free is taken.

    Parameters
    ----------
    widths : mapping
        ``{group: present width}`` of every growable group.
    shapes : callable
        Layers of the network at other widths.
    candidates : sequence of Candidate
        Of any groups; their gains in one measure.
    costs : CostModel
        Prices whole networks.
    limits : mapping
        ``{metric: upper bound}``.
    steps : mapping, optional
        ``{group: step}``: a group that grows ends at a multiple of it.

    Returns
    -------
    Selection
        Never above a limit; empty where the network is above one already.
    """
    names = [name for name in widths if any(candidate.group == name for candidate in candidates)]
    menus = {
        name: Menu([c for c in candidates if c.group == name], widths[name], (steps or {}).get(name, 1))
        for name in names
    }

    def price(levels: Mapping[str, int]) -> Mapping[str, float]:
        return costs(shapes({name: width + levels.get(name, 0) for name, width in widths.items()}))

    levels, bound = Knapsack(menus, price, limits).solve()
    chosen = tuple(c for name, level in levels.items() for c in menus[name].chosen(level))
    return Selection(
        chosen,
        {name: width + levels.get(name, 0) for name, width in widths.items()},
        sum(candidate.promise for candidate in chosen),
        bound,
    )
