"""Channel groups: everything in a network that gains a channel together.

A group is one channel axis and all that carries it: the *producers* whose filters make its channels, the
batch *norms* and *depthwise* filters that each channel passes alone, and the *consumers* that read it. A
residual addition makes one axis of two. Groups are found by following the channel axis through the graph that
torch.fx traces; nothing is written per network, and a group can be printed before anything changes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from edgegrow.cost.layers import LayerShape
from edgegrow.errors import UnsupportedError, reason

CONVS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_CHANNELWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Tanh, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout2d,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.ZeroPad2d, nn.ConstantPad1d,
)  # fmt: skip
_CHANNELWISE_CALLS = {
    F.relu, torch.relu, F.relu6, F.silu, F.gelu, torch.tanh, F.softplus,
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
}  # fmt: skip
_CHANNELWISE_METHODS = {"relu", "contiguous"}
_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
_ADDITIONS = {operator.add, operator.iadd, torch.add}


@dataclass(frozen=True)
class Consumer:
    """A layer that reads a group: each channel is ``columns`` consecutive columns of its weight."""

    name: str
    columns: int

    def expand(self, channels: torch.Tensor) -> torch.Tensor:
        """Columns ``(m * columns,)`` of some channels ``(m,)``."""
        return (channels[:, None] * self.columns + torch.arange(self.columns)).reshape(-1)


@dataclass(frozen=True)
class ChannelGroup:
    """One channel axis and everything that gains a channel with it.

    Attributes
    ----------
    name : str
        Path of the first producer; stable for a given network.
    producers, norms, depthwise : tuple of str
        Paths of the modules, in the order of execution.
    consumers : tuple of Consumer
        The layers that read the axis.
    fixed : str
        Why the group cannot grow; empty where it can.
    """

    name: str
    producers: tuple[str, ...]
    norms: tuple[str, ...]
    depthwise: tuple[str, ...]
    consumers: tuple[Consumer, ...]
    fixed: str = ""

    @property
    def filtered(self) -> tuple[str, ...]:
        """Paths of all layers that have a filter for each channel: producers, then depthwise layers."""
        return self.producers + self.depthwise

    def __str__(self) -> str:
        """One line: what grows with what."""
        parts = [f"made by {', '.join(self.producers) or 'the input'}"]
        if self.norms:
            parts.append(f"through {', '.join(self.norms)}")
        if self.depthwise:
            parts.append(f"depthwise {', '.join(self.depthwise)}")
        readers = [c.name if c.columns == 1 else f"{c.name} (x{c.columns})" for c in self.consumers]
        parts.append(f"read by {', '.join(readers) or 'the output'}")
        return f"{self.name}: {'; '.join(parts)}" + (f" [fixed: {self.fixed}]" if self.fixed else "")


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, and the groups it joins.

    Attributes
    ----------
    shape : LayerShape
        Its size at the moment of tracing.
    reads, makes : str
        Names of the groups of its input and of its output.
    columns : int
        Columns of its weight for each channel it reads.
    norm : str
        Path of the batch norm that directly follows; empty where none does.
    """

    shape: LayerShape
    reads: str
    makes: str
    columns: int
    norm: str = ""


@dataclass(frozen=True)
class NetworkTrace:
    """A traced network: its graph, its layers and its channel groups.

    The graph holds the network's own modules, so it stays valid while surgery widens them.
    """

    graph: fx.GraphModule
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]

    @property
    def growable(self) -> tuple[ChannelGroup, ...]:
        """The groups that can gain channels."""
        return tuple(group for group in self.groups if not group.fixed)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for a batch, as traced."""
        (output,) = (node for node in self.graph.graph.nodes if node.op == "output")
        return tuple(output.all_input_nodes[0].meta["tensor_meta"].shape)

    def module(self, name: str) -> nn.Module:
        """Return the module of this path."""
        return self.graph.get_submodule(name)

    def widths(self) -> dict[str, int]:
        """Return the present width of every growable group, by name."""
        return {group.name: len(self.module(group.producers[0]).weight) for group in self.growable}  # type: ignore[arg-type]

    def shapes(self, widths: Mapping[str, int]) -> list[LayerShape]:
        """Return the layers' shapes at other widths, ``{group name: channels}``; others stay as traced."""

        def resized(layer: Layer) -> LayerShape:
            cin = widths[layer.reads] * layer.columns if layer.reads in widths else layer.shape.cin
            return replace(layer.shape, cin=cin, cout=widths.get(layer.makes, layer.shape.cout))

        return [resized(layer) for layer in self.layers]


