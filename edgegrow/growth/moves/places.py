"""Where blocks can be put in a traced network, and which pools one can take the place of."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.channels import Layer
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.moves.insertion import PREFIX, Insertion, Place
from edgegrow.growth.tracing.operations import argument, describe, kind_of, name_of

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Tanh)
_ACTIVATION_CALLS = {F.relu, torch.relu, F.relu6, F.silu, F.gelu, torch.tanh, "relu"}
_ADDITIONS = {operator.add, operator.iadd, torch.add}


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
        layer = _layer_at(layers, _source(network, layers, node.args[0]))
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
    return [place for _, place in _pools(network) if isinstance(place, Place)]


def pools_left_alone(network: NetworkTrace) -> dict[str, str]:
    """Tell why the other global average pools cannot be replaced, ``{pool: reason}``."""
    return {pool: reason for pool, reason in _pools(network) if isinstance(reason, str)}


def _pools(network: NetworkTrace) -> Iterator[tuple[str, Place | str]]:
    """Name every pool that averages a map, with the place of a block or the reason why there is none."""
    layers = {layer.shape.name: layer for layer in network.layers}
    groups = {group.name: group for group in network.groups}

    def place_or_reason(node: fx.Node, size: tuple[int, ...]) -> Place | str:
        source = _source(network, layers, node.all_input_nodes[0], past_activations=True)
        what, layer = describe(source, _module(network, source)), _layer_at(layers, source)
        if layer is None:
            return f"it reads what {what} makes, which is no layer"
        if len(layer.makes) > 1 or layer.makes[0].columns > 1:
            return f"it reads what {what} makes, whose channels are not those of one group in order"
        group = groups[layer.makes[0].group]
        if group.fixed:
            return f"it reads group {group.name}, which cannot grow: {group.fixed}"
        return Place(Insertion(node.name, "global"), group.name, size)

    for node in network.graph.graph.nodes:
        if _averages_globally(network, node):
            size = tuple(node.all_input_nodes[0].meta["tensor_meta"].shape[2:])
            if prod(size) > 1:
                yield describe(node, _module(network, node)), place_or_reason(node, size)


def _averages_globally(network: NetworkTrace, node: fx.Node) -> bool:
    """Whether a node turns maps ``(n, c, *size)`` into ``(n, c)``, with ones behind or not, by averaging."""
    module = _module(network, node)
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
    module = _module(network, node)
    return node.op in ("call_module", "call_function", "call_method") and (
        kind_of(node, module) == "elementwise" and len(node.all_input_nodes) == 1
    )


def _source(
    network: NetworkTrace, layers: Mapping[str, Layer], node: fx.Node, past_activations: bool = False
) -> fx.Node:
    """Find the call of the layer that a tensor comes from, through its batch norm and additions.

    That is also through activations where asked for; and where another node is on the way, it is that one.
    """
    while True:
        if past_activations and _is_elementwise(network, node):
            pass
        elif node.op == "call_module":
            name = str(node.target)
            if name in layers or not isinstance(network.module(name), (nn.BatchNorm1d, nn.BatchNorm2d)):
                return node
        elif node.target not in _ADDITIONS:
            return node
        node = node.all_input_nodes[0]


def _layer_at(layers: Mapping[str, Layer], node: fx.Node) -> Layer | None:
    return layers.get(str(node.target)) if node.op == "call_module" else None


def _module(network: NetworkTrace, node: fx.Node) -> nn.Module | None:
    return network.module(str(node.target)) if node.op == "call_module" else None
