"""Widening a group by its own channels: function-preserving, optimiser state carried along.

Parameters keep their identity (their data is replaced), so an optimiser that holds them stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgegrow.growth.channels import ChannelGroup, Layout, NetworkTrace

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
        For each of ``group.filtered``: ``(m, ...)`` in the shape of its filters; where a channel has several
        (``group.rows``), ``(m * rows, ...)``, those of a channel one after another.
    """

    group: ChannelGroup
    channels: torch.Tensor
    directions: list[torch.Tensor]


def momenta_of(state: Momenta, parameter: nn.Parameter) -> Iterator[tuple[dict[str, torch.Tensor], str]]:
    """Yield the buffers that follow a parameter: the mapping that holds each, and its key there."""
    own = state.get(parameter, {})
    for key, value in own.items():
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            yield own, key


def entries_of(
    tensor: torch.Tensor, index: torch.Tensor, axis: int, factor: torch.Tensor | None
) -> torch.Tensor:
    """Take the entries ``index`` of a tensor along ``axis``, each multiplied by its factor."""
    tensor = tensor.index_select(axis, index)
    if factor is None:
        return tensor
    return tensor * factor.reshape([-1 if a == axis else 1 for a in range(tensor.ndim)])


def take_entries(
    parameter: nn.Parameter,
    index: torch.Tensor,
    axis: int,
    state: Momenta,
    factor: torch.Tensor | None = None,
    momentum_factor: torch.Tensor | None = None,
) -> None:
    """Replace a parameter and its momentum by their entries ``index`` along ``axis``.

    Parameters
    ----------
    parameter : nn.Parameter
        Keeps its identity; its gradient is dropped.
    index : torch.Tensor
        ``(m,)``.
    axis : int
    state : mapping
        The optimiser's ``state``.
    factor, momentum_factor : torch.Tensor, optional
        ``(m,)``, what the entries, and their momentum, are multiplied by.
    """
    for own, key in list(momenta_of(state, parameter)):
        own[key] = entries_of(own[key], index, axis, momentum_factor)
    parameter.data = entries_of(parameter.data, index, axis, factor)
    parameter.grad = None


@dataclass(frozen=True)
class Gathering:
    """How one dimension of a tensor comes from its present self.

    Attributes
    ----------
    places : torch.Tensor
        ``(length,)``, the present place of each new one.
    sources : torch.Tensor
        ``(length,)``, the number of the group's new channel that it belongs to; -1 for other groups' places.
    """

    places: torch.Tensor
    sources: torch.Tensor

    def factor(self, of_channels: torch.Tensor | None) -> torch.Tensor | None:
        """Spread a factor of each new channel ``(m,)`` over the places, 1 for other groups' places."""
        if of_channels is None:
            return None
        return torch.where(self.sources >= 0, of_channels[self.sources.clamp_min(0)], 1.0)


def gathering(trace: NetworkTrace, layout: Layout, group: ChannelGroup, index: torch.Tensor) -> Gathering:
    """Give a group the channels ``index`` of its present ones, wherever its pieces lie in a layout."""
    places, sources, start = [], [], 0
    for piece in layout:
        width, columns = trace.sizes[piece.group], piece.columns
        own = piece.group == group.name
        channels = index if own else torch.arange(width)
        numbers = torch.arange(len(index)) if own else torch.full((width,), -1)
        places.append((start + channels[:, None] * columns + torch.arange(columns)).reshape(-1))
        sources.append(numbers.repeat_interleave(columns))
        start += width * columns
    return Gathering(torch.cat(places), torch.cat(sources))


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
    for name in group.filtered + group.norms:
        rows = gathering(trace, trace.rows[name], group, index)
        module = trace.module(name)
        for parameter in (module._parameters.get("weight"), module._parameters.get("bias")):
            if parameter is not None:
                take_entries(parameter, rows.places, 0, state, momentum_factor=rows.factor(column_factor))
        for buffer in ("running_mean", "running_var"):
            if (value := module._buffers.get(buffer)) is not None:
                setattr(module, buffer, value[rows.places])
    for consumer in group.consumers:
        columns = gathering(trace, trace.columns[consumer.name], group, index)
        factor, momentum = columns.factor(column_factor), columns.factor(column_momentum_factor)
        weight: nn.Parameter = trace.module(consumer.name).weight  # type: ignore[assignment]
        take_entries(weight, columns.places, 1, state, factor, momentum)
    trace.sizes[group.name] = len(index)
    for name in {*group.filtered, *group.norms, *(consumer.name for consumer in group.consumers)}:
        _note_sizes(trace.module(name), trace.length(trace.rows[name]))


def _note_sizes(module: Any, rows: int) -> None:
    """Give a module's attributes the sizes of its weights."""
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Conv1d() | nn.Conv2d():
            if module.groups > 1 and module.groups == module.in_channels:  # depthwise
                module.groups = module.in_channels = rows * module.in_channels // module.out_channels
            else:
                module.in_channels = module.weight.shape[1] * module.groups
            module.out_channels = rows
        case nn.GroupNorm():
            module.num_groups = module.num_channels = rows  # only such are in a group
        case nn.PReLU():
            module.num_parameters = rows
        case _:
            module.num_features = rows


@torch.no_grad()
def split_channels(
    trace: NetworkTrace, splits: Sequence[ChannelSplit], state: Momenta | None = None
) -> dict[nn.Parameter, torch.Tensor]:
    """Split channels into two equal copies, their outgoing weights halved: the function stays as it is.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place. New channels come after the group's present ones.
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
    directions: dict[str, torch.Tensor] = {}
    for split in splits:
        for name, rows in zip(split.group.filtered, split.directions, strict=True):
            places = trace.places(trace.rows[name], split.group, split.channels).reshape(-1)
            whole = directions.get(name)
            whole = torch.zeros_like(trace.module(name).weight) if whole is None else whole  # type: ignore[arg-type]
            directions[name] = whole.index_copy(0, places, rows)
    for split in splits:
        width = trace.sizes[split.group.name]
        index = torch.cat([torch.arange(width), split.channels])
        factor = torch.ones(len(index))
        factor[split.channels] = factor[width:] = 0.5
        sign = torch.ones(len(index))
        sign[width:] = -1.0
        for name in split.group.filtered:
            if name in directions:
                taken = gathering(trace, trace.rows[name], split.group, index)
                directions[name] = entries_of(directions[name], taken.places, 0, taken.factor(sign))
        for consumer in split.group.consumers:
            if consumer.name in directions:
                taken = gathering(trace, trace.columns[consumer.name], split.group, index)
                direction = directions[consumer.name]
                directions[consumer.name] = entries_of(direction, taken.places, 1, taken.factor(factor))
        take_channels(trace, split.group, index, factor, state)
    return {trace.module(name).weight: direction for name, direction in directions.items()}  # type: ignore[misc]


def resize(trace: NetworkTrace, widths: Mapping[str, int]) -> None:
    """Give groups the widths of a stored network, whose weights are loaded afterwards.

    The values in place of the new channels are of no account.
    """
    for group in trace.growable:
        index = torch.arange(widths[group.name]) % trace.sizes[group.name]
        take_channels(trace, group, index, torch.ones(len(index)))
