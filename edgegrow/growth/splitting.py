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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.groups import ChannelGroup, NetworkTrace

KINK_SHARPNESS = 3.0
"""``beta`` of the softplus whose curvature stands for that of a ReLU's kink (as the authors' code has it)."""

GRAPH_BYTES = 32
"""Memory that the twice differentiable graph takes for each output of a layer: measured, 31 to 33 bytes."""

KEPT_BYTES = 2**31
"""Memory for graphs that are kept from one product to the next."""

BUILD_PASSES, PRODUCT_PASSES = 4, 4
"""Multiply-accumulates of building the graph and of one product, in forward passes: counted at PyTorch's
dispatcher, at most; a product takes 2 for linear layers, 3 for convolutions, 4 with depthwise chains."""

Slopes = tuple[torch.Tensor, ...]


class _KinkedSlope(torch.autograd.Function):
    """The gradient of ``clamp(z, 0, top)``, differentiated as if its kinks were softplus bends."""

    @staticmethod
    def forward(ctx, grad, z, top):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(grad, z)
        ctx.top = top
        return grad * ((z > 0) & (z < top))

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        grad, z = ctx.saved_tensors
        inside = (z > 0) & (z < ctx.top)
        curvature = _softplus_curvature(z)
        if ctx.top != float("inf"):
            curvature = curvature - _softplus_curvature(z - ctx.top)
        return outer * inside, outer * grad * curvature, None


class _KinkedClamp(torch.autograd.Function):
    """``clamp(z, 0, top)``: its values and gradient are exact, its second derivative is the surrogate's."""

    @staticmethod
    def forward(ctx, z, top):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z)
        ctx.top = top
        return z.clamp(0.0, top)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (z,) = ctx.saved_tensors
        return _KinkedSlope.apply(grad, z, ctx.top), None


def _softplus_curvature(z: torch.Tensor) -> torch.Tensor:
    """Second derivative of ``softplus(beta z) / beta``: ``beta s (1 - s)``, ``s = sigmoid(beta z)``."""
    s = torch.sigmoid(KINK_SHARPNESS * z)
    return KINK_SHARPNESS * s * (1 - s)


class _EdgeReader(fx.Interpreter):
    """Runs the network and keeps what every consumer reads, as tensors whose gradient can be asked for."""

    def __init__(self, trace: NetworkTrace, consumers: set[str]) -> None:
        super().__init__(trace.graph)
        self.consumers = consumers
        self.edges: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> torch.Tensor:
        if n.op == "call_module" and n.target in self.consumers:
            (value,) = self.fetch_args_kwargs_from_env(n)[0]
            # A view of its own: the gradient through this consumer alone, not through its siblings.
            edge = value.view_as(value)
            self.edges[n] = edge
            return self.submodules[str(n.target)](edge)
        return super().run_node(n)


class _ChainRunner(fx.Interpreter):
    """Runs the network cut at every producer's input, with surrogate kinks, and sums ``<g, a>``."""

    def __init__(
        self, trace: NetworkTrace, producers: set[str], gradients: dict[fx.Node, torch.Tensor]
    ) -> None:
        super().__init__(trace.graph)
        self.producers, self.gradients = producers, gradients
        self.total: torch.Tensor = torch.zeros(())

    def run_node(self, n: fx.Node) -> torch.Tensor:
        args = self.fetch_args_kwargs_from_env(n)[0]
        if n in self.gradients and args[0].requires_grad:
            self.total = self.total + (self.gradients[n] * args[0]).sum()
        module = self.submodules[str(n.target)] if n.op == "call_module" else None
        if module is not None and n.target in self.producers:
            return module(args[0].detach())
        if isinstance(module, (nn.ReLU, nn.ReLU6)) or n.target in (F.relu, torch.relu, F.relu6, "relu"):
            top = 6.0 if isinstance(module, nn.ReLU6) or n.target is F.relu6 else float("inf")
            return _KinkedClamp.apply(args[0], top)
        return super().run_node(n)


