"""Widening a group: function-preserving at a zero step, optimiser state carried along.

Parameters keep their identity (their data is replaced), so an optimiser that holds them stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgegrow.growth.groups import ChannelGroup, NetworkTrace

Momenta = Mapping[torch.Tensor, dict[str, torch.Tensor]]
"""An optimiser's ``state``: buffers by parameter; those shaped like the parameter follow it."""


@dataclass(frozen=True)
class ChannelSplit:
    """Channels of one group to be split, and the directions that part their copies.

    Attributes
    ----------
    group : ChannelGroup
        A growable group.
    channels : torch.Tensor
        ``(m,)``, distinct.
    directions : list of torch.Tensor
        For each producer, then each depthwise layer of the group: ``(m, ...)`` in the shape of its filters.
    """

    group: ChannelGroup
    channels: torch.Tensor
    directions: list[torch.Tensor]


def _buffers(state: Momenta, parameter: nn.Parameter) -> Iterator[tuple[dict[str, torch.Tensor], str]]:
    own = state.get(parameter, {})
    for key, value in own.items():
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            yield own, key


def _taken(tensor: torch.Tensor, index: torch.Tensor, axis: int, factor: torch.Tensor | None) -> torch.Tensor:
    """Entries ``index`` of a tensor along ``axis``, each multiplied by its factor."""
    tensor = tensor.index_select(axis, index)
    if factor is None:
        return tensor
    return tensor * factor.reshape([-1 if a == axis else 1 for a in range(tensor.ndim)])


def _take(
    parameter: nn.Parameter,
    index: torch.Tensor,
    axis: int,
    state: Momenta,
    factor: torch.Tensor | None = None,
    momentum_factor: torch.Tensor | None = None,
) -> None:
    """Replace a parameter and its momentum by their entries ``index`` along ``axis``."""
    for own, key in list(_buffers(state, parameter)):
        own[key] = _taken(own[key], index, axis, momentum_factor)
    parameter.data = _taken(parameter.data, index, axis, factor)
    parameter.grad = None


def take_channels(
    trace: NetworkTrace,
    group: ChannelGroup,
    index: torch.Tensor,
    column_factor: torch.Tensor,
    state: Momenta | None = None,
    column_momentum_factor: torch.Tensor | None = None,
) -> None:
    """Give a group the channels ``index`` of its present ones, in that order.

    The gradient of a filter is proportional to its outgoing weight and that of an outgoing weight is not, so
    momentum is scaled by ``column_factor`` in the producers and kept in the consumers.

    Parameters
    ----------
    trace : NetworkTrace
        The network that `group` belongs to; changed in place.
    group : ChannelGroup
        A growable group.
    index : torch.Tensor
        ``(m,)``, for each new channel the present one it copies.
    column_factor : torch.Tensor
        ``(m,)``, what each new channel's outgoing weights are multiplied by. The function is kept if the
        factors of all copies of a channel sum to 1.
    state : mapping, optional
        The optimiser's ``state``.
    column_momentum_factor : torch.Tensor, optional
        ``(m,)``, what the momentum of each new channel's outgoing weights is multiplied by; 1 if omitted.
    """
    state = {} if state is None else state
    width = len(index)
    for name in group.filtered:
        layer = trace.module(name)
        _take(layer.weight, index, 0, state, momentum_factor=column_factor)  # type: ignore[arg-type]
        if layer.bias is not None:
            _take(layer.bias, index, 0, state, momentum_factor=column_factor)  # type: ignore[arg-type]
        if isinstance(layer, nn.Linear):
            layer.out_features = width
        else:
            layer.out_channels = width  # type: ignore[assignment]
    for name in group.depthwise:
        layer = trace.module(name)
        layer.in_channels = layer.groups = width  # type: ignore[assignment]
    for name in group.norms:
        norm = trace.module(name)
        for parameter in (norm.weight, norm.bias):
            if isinstance(parameter, nn.Parameter):
                _take(parameter, index, 0, state, momentum_factor=column_factor)
        for buffer in ("running_mean", "running_var"):
            if (value := getattr(norm, buffer)) is not None:
                setattr(norm, buffer, value[index])
        norm.num_features = width  # type: ignore[assignment]
    for consumer in group.consumers:
        layer = trace.module(consumer.name)
        expanded = consumer.expand(index)
        factor = column_factor.repeat_interleave(consumer.columns)
        momentum = column_momentum_factor
        if momentum is not None:
            momentum = momentum.repeat_interleave(consumer.columns)
        _take(layer.weight, expanded, 1, state, factor, momentum)  # type: ignore[arg-type]
        if isinstance(layer, nn.Linear):
            layer.in_features = len(expanded)
        else:
            layer.in_channels = len(expanded)  # type: ignore[assignment]


