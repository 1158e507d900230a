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
    original = copy.deepcopy(trace.graph).eval()
    _disturb(original)
    trace = replace(trace, graph=original)
    with torch.random.fork_rng(devices=[]):
        expected = original(*samples)
        if not _failure(trace, trace.growable, samples, expected):
            return {}
        refused: dict[str, str] = {}
        accepted: list[ChannelGroup] = []
        for group in trace.growable:
            if failure := _failure(trace, [*accepted, group], samples, expected):
                refused[group.name] = failure
            else:
                accepted.append(group)
    return refused


def _disturb(graph: torch.nn.Module) -> None:
    """Move every parameter a little: gammas of zero would hide what lies behind them."""
    rng = torch.Generator().manual_seed(0)
    for parameter in graph.parameters():
        if parameter.is_floating_point():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng).to(parameter))


def _failure(
    trace: NetworkTrace, groups: Sequence[ChannelGroup], samples: Sequence[torch.Tensor], expected: Any
) -> str:
    widened = replace(trace, graph=copy.deepcopy(trace.graph), sizes=dict(trace.sizes))
    try:
        for group in groups:
            width = widened.sizes[group.name]
            index = torch.tensor([*range(width), 0])
            factor = torch.ones(width + 1)
            factor[0] = factor[width] = 0.5
            take_channels(widened, group, index, factor)
        found = widened.graph(*samples)
    except Exception as error:  # whatever the network's code does with other sizes
        return f"widening it fails ({reason(error)})"
    for before, after in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        if not isinstance(before, torch.Tensor) or not before.is_floating_point():
            continue
        scale = before.abs().max().clamp_min(1e-6)
        if before.shape != after.shape or (after - before).abs().max() > _TOLERANCE * scale:
            return "widening it changes the function"
    return ""
