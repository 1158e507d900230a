"""What a trace says of a network: its layers, its channel groups, and where each channel lies.

A *layout* tells what lies along one dimension of a weight: pieces, one after another, each of which is the
channels of one group in order, a channel taking some consecutive columns. Concatenation puts pieces side by
side; flattening gives a channel many columns; the halves of a chunk, or the groups of a grouped convolution,
are the same group's piece again and again. As pieces grow, those behind them move: so a place is never
written down, and is found from the groups' present widths whenever it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import fx, nn

from edgegrow.cost.layers import LayerShape
from edgegrow.errors import UnsupportedError


@dataclass(frozen=True)
class Piece:
    """The channels of one group, each ``columns`` consecutive places."""

    group: str
    columns: int = 1


Layout = tuple[Piece, ...]


@dataclass(frozen=True)
class Consumer:
    """A layer that reads a group: each channel is ``columns`` columns of its weight."""

    name: str
    columns: int


@dataclass(frozen=True)
class ChannelGroup:
    """One channel axis and everything that gains a channel with it.

    Attributes
    ----------
    name : str
        Path of the first producer, with ``/2`` and so on where it makes several groups; stable for a given
        network.
    producers, norms, depthwise : tuple of str
        Paths of the modules, in the order of execution.
    consumers : tuple of Consumer
        The layers that read the axis.
    rows : tuple of int
        Filters of each channel in each of `filtered`: 1, or as many as a grouped convolution has groups, say.
    fixed : str
        Why the group cannot grow; empty where it can.
    """

    name: str
    producers: tuple[str, ...]
    norms: tuple[str, ...]
    depthwise: tuple[str, ...]
    consumers: tuple[Consumer, ...]
    rows: tuple[int, ...]
    fixed: str = ""

    @property
    def filtered(self) -> tuple[str, ...]:
        """Paths of all layers that have filters for each channel: producers, then depthwise layers."""
        return self.producers + self.depthwise

    def __str__(self) -> str:
        """One line: what grows with what."""
        made = [_times(name, rows) for name, rows in zip(self.filtered, self.rows, strict=True)]
        producers, depthwise = made[: len(self.producers)], made[len(self.producers) :]
        parts = [f"made by {', '.join(producers) or 'no layer'}"]
        if self.norms:
            parts.append(f"through {', '.join(self.norms)}")
        if depthwise:
            parts.append(f"depthwise {', '.join(depthwise)}")
        readers = [_times(consumer.name, consumer.columns) for consumer in self.consumers]
        parts.append(f"read by {', '.join(readers) or 'no layer'}")
        return f"{self.name}: {'; '.join(parts)}" + (f" [fixed: {self.fixed}]" if self.fixed else "")


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{name} (x{count})"


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer at one of its places in the network.

    Attributes
    ----------
    shape : LayerShape
        Its size at the moment of tracing.
    reads, makes : Layout
        What lies along its input's and its output's channels.
    beside : tuple of Layout
        Channels along other dimensions, which it passes on: a linear layer that mixes tokens has features
        beside it.
    norm : str
        Path of the batch norm that directly follows, and reads nothing else; empty where none does.
    """

    shape: LayerShape
    reads: Layout
    makes: Layout
    beside: tuple[Layout, ...] = ()
    norm: str = ""


@dataclass(frozen=True)
class NetworkTrace:
    """A traced network: its graph, its layers and its channel groups.

    The graph holds the network's own modules, so it stays valid while surgery widens them.

    Attributes
    ----------
    graph : fx.GraphModule
        Runs as the network does.
    layers : tuple of Layer
        Every call of a convolution or linear layer, in the order of execution.
    groups : tuple of ChannelGroup
        In the order of execution.
    rows, columns : mapping
        Layouts of the first and of the second dimension of weights, by the path of their module.
    sizes : dict
        Present width of every group, by name; surgery keeps it.
    traced : mapping
        Its width at the moment of tracing.
    """

    graph: fx.GraphModule
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]
    rows: Mapping[str, Layout]
    columns: Mapping[str, Layout]
    sizes: dict[str, int]
    traced: Mapping[str, int]

    @property
    def growable(self) -> tuple[ChannelGroup, ...]:
        """The groups that can gain channels."""
        return tuple(group for group in self.groups if not group.fixed)

    @property
    def left_alone(self) -> dict[str, str]:
        """Why groups between layers cannot grow, ``{name: reason}``; inputs and outputs never can."""
        between = (group for group in self.groups if group.producers and group.consumers)
        return {group.name: group.fixed for group in between if group.fixed}

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for a batch, as traced.

        Raises
        ------
        UnsupportedError
            If the network returns anything but one tensor.
        """
        (output,) = (node for node in self.graph.graph.nodes if node.op == "output")
        returned = output.args[0]
        if not isinstance(returned, fx.Node) or not hasattr(returned.meta.get("tensor_meta"), "shape"):
            raise UnsupportedError("network: it returns several outputs: let it return one tensor")
        return tuple(returned.meta["tensor_meta"].shape)

    def module(self, name: str) -> nn.Module:
        """Return the module of this path."""
        return self.graph.get_submodule(name)

    def widths(self) -> dict[str, int]:
        """Return the present width of every growable group, by name."""
        return {group.name: self.sizes[group.name] for group in self.growable}

    def shapes(self, widths: Mapping[str, int]) -> list[LayerShape]:
        """Return the layers' shapes at other widths, ``{group name: channels}``; other groups as they are."""

        def resized(layer: Layer) -> LayerShape:
            shape = layer.shape
            cin, cout = self.length(layer.reads, widths), self.length(layer.makes, widths)
            traced = prod(self.length(layout, self.traced) for layout in layer.beside)
            beside = prod(self.length(layout, widths) for layout in layer.beside)
            return replace(
                shape,
                cin=cin,
                cout=cout,
                positions=shape.positions * beside // traced,
                groups=cin if shape.depthwise else shape.groups,
            )

        return [resized(layer) for layer in self.layers]

    def length(self, layout: Layout, widths: Mapping[str, int] | None = None) -> int:
        """Count the places of a layout at some widths, ``{group name: channels}``, or at the present ones."""
        sizes = {**self.sizes, **(widths or {})}
        return sum(sizes[piece.group] * piece.columns for piece in layout)

    def places(self, layout: Layout, group: ChannelGroup, channels: torch.Tensor) -> torch.Tensor:
        """Find some channels ``(m,)`` of a group in a layout: ``(m, places a channel)``, in order.

        Where a layer's filters or a consumer's columns are: ``places(trace.rows[name], group, channels)``,
        ``places(trace.columns[name], group, channels)``.
        """
        found, start = [], 0
        for piece in layout:
            if piece.group == group.name:
                found.append(start + channels[:, None] * piece.columns + torch.arange(piece.columns))
            start += self.sizes[piece.group] * piece.columns
        return torch.cat(found, dim=1) if found else torch.zeros(len(channels), 0, dtype=torch.long)