@torch.no_grad()
def split_channels(
    trace: NetworkTrace, splits: Sequence[ChannelSplit], state: Momenta | None = None
) -> dict[nn.Parameter, torch.Tensor]:
    """Split channels into two equal copies, their outgoing weights halved: the function stays as it is.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place. New channels come after the present ones.
    splits : sequence of ChannelSplit
        At most one for each group.
    state : mapping, optional
        The optimiser's ``state``.

    Returns
    -------
    dict
        For each weight with split filters, the direction that parts the copies, in its new shape: what is to
        be added to it, times a step. (The directions cannot be laid out before, since a filter that is split
        gains columns from the splits of the groups that it reads.)
    """
    directions: dict[nn.Parameter, torch.Tensor] = {}
    for split in splits:
        for name, rows in zip(split.group.filtered, split.directions, strict=True):
            weight: nn.Parameter = trace.module(name).weight  # type: ignore[assignment]
            directions[weight] = torch.zeros_like(weight).index_copy(0, split.channels, rows)
    for split in splits:
        width = len(trace.module(split.group.producers[0]).weight)  # type: ignore[arg-type]
        index = torch.cat([torch.arange(width), split.channels])
        factor = torch.ones(len(index))
        factor[split.channels] = factor[width:] = 0.5
        sign = torch.ones(len(index))
        sign[width:] = -1.0
        take_channels(trace, split.group, index, factor, state)
        for name in split.group.filtered:
            weight = trace.module(name).weight  # type: ignore[assignment]
            directions[weight] = _taken(directions[weight], index, 0, sign)
        for consumer in split.group.consumers:
            weight = trace.module(consumer.name).weight  # type: ignore[assignment]
            if weight in directions:
                columns = consumer.expand(index)
                halves = factor.repeat_interleave(consumer.columns)
                directions[weight] = _taken(directions[weight], columns, 1, halves)
    return directions


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
        ``(count, ...)`` for each of ``group.filtered``: what `add_channels` takes.
    """
    filters = []
    for name in group.filtered:
        weight: torch.Tensor = trace.module(name).weight.detach()
        drawn = torch.randn(count, *weight.shape[1:], generator=generator).to(weight)
        wanted = weight.flatten(1).norm(dim=1).mean()
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
        For each of ``group.filtered``: ``(m, ...)`` in the shape of its filters, as
        `ChannelSplit.directions` are; of `fresh_filters`, for one.
    state : mapping, optional
        The optimiser's ``state``.
    """
    count = len(filters[0])
    layer_of = {layer.norm: layer.shape.name for layer in trace.layers if layer.norm}
    added = dict(zip(group.filtered, filters, strict=True))
    statistics = {
        name: _new_statistics(trace, name, layer_of.get(name), added)
        for name in group.norms
        if trace.module(name).running_mean is not None
    }
    width = len(trace.module(group.producers[0]).weight)  # type: ignore[arg-type]
    index = torch.cat([torch.arange(width), torch.zeros(count, dtype=torch.long)])
    present = (torch.arange(width + count) < width).float()
    take_channels(trace, group, index, present, state, column_momentum_factor=present)
    for name, rows in added.items():
        layer = trace.module(name)
        layer.weight[width:] = rows
        if layer.bias is not None:
            layer.bias[width:] = 0.0
    for name in group.norms:
        norm = trace.module(name)
        if norm.weight is not None:
            norm.weight[width:], norm.bias[width:] = 1.0, 0.0
        if name in statistics:
            norm.running_mean[width:], norm.running_var[width:] = statistics[name]


