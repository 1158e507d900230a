"""Splits and new channels perturbed together, their directions found by a few gradient steps.

Wu, Liu, Stone, Liu, "Firefly Neural Architecture Descent" (NeurIPS 2020), section 3: the network gets all
candidates at once, each of a small size ``e_i`` along a direction ``d_i`` of unit norm. *Step one* descends
the loss in all directions together, at a fixed size. *Step two* fixes the directions, and scores each
candidate by its size's gradient; that of a split is zero at zero, so that gradients are averaged over sizes
from zero to the fixed one (the paper's integrated gradients, here along the path on which all sizes grow
together, so that all scores sum to the change of the loss).

Directions start where they are known to be good: splits along ``v_min``, new channels' outgoing weights
against their gradient (the paper starts at random). Filters of new channels move too, at constant norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch.func import functional_call

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import new, split
from edgegrow.growth.moves.calibration import calibrate, evaluating
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.moves.outgoing import column_norm, statistics_of
from edgegrow.growth.moves.placement import Placement, group_of, layers_of, rows_of, weight_of
from edgegrow.growth.moves.protocol import Batch, Context
from edgegrow.training import TRAIN_PASSES

SIZE = 0.02
"""Relative step of every candidate while directions are sought: there are far more than will be chosen."""

GRADIENT_STEPS, RATE = 4, 0.3
"""Steps on all directions, each on the next batch, and their length relative to the directions' own."""

_PATH = (1 / 6, 3 / 6, 5 / 6)
"""Where along the path gradients are taken: the midpoint rule, exact for the linear and the quadratic."""


def offer(context: Context) -> list[Copies | Neuron]:
    """Offer a split of every channel, and as many new channels, of every growable group."""
    candidates: list[Copies | Neuron] = [*split.offer(context), *new.offer(context)]
    if not candidates:
        return []
    swarm = _Swarm(context, candidates)
    for step in range(GRADIENT_STEPS):
        swarm.descend(context.batches[step % len(context.batches)])
    return swarm.score(context.batches)


@dataclass
class _Directions:
    """Unit vectors of one candidate, ``{layer path: ...}`` in relative coordinates.

    A split's filters are one unit vector together, and so are a new channel's outgoing weights; each of its
    filters is one of its own.
    """

    filters: dict[str, torch.Tensor]
    columns: dict[str, torch.Tensor]

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [*self.filters.values(), *self.columns.values()]


