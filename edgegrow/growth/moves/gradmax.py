"""New channels whose outgoing weights get the largest gradient: singular vectors.

Evci, van Merrienboer, Unterthiner, Pedregosa, Vladymyrov, "GradMax: Growing Neural Networks using Gradient
Information" (ICLR 2022), section 3: of all new neurons between two layers that leave the function as it is,
those are sought whose new weights get the largest gradient. With one side's weights zero, and the activation
taken as linear, the gradient at that side is the product of the other side's weights with
``E[g_{l+1} h_{l-1}']``, and its norm is maximised, under a bound on theirs, by the top singular vectors.

The paper's experiments set the *incoming* filters to zero and the outgoing weights to left singular vectors.
Behind a zero filter a batch norm has nothing to normalise, and a ReLU has slope zero at zero; so here it is
the other way round, the paper's alternative: **incoming filters are right singular vectors, outgoing weights
are zero**, which keeps the function whatever lies between.

- *Convolutions.* A filter ``v`` acts on patches ``p`` (im2col), and the gradient at the outgoing kernels is
  ``sum_t g_t v'p_{t+o}`` for every offset ``o``: one matrix over all consumers, their filters and offsets. It
  is found as the gradient at zero outgoing weights of linear neurons with unit filters, whose outputs are the
  patches; pools and flattening in between act on those.
- *Batch norm.* It makes a filter's scale and mean free, and unit variance takes the place of unit norm:
  patches are centred and whitened by their covariance ``C``, so that ``v'Cv = 1``.
- *Several consumers* are each measured in units of their present outgoing weights, as all moves are.
- *Activation.* ``v`` and ``-v`` are one to a linear neuron, but not to a ReLU: the better one is offered,
  with the gain that its true gradient promises.

Nothing is offered where all patches are alike, as behind a ReLU that never opens: no filter tells them apart.
It is undefined, and nothing is offered either, where a new channel is no product of one filter and outgoing
weights: in groups that pass a depthwise layer (the product of two filters), that several producers make (a
residual sum; which of them should make it?), or that meet operations which do not act on every channel alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.moves.calibration import evaluating
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.moves.outgoing import column_norm, score_neurons
from edgegrow.growth.moves.placement import columns_of, weight_of
from edgegrow.growth.moves.protocol import Context, outputs
from edgegrow.growth.tracing.operations import kind_of

_RIDGE = 1e-3
"""Share of the patches' mean variance added to each, so that whitening does not blow up noise."""

_ALIKE = 1e-5
"""Deviation of patches, as a share of their values, that is taken for rounding: they are all alike."""

_KEPT = ("spatial", "reshape", "reduce", "pad")
"""Operations that act on patches as on channels; norms and elementwise functions are taken as linear."""


@dataclass(frozen=True)
class Singular:
    """The singular vectors of a group.

    Attributes
    ----------
    values : torch.Tensor
        ``(r,)``, falling: norm of the gradient, in units of the consumers' outgoing weights, that a linear
        neuron of this filter gets.
    filters : torch.Tensor
        ``(r, d)``: of unit norm, or of unit variance where a batch norm follows.
    """

    values: torch.Tensor
    filters: torch.Tensor


def offer(context: Context) -> list[Neuron]:
    """Offer new channels for the groups where it is defined: at most as many as each has."""
    candidates = []
    for name, singular in singular_vectors(context).items():
        (group,) = (g for g in context.trace.growable if g.name == name)
        weight = weight_of(context.trace, group.producers[0]).detach()
        length = weight.flatten(1).norm(dim=1).mean()
        for vector in singular.filters[: len(weight)]:
            filters = (length * vector / vector.norm()).reshape(weight[:1].shape)
            candidates += [
                Neuron(kind="gradmax", group=name, filters={group.producers[0]: sign * filters})
                for sign in (1.0, -1.0)
            ]
    scored = score_neurons(context, candidates)
    return [max(pair, key=lambda move: move.gain) for pair in zip(scored[::2], scored[1::2], strict=True)]


def singular_vectors(context: Context) -> dict[str, Singular]:
    """Singular vectors of every group where they are defined, ``{group name: vectors}``.

    Parameters
    ----------
    context : Context
        The network, and the samples that the expectation is over.
    """
    trace = context.trace
    groups = {g.producers[0]: g for g in trace.growable if _is_simple(trace, g)}
    norms = {layer.shape.name for layer in trace.layers if layer.norm}
    run = _UnitNeurons(trace, groups)
    with evaluating(trace.graph):
        with torch.no_grad():
            for x, _ in context.batches:
                outputs(run.run, x)
        run.centre(norms)
        for x, y in context.batches:
            loss = context.mean_loss(outputs(run.run, x), y)
            run.collect(loss)
    context.macs += context.samples * run.macs
    found = {}
    for producer, group in run.groups.items():
        rows = [
            column_norm(trace, group, consumer) * gradient
            for consumer, gradient in run.gradients(producer).items()
        ]
        matrix = torch.cat(rows)
        whitening = torch.eye(matrix.shape[1]).to(matrix)
        if producer in norms:
            if run.alike(producer):
                continue
            values, vectors = torch.linalg.eigh(run.covariance(producer))
            values = values.clamp_min(0)  # rounding makes some negative
            whitening = vectors @ ((values + _RIDGE * values.mean()).rsqrt()[:, None] * vectors.T)
        _, values, vectors = torch.linalg.svd(matrix @ whitening, full_matrices=False)
        found[group.name] = Singular(values, vectors @ whitening)
    return found


