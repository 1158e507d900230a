r"""The splitting matrix of every channel, and products with it for all channels at once.

A channel with parameters :math:`\theta` (its filter in every producer and depthwise layer of its group) is
replaced by two copies at :math:`\theta \pm \epsilon v`, which the consumers read with half their weight. The
parametric terms cancel, and what is left at second order is (Liu, Wu, Wang, "Splitting Steepest Descent for
Growing Neural Architectures", NeurIPS 2019, theorem 2.2)

.. math:: L_{new} - L = \tfrac{\epsilon^2}{2} v^T S v + O(\epsilon^3), \qquad
          S = E[\nabla_a L \cdot \nabla^2_\theta a(\theta)],

with :math:`a` what the consumers read. ``S`` is the Hessian of :math:`F(\theta) = \sum \langle g,
a(\theta) \rangle` with the gradient ``g`` at each consumer held fixed and every producer's input held fixed.
Since no two channels meet inside a group, the Hessian of the sum over all groups is block-diagonal over
channels: **one Hessian-vector product serves every channel of the network at once**, and all lowest
eigenpairs come from one batched Lanczos run (Wang et al., "Energy-Aware Neural Architecture Optimization with
Fast Splitting Steepest Descent", 2019, use gradient descent on the Rayleigh quotient; Lanczos needs far fewer
products).

*Relative coordinates.* Under batch norm the scale of a filter is free, so eigenvalues of ``S`` itself cannot
be compared between channels. Every filter is measured in units of its own norm: with ``D`` the diagonal
matrix of those norms, the spectrum of ``D S D`` is reported, and a step is a fraction of the filter's norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.convolution import foldable_norms, twice_differentiable
from edgegrow.growth.kinks import kinked
from edgegrow.memory_format import arrangement

GRAPH_BYTES = 24
"""Memory that the twice differentiable graph keeps for each output of a layer: measured, 17 to 22 bytes."""

KEPT_BYTES = 2**31
"""Memory for graphs that are kept from one product to the next."""

BUILD_PASSES, PRODUCT_PASSES = 4, 4
"""Multiply-accumulates of building the graph and of one product, in forward passes: more than PyTorch's
dispatcher counts. A product takes 2 for linear layers and convolutions, 6 for depthwise: 3 in a DS-CNN."""

Slopes = tuple[torch.Tensor, ...]


class _EdgeReader(fx.Interpreter):
    """Runs the network and keeps what every consumer reads, as tensors whose gradient can be asked for."""

    def __init__(self, trace: NetworkTrace, consumers: set[str]) -> None:
        super().__init__(trace.graph)
        self.consumers = consumers
        self.edges: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module" and n.target in self.consumers:
            (value,) = self.fetch_args_kwargs_from_env(n)[0]
            # A view of its own: the gradient through this consumer alone, not through its siblings.
            edge = value.view_as(value)
            self.edges[n] = edge
            return self.submodules[str(n.target)](edge)
        return super().run_node(n)


class _ChainRunner(fx.Interpreter):
    """Runs the network cut at the inputs of layers, with surrogate kinks, and sums ``<g, a>``."""

    def __init__(self, trace: NetworkTrace, cut: set[str], gradients: Mapping[fx.Node, torch.Tensor]) -> None:
        super().__init__(trace.graph)
        self.cut, self.gradients = cut, gradients
        self.norms = foldable_norms(trace.graph)
        self.folded = set(self.norms.values())
        self.total: torch.Tensor = torch.zeros(())

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n in self.gradients and args[0].requires_grad:
            self.total = self.total + (self.gradients[n] * args[0]).sum()
        if n in self.folded:  # into the convolution before
            return args[0]
        module = self.submodules[str(n.target)] if n.op == "call_module" else None
        if module is not None and n.target in self.cut:
            args = (args[0].detach(),)
        norm = self.submodules[str(self.norms[n].target)] if n in self.norms else None
        result = twice_differentiable(module, args[0], norm) if args else None
        if result is None:
            result = kinked(n, module, args, kwargs)
        if result is None:
            return super().run_node(n) if module is None else module(*args, **kwargs)
        return result


def _compatible(trace: NetworkTrace) -> list[set[str]]:
    """Part the growable groups so that those of a class can be differentiated together, by their names.

    A linear layer that mixes tokens passes features on beside it: their chain goes on through a layer whose
    own channels' chains end and begin there. Such groups come into different classes; most networks have one.
    """
    apart: dict[str, set[str]] = {group.name: set() for group in trace.growable}
    for layer in trace.layers:
        own = {piece.group for piece in layer.reads + layer.makes}
        beside = {piece.group for layout in layer.beside for piece in layout}
        for first, second in product(own, beside):
            if first in apart and second in apart:
                apart[first].add(second)
                apart[second].add(first)
    classes: list[set[str]] = []
    for name, others in apart.items():
        suitable = next((c for c in classes if not c & others), None)
        if suitable is None:
            classes.append({name})
        else:
            suitable.add(name)
    return classes


@dataclass
class ChannelBlock:
    """The splittable parameters of one group: a row of ``d`` numbers for each of its ``n`` channels.

    Attributes
    ----------
    group : ChannelGroup
        The group.
    weights : list of nn.Parameter
        Weights that have filters of the group's channels: of producers, then of depthwise layers.
    filters : list of torch.Tensor
        For each weight, ``(n, filters a channel)``: which of its filters are each channel's.
    """

    group: ChannelGroup
    weights: list[nn.Parameter]
    filters: list[torch.Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """Channels ``n`` and parameters of each ``d``."""
        return len(self.filters[0]), sum(self._sizes())

    def _sizes(self) -> list[int]:
        pairs = zip(self.weights, self.filters, strict=True)
        return [filters.shape[1] * weight[0].numel() for weight, filters in pairs]

    def pack(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Lay the channels' filters in tensors shaped as ``weights`` side by side: ``(n, d)``."""
        pairs = zip(tensors, self.filters, strict=True)
        return torch.cat([t[filters].flatten(1) for t, filters in pairs], dim=1)

    def unpack(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Undo `pack`: rows ``(m, d)`` to tensors ``(m * filters a channel, ...)``, shaped as filters."""
        parts = rows.split(self._sizes(), dim=1)
        return [part.reshape(-1, *w.shape[1:]) for part, w in zip(parts, self.weights, strict=True)]

    def scale(self) -> torch.Tensor:
        """Norm of the filter each coordinate belongs to, ``(n, d)``: the diagonal of ``D``."""
        norms = [w.detach().flatten(1).norm(dim=1).reshape(-1, *[1] * (w.ndim - 1)) for w in self.weights]
        return self.pack([n.expand_as(w) for n, w in zip(norms, self.weights, strict=True)])


def cross_entropy_sum(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over samples: of logits ``(n, classes)`` and labels ``(n,)``."""
    return F.cross_entropy(output, y, reduction="sum")


class SplittingOperator:
    """``v -> D S D v`` for every channel of every growable group at once.

    Parameters
    ----------
    trace : NetworkTrace
        The network; it is run in evaluation mode, so batch-norm statistics are constants.
    batches : iterable of (x, y)
        Samples ``(n, *input_shape)``, or a tuple of them for a network of several inputs, and labels
        ``(n,)`` that the expectation is taken over. Their graphs are kept as far as `KEPT_BYTES` reach, and a
        product then costs one convolution and one weight gradient a layer; those of further batches are built
        anew for every product.
    loss_sum : callable, optional
        From the network's output and labels to the loss, summed over samples.

    Attributes
    ----------
    blocks : list of ChannelBlock
        One for each growable group.
    loss : float
        Mean loss over the samples.
    passes : int
        What it has taken so far, in forward passes of one sample.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        batches: Iterable[tuple[Any, torch.Tensor]],
        loss_sum: Callable[[Any, torch.Tensor], torch.Tensor] = cross_entropy_sum,
    ) -> None:
        self.blocks = [_block(trace, group) for group in trace.growable]
        self._trace, self._loss_sum = trace, loss_sum
        self._scales = [block.scale() for block in self.blocks]
        self._classes = [_Class(names, self.blocks) for names in _compatible(trace)]
        self._batches: list[tuple[Any, torch.Tensor]] = []
        self._kept: list[list[Slopes] | None] = []
        sample_bytes = GRAPH_BYTES * sum(s.positions * s.cout for s in trace.shapes(trace.widths()))
        self.passes = 0
        total, samples = 0.0, 0
        for x, y in batches:
            slopes, loss = self._differentiate(x, y)
            total, samples = total + loss, samples + len(y)
            self._batches.append((x, y))
            kept = samples * sample_bytes * len(self._classes) <= KEPT_BYTES
            self._kept.append(slopes if kept else None)
        self.loss, self.samples = total / samples, samples

    def _differentiate(self, x: Any, y: torch.Tensor) -> tuple[list[Slopes], float]:
        """Differentiate ``F`` once, with a graph to do it again, and give the summed loss."""
        self.passes += BUILD_PASSES * len(y) * len(self._classes)
        arrange = arrangement(self._trace.graph)
        inputs = tuple(map(arrange, x if isinstance(x, tuple) else (x,)))
        training = self._trace.graph.training
        self._trace.graph.eval()
        consumers = {c.name for group in self._trace.growable for c in group.consumers}
        reader = _EdgeReader(self._trace, consumers)
        loss = self._loss_sum(reader.run(*inputs), y)
        found = torch.autograd.grad(loss, list(reader.edges.values()), allow_unused=True)
        gradients = {node: g for node, g in zip(reader.edges, found, strict=True) if g is not None}
        slopes = [self._slopes(inputs, gradients, together) for together in self._classes]
        self._trace.graph.train(training)
        return slopes, loss.item()

    def _slopes(
        self, inputs: tuple[torch.Tensor, ...], gradients: Mapping[fx.Node, torch.Tensor], together: _Class
    ) -> Slopes:
        """Differentiate the sum over the groups of a class; layers beside their chains are not cut."""
        passing, reading = set[str](), set[str]()
        for layer in self._trace.layers:
            if any(piece.group in together.names for layout in layer.beside for piece in layout):
                passing.add(layer.shape.name)
            if any(piece.group in together.names for piece in layer.reads):
                reading.add(layer.shape.name)
        cut = {name for group in self._trace.groups for name in group.producers} - passing
        read = {node: gradient for node, gradient in gradients.items() if node.target in reading}
        runner = _ChainRunner(self._trace, cut, read)
        runner.run(*inputs)
        return torch.autograd.grad(
            runner.total, together.parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def __call__(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Multiply ``(n, d)`` vectors, one for each block, by the relative splitting matrices ``D S D``."""
        scaled = [scale * v for scale, v in zip(self._scales, vectors, strict=True)]
        directions = [together.directions(scaled) for together in self._classes]
        sums = [[torch.zeros_like(d) for d in of_class] for of_class in directions]
        for (x, y), kept in zip(self._batches, self._kept, strict=True):
            slopes = kept if kept is not None else self._differentiate(x, y)[0]
            self.passes += PRODUCT_PASSES * len(y) * len(self._classes)
            for together, of_class, v, total in zip(self._classes, slopes, directions, sums, strict=True):
                _add_products(together.parameters, of_class, v, total)
        results = [torch.empty(0)] * len(self.blocks)
        for together, products in zip(self._classes, sums, strict=True):
            by_weight = dict(zip(map(id, together.parameters), products, strict=True))
            for number, block in together.blocks.items():
                rows = block.pack([by_weight[id(weight)] for weight in block.weights])
                results[number] = self._scales[number] * rows / self.samples
        return results


class _Class:
    """Groups that are differentiated together: their names, their blocks by number, their weights."""

    def __init__(self, names: set[str], blocks: Sequence[ChannelBlock]) -> None:
        self.names = names
        self.blocks = {number: block for number, block in enumerate(blocks) if block.group.name in names}
        weights = {id(weight): weight for block in self.blocks.values() for weight in block.weights}
        self.parameters = list(weights.values())

    def directions(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Lay vectors ``(n, d)``, one for each block of all, out in the shapes of the weights."""
        found = {id(weight): torch.zeros_like(weight) for weight in self.parameters}
        for number, block in self.blocks.items():
            for weight, filters, part in zip(
                block.weights, block.filters, block.unpack(vectors[number]), strict=True
            ):
                found[id(weight)][filters.reshape(-1)] = part
        return list(found.values())


def _add_products(
    parameters: Sequence[nn.Parameter],
    slopes: Slopes,
    directions: Sequence[torch.Tensor],
    sums: Sequence[torch.Tensor],
) -> None:
    """Add ``S v`` to sums. The Hessian is symmetric: differentiating <slope, v> gives it."""
    curved = [(slope, v) for slope, v in zip(slopes, directions, strict=True) if slope.requires_grad]
    if not curved:  # every unit is linear
        return
    outputs, vectors = zip(*curved, strict=True)
    products = torch.autograd.grad(outputs, parameters, vectors, retain_graph=True, allow_unused=True)
    for accumulated, found in zip(sums, products, strict=True):
        if found is not None:
            accumulated += found


def _block(trace: NetworkTrace, group: ChannelGroup) -> ChannelBlock:
    channels = torch.arange(trace.sizes[group.name])
    weights = [trace.module(name).weight for name in group.filtered]
    filters = [trace.places(trace.rows[name], group, channels) for name in group.filtered]
    return ChannelBlock(group, weights, filters)  # type: ignore[arg-type]
