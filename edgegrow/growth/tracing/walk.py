"""What is known while channels are followed through a traced network.

For every dimension of every tensor: the layout of the channels along it, or ``None`` where there are only
positions, which nothing grows. What is found out to be one channel becomes one; what an operation would not
carry is left at its number, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from edgegrow.cost.layers import LayerShape
from edgegrow.growth.tracing.axes import Axes, MismatchError, Runs
from edgegrow.growth.tracing.operations import describe

Dimensions = tuple[Runs | None, ...]
"""What lies along each dimension of a tensor."""

Value = Dimensions | list[Any] | None
"""Of a node: dimensions of its tensor, a list of those of several tensors, nothing where it yields none."""


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
class Walk:
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

    def source(self, node: fx.Node) -> tuple[Dimensions, tuple[int, ...]]:
        """Dimensions and shape of the tensor that a node works on."""
        first = node.args[0] if node.args else node.all_input_nodes[0]
        value = self.values[first] if isinstance(first, fx.Node) else None
        if not isinstance(first, fx.Node) or not isinstance(value, tuple):
            raise MismatchError
        return value, shape_of(first)

    def fix(self, value: Value, reason: str) -> None:
        """Leave every channel of a value at its number."""
        if isinstance(value, list):
            for one in value:
                self.fix(one, reason)
            return
        for layout in value or ():
            if layout is not None:
                self.axes.fix(layout, reason)

    def fix_dimensions(self, value: Dimensions, which: Sequence[int], reason: str) -> Dimensions:
        """Leave some dimensions, counted from either end, at their length."""
        chosen = {number % len(value) for number in which}
        self.fix(tuple(value[number] for number in sorted(chosen)), reason)
        return value

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
        """Make one of two layouts, or leave both as they are for a reason."""
        if first is None or second is None:
            return first if second is None else second
        try:
            self.axes.unify(first, second)
        except MismatchError:
            self.fix((first, second), reason)
        return first

    def broadcast(self, node: fx.Node, module: nn.Module | None, operands: Sequence[fx.Node]) -> Value:
        """Make one of the channels that meet."""
        said, shape = describe(node, module), shape_of(node)
        results = []
        for number in range(-len(shape), 0):
            met: list[Runs | None] = []
            for operand in operands:
                own, value = shape_of(operand), self.values[operand]
                assert isinstance(value, tuple)
                if len(own) < -number:
                    continue
                if own[number] == shape[number]:
                    met.append(value[number])
                elif value[number] is not None:
                    self.axes.fix(value[number] or (), f"{said} repeats its one channel")
            results.append(self.meet_all(met, shape[number], said))
        return tuple(results)

    def constants(self, shape: Sequence[int], reason: str) -> Dimensions:
        """Make dimensions of which none can grow."""
        return (None, *[self.axes.new(size, reason) for size in shape[1:]]) if len(shape) else ()


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of the one tensor that a node yields."""
    return tuple(node.meta["tensor_meta"].shape)


def yields_one(node: fx.Node) -> bool:
    """Whether a node yields one tensor."""
    return hasattr(node.meta.get("tensor_meta"), "shape")


def yields_tensors(node: fx.Node) -> bool:
    """Whether a node yields a tensor, or several."""
    meta = node.meta.get("tensor_meta")
    return yields_one(node) or (isinstance(meta, tuple | list) and any(hasattr(m, "shape") for m in meta))
