"""Blocks put into a traced network, and records of them.

A residual block adds to a tensor ``x`` a function of it, ``x + f(x)``; the last batch norm of ``f`` scales by
zero at first, so that nothing changes. A global block takes the place of a global average pool, whose equal
weights it begins with. They are made of what tiny networks are made of, and fold into convolutions and an
addition on the device.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Literal, cast

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.channels import Layer, Piece
from edgegrow.growth.groups import NetworkTrace, retrace
from edgegrow.growth.tracing.operations import argument, kind_of, name_of

Form = Literal["separable", "plain", "global", "trim"]
"""Residual ones are ``separable``: 3x3 depthwise, batch norm, ReLU, 1x1, batch norm; and ``plain``: 3x3 (or
linear), batch norm. ``global``: a depthwise convolution as large as the map, batch norm. ``trim`` inserts
nothing: the network's own kernels are narrowed (`edgegrow.growth.moves.kernels`)."""

PREFIX = "inserted"
"""Inserted blocks are submodules of the network named so, and numbered from 1 in the order of insertion."""

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Tanh)
_ACTIVATION_CALLS = {F.relu, torch.relu, F.relu6, F.silu, F.gelu, torch.tanh, "relu"}
_ADDITIONS = {operator.add, operator.iadd, torch.add}


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


def find_places(network: NetworkTrace) -> list[Place]:
    """Find where blocks can be put: behind every activation that ends a block of the network.

    That is one that acts on a layer's output, its batch norm between or not, or on a residual sum; not one
    inside a separable block, behind its depthwise layer. Maps must have more than one position, for a 3x3
    kernel to see something. The block is separable where the layer is 1x1 or a depthwise layer follows.
    """
    layers = {layer.shape.name: layer for layer in network.layers}
    growable = {group.name: group for group in network.growable}
    places = []
    for node in network.graph.graph.nodes:
        if not _is_activation(network, node):
            continue
        layer = _maker(network, layers, node.args[0])
        size = tuple(node.meta["tensor_meta"].shape[2:])
        if layer is None or layer.shape.depthwise or 1 in size or len(layer.makes) > 1:
            continue
        if layer.shape.linear != (not size):  # a linear layer on the last of several dimensions
            continue
        (piece,) = layer.makes
        if piece.group not in growable or piece.columns > 1:
            continue
        pointwise = len(size) > 0 and layer.shape.taps == 1
        own = [name for name in growable[piece.group].depthwise if not name.startswith(PREFIX)]
        separable = pointwise or bool(own)  # blocks inserted before do not count: `replay` sees none
        places.append(Place(Insertion(node.name, "separable" if separable else "plain"), piece.group, size))
    return places


def find_pools(network: NetworkTrace) -> list[Place]:
    """Find the global average pools that a block can replace: those of a layer's growable channels."""
    layers = {layer.shape.name: layer for layer in network.layers}
    growable = {group.name for group in network.growable}
    places = []
    for node in network.graph.graph.nodes:
        if not _averages_globally(network, node):
            continue
        layer = _maker(network, layers, node.all_input_nodes[0], past_activations=True)
        size = tuple(node.all_input_nodes[0].meta["tensor_meta"].shape[2:])
        if layer is None or len(layer.makes) > 1 or prod(size) == 1:
            continue
        (piece,) = layer.makes
        if piece.group in growable and piece.columns == 1:
            places.append(Place(Insertion(node.name, "global"), piece.group, size))
    return places


def _averages_globally(network: NetworkTrace, node: fx.Node) -> bool:
    """Whether a node turns maps ``(n, c, *size)`` into ``(n, c)``, with ones behind or not, by averaging."""
    module = network.module(str(node.target)) if node.op == "call_module" else None
    if node.op not in ("call_module", "call_function", "call_method") or len(node.all_input_nodes) != 1:
        return False
    before = getattr(node.all_input_nodes[0].meta.get("tensor_meta"), "shape", ())  # none of a tuple or size
    name, axes = name_of(node, module), set(range(2, len(before)))
    if len(before) not in (3, 4):
        return False
    if name in ("adaptiveavgpool1d", "adaptiveavgpool2d"):
        return set(node.meta["tensor_meta"].shape[2:]) == {1}
    if isinstance(module, (nn.AvgPool1d, nn.AvgPool2d)):
        size = (
            module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * len(axes)
        )
        padding = module.padding if isinstance(module.padding, tuple) else (module.padding,)
        plain = not any(padding) and getattr(module, "divisor_override", None) is None
        return plain and tuple(size) == tuple(before[2:])
    if name == "mean":
        dims = argument(node, 1, "dim")
        given = [dims] if isinstance(dims, int) else dims
        if not isinstance(given, Sequence) or not all(isinstance(dim, int) for dim in given):
            return False
        return {dim % len(before) for dim in given} == axes
    return False


def _is_activation(network: NetworkTrace, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(network.module(str(node.target)), _ACTIVATIONS)
    return node.op in ("call_function", "call_method") and node.target in _ACTIVATION_CALLS


def _is_elementwise(network: NetworkTrace, node: fx.Node) -> bool:
    """Whether it acts on each element alone, or is a dropout."""
    module = network.module(str(node.target)) if node.op == "call_module" else None
    return node.op in ("call_module", "call_function", "call_method") and (
        kind_of(node, module) == "elementwise" and len(node.all_input_nodes) == 1
    )


def _maker(
    network: NetworkTrace, layers: Mapping[str, Layer], node: fx.Node, past_activations: bool = False
) -> Layer | None:
    """Find the layer that a tensor comes from, through its batch norm and additions; or activations too."""
    while True:
        if past_activations and _is_elementwise(network, node):
            pass
        elif node.op == "call_module":
            name = str(node.target)
            if name in layers:
                return layers[name]
            if not isinstance(network.module(name), (nn.BatchNorm1d, nn.BatchNorm2d)):
                return None
        elif node.target not in _ADDITIONS:
            return None
        node = node.all_input_nodes[0]


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
        Where; places that `find_places` or `find_pools` name.
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
