"""Follows channels through a traced network, node by node.

An operation that is not known, or that mixes channels otherwise than through a layer's weights, leaves them
at their number, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx, nn

from edgegrow.growth.tracing import arrangement_rules, element_rules, layer_rules
from edgegrow.growth.tracing.axes import MismatchError
from edgegrow.growth.tracing.operations import describe, kind_of
from edgegrow.growth.tracing.walk import Value, Walk, shape_of, yields_one, yields_tensors

_RULES: dict[str, Callable[[Walk, fx.Node, nn.Module | None], Value]] = {
    "layer": layer_rules.layer,
    "transposed": layer_rules.transposed,
    "norm": layer_rules.norm,
    "layernorm": layer_rules.layer_norm,
    "elementwise": element_rules.elementwise,
    "softmax": element_rules.softmax,
    "spatial": element_rules.spatial,
    "pad": element_rules.pad,
    "reduce": element_rules.reduce,
    "binary": element_rules.binary,
    "expand": element_rules.expand,
    "cat": arrangement_rules.cat,
    "stack": arrangement_rules.stack,
    "chunk": arrangement_rules.chunk,
    "getitem": arrangement_rules.getitem,
    "permute": arrangement_rules.permute,
    "squeeze": arrangement_rules.squeeze,
    "unsqueeze": arrangement_rules.unsqueeze,
    "reshape": arrangement_rules.reshape,
    "channel_shuffle": arrangement_rules.channel_shuffle,
    "pixel_shuffle": arrangement_rules.pixel_shuffle,
    "pixel_unshuffle": arrangement_rules.pixel_unshuffle,
}


def follow(graph: fx.GraphModule) -> Walk:
    """Follow all channels of a graph whose nodes know their shapes."""
    walk = Walk(graph, shared=_shared_parameters(graph))
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            walk.values[node] = _start(walk, node)
        elif node.op == "output":
            for source in node.all_input_nodes:
                walk.fix(walk.values[source], "it is the network's output")
        elif node.op == "get_attr":
            walk.values[node] = (None,) * len(shape_of(node)) if yields_one(node) else None
        else:
            walk.values[node] = _follow(walk, node)
    return walk


def _start(walk: Walk, node: fx.Node) -> Value:
    _, *shape = shape_of(node)
    if not shape:
        return (None,)
    layout = walk.inputs[node.name] = walk.axes.new(shape[0], "it is the network's input")
    return (None, layout, *[None] * (len(shape) - 1))


def _follow(walk: Walk, node: fx.Node) -> Value:
    module = walk.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    tensors = [n for n in node.all_input_nodes if walk.values[n] is not None]
    if not tensors or not yields_tensors(node):
        return None  # sizes
    kind = kind_of(node, module)
    if kind == "elementwise" and len(tensors) > 1:
        kind = "binary"
    reason = f"{describe(node, module)} is not followed"
    if kind:
        try:
            return _RULES[kind](walk, node, module)
        except MismatchError:
            reason = f"{describe(node, module)} takes its channels apart"
        except (TypeError, ValueError):  # arguments that the network computes
            pass
    return _stop(walk, node, tensors, reason)


def _stop(walk: Walk, node: fx.Node, tensors: Sequence[fx.Node], reason: str) -> Value:
    """Leave all channels that a node reads at their number, and yield such that cannot grow."""
    layer_rules.count_function(walk, node, reason)
    for source in tensors:
        walk.fix(walk.values[source], reason)
    meta = node.meta["tensor_meta"]
    if yields_one(node):
        return walk.constants(meta.shape, reason)
    return [walk.constants(m.shape, reason) if hasattr(m, "shape") else None for m in meta]


def _shared_parameters(graph: fx.GraphModule) -> dict[str, str]:
    """Modules whose parameters are used elsewhere too, and why that keeps them from growing."""
    owners: dict[int, set[str]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            for parameter in graph.get_submodule(str(node.target)).parameters(recurse=False):
                owners.setdefault(id(parameter), set()).add(str(node.target))
        elif node.op == "get_attr":
            path, _, name = str(node.target).rpartition(".")
            found = getattr(graph.get_submodule(path), name, None)
            owners.setdefault(id(found), set()).add(str(node.target))
    return {
        name: f"{name} shares a parameter with {', '.join(sorted(names - {name}))}"
        for names in owners.values()
        if len(names) > 1
        for name in names
    }
