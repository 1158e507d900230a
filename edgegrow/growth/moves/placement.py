"""Where the filters and outgoing weights of moves come to lie when several groups grow at once.

A filter that is split gains columns from the splits of the groups that it reads, and those may read what it
makes: in no order of surgery could a direction be laid out before all of it is done. So surgery is done on
the network, and alike on copies of it whose weights are *dyed*: with the number of their row, with that of
their column, with ones. Afterwards the dyes tell of every element where it came from and what it has been
multiplied by, and everything that a move brings, in the shapes from before, is laid out by them. Laying out
is linear and differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import torch
from torch import nn

from edgegrow.growth.groups import ChannelGroup, NetworkTrace
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.surgery import Momenta, add_channels, fresh_filters, take_channels

Weights = dict[str, torch.Tensor]
"""Tensors shaped as weights, by the path of their layer."""


class Placement:
    """A network with the channels of some moves, all of them at step zero.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place. New channels come after the present ones: in each group copies first,
        then new neurons. New neurons have fresh filters until `place_neurons`.
    moves : sequence of Copies and Neuron
        At most one that copies each channel.
    generator : torch.Generator
        For the fresh filters.
    state : mapping, optional
        The optimiser's ``state``.

    Attributes
    ----------
    channels : list of torch.Tensor
        For each move the channels that are its own: all copies ``(copies,)``, or the new one ``(1,)``.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        moves: Sequence[Copies | Neuron],
        generator: torch.Generator,
        state: Momenta | None = None,
    ) -> None:
        self.trace = trace
        self.channels = [torch.empty(0, dtype=torch.long) for _ in moves]
        self._groups = [move.group for move in moves]
        self._fresh: dict[str, torch.Tensor] = {}
        rows, columns, ones = (deepcopy(trace) for _ in range(3))
        _dye(rows, lambda weight: torch.arange(weight.shape[0]).reshape(-1, 1))
        _dye(columns, lambda weight: torch.arange(weight.shape[1]).reshape(1, -1))
        _dye(ones, lambda weight: torch.ones(1, 1))
        for name in dict.fromkeys(self._groups):
            source, factor, fresh = self._plan(name, moves)
            for network in (rows, columns, ones, trace):
                group = group_of(network, name)
                shares = factor if network in (ones, trace) else torch.ones_like(factor)
                take_channels(network, group, source, shares, state if network is trace else None)
                if not fresh:
                    continue
                if network is trace:
                    filters = fresh_filters(trace, group, fresh, generator)
                elif network is rows:
                    filters = [torch.full_like(f, -1.0) for f in self._first_filters(rows, group, fresh)]
                else:
                    filters = self._first_filters(network, group, fresh)
                add_channels(network, group, filters, state if network is trace else None)
        self._rows = {name: weight[:, 0].long() for name, weight in _undye(rows)}
        self._columns = {name: weight.long() for name, weight in _undye(columns)}
        self._factors = {name: weight.to(weight_of(trace, name)) for name, weight in _undye(ones)}

    def _plan(self, name: str, moves: Sequence[Copies | Neuron]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Give the channels of one group their places: source and factor of each, and how many are new."""
        width = self.trace.widths()[name]
        source, factor = list(range(width)), [1.0] * width
        copied = [(n, m) for n, m in enumerate(moves) if m.group == name and isinstance(m, Copies)]
        if len({move.channel for _, move in copied}) < len(copied):
            raise ValueError(f"group {name}: two moves copy the same channel")
        for number, move in copied:
            own = [move.channel, *range(len(source), len(source) + len(move.weights) - 1)]
            source += [move.channel] * (len(own) - 1)
            factor[move.channel] = move.weights[0]
            factor += move.weights[1:]
            self.channels[number] = torch.tensor(own)
        new = [number for number, move in enumerate(moves) if move.group == name and isinstance(move, Neuron)]
        for place, number in enumerate(new, len(source)):
            self.channels[number] = torch.tensor([place])
        self._fresh[name] = torch.arange(len(source), len(source) + len(new))
        weight = weight_of(self.trace, group_of(self.trace, name).producers[0])
        return torch.tensor(source), torch.tensor(factor, dtype=weight.dtype), len(new)

    @staticmethod
    def _first_filters(network: NetworkTrace, group: ChannelGroup, count: int) -> list[torch.Tensor]:
        """Repeat the first filter of every layer: a new filter's columns come from where its own do."""
        weights = [weight_of(network, name).detach() for name in group.filtered]
        return [weight[:1].expand(count, *weight.shape[1:]) for weight in weights]

    @property
    def fresh_norms(self) -> dict[str, torch.Tensor]:
        """New neurons' channels in every batch norm that they pass, ``{norm path: channels (m,)}``."""
        return {
            norm: channels
            for name, channels in self._fresh.items()
            for norm in group_of(self.trace, name).norms
            if len(channels)
        }

    def neurons(self, moves: Sequence[Copies | Neuron]) -> Weights:
        """Lay out the filters of new neurons: zero everywhere else."""
        rows: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Neuron):
                for name, filters in move.filters.items():
                    rows.setdefault(name, []).append((filters[None], channels))
        return {name: self._lay_rows(name, parts) for name, parts in rows.items()}

    @torch.no_grad()
    def place_neurons(self, moves: Sequence[Copies | Neuron]) -> None:
        """Put the filters and statistics of new neurons into the network."""
        laid = self.neurons(moves)
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Neuron):
                for name in move.filters:
                    weight_of(self.trace, name)[channels] = laid[name][channels]
                for name, (mean, variance) in move.statistics.items():
                    norm = self.trace.module(name)
                    norm.running_mean[channels] = mean  # type: ignore[operator]
                    norm.running_var[channels] = variance  # type: ignore[operator]

    def directions(self, moves: Sequence[Copies | Neuron]) -> Weights:
        """Lay out what a unit step adds to every weight concerned."""
        rows: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        columns: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Copies):
                for name, offsets in move.offsets.items():
                    rows.setdefault(name, []).append((offsets, channels))
            else:
                group = group_of(self.trace, move.group)
                for name, outgoing in move.columns.items():
                    places = columns_of(self.trace, group, name, channels).flatten()
                    columns.setdefault(name, []).append((outgoing, places))
        laid = {name: self._lay_rows(name, parts) for name, parts in rows.items()}
        for name, parts in columns.items():
            outgoing = self._lay_columns(name, parts)
            laid[name] = laid[name] + outgoing if name in laid else outgoing
        return laid

    def follow_rows(self, name: str, vector: torch.Tensor) -> torch.Tensor:
        """Carry entries ``(filters, ...)`` of a layer's filters along: copies get theirs, new ones zero."""
        return torch.cat([vector, torch.zeros_like(vector[:1])])[self._rows[name]]

    def _lay_rows(self, name: str, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Lay out filters ``(m, ...)`` of channels ``(m,)``."""
        weight = weight_of(self.trace, name)
        filters, rows = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        shape = (len(rows), weight.shape[1], *[1] * (weight.ndim - 2))
        taken = torch.take_along_dim(filters, self._columns[name][rows].reshape(shape), 1)
        laid = taken * self._factors[name][rows].reshape(shape)
        return torch.zeros_like(weight).index_add(0, rows, laid)

    def _lay_columns(self, name: str, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Lay out outgoing weights ``(filters, m, ...)`` at columns ``(m,)``; copies of a filter get all."""
        outgoing, columns = torch.cat([p[0] for p in parts], dim=1), torch.cat([p[1] for p in parts])
        laid = self.follow_rows(name, outgoing)
        return torch.zeros_like(weight_of(self.trace, name)).index_add(1, columns, laid)


def _dye(network: NetworkTrace, mix: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Put a dye ``(rows or 1, columns or 1)`` into all weights of layers; double precision counts exactly."""
    network.graph.double()
    for name in {layer.shape.name for layer in network.layers}:
        weight = weight_of(network, name)
        dye = mix(weight)
        weight.data = dye.reshape(*dye.shape, *[1] * (weight.ndim - 2)).to(weight).expand_as(weight).clone()


def _undye(network: NetworkTrace) -> Iterator[tuple[str, torch.Tensor]]:
    """Read the dyes ``(rows, columns)`` of all weights of layers."""
    for name in {layer.shape.name for layer in network.layers}:
        weight = weight_of(network, name).detach()
        yield name, weight.flatten(2)[:, :, 0] if weight.ndim > 2 else weight


def weight_of(trace: NetworkTrace, name: str) -> nn.Parameter:
    """Return the weight of the layer of this path."""
    return trace.module(name).weight  # type: ignore[return-value]


def group_of(trace: NetworkTrace, name: str) -> ChannelGroup:
    """Return the group of this name."""
    return next(group for group in trace.groups if group.name == name)


def columns_of(
    trace: NetworkTrace, group: ChannelGroup, consumer: str, channels: torch.Tensor
) -> torch.Tensor:
    """Columns ``(m, columns a channel)`` of a consumer's weight that some channels ``(m,)`` are."""
    (reader,) = (c for c in group.consumers if c.name == consumer)
    return reader.expand(channels).reshape(len(channels), -1)
