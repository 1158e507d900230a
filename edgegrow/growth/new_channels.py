"""Widening a group by new channels that nothing reads yet; what filters and statistics they begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.surgery import Momenta, entries_of, gathering, take_channels


def fresh_filters(
    trace: NetworkTrace, group: ChannelGroup, count: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Draw filters for new channels of a group, as long as its present filters are on average.

    Parameters
    ----------
    trace : NetworkTrace
        The network that `group` belongs to.
    group : ChannelGroup
        A growable group.
    count : int
        New channels.
    generator : torch.Generator
        For the directions, which are uniform on the sphere.

    Returns
    -------
    list of torch.Tensor
        For each of ``group.filtered``, what `add_channels` takes.
    """
    filters = []
    for name, rows in zip(group.filtered, group.rows, strict=True):
        layer: Any = trace.module(name)
        weight = layer.weight.detach()
        drawn = torch.randn(count * rows, *weight.shape[1:], generator=generator).to(weight)
        places = trace.places(trace.rows[name], group, torch.arange(trace.sizes[group.name])).reshape(-1)
        wanted = weight[places].flatten(1).norm(dim=1).mean()
        lengths = drawn.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
        filters.append(drawn * wanted / lengths)
    return filters


@torch.no_grad()
def add_channels(
    trace: NetworkTrace, group: ChannelGroup, filters: Sequence[torch.Tensor], state: Momenta | None = None
) -> None:
    """Give a group new channels that nothing reads yet: the function stays as it is.

    Biases are 0 and batch norms are at ``gamma = 1``, ``beta = 0``, with statistics estimated from those of
    the present channels; outgoing weights and all momentum are 0.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place. New channels come after the present ones.
    group : ChannelGroup
        A growable group.
    filters : sequence of torch.Tensor
        For each of ``group.filtered``, shaped as the directions of
        `edgegrow.growth.surgery.ChannelSplit` are; those of `fresh_filters`, for one.
    state : mapping, optional
        The optimiser's ``state``.
    """
    width, count = trace.sizes[group.name], len(filters[0]) // group.rows[0]
    present = (torch.arange(width + count) < width).float()
    index = torch.arange(width + count) * present.long()
    layer_of = {layer.norm: layer.shape.name for layer in trace.layers if layer.norm}
    added = dict(zip(group.filtered, filters, strict=True))
    statistics = {
        name: _new_statistics(trace, group, name, layer_of.get(name, ""), added, count)
        for name in group.norms
        if trace.module(name)._buffers.get("running_mean") is not None
    }
    for consumer in group.consumers:
        if consumer.name in added:  # its new filters do not read the new channels either
            columns = gathering(trace, trace.columns[consumer.name], group, index)
            rows = added[consumer.name]
            added[consumer.name] = entries_of(rows, columns.places, 1, columns.factor(present))
    take_channels(trace, group, index, present, state, column_momentum_factor=present)
    for name in group.filtered + group.norms:
        module: Any = trace.module(name)
        places = trace.places(trace.rows[name], group, torch.arange(width, width + count)).reshape(-1)
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is not None:
            weight[places] = added[name] if name in added else _initial_scale(module)
        if bias is not None:
            bias[places] = 0.0
        if name in statistics:
            module.running_mean[places], module.running_var[places] = statistics[name]


def _initial_scale(norm: nn.Module) -> float:
    return 0.25 if isinstance(norm, nn.PReLU) else 1.0  # PyTorch's own


def _new_statistics(
    trace: NetworkTrace,
    group: ChannelGroup,
    norm_name: str,
    layer_name: str,
    added: Mapping[str, torch.Tensor],
    count: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate the running mean and variance of a batch norm's places of ``count`` new channels.

    What a layer with filters ``w`` makes has mean ``w'E[x]`` and variance ``w'Cov[x]w``. ``E[x]`` is the
    shortest one that gives the present means, and ``Cov[x]`` the multiple of the identity that fits best on
    average. A norm that follows no layer directly takes the averages over the group's channels.
    """
    norm: Any = trace.module(norm_name)
    places = trace.places(trace.rows[norm_name], group, torch.arange(trace.sizes[group.name]))
    mean: torch.Tensor = norm.running_mean[places]
    variance: torch.Tensor = norm.running_var[places]
    if layer_name not in added:
        new = count * places.shape[1]
        return mean.mean().expand(new), variance.mean().expand(new)
    layer: Any = trace.module(layer_name)
    rows = places.reshape(-1)  # the layer's too, whose output it reads
    weight, fresh = layer.weight[rows].flatten(1), added[layer_name].flatten(1)
    centred = mean.reshape(-1) if layer.bias is None else mean.reshape(-1) - layer.bias[rows]
    spread = (variance.reshape(-1) / weight.square().sum(1).clamp_min(1e-12)).mean()
    return fresh @ (torch.linalg.pinv(weight) @ centred), fresh.square().sum(1) * spread
