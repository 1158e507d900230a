"""Where the filters and outgoing weights of moves come to lie when several groups grow at once.

A filter that is split gains columns from the splits of the groups that it reads, and those may read what it
makes: in no order of surgery could a direction be laid out before all of it is done. So it is followed, for
every weight, where each row and each column came from and what the column was multiplied by, and everything
that a move brings, in the shapes from before, is laid out by that. Laying out is linear and differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.new_channels import add_channels, fresh_filters
from edgegrow.growth.surgery import Momenta, gathering, take_channels

Weights = dict[str, torch.Tensor]
"""Tensors shaped as weights, by the path of their layer."""

_Part = tuple[torch.Tensor, torch.Tensor]


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
        self._groups = list(dict.fromkeys(move.group for move in moves))
        self._fresh: dict[str, torch.Tensor] = {}
        weights = {name: weight_of(trace, name) for name in layers_of(trace)}
        self._rows = {name: torch.arange(len(w)) for name, w in weights.items()}
        self._columns = {name: torch.arange(w.shape[1]) for name, w in weights.items()}
        self._factors = {name: w.new_ones(w.shape[1]) for name, w in weights.items()}
        for name in self._groups:
            source, factor, fresh = self._plan(name, moves)
            group = group_of(trace, name)
            self._follow(group, source, factor, fresh)
            take_channels(trace, group, source, factor, state)
            if fresh:
                add_channels(trace, group, fresh_filters(trace, group, fresh, generator), state)

    def _follow(self, group: ChannelGroup, source: torch.Tensor, factor: torch.Tensor, fresh: int) -> None:
        """Note where rows and columns come from, before a group is given its channels."""
        index = torch.cat([source, source.new_zeros(fresh)])
        factors = torch.cat([factor, factor.new_zeros(fresh)])
        for name in group.filtered:
            taken = gathering(self.trace, self.trace.rows[name], group, index)
            new = taken.sources >= len(source)
            self._rows[name] = torch.where(new, -1, self._rows[name][taken.places])
        for name in (consumer.name for consumer in group.consumers):
            taken = gathering(self.trace, self.trace.columns[name], group, index)
            self._columns[name] = self._columns[name][taken.places]
            spread = taken.factor(factors)
            assert spread is not None
            self._factors[name] = self._factors[name][taken.places] * spread

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

    @property
    def fresh_norms(self) -> dict[str, torch.Tensor]:
        """Places of new neurons in every norm that they pass, ``{norm path: (m,)}``."""
        found: dict[str, torch.Tensor] = {}
        for name in self._groups:
            group = group_of(self.trace, name)
            for norm in group.norms:
                places = rows_of(self.trace, group, norm, self._fresh[name]).flatten()
                found[norm] = torch.cat([found[norm], places]) if norm in found else places
        return found

    def neurons(self, moves: Sequence[Copies | Neuron]) -> Weights:
        """Lay out the filters of new neurons: zero everywhere else."""
        rows: dict[str, list[_Part]] = {}
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Neuron):
                for name, filters in move.filters.items():
                    rows.setdefault(name, []).append((filters, self._rows_of(move.group, name, channels)))
        return {name: self._lay_rows(name, parts) for name, parts in rows.items()}

    @torch.no_grad()
    def place_neurons(self, moves: Sequence[Copies | Neuron]) -> None:
        """Put the filters and statistics of new neurons into the network."""
        laid = self.neurons(moves)
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Neuron):
                for name in move.filters:
                    places = self._rows_of(move.group, name, channels)
                    weight_of(self.trace, name)[places] = laid[name][places]
                for name, (mean, variance) in move.statistics.items():
                    places = self._rows_of(move.group, name, channels)
                    norm = self.trace.module(name)
                    norm.running_mean[places] = mean  # type: ignore[operator]
                    norm.running_var[places] = variance  # type: ignore[operator]

    def directions(self, moves: Sequence[Copies | Neuron]) -> Weights:
        """Lay out what a unit step adds to every weight concerned."""
        rows: dict[str, list[_Part]] = {}
        columns: dict[str, list[_Part]] = {}
        for move, channels in zip(moves, self.channels, strict=True):
            if isinstance(move, Copies):
                for name, offsets in move.offsets.items():
                    places = self._rows_of(move.group, name, channels)
                    rows.setdefault(name, []).append((offsets.flatten(0, 1), places))
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

    def follow_rows(self, name: str, entries: torch.Tensor) -> torch.Tensor:
        """Carry entries ``(filters, ...)`` of a layer's filters along: copies get theirs, new ones zero."""
        return torch.cat([entries, torch.zeros_like(entries[:1])])[self._rows[name]]

    def _rows_of(self, group: str, name: str, channels: torch.Tensor) -> torch.Tensor:
        return rows_of(self.trace, group_of(self.trace, group), name, channels).flatten()

    def _lay_rows(self, name: str, parts: Sequence[_Part]) -> torch.Tensor:
        """Lay out filters ``(m, ...)`` at rows ``(m,)``."""
        weight = weight_of(self.trace, name)
        filters, rows = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        factors = self._factors[name].reshape(-1, *[1] * (weight.ndim - 2))
        laid = filters.index_select(1, self._columns[name]) * factors
        return torch.zeros_like(weight).index_add(0, rows, laid)

    def _lay_columns(self, name: str, parts: Sequence[_Part]) -> torch.Tensor:
        """Lay out outgoing weights ``(filters, m, ...)`` at columns ``(m,)``; copies of a filter get all."""
        outgoing, columns = torch.cat([p[0] for p in parts], dim=1), torch.cat([p[1] for p in parts])
        laid = self.follow_rows(name, outgoing)
        return torch.zeros_like(weight_of(self.trace, name)).index_add(1, columns, laid)


def weight_of(trace: NetworkTrace, name: str) -> nn.Parameter:
    """Return the weight of the layer of this path."""
    return trace.module(name).weight  # type: ignore[return-value]


def layers_of(trace: NetworkTrace) -> list[str]:
    """List the paths of all layers that make, pass or read a growable group."""
    names = (
        name for g in trace.growable for name in (*g.filtered, *(consumer.name for consumer in g.consumers))
    )
    return list(dict.fromkeys(names))


def group_of(trace: NetworkTrace, name: str) -> ChannelGroup:
    """Return the group of this name."""
    return next(group for group in trace.groups if group.name == name)


def rows_of(trace: NetworkTrace, group: ChannelGroup, name: str, channels: torch.Tensor) -> torch.Tensor:
    """Rows ``(m, rows a channel)`` of a weight, or of a norm, that some channels ``(m,)`` of a group are."""
    return trace.places(trace.rows[name], group, channels)


def columns_of(trace: NetworkTrace, group: ChannelGroup, name: str, channels: torch.Tensor) -> torch.Tensor:
    """Columns ``(m, columns a channel)`` of a consumer's weight that some channels ``(m,)`` are."""
    return trace.places(trace.columns[name], group, channels)