@dataclass
class ChannelBlock:
    """The splittable parameters of one group: a row of ``d`` numbers for each of its ``n`` channels.

    Attributes
    ----------
    group : ChannelGroup
        The group.
    weights : list of nn.Parameter
        Weights whose first axis is the group's channels: producers, then depthwise layers.
    """

    group: ChannelGroup
    weights: list[nn.Parameter]

    def pack(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Lay tensors shaped as ``weights`` side by side: ``(n, d)``."""
        return torch.cat([t.reshape(len(t), -1) for t in tensors], dim=1)

    def unpack(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Undo `pack`: rows ``(m, d)`` to tensors ``(m, ...)``, each shaped as a weight's filters."""
        sizes = [weight[0].numel() for weight in self.weights]
        parts = rows.split(sizes, dim=1)
        return [part.reshape(-1, *w.shape[1:]) for part, w in zip(parts, self.weights, strict=True)]

    def scale(self) -> torch.Tensor:
        """Norm of the filter each coordinate belongs to, ``(n, d)``: the diagonal of ``D``."""
        norms = [
            w.detach().flatten(1).norm(dim=1, keepdim=True).expand(-1, w[0].numel()) for w in self.weights
        ]
        return torch.cat(norms, dim=1)


class SplittingOperator:
    """``v -> D S D v`` for every channel of every growable group at once.

    Parameters
    ----------
    trace : NetworkTrace
        The network; it is run in evaluation mode, so batch-norm statistics are constants.
    batches : iterable of (x, y)
        Samples ``(n, *input_shape)`` and labels ``(n,)`` that the expectation is taken over. Their graphs are
        kept as far as `KEPT_BYTES` reach, and a product then costs one convolution and one weight gradient a
        layer; those of further batches are built anew for every product.

    Attributes
    ----------
    blocks : list of ChannelBlock
        One for each growable group.
    loss : float
        Mean cross-entropy over the samples.
    passes : int
        What it has taken so far, in forward passes of one sample.
    """

    def __init__(self, trace: NetworkTrace, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.blocks = [
            ChannelBlock(g, [trace.module(name).weight for name in g.filtered])  # type: ignore[misc]
            for g in trace.growable
        ]
        self._trace = trace
        self._parameters = [weight for block in self.blocks for weight in block.weights]
        self._scales = [block.scale() for block in self.blocks]
        self._consumers = {consumer.name for group in trace.growable for consumer in group.consumers}
        self._producers = {name for group in trace.groups for name in group.producers}
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._kept: list[Slopes | None] = []
        sample_bytes = GRAPH_BYTES * sum(s.positions * s.cout for s in trace.shapes(trace.widths()))
        self.passes = 0
        total, samples = 0.0, 0
        for x, y in batches:
            slopes, loss = self._differentiate(x, y)
            total, samples = total + loss, samples + len(x)
            self._batches.append((x, y))
            self._kept.append(slopes if samples * sample_bytes <= KEPT_BYTES else None)
        self.loss, self.samples = total / samples, samples

    def _differentiate(self, x: torch.Tensor, y: torch.Tensor) -> tuple[Slopes, float]:
        """Differentiate ``F`` once, with a graph to do it again, and give the summed cross-entropy."""
        self.passes += BUILD_PASSES * len(x)
        training = self._trace.graph.training
        self._trace.graph.eval()
        reader = _EdgeReader(self._trace, self._consumers)
        loss = F.cross_entropy(reader.run(x), y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(reader.edges.values()))
        runner = _ChainRunner(self._trace, self._producers, dict(zip(reader.edges, gradients, strict=True)))
        runner.run(x)
        slopes = torch.autograd.grad(runner.total, self._parameters, create_graph=True)
        self._trace.graph.train(training)
        return slopes, loss.item()

    def __call__(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Multiply ``(n, d)`` vectors, one for each block, by the relative splitting matrices ``D S D``."""
        directions = [
            part
            for block, scale, v in zip(self.blocks, self._scales, vectors, strict=True)
            for part in block.unpack(scale * v)
        ]
        sums = [torch.zeros_like(weight) for weight in self._parameters]
        for (x, y), kept in zip(self._batches, self._kept, strict=True):
            slopes = kept if kept is not None else self._differentiate(x, y)[0]
            self.passes += PRODUCT_PASSES * len(x)
            # The Hessian is symmetric: differentiating <slope, v> gives S v.
            products = torch.autograd.grad(
                slopes, self._parameters, directions, retain_graph=True, allow_unused=True
            )
            for accumulated, product in zip(sums, products, strict=True):
                if product is not None:
                    accumulated += product
        remaining, results = iter(sums), []
        for block, scale in zip(self.blocks, self._scales, strict=True):
            rows = block.pack([next(remaining) for _ in block.weights])
            results.append(scale * rows / self.samples)
        return results
