"""Channel groups: everything in a network that gains a channel together.

A group is one channel axis and all that carries it: the *producers* whose filters make its channels, the
*norms* and *depthwise* filters that each channel passes alone, and the *consumers* that read it. Groups are
found by following channels through the graph that torch.fx traces (`edgegrow.growth.tracing`), and are then
tried on a copy of the network; nothing is written per network, and a group can be printed before anything
changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgegrow.errors import UnsupportedError, reason
from edgegrow.growth.channels import ChannelGroup, Consumer, Layer, Layout, NetworkTrace, Piece
from edgegrow.growth.tracing.axes import Axes, Runs
from edgegrow.growth.tracing.follow import follow
from edgegrow.growth.tracing.operations import DROPOUTS
from edgegrow.growth.tracing.walk import Call, Walk
from edgegrow.growth.trial import differ, refused_groups
from edgegrow.tracer import check_hooks, symbolic_trace

__all__ = ["ChannelGroup", "Consumer", "Layer", "NetworkTrace", "retrace", "trace"]

Shapes = Sequence[int] | Sequence[Sequence[int]]


def trace(module: nn.Module, input_shape: Shapes) -> NetworkTrace:
    """Trace a network and find its channel groups.

    Parameters
    ----------
    module : nn.Module
        Takes ``(n, *input_shape)`` and returns ``(n, classes)``; or several such tensors.
    input_shape : sequence of int, or of such sequences
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample; one for each input.

    Raises
    ------
    UnsupportedError
        If torch.fx cannot trace it, it has a hook, it fails on such an input, or it has no layer at all.
    """
    check_hooks(module)
    graph = symbolic_trace(module, len(_several(input_shape)))
    return _find(graph, module, input_shape, type(module).__name__)


def retrace(graph: fx.GraphModule, input_shape: Shapes) -> NetworkTrace:
    """Find the channel groups of a graph that was edited, by inserting a block for one.

    Parameters
    ----------
    graph : fx.GraphModule
        As of `NetworkTrace.graph`, linted and recompiled.
    input_shape : sequence of int, or of such sequences
        As of `trace`.

    Raises
    ------
    UnsupportedError
        If it fails on such an input, or has no layer at all.
    """
    return _find(graph, graph, input_shape, type(graph).__name__)


def _find(graph: fx.GraphModule, module: nn.Module, input_shape: Shapes, name: str) -> NetworkTrace:
    samples = _samples(module, input_shape)
    expected, found = _propagate(graph, module, samples, name)
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in DROPOUTS:
            called = getattr(node.target, "__name__", node.target)
            raise UnsupportedError(
                f"network {name}: {called} is called as a function, which stays on when "
                "traced: make it an nn.Dropout module"
            )
    if differ(expected, found):
        raise UnsupportedError(
            f"network {name}: what torch.fx traced computes something else than the network in evaluation "
            "mode: keep forward free of branches on self.training and of random numbers"
        )
    walk = follow(graph)
    if not walk.calls:
        raise UnsupportedError(f"network {name}: it has no convolution or linear layer")
    found = _Naming(walk).trace()
    refused = refused_groups(found, samples)
    groups = tuple(replace(g, fixed=g.fixed or refused.get(g.name, "")) for g in found.groups)
    return replace(found, groups=groups)


def _samples(module: nn.Module, input_shape: Shapes) -> list[torch.Tensor]:
    like = next(module.parameters(), torch.zeros(()))
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(2, *shape, generator=rng).to(like) for shape in _several(input_shape)]


def _several(input_shape: Shapes) -> Sequence[Sequence[int]]:
    one = all(isinstance(size, int) for size in input_shape)
    return [input_shape] if one else input_shape  # type: ignore[list-item, return-value]


def _propagate(
    graph: fx.GraphModule, module: nn.Module, samples: Sequence[torch.Tensor], name: str
) -> tuple[Any, Any]:
    """Note the shapes that nodes yield; returns the network's and the graph's output, in evaluation."""
    training = module.training
    module.eval()
    graph.eval()
    try:
        with torch.no_grad():
            expected = module(*samples)  # ShapeProp would print a traceback of its own
            return expected, ShapeProp(graph).propagate(*samples)
    except Exception as error:
        shapes = ", ".join(str(tuple(sample.shape)) for sample in samples)
        raise UnsupportedError(
            f"network {name}: it fails on an input of shape {shapes} ({reason(error)}): "
            "let it take samples of the data's shape as its one input"
        ) from error
    finally:
        module.train(training)
        graph.train(training)


class _Naming:
    """Gives the axes that were followed their names, and puts the trace together."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.axes = walk, walk.axes
        self.names = self._names()

    def trace(self) -> NetworkTrace:
        members = self.walk.members
        sizes = {name: self.axes.width(axis) for axis, name in self.names.items()}
        norms = _following_norms(self.walk, self.axes)
        return NetworkTrace(
            self.walk.graph,
            tuple(self._layer(call, norms) for call in self.walk.calls),
            tuple(self._group(axis) for axis in self.names),
            {name: self._layout(member.rows) for name, member in members.items()},
            {name: self._layout(member.columns) for name, member in members.items() if member.columns},
            dict(sizes),
            sizes,
        )

    def _names(self) -> dict[int, str]:
        """Name every axis that a layer reads or makes, in the order of execution."""
        resolve = self.axes.resolve
        made, read, inputs = dict[int, str](), dict[int, str](), dict[int, str]()
        for name, member in self.walk.members.items():
            if member.role == "producer":
                for axis in dict.fromkeys(run.axis for run in resolve(member.rows)):
                    made.setdefault(axis, name)
        for call in self.walk.calls:
            for run in resolve(call.reads + call.makes + sum(call.beside, ())):
                read.setdefault(run.axis, call.shape.name)
        for name, member in self.walk.members.items():
            for run in resolve((member.columns or ()) + member.rows):
                read.setdefault(run.axis, name)
        for name, layout in self.walk.inputs.items():
            for run in resolve(layout):
                inputs[run.axis] = "input" if len(self.walk.inputs) == 1 else name
        names: dict[int, str] = {}
        for axis, reader in read.items():
            base = made.get(axis) or inputs.get(axis) or f"input of {reader}"
            taken = sum(name == base or name.startswith(f"{base}/") for name in names.values())
            names[axis] = f"{base}/{taken + 1}" if taken else base
        return names

    def _layout(self, layout: Runs) -> Layout:
        return tuple(Piece(self.names[run.axis], run.columns) for run in self.axes.resolve(layout))

    def _layer(self, call: Call, norms: Mapping[str, str]) -> Layer:
        beside = tuple(self._layout(layout) for layout in call.beside)
        norm = norms.get(call.shape.name, "") if call.node is not None else ""
        return Layer(call.shape, self._layout(call.reads), self._layout(call.makes), beside, norm)

    def _group(self, axis: int) -> ChannelGroup:
        def columns(layout: Runs | None) -> int:
            return sum(run.columns for run in self.axes.resolve(layout or ()) if run.axis == axis)

        def carriers(role: str) -> dict[str, int]:
            members = self.walk.members
            found = {name: columns(member.rows) for name, member in members.items() if member.role == role}
            return {name: rows for name, rows in found.items() if rows}

        producers, depthwise = carriers("producer"), carriers("depthwise")
        read = {name: columns(member.columns) for name, member in self.walk.members.items()}
        consumers = tuple(Consumer(name, count) for name, count in read.items() if count)
        fixed = self.axes.reason(axis)
        if not fixed and not producers:
            fixed = "nothing makes it"
        if not fixed and not consumers:
            fixed = "nothing reads it"
        return ChannelGroup(
            self.names[axis],
            tuple(producers),
            tuple(carriers("norm")),
            tuple(depthwise),
            consumers,
            (*producers.values(), *depthwise.values()),
            fixed,
        )


def _following_norms(walk: Walk, axes: Axes) -> dict[str, str]:
    """Batch norms that directly follow a layer wherever it is called, and nothing else does, by its path."""
    calls = [node for node in walk.graph.graph.nodes if node.op == "call_module"]
    sources: dict[str, set[str]] = {}
    followers: dict[str, set[str]] = {}
    for node in calls:
        module = walk.graph.get_submodule(str(node.target))
        before = node.all_input_nodes[0] if node.all_input_nodes else None
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            direct = before is not None and before.op == "call_module" and len(before.users) == 1
            sources.setdefault(str(node.target), set()).add(str(before.target) if direct and before else "")
        for user in node.users:
            followers.setdefault(str(node.target), set()).add(
                str(user.target) if user.op == "call_module" and len(node.users) == 1 else ""
            )
    found = {}
    for norm, layers in sources.items():
        (layer, *others) = layers
        member, own = walk.members.get(layer), walk.members.get(norm)
        if others or member is None or own is None or followers[layer] != {norm}:
            continue
        if axes.resolve(member.rows) == axes.resolve(own.rows):
            found[layer] = norm
    return found
