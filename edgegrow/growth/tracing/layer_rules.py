"""How layers and norms carry channels."""

from __future__ import annotations

from math import prod

import torch
from torch import fx, nn

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.tracing.axes import MismatchError, Runs, repeated
from edgegrow.growth.tracing.operations import argument, describe, name_of
from edgegrow.growth.tracing.walk import Call, Value, Walk, shape_of


def layer(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Follow a linear layer or a convolution: it ends what it reads and makes an axis of its own."""
    assert module is not None
    value, _ = walk.source(node)
    name, linear = str(node.target), isinstance(module, nn.Linear)
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    at = len(value) - 1 if linear else 1
    others = (*value[:at], *value[at + 1 :])
    groups = 1 if linear else int(module.groups)  # type: ignore[arg-type]
    cin, cout = groups * weight.shape[1], len(weight)
    depthwise = groups > 1 and groups == cin
    reads = value[at] or walk.axes.new(cin, "it is made of positions")
    read = None
    if not linear and not _pointwise(module):
        walk.fix(others, f"{describe(node, module)} slides along it")
    if depthwise:
        makes = repeated(walk.axes.resolve(reads), cout // cin)
    else:
        read = columns(walk, name, reads, groups)
        makes = walk.axes.new(cout // groups) * groups
    if module._parameters.get("weight") is None:
        walk.fix((reads, makes), f"the weight of {name} is computed from others")
    walk.join(name, "depthwise" if depthwise else "producer", makes, read)
    shape = shape_of(node)
    positions = prod(shape[1:-1]) if linear else prod(shape[2:])
    layer = LayerShape(name, cin, cout, prod(weight.shape[2:]), positions, depthwise, linear, groups)
    beside = tuple(layout for layout in others if layout is not None)
    walk.calls.append(Call(layer, reads, makes, beside, node))
    return (*value[:at], makes, *value[at + 1 :])


def columns(walk: Walk, name: str, reads: Runs, groups: int) -> Runs:
    """Find what each group of a convolution reads: all groups grow alike."""
    try:
        return walk.axes.part(reads, groups)
    except MismatchError:
        walk.axes.fix(reads, f"the grouped convolution {name} cannot be cut between its channels")
        return walk.axes.new(walk.axes.length(reads) // groups, f"a group of {name} reads it")


def transposed(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Leave a transposed convolution as it is, and count it."""
    assert module is not None
    value, before = walk.source(node)
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    cin, cout, groups = len(weight), int(module.out_channels), int(module.groups)  # type: ignore[arg-type]
    reason = f"transposed convolutions do not grow: {node.target}"
    reads = value[1] if value[1] is not None else walk.axes.new(cin, reason)
    makes = walk.axes.new(cout, reason)
    walk.fix((*value, reads), reason)
    # Every weight meets every position of the input.
    taps, positions = prod(weight.shape[2:]), prod(before[2:])
    walk.calls.append(
        Call(LayerShape(str(node.target), cin, cout, taps, positions, groups=groups), reads, makes)
    )
    return (None, makes, *[None] * (len(value) - 2))


def count_function(walk: Walk, node: fx.Node, reason: str) -> None:
    """Count a layer that is called as a function with a parameter, though it cannot grow."""
    weight = argument(node, 1, "weight")
    called = node.op == "call_function" and name_of(node, None) in ("conv1d", "conv2d", "linear")
    if not called or not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return
    (cout, columns, *kernel), shape = shape_of(weight), shape_of(node)
    linear = not kernel
    groups = 1 if linear else int(argument(node, 6, "groups", 1))
    positions = prod(shape[1:-1]) if linear else prod(shape[2:])
    layer = LayerShape(
        str(weight.target), columns * groups, cout, prod(kernel), positions, False, linear, groups
    )
    walk.calls.append(Call(layer, walk.axes.new(columns * groups, reason), walk.axes.new(cout, reason)))


def norm(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Follow a norm, or an activation, that has parameters for each channel."""
    assert module is not None
    value, _ = walk.source(node)
    said = describe(node, module)
    if isinstance(module, nn.GroupNorm) and module.num_groups != module.num_channels:
        return walk.fix_dimensions(value, range(1, len(value)), f"{said} takes statistics over it")
    if isinstance(module, nn.PReLU):
        if module.num_parameters == 1:
            return value
    else:
        walk.fix_dimensions(value, range(2, len(value)), f"{said} takes statistics over it")
    if value[1] is not None:
        walk.join(str(node.target), "norm", value[1])
    return value


def layer_norm(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Leave what a layer norm normalises: a channel more changes the statistics of all others."""
    assert isinstance(module, nn.LayerNorm)
    value, _ = walk.source(node)
    last = range(-len(module.normalized_shape), 0)
    return walk.fix_dimensions(value, last, f"{describe(node, module)} takes statistics over it")


def _pointwise(conv: nn.Module) -> bool:
    ones = all(n == 1 for n in (*conv.kernel_size, *conv.stride))  # type: ignore[misc]
    return ones and conv.padding in ("same", "valid", (0,), (0, 0))