def _new_statistics(
    trace: NetworkTrace, norm_name: str, layer_name: str | None, added: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate the running mean and variance ``(m,)`` of a batch norm's new channels.

    What a layer with filters ``w`` makes has mean ``w'E[x]`` and variance ``w'Cov[x]w``. ``E[x]`` is the
    shortest one that gives the present means, and ``Cov[x]`` the multiple of the identity that fits best on
    average. A norm that follows no layer directly takes the averages over its channels.
    """
    norm = trace.module(norm_name)
    mean: torch.Tensor = norm.running_mean  # type: ignore[assignment]
    variance: torch.Tensor = norm.running_var  # type: ignore[assignment]
    if layer_name is None or layer_name not in added:
        count = len(next(iter(added.values())))
        return mean.mean().expand(count), variance.mean().expand(count)
    layer = trace.module(layer_name)
    weight: torch.Tensor = layer.weight.flatten(1)
    fresh = added[layer_name].flatten(1)
    centred = mean if layer.bias is None else mean - layer.bias  # type: ignore[operator]
    spread = (variance / weight.square().sum(1).clamp_min(1e-12)).mean()
    return fresh @ (torch.linalg.pinv(weight) @ centred), fresh.square().sum(1) * spread


def resize(trace: NetworkTrace, widths: Mapping[str, int]) -> None:
    """Give groups the widths of a stored network, whose weights are loaded afterwards.

    The values in place of the new channels are of no account.
    """
    for group in trace.growable:
        present = len(trace.module(group.producers[0]).weight)  # type: ignore[arg-type]
        index = torch.arange(widths[group.name]) % present
        take_channels(trace, group, index, torch.ones(len(index)))


def filter_norms(trace: NetworkTrace) -> dict[str, float]:
    """Mean norm of a filter of every layer that a batch norm directly follows, ``{layer path: norm}``."""
    norms = {}
    for layer in trace.layers:
        if layer.norm:
            weight: nn.Parameter = trace.module(layer.shape.name).weight  # type: ignore[assignment]
            norms[layer.shape.name] = weight.detach().flatten(1).norm(dim=1).mean().item()
    return norms


@torch.no_grad()
def rescale_filters(trace: NetworkTrace, norms: Mapping[str, float], state: Momenta | None = None) -> None:
    """Give filters that a batch norm follows a norm of ``norms``; the network's function stays as it is.

    Under batch norm the effective learning rate of a filter is ``lr / ||w||**2``, and trained filters are
    some three times longer than fresh ones: inherited as they are, they learn nine times more slowly, and it
    is this that makes a grown network lose to one trained from scratch.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place.
    norms : mapping
        ``{layer path: norm}``, as `filter_norms` gave at initialisation.
    state : mapping, optional
        The optimiser's ``state``; momentum is scaled as the gradient is, by the inverse.
    """
    state = {} if state is None else state
    for layer in trace.layers:
        name = layer.shape.name
        if not layer.norm or name not in norms:
            continue
        module, norm = trace.module(layer.shape.name), trace.module(layer.norm)
        weight: nn.Parameter = module.weight  # type: ignore[assignment]
        lengths = weight.flatten(1).norm(dim=1)
        scale = torch.where(lengths > 0, norms[name] / lengths.clamp_min(1e-12), torch.ones_like(lengths))
        shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
        weight.mul_(shaped)
        for own, key in list(_buffers(state, weight)):
            own[key] = own[key] / shaped
        if isinstance(module.bias, nn.Parameter):
            module.bias.mul_(scale)
            for own, key in list(_buffers(state, module.bias)):
                own[key] = own[key] / scale
        eps: float = norm.eps  # type: ignore[assignment]
        norm.running_mean *= scale  # type: ignore[operator]
        # (var + eps) scales exactly, so that the function does, down to variances that eps outweighs.
        norm.running_var = ((norm.running_var + eps) * scale**2 - eps).clamp_min(0.0)  # type: ignore[operator]