class _Swarm:
    """A copy of the network with all candidates."""

    def __init__(self, context: Context, candidates: Sequence[Copies | Neuron]) -> None:
        self.context, self.candidates = context, list(candidates)
        self.trial = deepcopy(context.trace)
        self.placement = Placement(self.trial, candidates, context.generator)
        self.placement.place_neurons(candidates)
        fresh = self.placement.neurons(candidates)
        self.base = {name: weight_of(self.trial, name).detach().clone() for name in layers_of(self.trial)}
        for name, laid in fresh.items():
            self.base[name] -= laid
        self.macs = count_macs(self.trial.shapes(self.trial.widths()))
        self.units = _Units(context.trace)
        self.directions = [self._relative(candidate) for candidate in candidates]

    def _relative(self, candidate: Copies | Neuron) -> _Directions:
        if isinstance(candidate, Copies):
            offsets = {name: offset[0] for name, offset in candidate.offsets.items()}
            units = {name: self.units.filters(candidate.group, name, candidate.channel) for name in offsets}
            return _Directions({name: _divided(o, units[name]) for name, o in offsets.items()}, {})
        columns = {
            name: _divided(c, self.units.column(candidate.group, name))
            for name, c in candidate.columns.items()
        }
        return _Directions({name: _divided(f, f.norm()) for name, f in candidate.filters.items()}, columns)

    def moves(self, sizes: torch.Tensor) -> list[Copies | Neuron]:
        """Make moves of the present directions, a unit step of which is of these sizes ``(candidates,)``."""
        made: list[Copies | Neuron] = []
        for candidate, directions, size in zip(self.candidates, self.directions, sizes, strict=True):
            if isinstance(candidate, Copies):
                offsets = {
                    name: size
                    * self.units.filters(candidate.group, name, candidate.channel)
                    * torch.stack([v, -v])
                    for name, v in directions.filters.items()
                }
                made.append(replace(candidate, kind="firefly", offsets=offsets))
            else:
                filters = {
                    name: self.units.mean_filter(candidate.group, name) * _divided(v, v.norm())
                    for name, v in directions.filters.items()
                }
                columns = {
                    name: size * self.units.column(candidate.group, name) * u
                    for name, u in directions.columns.items()
                }
                made.append(replace(candidate, kind="firefly", filters=filters, columns=columns))
        return made

    def loss(self, sizes: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sum the loss of a batch, every candidate at its size."""
        moves = self.moves(sizes)
        weights = dict(self.base)
        for laid in (self.placement.neurons(moves), self.placement.directions(moves)):
            for name, tensor in laid.items():
                weights[name] = weights[name] + tensor
        named = {f"{name}.weight": weight for name, weight in weights.items()}
        x, y = batch
        self.context.macs += TRAIN_PASSES * len(y) * self.macs
        with evaluating(self.trial.graph):
            inputs = x if isinstance(x, tuple) else (x,)
            return self.context.loss_sum(functional_call(self.trial.graph, named, inputs), y)

    def settle(self) -> None:
        """Set the batch norms' statistics of new channels to what their present filters give."""
        with torch.no_grad():
            self.placement.place_neurons(
                [replace(m, statistics={}) if isinstance(m, Neuron) else m for m in self.moves(self.ones)]
            )
        calibrate(self.trial.graph, self.context.batches[0][0], self.placement.fresh_norms)

    @property
    def ones(self) -> torch.Tensor:
        """A size of 1 for every candidate."""
        return next(iter(self.base.values())).new_ones(len(self.candidates))

    def descend(self, batch: Batch) -> None:
        """Take one gradient step on all directions, each of `RATE` times its own length."""
        self.settle()
        leaves = [leaf.requires_grad_() for directions in self.directions for leaf in directions.leaves]
        found = iter(torch.autograd.grad(self.loss(SIZE * self.ones, batch), leaves))
        for candidate, directions in zip(self.candidates, self.directions, strict=True):
            gradients = _Directions(
                {name: next(found) for name in directions.filters},
                {name: next(found) for name in directions.columns},
            )
            if isinstance(candidate, Copies):
                directions.filters = _descended(directions.filters, gradients.filters)
            else:
                for name, v in directions.filters.items():
                    directions.filters |= _descended({name: v}, {name: gradients.filters[name]})
                directions.columns = _descended(directions.columns, gradients.columns)

    def score(self, batches: Sequence[Batch]) -> list[Copies | Neuron]:
        """Score every candidate by its size's mean gradient along the path."""
        self.settle()
        total = torch.zeros_like(self.ones)
        for share in _PATH:
            sizes = (share * SIZE * self.ones).requires_grad_()
            for batch in batches:
                total += torch.autograd.grad(self.loss(sizes, batch), sizes)[0]
        scores = (total / (len(_PATH) * self.context.samples)).tolist()
        scored: list[Copies | Neuron] = []
        moves = zip(self.moves(self.ones), self.placement.channels, scores, strict=True)
        for move, channels, score in moves:
            if isinstance(move, Copies):
                scored.append(replace(move, curvature=2 * score / SIZE))
            else:
                group = group_of(self.trial, move.group)
                statistics = statistics_of(self.trial, group, channels)
                scored.append(replace(move, slope=score, statistics=statistics))
        return scored


class _Units:
    """Natural norms of a network's filters and outgoing weights, as they are now."""

    def __init__(self, trace: NetworkTrace) -> None:
        self._filters = {}
        self._columns = {}
        for group in trace.growable:
            channels = torch.arange(trace.sizes[group.name])
            for name in group.filtered:
                weight = weight_of(trace, name).detach()
                norms = weight.flatten(1).norm(dim=1)[rows_of(trace, group, name, channels)]
                self._filters[group.name, name] = norms.reshape(*norms.shape, *[1] * (weight.ndim - 1))
            for consumer in group.consumers:
                norm = column_norm(trace, group, consumer.name)
                self._columns[group.name, consumer.name] = norm

    def filters(self, group: str, name: str, channel: int) -> torch.Tensor:
        """Norms of a channel's filters, ``(rows, 1, ...)``."""
        return self._filters[group, name][channel]

    def mean_filter(self, group: str, name: str) -> torch.Tensor:
        """Mean norm of the filters of a group's channels in a layer."""
        return self._filters[group, name].mean()

    def column(self, group: str, consumer: str) -> torch.Tensor:
        """Mean norm of a channel's outgoing weights in a consumer."""
        return self._columns[group, consumer]


def _descended(
    vectors: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Move one unit vector, in several parts, against its gradient, and make it one of unit norm again."""
    length = torch.stack([g.norm() for g in gradients.values()]).norm()
    moved = {name: v.detach() - RATE * _divided(gradients[name], length) for name, v in vectors.items()}
    # Zero where a new channel gets no gradient at all, as behind a ReLU that never opens: it stays there.
    norm = torch.stack([v.norm() for v in moved.values()]).norm()
    return {name: _divided(v, norm) for name, v in moved.items()}


def _divided(vector: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """Divide by norms; what has none, as a filter of zeros, has no direction and stays zero."""
    return vector / norms.clamp_min(1e-30)
