"""Which splits to make: the gain they predict, weighed against what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.splitting import SplittingIndex


class CostModel(Protocol):
    """What growth knows of costs: every budgeted metric of a network of these layers."""

    def __call__(self, layers: Sequence[LayerShape]) -> Mapping[str, float]:
        """Return ``{metric: value}``."""
        ...


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
