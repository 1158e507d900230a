"""Blocks put into a traced network, and records of them.

A residual block adds to a tensor ``x`` a function of it, ``x + f(x)``; the last batch norm of ``f`` scales by
zero at first, so that nothing changes. A global block takes the place of a global average pool, whose equal
weights it begins with. They are made of what tiny networks are made of, and fold into convolutions and an
addition on the device.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Literal, cast

import torch
from torch import nn

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.channels import Layer, Piece
from edgegrow.growth.groups import NetworkTrace, retrace

Form = Literal["separable", "plain", "global", "trim"]
"""Residual ones are ``separable``: 3x3 depthwise, batch norm, ReLU, 1x1, batch norm; and ``plain``: 3x3 (or
linear), batch norm. ``global``: a depthwise convolution as large as the map, batch norm. ``trim`` inserts
nothing: the network's own kernels are narrowed (`edgegrow.growth.moves.kernels`)."""

PREFIX = "inserted"
"""Inserted blocks are submodules of the network named so, and numbered from 1 in the order of insertion."""


@dataclass(frozen=True)
class Insertion:
    """Where a block comes, and of which form it is.

    Attributes
    ----------
    after : str
        Name of the node of the graph, as it was then, whose output the block reads and adds to; or which a
        global block replaces; or whose kernel is the first that is narrowed.
    form : str
        See `Form`.
    """

    after: str
    form: Form

    def to_json(self) -> dict[str, str]:
        """Return it as plain values, which `replay` reads back."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.form} {self.after}"


def make_block(form: Form, channels: int, size: tuple[int, ...]) -> nn.Sequential:
    """Make a block for tensors ``(n, c, *size)``, whose size has up to two dimensions.

    The last batch norm of a residual one has scale and shift zero. Weights of a global one are equal.
    """
    conv = {1: nn.Conv1d, 2: nn.Conv2d}.get(len(size))
    norm = nn.BatchNorm2d if len(size) == 2 else nn.BatchNorm1d
    layers: list[tuple[str, nn.Module]]
    if form == "global":
        assert conv is not None
        whole = conv(channels, channels, size, groups=channels, bias=False)  # type: ignore[arg-type]
        nn.init.constant_(whole.weight, 1 / prod(size))
        return nn.Sequential(OrderedDict([("depthwise", whole), ("norm", norm(channels))]))
    if conv is None:
        layers = [("linear", nn.Linear(channels, channels, bias=False))]
    elif form == "plain":
        layers = [("conv", conv(channels, channels, 3, padding=1, bias=False))]
    else:
        layers = [
            ("depthwise", conv(channels, channels, 3, padding=1, groups=channels, bias=False)),
            ("depthwise_norm", norm(channels)),
            ("relu", nn.ReLU()),
            ("pointwise", conv(channels, channels, 1, bias=False)),
        ]
    last = norm(channels)
    nn.init.zeros_(last.weight)
    return nn.Sequential(OrderedDict([*layers, ("norm", last)]))


def last_norm(block: nn.Sequential) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Return the batch norm whose scale lets a block have an effect."""
    return cast("nn.BatchNorm1d | nn.BatchNorm2d", block[-1])


@dataclass(frozen=True)
class Place:
    """A place for a block.

    Attributes
    ----------
    insertion : Insertion
        The block's record.
    group : str
        Name of the group whose channels are there.
    size : tuple of int
        ``(h, w)``, ``(length,)`` or ``()`` of what the block reads.
    """

    insertion: Insertion
    group: str
    size: tuple[int, ...]


def fresh_block(network: NetworkTrace, place: Place) -> nn.Sequential:
    """Make a block that fits, at the network's present widths and in its precision."""
    parameter = next(network.graph.parameters())
    block = make_block(place.insertion.form, network.widths()[place.group], place.size)
    return block.to(parameter).train(network.graph.training)


def insert_blocks(
    network: NetworkTrace, insertions: Sequence[Insertion], blocks: Sequence[nn.Sequential]
) -> NetworkTrace:
    """Put blocks into a network; their modules become the network's.

    Parameters
    ----------
    network : NetworkTrace
        The network; its graph is changed, and traced again.
    insertions : sequence of Insertion
        Where; places that `edgegrow.growth.moves.places` names.
    blocks : sequence of nn.Sequential
        As `fresh_block` makes them.

    Returns
    -------
    NetworkTrace
        The deeper network. Names of nodes, but for those replaced, and of groups stay.
    """
    module, graph = network.graph, network.graph.graph
    before = sum(name.startswith(PREFIX) for name, _ in module.named_children())
    for number, (insertion, block) in enumerate(zip(insertions, blocks, strict=True), before + 1):
        (place,) = (node for node in graph.nodes if node.name == insertion.after)
        module.add_submodule(f"{PREFIX}{number}", block)
        readers, last = list(place.users), place
        replaces = insertion.form == "global"
        for child, (name, _) in enumerate(block.named_children()):
            read = place.all_input_nodes[0] if replaces and not child else last
            with graph.inserting_after(last):
                last = graph.call_module(f"{PREFIX}{number}.{name}", (read,))
        with graph.inserting_after(last):
            if not replaces:
                last = graph.call_function(operator.add, (place, last))
            elif len(place.meta["tensor_meta"].shape) == 2:
                last = graph.call_function(torch.flatten, (last, 1))
        for reader in readers:
            reader.replace_input_with(place, last)
        if replaces:
            graph.erase_node(place)
    graph.lint()
    module.recompile()
    return retrace(module, input_shapes(network))


def input_shapes(network: NetworkTrace) -> list[tuple[int, ...]]:
    """Return the shapes of one sample, as traced: what `retrace` asks for."""
    nodes = network.graph.graph.nodes
    return [tuple(node.meta["tensor_meta"].shape[1:]) for node in nodes if node.op == "placeholder"]


def block_layers(place: Place, block: nn.Sequential) -> Iterator[Layer]:
    """List a block's layers as a trace of the deeper network would, by provisional names."""
    for name, module in block.named_children():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            weight = module.weight
            groups = 1 if isinstance(module, nn.Linear) else module.groups
            shape = LayerShape(
                f"{place.insertion.after}+{name}", len(weight), len(weight), weight[0, 0].numel(),
                1 if place.insertion.form == "global" else prod(place.size),
                name == "depthwise", isinstance(module, nn.Linear), groups,
            )  # fmt: skip
            yield Layer(shape, (Piece(place.group),), (Piece(place.group),))
