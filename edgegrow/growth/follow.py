"""Follows channels through a traced network, node by node.

For every dimension of every tensor: the layout of the channels along it, or ``None`` where there are only
positions, which nothing grows. An operation that is not known, or that mixes channels otherwise than through
a layer's weights, leaves them at their number, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import fx, nn

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.axes import Axes, MismatchError, Runs, merge
from edgegrow.growth.operations import argument, describe, kind_of, name_of
from edgegrow.growth.reshaping import blocks, written_sizes

Dimensions = tuple[Runs | None, ...]
"""What lies along each dimension of a tensor."""

Value = Dimensions | list[Any] | None
"""Of a node: a tensor's dimensions, a list of those of several tensors, or nothing where it yields no tensor."""


@dataclass
class Member:
    """A module whose weights carry channels: the layouts of their first and second dimension."""

    role: str
    rows: Runs
    columns: Runs | None = None


@dataclass
class Call:
    """One call of a layer: its channels in and out, and those along other dimensions, which it passes on."""

    shape: LayerShape
    reads: Runs
    makes: Runs
    beside: tuple[Runs, ...] = ()
    node: fx.Node | None = None


@dataclass
class Follower:
    """One walk over a graph whose nodes know their shapes.

    Attributes
    ----------
    graph : fx.GraphModule
        The network.
    axes : Axes
        All that is found out about its channels.
    members : dict
        By module path, in the order of execution.
    calls : list of Call
        Every call of a convolution or linear layer.
    inputs : dict
        Name of a placeholder to the layout of its channels.
    """

    graph: fx.GraphModule
    axes: Axes = field(default_factory=Axes)
    members: dict[str, Member] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    inputs: dict[str, Runs] = field(default_factory=dict)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Walk."""
        self.shared = _shared_parameters(self.graph)
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.start(node)
            elif node.op == "output":
                for source in node.all_input_nodes:
                    self.fix(self.values[source], "it is the network's output")
            elif node.op == "get_attr":
                self.values[node] = (None,) * len(_shape(node))
            else:
                self.values[node] = self.follow(node)

    def start(self, node: fx.Node) -> Value:
        batch, *shape = _shape(node)
        if not shape:
            return (None,)
        layout = self.inputs[node.name] = self.axes.new(shape[0], "it is the network's input")
        return (None, layout, *[None] * (len(shape) - 1))

    def fix(self, value: Value, reason: str) -> None:
        """Leave every channel of a value at its number."""
        if isinstance(value, list):
            for one in value:
                self.fix(one, reason)
            return
        for layout in value or ():
            if layout is not None:
                self.axes.fix(layout, reason)

    def follow(self, node: fx.Node) -> Value:
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        tensors = [n for n in node.all_input_nodes if self.values[n] is not None]
        if not tensors or not _yields_tensors(node):
            return None  # sizes
        kind = kind_of(node, module)
        if kind == "elementwise" and len(tensors) > 1:
            kind = "binary"
        reason = f"{describe(node, module)} is not followed"
        if kind:
            handler: Callable[[fx.Node, nn.Module | None], Value] = getattr(self, f"follow_{kind}")
            try:
                return handler(node, module)
            except MismatchError:
                reason = f"{describe(node, module)} takes its channels apart"
            except (TypeError, ValueError):  # arguments that the network computes
                pass
        return self.stop(node, tensors, reason)

    def stop(self, node: fx.Node, tensors: Sequence[fx.Node], reason: str) -> Value:
        """Leave all channels that a node reads at their number, and yield such that cannot grow."""
        self.count_function(node, reason)
        for source in tensors:
            self.fix(self.values[source], reason)
        meta = node.meta["tensor_meta"]
        if hasattr(meta, "shape"):
            return self.constants(meta.shape, reason)
        return [self.constants(m.shape, reason) if hasattr(m, "shape") else None for m in meta]

    def constants(self, shape: Sequence[int], reason: str) -> Dimensions:
        return (None, *[self.axes.new(size, reason) for size in shape[1:]]) if len(shape) else ()

    def source(self, node: fx.Node) -> tuple[Dimensions, tuple[int, ...]]:
        """Dimensions and shape of the tensor that a node works on."""
        (first, *_) = node.args or node.all_input_nodes
        value = self.values[first] if isinstance(first, fx.Node) else None
        if not isinstance(value, tuple):
            raise MismatchError
        return value, _shape(first)

    def fix_dimensions(self, value: Dimensions, which: Sequence[int], reason: str) -> Dimensions:
        """Leave some dimensions, counted from either end, at their length."""
        chosen = {number % len(value) for number in which}
        self.fix(tuple(value[number] for number in sorted(chosen)), reason)
        return value

    # Layers

    def follow_layer(self, node: fx.Node, module: nn.Module | None) -> Value:
        assert module is not None
        value, _ = self.source(node)
        name, linear = str(node.target), isinstance(module, nn.Linear)
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        at = len(value) - 1 if linear else 1
        others = (*value[:at], *value[at + 1 :])
        groups = 1 if linear else int(module.groups)  # type: ignore[arg-type]
        cin, cout = groups * weight.shape[1], len(weight)
        depthwise = groups > 1 and groups == cin
        reads = value[at] or self.axes.new(cin, "it is made of positions")
        columns = None
        if not linear and not _pointwise(module):
            self.fix(others, f"{describe(node, module)} slides along it")
        if depthwise:
            makes = _repeated(self.axes.resolve(reads), cout // cin)
        else:
            columns = self.columns(name, reads, groups)
            makes = self.axes.new(cout // groups) * groups
        if module._parameters.get("weight") is None:
            self.fix((reads, makes), f"the weight of {name} is computed from others")
        self.join(name, "depthwise" if depthwise else "producer", makes, columns)
        shape = _shape(node)
        positions = prod(shape[1:-1]) if linear else prod(shape[2:])
        layer = LayerShape(
            name, cin, cout, prod(weight.shape[2:]), positions, depthwise, linear, groups
        )
        beside = tuple(layout for layout in others if layout is not None)
        self.calls.append(Call(layer, reads, makes, beside, node))
        return (*value[:at], makes, *value[at + 1 :])

    def columns(self, name: str, reads: Runs, groups: int) -> Runs:
        """Find what each group of a convolution reads: all groups grow alike."""
        try:
            return self.axes.part(reads, groups)
        except MismatchError:
            self.axes.fix(reads, f"the grouped convolution {name} cannot be cut between its channels")
            return self.axes.new(self.axes.length(reads) // groups, f"a group of {name} reads it")

    def join(self, name: str, role: str, rows: Runs, columns: Runs | None = None) -> None:
        """Note what the weights of a module carry; where it is called again, the same."""
        member = self.members.setdefault(name, Member(role, rows, columns))
        for before, now in ((member.rows, rows), (member.columns, columns)):
            if before is None or now is None:
                continue
            try:
                self.axes.unify(before, now)
            except MismatchError:
                self.fix((before, now), f"{name} is used more than once, with different channels")
            if name in self.shared:
                self.axes.fix(now, self.shared[name])

    def follow_transposed(self, node: fx.Node, module: nn.Module | None) -> Value:
        assert module is not None
        value, before = self.source(node)
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        cin, cout, groups = len(weight), int(module.out_channels), int(module.groups)  # type: ignore[arg-type]
        reason = f"transposed convolutions do not grow: {node.target}"
        reads = value[1] if value[1] is not None else self.axes.new(cin, reason)
        makes = self.axes.new(cout, reason)
        self.fix((*value, reads), reason)
        # Every weight meets every position of the input.
        taps, positions = prod(weight.shape[2:]), prod(before[2:])
        self.calls.append(
            Call(LayerShape(str(node.target), cin, cout, taps, positions, groups=groups), reads, makes)
        )
        return (None, makes, *[None] * (len(value) - 2))

    def count_function(self, node: fx.Node, reason: str) -> None:
        """Count a layer that is called as a function with a parameter, though it cannot grow."""
        weight = argument(node, 1, "weight")
        called = node.op == "call_function" and name_of(node, None) in ("conv1d", "conv2d", "linear")
        if not called or not isinstance(weight, fx.Node) or weight.op != "get_attr":
            return
        (cout, columns, *kernel), shape = _shape(weight), _shape(node)
        linear = not kernel
        groups = 1 if linear else int(argument(node, 6, "groups", 1))
        positions = prod(shape[1:-1]) if linear else prod(shape[2:])
        layer = LayerShape(
            str(weight.target), columns * groups, cout, prod(kernel), positions, False, linear, groups
        )
        self.calls.append(
            Call(layer, self.axes.new(columns * groups, reason), self.axes.new(cout, reason))
        )

    # Norms

    def follow_norm(self, node: fx.Node, module: nn.Module | None) -> Value:
        assert module is not None
        value, _ = self.source(node)
        said = describe(node, module)
        if isinstance(module, nn.GroupNorm) and module.num_groups != module.num_channels:
            return self.fix_dimensions(value, range(1, len(value)), f"{said} takes statistics over it")
        if isinstance(module, nn.PReLU):
            if module.num_parameters == 1:
                return value
        else:
            self.fix_dimensions(value, range(2, len(value)), f"{said} takes statistics over it")
        if value[1] is not None:
            self.join(str(node.target), "norm", value[1])
        return value

    def follow_layer_norm(self, node: fx.Node, module: nn.Module | None) -> Value:
        """A channel more changes the statistics of all, unless each is copied as often as any other."""
        assert isinstance(module, nn.LayerNorm)
        value, _ = self.source(node)
        last = range(-len(module.normalized_shape), 0)
        return self.fix_dimensions(value, last, f"{describe(node, module)} takes statistics over it")

    # Operations on single elements, positions and whole channels

    def follow_elementwise(self, node: fx.Node, module: nn.Module | None) -> Value:
        return self.source(node)[0]

    def follow_softmax(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        dim = module.dim if module is not None else argument(node, 1, "dim")
        which = [int(dim)] if isinstance(dim, int) else range(1, len(value))
        return self.fix_dimensions(value, which, f"{describe(node, module)} sums over it")

    def follow_spatial(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        if not _yields_one(node) or len(_shape(node)) != len(value):
            raise MismatchError(f"{describe(node, module)} is not followed")
        return self.fix_dimensions(value, range(2, len(value)), f"{describe(node, module)} slides along it")

    def follow_pad(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        pads = argument(node, 1, "pad")
        padded = [-1 - number // 2 for number, pad in enumerate(pads) if pad != 0]
        return self.fix_dimensions(value, padded, f"{describe(node, module)} pads it")

    def follow_reduce(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, shape = self.source(node)
        dims = argument(node, 1, "dim")
        dims = range(len(value)) if dims is None else [dims] if isinstance(dims, int) else dims
        chosen = {int(dim) % len(value) for dim in dims}
        self.fix_dimensions(value, sorted(chosen), f"{describe(node, module)} sums over it")
        if len(_shape(node)) == len(shape):
            return tuple(None if number in chosen else layout for number, layout in enumerate(value))
        return tuple(layout for number, layout in enumerate(value) if number not in chosen)

    def follow_binary(self, node: fx.Node, module: nn.Module | None) -> Value:
        operands = [n for n in node.all_input_nodes if isinstance(self.values[n], tuple)]
        return self.broadcast(node, module, operands)

    def follow_expand(self, node: fx.Node, module: nn.Module | None) -> Value:
        if name_of(node, module) == "expandas":
            return self.broadcast(node, module, node.all_input_nodes)
        value, shape = self.source(node)
        new = _shape(node)
        if len(new) != len(shape):
            raise MismatchError
        written = written_sizes(node, name_of(node, module), len(new))
        for layout, size, literal in zip(value, new, written, strict=True):
            if layout is not None and literal and size != 1:
                self.axes.fix(layout, f"{describe(node, module)} writes its size")
        return tuple(layout if old == size else None for layout, old, size in zip(value, shape, new, strict=True))

    def broadcast(self, node: fx.Node, module: nn.Module | None, operands: Sequence[fx.Node]) -> Value:
        """Make one of the channels that meet."""
        said, shape = describe(node, module), _shape(node)
        results = []
        for number in range(-len(shape), 0):
            met: list[Runs | None] = []
            for operand in operands:
                own, value = _shape(operand), self.values[operand]
                assert isinstance(value, tuple)
                if len(own) < -number:
                    continue
                if own[number] == shape[number]:
                    met.append(value[number])
                elif value[number] is not None:
                    self.axes.fix(value[number] or (), f"{said} repeats its one channel")
            results.append(self.meet_all(met, shape[number], said))
        return tuple(results)

    def meet_all(self, layouts: Sequence[Runs | None], size: int, said: str) -> Runs | None:
        """Make one of the channels along a dimension of several tensors."""
        met: Runs | None = None
        if any(layout is not None for layout in layouts):
            for layout in layouts:
                if layout is None and size > 1:
                    layout = self.axes.new(size, f"{said} joins it to what cannot grow")
                met = self.meet(met, layout, f"{said} joins channels that do not match")
        return met

    def meet(self, first: Runs | None, second: Runs | None, reason: str) -> Runs | None:
        if first is None or second is None:
            return first if second is None else second
        try:
            self.axes.unify(first, second)
        except MismatchError:
            self.fix((first, second), reason)
        return first

    # Arrangement

    def follow_cat(self, node: fx.Node, module: nn.Module | None) -> Value:
        tensors = argument(node, 0, "tensors")
        dim = argument(node, 1, "dim", argument(node, 1, "axis", 0))
        values = [self.values[tensor] for tensor in tensors]
        rank = len(_shape(node))
        if any(not isinstance(value, tuple) or len(value) != rank for value in values):
            raise MismatchError
        at = int(dim) % rank
        results: list[Runs | None] = []
        for number in range(rank):
            layouts = [value[number] for value in values]  # type: ignore[index]
            if all(layout is None for layout in layouts):
                results.append(None)
            elif number == at:
                sizes = [_shape(tensor)[at] for tensor in tensors]
                reason = f"{describe(node, module)} joins positions"
                results.append(
                    sum((lay or self.axes.new(n, reason) for lay, n in zip(layouts, sizes, strict=True)), ())
                )
            else:
                results.append(self.meet_all(layouts, _shape(node)[number], describe(node, module)))
        return tuple(results)

    def follow_stack(self, node: fx.Node, module: nn.Module | None) -> Value:
        tensors = argument(node, 0, "tensors")
        at = int(argument(node, 1, "dim", 0)) % len(_shape(node))
        values = [self.values[tensor] for tensor in tensors]
        inner = [
            self.meet_all([value[number] for value in values], size, describe(node, module))  # type: ignore[index]
            for number, size in enumerate(_shape(tensors[0]))
        ]
        return (*inner[:at], None, *inner[at:])

    def follow_chunk(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        parts = [tuple(meta.shape) for meta in node.meta["tensor_meta"]]
        at = int(argument(node, 2, "dim", 0)) % len(value)
        layout = value[at]
        if layout is None:
            return [value] * len(parts)
        asked = node.args[1] if len(node.args) > 1 else next(v for k, v in node.kwargs.items() if k != "dim")
        counts_parts = name_of(node, module) in ("chunk", "tensorsplit")
        equal = len({shape[at] for shape in parts}) == 1
        if not equal or not (isinstance(asked, int) if counts_parts else isinstance(asked, fx.Node)):
            self.axes.fix(layout, f"{describe(node, module)} writes its size")
            reason = f"{describe(node, module)} writes its size"
            return [(*value[:at], self.axes.new(s[at], reason), *value[at + 1 :]) for s in parts]
        part = self.axes.part(layout, len(parts))
        return [(*value[:at], part, *value[at + 1 :])] * len(parts)

    def follow_getitem(self, node: fx.Node, module: nn.Module | None) -> Value:
        whole, index = node.args
        value = self.values[whole] if isinstance(whole, fx.Node) else None
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
                self.axes.fix(layout, reason)
            if isinstance(key, slice):
                fixed = layout is not None
                results.append(self.axes.new(_shape(node)[len(results)], reason) if fixed else None)
        return tuple(results)

    def follow_permute(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        if name_of(node, module) == "permute":
            dims = argument(node, 1, "dims")
            order = [int(d) for d in (dims if isinstance(dims, tuple | list) else node.args[1:])]
        else:
            first = int(argument(node, 1, "dim0", argument(node, 1, "axis0"))) % len(value)
            second = int(argument(node, 2, "dim1", argument(node, 2, "axis1"))) % len(value)
            order = list(range(len(value)))
            order[first], order[second] = second, first
        return tuple(value[number] for number in order)

    def follow_squeeze(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, shape = self.source(node)
        dims = argument(node, 1, "dim")
        chosen = range(len(value)) if dims is None else [dims] if isinstance(dims, int) else dims
        gone = {int(d) % len(value) for d in chosen if shape[int(d)] == 1}
        self.fix(tuple(value[number] for number in sorted(gone)), f"{describe(node, module)} removes it")
        return tuple(layout for number, layout in enumerate(value) if number not in gone)

    def follow_unsqueeze(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        at = int(argument(node, 1, "dim")) % (len(value) + 1)
        return (*value[:at], None, *value[at:])

    def follow_channel_shuffle(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        groups = int(module.groups if module is not None else argument(node, 1, "groups"))  # type: ignore[arg-type]
        if value[1] is None:
            return value
        part = self.axes.part(value[1], groups)
        return (value[0], _repeated(part, groups), *value[2:])

    def follow_pixel_shuffle(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        before, after = _shape(node.all_input_nodes[0])[1], _shape(node)[1]
        self.fix_dimensions(value, (2, 3), f"{describe(node, module)} enlarges it")
        layout = value[1] and self.axes.divide_columns(value[1], before // after)
        return (value[0], layout, None, None)

    def follow_pixel_unshuffle(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, _ = self.source(node)
        before, after = _shape(node.all_input_nodes[0])[1], _shape(node)[1]
        self.fix_dimensions(value, (2, 3), f"{describe(node, module)} reduces it")
        return (value[0], value[1] and _repeated(self.axes.resolve(value[1]), after // before), None, None)

    def follow_reshape(self, node: fx.Node, module: nn.Module | None) -> Value:
        value, old = self.source(node)
        new = _shape(node)
        written = written_sizes(node, name_of(node, module), len(new), module)
        said = describe(node, module)
        results: list[Runs | None] = []
        for before, after in blocks(old, new):
            layouts = value[before.start : before.stop]
            layout = merge(self.axes, layouts, old[before.start : before.stop], f"{said} mixes dimensions")
            results += self.cut_up(layout, new[after.start : after.stop], written[after.start : after.stop], said)
        return tuple(results)

    def cut_up(
        self, layout: Runs | None, shape: Sequence[int], written: Sequence[bool], said: str
    ) -> list[Runs | None]:
        """Spread a layout over several dimensions: the one whose size is not written down can grow."""
        results: list[Runs | None] = [None] * len(shape)
        if layout is None:
            return results
        long = [number for number, size in enumerate(shape) if size > 1] or list(range(len(shape)))[:1]
        free = [number for number in long if not written[number]]
        if len(free) == 1 and not self.axes.is_fixed(layout):
            (at,) = free
            part = self.axes.part(layout, prod(shape[:at]))
            results[at] = self.axes.divide_columns(part, prod(shape[at + 1 :]))
            return results
        reason = f"{said} writes its size"
        self.axes.fix(layout, reason)
        if len(long) == 1:
            results[long[0]] = layout
        else:
            for at in long:
                results[at] = self.axes.new(shape[at], reason)
        return results


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _yields_one(node: fx.Node) -> bool:
    return hasattr(node.meta.get("tensor_meta"), "shape")


def _yields_tensors(node: fx.Node) -> bool:
    meta = node.meta.get("tensor_meta")
    return _yields_one(node) or (isinstance(meta, tuple | list) and any(hasattr(m, "shape") for m in meta))


def _pointwise(conv: nn.Module) -> bool:
    ones = all(n == 1 for n in (*conv.kernel_size, *conv.stride))  # type: ignore[operator, misc]
    return ones and conv.padding in ("same", "valid", (0,), (0, 0))


def _repeated(layout: Runs, columns: int) -> Runs:
    """Give every channel so many columns for each one it has."""
    return tuple(type(run)(run.axis, run.columns * columns) for run in layout)


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
