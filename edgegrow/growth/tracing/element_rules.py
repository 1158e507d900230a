"""How operations on elements, positions and whole channels carry channels."""

from __future__ import annotations

from torch import fx, nn

from edgegrow.growth.tracing.axes import MismatchError
from edgegrow.growth.tracing.operations import argument, describe, name_of
from edgegrow.growth.tracing.reshaping import written_sizes
from edgegrow.growth.tracing.walk import Value, Walk, shape_of, yields_one


def elementwise(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Pass all channels on."""
    return walk.source(node)[0]


def softmax(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Leave the channels that are summed over."""
    value, _ = walk.source(node)
    dim = module.dim if module is not None else argument(node, 1, "dim")
    which = [int(dim)] if isinstance(dim, int) else range(1, len(value))
    return walk.fix_dimensions(value, which, f"{describe(node, module)} sums over it")


def spatial(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Pass channels on, if no other dimension than theirs and the batch has any."""
    value, _ = walk.source(node)
    if not yields_one(node) or len(shape_of(node)) != len(value):
        raise MismatchError(f"{describe(node, module)} is not followed")
    return walk.fix_dimensions(value, range(2, len(value)), f"{describe(node, module)} slides along it")


def pad(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Pass on what is not padded."""
    value, _ = walk.source(node)
    pads = argument(node, 1, "pad")
    padded = [-1 - number // 2 for number, pad in enumerate(pads) if pad != 0]
    return walk.fix_dimensions(value, padded, f"{describe(node, module)} pads it")


def reduce(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Pass on what is not summed over."""
    value, shape = walk.source(node)
    dims = argument(node, 1, "dim")
    dims = range(len(value)) if dims is None else [dims] if isinstance(dims, int) else dims
    chosen = {int(dim) % len(value) for dim in dims}
    walk.fix_dimensions(value, sorted(chosen), f"{describe(node, module)} sums over it")
    if len(shape_of(node)) == len(shape):
        return tuple(None if number in chosen else layout for number, layout in enumerate(value))
    return tuple(layout for number, layout in enumerate(value) if number not in chosen)


def binary(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Make one of the channels that meet."""
    operands = [n for n in node.all_input_nodes if isinstance(walk.values[n], tuple)]
    return walk.broadcast(node, module, operands)


def expand(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Pass on what is not repeated."""
    if name_of(node, module) == "expandas":
        return walk.broadcast(node, module, node.all_input_nodes)
    value, shape = walk.source(node)
    new = shape_of(node)
    if len(new) != len(shape):
        raise MismatchError
    written = written_sizes(node, name_of(node, module), len(new))
    for layout, size, literal in zip(value, new, written, strict=True):
        if layout is not None and literal and size != 1:
            walk.axes.fix(layout, f"{describe(node, module)} writes its size")
    return tuple(layout if old == size else None for layout, old, size in zip(value, shape, new, strict=True))
