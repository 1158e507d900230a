"""Widening tried on a copy: what following a network has overlooked is found before anything is changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from edgegrow.errors import reason
from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.surgery import take_channels
from edgegrow.perturb import perturb

_TOLERANCE = 1e-3
"""Of the outputs' scale: rounding stays well below it, a wrong widening well above."""


@torch.no_grad()
def refused_groups(trace: NetworkTrace, samples: Sequence[torch.Tensor]) -> dict[str, str]:
    """Find groups that cannot be widened by a copied channel without the function changing, and why.

    Parameters
    ----------
    trace : NetworkTrace
        The network; it is not changed.
    samples : sequence of torch.Tensor
        An input ``(2, ...)`` for each that the network takes.

    Returns
    -------
    dict
        ``{group name: reason}``.
    """
    with torch.random.fork_rng(devices=[]):
        tried = _disturbed(trace)
        expected = tried.graph(*samples)
        if not _failure(tried, trace.growable, samples, expected):
            return {}
        refused: dict[str, str] = {}
        accepted: list[ChannelGroup] = []
        for group in trace.growable:
            if failure := _failure(_disturbed(trace), [*accepted, group], samples, expected):
                refused[group.name] = failure
            else:
                accepted.append(group)
    return refused


def _disturbed(trace: NetworkTrace) -> NetworkTrace:
    """Copy a network, every parameter a little moved: gammas of zero would hide what lies behind them."""
    graph = copy.deepcopy(trace.graph).eval()
    perturb(graph)
    return replace(trace, graph=graph, sizes=dict(trace.sizes))


def _failure(
    widened: NetworkTrace, groups: Sequence[ChannelGroup], samples: Sequence[torch.Tensor], expected: Any
) -> str:
    """Widen groups in place, and tell what is wrong then."""
    try:
        for group in groups:
            width = widened.sizes[group.name]
            index = torch.tensor([*range(width), 0])
            factor = torch.ones(width + 1)
            factor[0] = factor[width] = 0.5
            take_channels(widened, group, index, factor)
        found = widened.graph.forward(*samples)  # called, it would print a traceback of its own
    except Exception as error:  # whatever the network's code does with other sizes
        return f"widening it fails ({reason(error)})"
    return "widening it changes the function" if differ(expected, found) else ""


def differ(expected: Any, found: Any) -> bool:
    """Whether two outputs of a network are more apart than rounding."""
    all_before, all_after = tree_leaves(expected), tree_leaves(found)
    if [type(before) for before in all_before] != [type(after) for after in all_after]:
        return True
    for before, after in zip(all_before, all_after, strict=True):
        if not isinstance(before, torch.Tensor) or not before.is_floating_point():
            continue
        if before.shape != after.shape:
            return True
        scale = before[before.isfinite()].abs().amax() if before.isfinite().any() else before.new_zeros(())
        near = (after - before).abs() <= _TOLERANCE * scale.clamp_min(1e-6)
        # A network that has gone astray is no other one: it overflows at the same places.
        if not (near | (after == before) | (after.isnan() & before.isnan())).all():
            return True
    return False
