"""Which splits to make: the gain they predict, weighed against what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.eigenpairs import SplittingIndex
from edgegrow.growth.groups import NetworkTrace


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


_CHECKS, _FULL = 4, 0.98
"""Choices of a growth step that are tried on the target at most; share of a limit that one should use."""


def select_checked(
    trace: NetworkTrace, indices: Sequence[SplittingIndex], costs: CostModel, limits: Mapping[str, float]
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Choose splits, and where costs can be tried on the target, those of the fullest choice that keeps them.

    A try corrects the cost model at the network's size, so that the next choice comes closer.

    Parameters
    ----------
    trace, indices, costs, limits
        As of `select_splits`.

    Returns
    -------
    chosen : dict
        As `select_splits` gives it; empty where no choice kept the limits.
    checked : list of dict
        ``{metric: value}`` of every choice that was tried, in order.
    """
    if not isinstance(costs, CheckedCostModel):
        return select_splits(trace, indices, costs, limits), []
    best: dict[str, torch.Tensor] = {}
    fullest, learnt = 0.0, None
    checked: list[dict[str, float]] = []
    for _ in range(_CHECKS):
        chosen = select_splits(trace, indices, costs, limits)
        wider = {name: width + len(chosen.get(name, ())) for name, width in trace.widths().items()}
        found = dict(costs.check(trace.shapes(wider)))
        if checked and found == checked[-1]:
            break  # the choice that was tried before: nothing is left to split, or to learn
        checked.append(found)
        share = max(found[metric] / limit for metric, limit in limits.items())
        if fullest < share <= 1:
            best, fullest, learnt = chosen, share, costs.learnt()
        if _FULL <= share <= 1:
            break
    if learnt is not None:
        costs.recall(learnt)  # the model agrees with the target where the network will be
    return best, checked


def select_splits(
    trace: NetworkTrace, indices: Sequence[SplittingIndex], costs: CostModel, limits: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Choose splits greedily by predicted gain over price until no further one fits.

    The price of a channel is the largest share of any limit that it takes, counted wholly: its own layers and
    every consumer, at the widths reached so far. The greedy is the relaxation of the knapsack; with one
    additive budget it is optimal up to the last move. Splitting-stable channels (no eigenvalue below zero)
    promise no gain; they come after all others, the cheapest first, so that a budget is filled all the same.

    Parameters
    ----------
    trace : NetworkTrace
        The network.
    indices : sequence of SplittingIndex
        The best split of every channel of every growable group.
    costs : CostModel
        Prices whole networks.
    limits : mapping
        ``{metric: upper bound}``.

    Returns
    -------
    dict
        ``{group name: channels (m,)}``, for groups with at least one chosen channel.
    """
    widths = trace.widths()
    now = costs(trace.shapes(widths))
    queues = {
        index.block.group.name: sorted(
            zip(index.eigenvalues.tolist(), range(len(index.eigenvalues)), strict=True), reverse=True
        )
        for index in indices
    }  # the best last, to be popped
    chosen: dict[str, list[int]] = {}
    while True:
        best: tuple[tuple[bool, float], str, Mapping[str, float]] | None = None
        for name, queue in queues.items():
            if not queue:
                continue
            wider = costs(trace.shapes({**widths, name: widths[name] + 1}))
            if any(wider[metric] > limit for metric, limit in limits.items()):
                continue
            price = max((wider[metric] - now[metric]) / limit for metric, limit in limits.items())
            gain = -queue[-1][0]
            worth = (True, gain / max(price, 1e-12)) if gain > 0 else (False, -price)
            if best is None or worth > best[0]:
                best = worth, name, wider
        if best is None:
            break
        _, name, now = best
        widths[name] += 1
        chosen.setdefault(name, []).append(queues[name].pop()[1])
    return {name: torch.tensor(channels) for name, channels in chosen.items()}