def _is_simple(trace: NetworkTrace, group: ChannelGroup) -> bool:
    """Whether one dense layer makes the group, and dense layers alone read it."""
    calls = [layer.shape.name for layer in trace.layers]
    layers = [*group.producers, *(consumer.name for consumer in group.consumers)]
    return (
        len(group.producers) == 1
        and group.rows == (1,)
        and len(trace.rows[group.producers[0]]) == 1
        and all(calls.count(name) == 1 for name in layers)
        and all(_is_dense(trace.module(name)) for name in layers)
    )


def _is_dense(module: nn.Module) -> bool:
    """Whether a layer is a plain one, padded by zeros if at all."""
    if isinstance(module, nn.Linear):
        return True
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)) or module.groups > 1:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


class _UnitNeurons(fx.Interpreter):
    """Runs the network, and beside it, for every group, a linear neuron for each entry of a patch.

    Their outputs are read by each consumer with weights of zero, so that the network's output is its own and
    the gradient at those weights is that of a neuron with a unit filter.
    """

    def __init__(self, trace: NetworkTrace, groups: dict[str, ChannelGroup]) -> None:
        super().__init__(trace.graph)
        self.trace, self.groups = trace, dict(groups)
        self.macs = 0
        self._weights: dict[str, dict[str, torch.Tensor]] = {}
        self._totals: dict[tuple[str, str], torch.Tensor] = {}
        self._moments: dict[str, tuple[int, torch.Tensor, torch.Tensor]] = {}
        self._origins: dict[str, torch.Tensor] = {}
        self._means: dict[str, torch.Tensor] = {}
        for producer, group in groups.items():
            entries = weight_of(trace, producer)[0].numel()
            self._weights[producer] = {}
            for consumer in (c.name for c in group.consumers):
                weight = weight_of(trace, consumer).detach()
                columns = columns_of(trace, group, consumer, torch.zeros(1, dtype=torch.long)).shape[1]
                shape = (len(weight), entries * columns, *weight.shape[2:])
                self._weights[producer][consumer] = weight.new_zeros(shape).requires_grad_()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Return the network's output."""
        self.beside: dict[fx.Node, tuple[str, torch.Tensor]] = {}
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and what is beside it."""
        output = super().run_node(n)
        name = str(n.target)
        if n.op == "call_module" and name in self.groups:
            self.beside[n] = name, self._patches(name, self.fetch_args_kwargs_from_env(n)[0][0])
        for producer, value in [self.beside[i] for i in n.all_input_nodes if i in self.beside]:
            if producer not in self.groups:
                continue
            module = self.trace.module(name) if n.op == "call_module" else None
            if name in self._weights[producer] and module is not None:
                output = output + _act(module, value, self._weights[producer][name])
            elif len(n.all_input_nodes) == 1 and kind_of(n, module) in ("norm", "elementwise"):
                self.beside[n] = producer, value
            elif len(n.all_input_nodes) == 1 and kind_of(n, module) in _KEPT:
                self.beside[n] = producer, self._again(n, value)
            else:
                del self.groups[producer]
        return output

    def _again(self, n: fx.Node, value: torch.Tensor) -> torch.Tensor:
        """Run a node on another tensor."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, (value, *args[1:]), kwargs)

    def _patches(self, producer: str, x: torch.Tensor) -> torch.Tensor:
        """Give what unit filters make, the patches ``(n, d, ...)``: centred once their means are known."""
        module = self.trace.module(producer)
        weight = weight_of(self.trace, producer).detach()
        entries = weight[0].numel()
        patches = _act(module, x, torch.eye(entries).to(weight).reshape(entries, *weight.shape[1:])).detach()
        if not torch.is_grad_enabled():
            flat = patches.transpose(0, 1).flatten(1)
            # Moments about nearly the mean: those about zero leave rounding of a small variance.
            flat = flat - self._origins.setdefault(producer, flat.mean(1))[:, None]
            count, total, square = self._moments.get(producer, (0, torch.zeros(1), torch.zeros(1)))
            moments = count + flat.shape[1], total + flat.sum(1), square + flat @ flat.T
            self._moments[producer] = moments
        if producer in self._means:
            patches = patches - self._means[producer].reshape(-1, *[1] * (patches.ndim - 2))
        return patches

    def centre(self, producers: set[str]) -> None:
        """Subtract from now on the mean patch of some producers."""
        for producer in producers & set(self.groups):
            count, total, _ = self._moments[producer]
            self._means[producer] = self._origins[producer] + total / count

    def covariance(self, producer: str) -> torch.Tensor:
        """Covariance ``(d, d)`` of a producer's patches."""
        count, total, square = self._moments[producer]
        return square / count - torch.outer(total / count, total / count)

    def alike(self, producer: str) -> bool:
        """Whether a producer's patches, whose mean is subtracted, are all the same but for rounding."""
        deviation = self.covariance(producer).trace().clamp_min(0).sqrt()
        return bool(deviation <= _ALIKE * self._means[producer].norm())

    def collect(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss."""
        keys = [(producer, consumer) for producer in self.groups for consumer in self._weights[producer]]
        weights = [self._weights[producer][consumer] for producer, consumer in keys]
        for key, gradient in zip(keys, torch.autograd.grad(loss, weights) if keys else (), strict=True):
            self._totals[key] = self._totals.get(key, 0.0) + gradient

    def gradients(self, producer: str) -> dict[str, torch.Tensor]:
        """Gradient of the loss at every consumer, ``(its filters and offsets, d)``."""
        entries = weight_of(self.trace, producer)[0].numel()
        return {
            consumer: total.reshape(len(total), entries, -1).movedim(1, -1).reshape(-1, entries)
            for (made, consumer), total in self._totals.items()
            if made == producer
        }


def _act(module: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Let a dense layer act with another weight and no bias."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight)
    conv = F.conv2d if isinstance(module, nn.Conv2d) else F.conv1d
    return conv(x, weight, None, module.stride, module.padding, module.dilation)  # type: ignore[call-overload]