@dataclass(frozen=True)
class _Axis:
    """A node's channel axis: its number before merging, and how many columns a channel has become."""

    number: int
    columns: int = 1


class _Tracer:
    """Follows channel axes through a graph, merging those that an addition ties."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.parents: list[int] = []
        self.fixed: dict[int, str] = {}
        self.axes: dict[fx.Node, _Axis] = {}
        self.roles: list[tuple[str, str, int, int]] = []  # role, module path, axis, columns
        self.layers: list[tuple[LayerShape, int, int, int]] = []  # shape, axis read, axis made, columns
        self.norms: dict[str, str] = {}
        self.made: dict[str, int] = {}
        self.places: dict[str, list[_Axis]] = {}

    def new_axis(self, fixed: str = "") -> _Axis:
        number = len(self.parents)
        self.parents.append(number)
        if fixed:
            self.fixed[number] = fixed
        return _Axis(number)

    def root(self, number: int) -> int:
        while self.parents[number] != number:
            number = self.parents[number]
        return number

    def fix(self, axis: _Axis, reason: str) -> None:
        self.fixed.setdefault(self.root(axis.number), reason)

    def merge(self, first: _Axis, second: _Axis) -> None:
        low, high = sorted((self.root(first.number), self.root(second.number)))
        if low != high:
            self.parents[high] = low
            if high in self.fixed:
                self.fixed.setdefault(low, self.fixed.pop(high))

    def run(self) -> None:
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.axes[node] = self.new_axis("it is the network's input")
            elif node.op == "output":
                for source in node.all_input_nodes:
                    self.fix(self.axes[source], "it is the network's output")
            else:
                self.axes[node] = self.follow(node)
                if node.op == "call_module":
                    self.fix_if_shared(node)

    def fix_if_shared(self, node: fx.Node) -> None:
        """Leave the axes of a module with parameters at their width where it is called a second time.

        Its weights would have to grow for all of its places at once.
        """
        name, axes = str(node.target), [self.axes[n] for n in (*node.all_input_nodes, node)]
        if not any(True for _ in self.graph.get_submodule(name).parameters()):
            return
        before = self.places.setdefault(name, [])
        before += axes
        if len(before) > len(axes):
            for axis in before:
                self.fix(axis, f"{name} is used more than once")

    def follow(self, node: fx.Node) -> _Axis:
        sources = [self.axes[n] for n in node.all_input_nodes]
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (*CONVS, nn.Linear)):
            return self.follow_layer(node, module, sources[0])
        if isinstance(module, NORMS) and sources[0].columns == 1:
            self.roles.append(("norm", str(node.target), sources[0].number, 1))
            before = node.all_input_nodes[0]
            if before.op == "call_module" and str(before.target) in self.made:
                self.norms[str(before.target)] = str(node.target)
            return sources[0]
        if _is_flatten(node, module):
            shape = node.all_input_nodes[0].meta["tensor_meta"].shape
            return _Axis(sources[0].number, sources[0].columns * prod(shape[2:]))
        if len(sources) == 1 and (isinstance(module, _CHANNELWISE_MODULES) or _is_channelwise_call(node)):
            return sources[0]
        if node.op == "call_function" and node.target in _ADDITIONS and len(sources) == 2:
            same_shape = len({tuple(n.meta["tensor_meta"].shape) for n in node.all_input_nodes}) == 1
            if same_shape and sources[0].columns == sources[1].columns:
                self.merge(*sources)
                return sources[0]
        kind = type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
        for axis in sources:
            self.fix(axis, f"{kind} ({node.name}) is not followed")
        return self.new_axis(f"{kind} ({node.name}) is not followed")

    def follow_layer(self, node: fx.Node, module: nn.Module, source: _Axis) -> _Axis:
        name, shape = str(node.target), node.meta["tensor_meta"].shape
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        linear = isinstance(module, nn.Linear)
        groups = 1 if linear else int(module.groups)  # type: ignore[arg-type]
        if linear and len(shape) != 2:
            self.fix(source, f"Linear ({name}) acts on the last of {len(shape)} axes")
            return self.new_axis(f"Linear ({name}) acts on the last of {len(shape)} axes")
        cin = int(module.in_features if linear else module.in_channels)  # type: ignore[arg-type]
        depthwise = groups > 1 and groups == cin == len(weight)
        layer = LayerShape(name, cin, len(weight), prod(weight.shape[2:]), prod(shape[2:]), depthwise, linear)
        if depthwise:
            self.roles.append(("depthwise", name, source.number, 1))
            self.made[name] = source.number
            self.layers.append((layer, source.number, source.number, 1))
            return source
        axis = self.new_axis()
        if groups > 1:
            self.fix(source, f"the grouped convolution {name} reads it")
            self.fix(axis, f"the grouped convolution {name} makes it")
        self.made[name] = axis.number
        self.roles.append(("producer", name, axis.number, 1))
        self.roles.append(("consumer", name, source.number, source.columns))
        self.layers.append((layer, source.number, axis.number, source.columns))
        return axis

    def groups(self) -> Iterator[tuple[int, ChannelGroup]]:
        for number in sorted({self.root(n) for n in range(len(self.parents))}):

            def members(role: str, number: int = number) -> list[tuple[str, int]]:
                found = [(m, c) for r, m, axis, c in self.roles if r == role and self.root(axis) == number]
                return list(dict.fromkeys(found))

            producers = tuple(name for name, _ in members("producer"))
            consumers = tuple(Consumer(name, columns) for name, columns in members("consumer"))
            if not producers and not consumers:
                continue
            fixed = self.fixed.get(number, "" if producers else "nothing makes it")
            if producers and not consumers:
                fixed = fixed or "nothing reads it"
            norms = tuple(name for name, _ in members("norm"))
            depthwise = tuple(name for name, _ in members("depthwise"))
            name = producers[0] if producers else "input"
            yield number, ChannelGroup(name, producers, norms, depthwise, consumers, fixed)


def _is_flatten(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    flat = (node.op == "call_function" and node.target is torch.flatten) or (
        node.op == "call_method" and node.target == "flatten"
    )
    return flat and tuple(node.args[1:]) in ((1,), (1, -1)) and not node.kwargs


def _is_channelwise_call(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is F.pad:
        shape = node.meta["tensor_meta"].shape
        return shape[1] == node.all_input_nodes[0].meta["tensor_meta"].shape[1]
    if node.op == "call_function":
        return node.target in _CHANNELWISE_CALLS
    return node.op == "call_method" and node.target in _CHANNELWISE_METHODS


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> NetworkTrace:
    """Trace a network and find its channel groups.

    Parameters
    ----------
    module : nn.Module
        Takes ``(n, *input_shape)`` and returns ``(n, classes)``.
    input_shape : tuple of int
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample.

    Raises
    ------
    UnsupportedError
        If torch.fx cannot trace it, it fails on such an input, or it has no layer at all.
    """
    try:
        graph = fx.symbolic_trace(module)
    except Exception as error:
        raise UnsupportedError(
            f"network {type(module).__name__}: torch.fx cannot trace it ({reason(error)}): "
            "avoid control flow that depends on the input's values"
        ) from error
    sample = torch.zeros(2, *input_shape, device=next((p.device for p in module.parameters()), None))
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(sample)  # ShapeProp would print a traceback of its own
            ShapeProp(graph).propagate(sample)
    except Exception as error:
        raise UnsupportedError(
            f"network {type(module).__name__}: it fails on an input of shape {tuple(sample.shape)} "
            f"({reason(error)})"
        ) from error
    finally:
        module.train(training)
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in _DROPOUTS:
            called = getattr(node.target, "__name__", node.target)
            raise UnsupportedError(
                f"network {type(module).__name__}: {called} is called as a function, which stays on when "
                "traced: make it an nn.Dropout module"
            )
    tracer = _Tracer(graph)
    tracer.run()
    found = dict(tracer.groups())
    names = {number: group.name for number, group in found.items()}
    layers = tuple(
        Layer(
            shape,
            names[tracer.root(reads)],
            names[tracer.root(makes)],
            columns,
            tracer.norms.get(shape.name, ""),
        )
        for shape, reads, makes, columns in tracer.layers
    )
    if not layers:
        raise UnsupportedError(f"network {type(module).__name__}: it has no convolution or linear layer")
    return NetworkTrace(graph, layers, tuple(found.values()))
