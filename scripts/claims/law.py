"""What the splitting matrix predicts against what the loss does: channel by channel, and per growth step."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from claims.effort import Effort
from claims.toys import MOMENTUM, samples_of
from edgegrow.config import GrowConfig
from edgegrow.data.dataset import Dataset
from edgegrow.growth.eigenpairs import SplittingIndex, lanczos
from edgegrow.growth.groups import NetworkTrace, trace
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.growth.surgery import ChannelSplit, split_channels
from edgegrow.nets import load_net
from edgegrow.training import Batches, generator, make_optimizer, train

STEPS = (0.01, 0.02, 0.05, 0.1)
"""Relative steps of single channels."""

PRODUCTS = 12
"""Lanczos products for single channels: their directions are then as good as exact."""

SAMPLES = 400
"""Training samples that the law is looked at on."""

GROWTHS, SHARE = 4, 0.5
"""Growth steps, and the share of all channels that each splits."""

SEED_WIDTHS = (3, 4, 4)
"""Of the network that is grown."""

_RATE, _BATCH = 0.05, 64


def channel_by_channel(effort: Effort, smooth: bool) -> dict[str, Any]:
    """Split every channel of a briefly trained network alone: ``{step: [[predicted, realised], ...]}``.

    Parameters
    ----------
    effort : Effort
    smooth : bool
        Whether SiLU stands in place of the network's ReLU, whose curvature is a surrogate's.
    """
    data = samples_of("mnist1d")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = load_net("conv1d").build(data.input_shape, data.classes, None)
    if smooth:
        for name, child in list(module.body.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module.body, name, nn.SiLU())
    _train(module, data, effort.steps // 5, 0)
    x, y = _first(data, SAMPLES)
    indices = lanczos(SplittingOperator(trace(module, data.input_shape), [(x, y)]), PRODUCTS, generator(0))
    before = _loss(module, x, y)
    found: dict[str, list[list[float]]] = {str(step): [] for step in STEPS}
    for number, index in enumerate(indices):
        for channel, value in enumerate(index.eigenvalues.tolist()):
            copy = deepcopy(module)
            traced = trace(copy, data.input_shape)
            chosen = torch.tensor([channel])
            own = ChannelSplit(traced.growable[number], chosen, index.directed(chosen))
            parting = split_channels(traced, [own])
            for step, after in _walk(copy, parting, STEPS, x, y).items():
                found[str(step)].append([0.5 * step**2 * value, after - before])
    return found


def per_growth_step(effort: Effort, seed: int) -> list[dict[str, Any]]:
    """Grow a network by splitting half of its channels at a time, all at once, and follow the loss.

    Channels are scored on some samples and the loss is followed on others, as growth does.
    """
    data = samples_of("mnist1d")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = load_net("conv1d").build(data.input_shape, data.classes, SEED_WIDTHS)
    optimizer, events = None, []
    for growth in range(GROWTHS):
        optimizer = _train(module, data, effort.steps // 5, seed * GROWTHS + growth + 1, optimizer)
        x, y = _first(data, 2 * SAMPLES)
        traced = trace(module, data.input_shape)
        # The operator must not outlive this line: the graphs that it keeps are of the old shapes.
        scored = [(x[:SAMPLES], y[:SAMPLES])]
        indices = lanczos(SplittingOperator(traced, scored), GrowConfig().products, generator(seed, growth))
        seen = x[SAMPLES:], y[SAMPLES:]
        before = _loss(module, *seen)
        splits, curvature = _best_half(traced, indices)
        parting = split_channels(traced, splits, optimizer.state)
        losses = _walk(module, parting, GrowConfig().step_sizes, *seen)
        best = min(losses, key=losses.__getitem__)
        for weight, direction in parting.items():
            weight.data += best * direction
        events.append(
            {
                "seed": seed,
                "growth": growth + 1,
                "channels": sum(len(split.channels) for split in splits),
                "loss_before": before,
                "best": best,
                "steps": {
                    str(step): [0.5 * step**2 * curvature, loss - before] for step, loss in losses.items()
                },
            }
        )
    return events


def _best_half(traced: NetworkTrace, indices: list[SplittingIndex]) -> tuple[list[ChannelSplit], float]:
    """Choose the share of all channels whose eigenvalues are lowest, and sum those."""
    values = torch.cat([index.eigenvalues for index in indices])
    bound = values.sort().values[max(1, round(SHARE * len(values))) - 1]
    splits, curvature = [], 0.0
    for group, index in zip(traced.growable, indices, strict=True):
        channels = torch.nonzero(index.eigenvalues <= bound).flatten()
        if len(channels):
            splits.append(ChannelSplit(group, channels, index.directed(channels)))
            curvature += index.eigenvalues[channels].sum().item()
    return splits, curvature


def _walk(
    module: nn.Module,
    parting: dict[nn.Parameter, torch.Tensor],
    steps: tuple[float, ...],
    x: torch.Tensor,
    y: torch.Tensor,
) -> dict[float, float]:
    """Loss at every step along directions; the network is left where it was."""
    start = {weight: weight.data.clone() for weight in parting}
    losses = {}
    for step in steps:
        for weight, direction in parting.items():
            weight.data = start[weight] + step * direction
        losses[step] = _loss(module, x, y)
    for weight, value in start.items():
        weight.data = value
    return losses


def _train(
    module: nn.Module, data: Dataset, steps: int, key: int, optimizer: torch.optim.Optimizer | None = None
) -> torch.optim.Optimizer:
    optimizer = optimizer or make_optimizer(module, _RATE, MOMENTUM, 0.0)
    drawn = Batches(data.train, _BATCH).draw(generator(key, 51))
    train(module, optimizer, drawn, lambda step: _RATE, range(max(1, steps)))
    return optimizer


def _first(data: Dataset, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(data.train.x[:samples]), torch.from_numpy(data.train.y[:samples])


def _loss(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Cross-entropy in double precision: for differences far below float32's own steps."""
    module.eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(module(x).double(), y).item()
