"""How operations that only arrange elements anew carry channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import fx, nn

from edgegrow.growth.tracing.axes import MismatchError, Runs, merge, repeated
from edgegrow.growth.tracing.operations import argument, describe, name_of
from edgegrow.growth.tracing.reshaping import blocks, written_sizes
from edgegrow.growth.tracing.walk import Value, Walk, shape_of


def cat(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Put layouts side by side."""
    tensors = argument(node, 0, "tensors")
    dim = argument(node, 1, "dim", argument(node, 1, "axis", 0))
    values = [walk.values[tensor] for tensor in tensors]
    rank = len(shape_of(node))
    if any(not isinstance(value, tuple) or len(value) != rank for value in values):
        raise MismatchError
    at = int(dim) % rank
    results: list[Runs | None] = []
    for number in range(rank):
        layouts = [value[number] for value in values]  # type: ignore[index]
        if all(layout is None for layout in layouts):
            results.append(None)
        elif number == at:
            sizes = [shape_of(tensor)[at] for tensor in tensors]
            reason = f"{describe(node, module)} joins positions"
            results.append(
                sum((lay or walk.axes.new(n, reason) for lay, n in zip(layouts, sizes, strict=True)), ())
            )
        else:
            results.append(walk.meet_all(layouts, shape_of(node)[number], describe(node, module)))
    return tuple(results)


