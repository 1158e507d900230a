"""What the outgoing weights of new channels can win, at first order."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import ChannelGroup, NetworkTrace
from edgegrow.growth.moves.calibration import calibrate, evaluating
from edgegrow.growth.moves.neurons import Neuron, Statistics
from edgegrow.growth.moves.placement import Placement, columns_of, rows_of, weight_of
from edgegrow.growth.moves.protocol import Context, outputs
from edgegrow.training import TRAIN_PASSES


def column_norm(trace: NetworkTrace, group: ChannelGroup, consumer: str) -> torch.Tensor:
    """Mean norm of the outgoing weights of a group's channels in one consumer: the unit of new ones."""
    weight = weight_of(trace, consumer).detach()
    columns = columns_of(trace, group, consumer, torch.arange(trace.widths()[group.name]))
    return weight[:, columns].transpose(0, 1).flatten(1).norm(dim=1).mean()


def score_neurons(context: Context, candidates: Sequence[Neuron]) -> list[Neuron]:
    """Find how much the outgoing weights of some new channels would lower the loss at first order.

    A copy of the network gets them all, with outgoing weights of zero: they do not see each other. One pass
    sets their batch norms' statistics, and one backward pass gives the gradient at all outgoing weights.
    Against it, in relative coordinates, goes each channel's step.

    Parameters
    ----------
    context : Context
        The network and the samples.
    candidates : sequence of Neuron
        With ``filters``.

    Returns
    -------
    list of Neuron
        In the same order, with ``slope``, ``statistics`` and ``columns``.
    """
    if not candidates:
        return []
    trial = deepcopy(context.trace)
    placement = Placement(trial, candidates, context.generator)
    placement.place_neurons(candidates)
    calibrate(trial.graph, context.batches[0][0], placement.fresh_norms)
    groups = {group.name: group for group in context.trace.growable}
    consumers = {c.name for n in candidates for c in groups[n.group].consumers}
    weights = [weight_of(trial, name) for name in sorted(consumers)]
    totals = [torch.zeros_like(weight) for weight in weights]
    with evaluating(trial.graph):
        for x, y in context.batches:
            loss = context.mean_loss(outputs(trial.graph, x), y)
            for total, gradient in zip(totals, torch.autograd.grad(loss, weights), strict=True):
                total += gradient
    context.macs += TRAIN_PASSES * context.samples * count_macs(trial.shapes(trial.widths()))
    gradients = dict(zip(sorted(consumers), totals, strict=True))
    units = {
        (group.name, consumer.name): column_norm(context.trace, group, consumer.name)
        for group in groups.values()
        for consumer in group.consumers
    }
    scored = []
    for neuron, channel in zip(candidates, placement.channels, strict=True):
        group = groups[neuron.group]
        uphill = {}
        for consumer in group.consumers:
            rows = len(weight_of(context.trace, consumer.name))
            columns = columns_of(trial, group, consumer.name, channel).flatten()
            uphill[consumer.name] = (
                units[group.name, consumer.name] * gradients[consumer.name][:rows, columns]
            )
        slope = torch.stack([g.norm() for g in uphill.values()]).norm()
        unit = slope.clamp_min(torch.finfo(slope.dtype).tiny)
        downhill = {name: -units[group.name, name] * g / unit for name, g in uphill.items()}
        statistics = statistics_of(trial, group, channel)
        scored.append(replace(neuron, slope=-slope.item(), columns=downhill, statistics=statistics))
    return scored


def statistics_of(trace: NetworkTrace, group: ChannelGroup, channel: torch.Tensor) -> dict[str, Statistics]:
    """Get the running statistics of one channel, ``(1,)``, in every batch norm that keeps them."""
    found = {}
    for name in group.norms:
        norm = trace.module(name)
        if norm._buffers.get("running_mean") is not None:
            places = rows_of(trace, group, name, channel).flatten()
            found[name] = norm.running_mean[places], norm.running_var[places]  # type: ignore[index]
    return found