def stack(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Make one of the channels that are stacked."""
    tensors = argument(node, 0, "tensors")
    at = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    values = [walk.values[tensor] for tensor in tensors]
    inner = [
        walk.meet_all([value[number] for value in values], size, describe(node, module))  # type: ignore[index]
        for number, size in enumerate(shape_of(tensors[0]))
    ]
    return (*inner[:at], None, *inner[at:])


def chunk(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Cut into equal parts, which grow alike."""
    value, _ = walk.source(node)
    parts = [tuple(meta.shape) for meta in node.meta["tensor_meta"]]
    at = int(argument(node, 2, "dim", 0)) % len(value)
    layout = value[at]
    if layout is None:
        return [value] * len(parts)
    asked: Any = node.args[1] if len(node.args) > 1 else next(v for k, v in node.kwargs.items() if k != "dim")
    counts_parts = name_of(node, module) in ("chunk", "tensorsplit")
    equal = len({shape[at] for shape in parts}) == 1
    if not equal or not (isinstance(asked, int) if counts_parts else isinstance(asked, fx.Node)):
        walk.axes.fix(layout, f"{describe(node, module)} writes its size")
        reason = f"{describe(node, module)} writes its size"
        return [(*value[:at], walk.axes.new(s[at], reason), *value[at + 1 :]) for s in parts]
    part = walk.axes.part(layout, len(parts))
    return [(*value[:at], part, *value[at + 1 :])] * len(parts)


def getitem(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Take one of several tensors, or what an index leaves whole."""
    whole, index = node.args
    value = walk.values[whole] if isinstance(whole, fx.Node) else None
    if isinstance(value, list):
        if not isinstance(index, int):
            raise MismatchError
        return value[index]
    if not isinstance(value, tuple):
        raise MismatchError
    keys = list(index) if isinstance(index, tuple | list) else [index]
    if any(not isinstance(key, int | slice | type(None) | type(...)) for key in keys):
        raise MismatchError
    if ... not in keys:
        keys.append(...)
    at = keys.index(...)
    taken = sum(key is not None and key is not ... for key in keys)
    keys[at : at + 1] = [slice(None)] * (len(value) - taken)
    results: list[Runs | None] = []
    remaining = iter(value)
    reason = f"{describe(node, module)} takes a part of it"
    for key in keys:
        if key is None:
            results.append(None)
            continue
        layout = next(remaining)
        if key == slice(None):
            results.append(layout)
            continue
        if layout is not None:
            walk.axes.fix(layout, reason)
        if isinstance(key, slice):
            fixed = layout is not None
            results.append(walk.axes.new(shape_of(node)[len(results)], reason) if fixed else None)
    return tuple(results)


def permute(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Move dimensions."""
    value, _ = walk.source(node)
    if name_of(node, module) == "permute":
        dims: Any = argument(node, 1, "dims")
        dims = dims if isinstance(dims, tuple | list) else node.args[1:]
        order = [int(dim) for dim in dims]
    else:
        first: Any = argument(node, 1, "dim0", argument(node, 1, "axis0"))
        second: Any = argument(node, 2, "dim1", argument(node, 2, "axis1"))
        order = list(range(len(value)))
        order[first], order[second] = second, first
    return tuple(value[number] for number in order)


def squeeze(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Remove dimensions of length 1."""
    value, shape = walk.source(node)
    dims = argument(node, 1, "dim")
    chosen = range(len(value)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {int(d) % len(value) for d in chosen if shape[int(d)] == 1}
    walk.fix(tuple(value[number] for number in sorted(gone)), f"{describe(node, module)} removes it")
    return tuple(layout for number, layout in enumerate(value) if number not in gone)


def unsqueeze(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Insert a dimension."""
    value, _ = walk.source(node)
    at = int(argument(node, 1, "dim")) % (len(value) + 1)
    return (*value[:at], None, *value[at:])


def channel_shuffle(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Deal the channels of groups out in turn."""
    value, _ = walk.source(node)
    groups = int(module.groups if module is not None else argument(node, 1, "groups"))  # type: ignore[arg-type]
    if value[1] is None:
        return value
    part = walk.axes.part(value[1], groups)
    return (value[0], repeated(part, groups), *value[2:])


def pixel_shuffle(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Turn several places of a channel into positions."""
    value, _ = walk.source(node)
    before, after = shape_of(node.all_input_nodes[0])[1], shape_of(node)[1]
    walk.fix_dimensions(value, (2, 3), f"{describe(node, module)} enlarges it")
    layout = value[1] and walk.axes.divide_columns(value[1], before // after)
    return (value[0], layout, None, None)


def pixel_unshuffle(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Turn positions into several places of a channel."""
    value, _ = walk.source(node)
    before, after = shape_of(node.all_input_nodes[0])[1], shape_of(node)[1]
    walk.fix_dimensions(value, (2, 3), f"{describe(node, module)} reduces it")
    return (value[0], value[1] and repeated(walk.axes.resolve(value[1]), after // before), None, None)


def reshape(walk: Walk, node: fx.Node, module: nn.Module | None) -> Value:
    """Merge and split dimensions."""
    value, old = walk.source(node)
    new = shape_of(node)
    written = written_sizes(node, name_of(node, module), len(new), module)
    said = describe(node, module)
    results: list[Runs | None] = []
    for before, after in blocks(old, new):
        layouts = value[before.start : before.stop]
        layout = merge(walk.axes, layouts, old[before.start : before.stop], f"{said} mixes dimensions")
        results += cut_up(
            walk, layout, new[after.start : after.stop], written[after.start : after.stop], said
        )
    return tuple(results)


def cut_up(
    walk: Walk, layout: Runs | None, shape: Sequence[int], written: Sequence[bool], said: str
) -> list[Runs | None]:
    """Spread a layout over several dimensions: the one whose size is not written down can grow."""
    results: list[Runs | None] = [None] * len(shape)
    if layout is None:
        return results
    long = [number for number, size in enumerate(shape) if size > 1] or list(range(len(shape)))[:1]
    free = [number for number in long if not written[number]]
    if len(free) == 1 and not walk.axes.is_fixed(layout):
        (at,) = free
        part = walk.axes.part(layout, prod(shape[:at]))
        results[at] = walk.axes.divide_columns(part, prod(shape[at + 1 :]))
        return results
    reason = f"{said} writes its size"
    walk.axes.fix(layout, reason)
    if len(long) == 1:
        results[long[0]] = layout
    else:
        for at in long:
            results[at] = walk.axes.new(shape[at], reason)
    return results
