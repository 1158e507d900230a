"""Small networks that full-batch gradient descent brings to a local optimum, and splits of their neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from edgegrow.config import GrowConfig
from edgegrow.data import load_dataset
from edgegrow.growth.eigenpairs import SplittingIndex, lanczos
from edgegrow.growth.groups import NetworkTrace, trace
from edgegrow.growth.splitting import SplittingOperator, cross_entropy_sum
from edgegrow.growth.surgery import ChannelSplit, split_channels
from edgegrow.training import generator, make_optimizer

MOMENTUM = 0.9

PRODUCTS = 8
"""Lanczos products, as many as growth takes."""

samples_of = cache(load_dataset)
"""`load_dataset`, each data set once: to make MNIST-1D takes longer than any toy."""

Loss = Callable[[Any, torch.Tensor], torch.Tensor]


def squared_error_sum(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Half the squared error, summed over samples."""
    return 0.5 * (output - y).square().sum()


class Bell(nn.Module):
    """A radial basis function of its pre-activation, ``exp(-z^2 / 2)``."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Apply it to each element."""
        return torch.exp(-0.5 * z * z)


@dataclass
class Toy:
    """A network, all of its samples, and its loss.

    Attributes
    ----------
    network : nn.Module
    x, y : torch.Tensor
        Samples and what is wanted.
    loss_sum : callable
        From outputs and ``y`` to the loss, summed over samples.
    lr : float
        Rate of full-batch gradient descent with momentum.
    """

    network: nn.Module
    x: torch.Tensor
    y: torch.Tensor
    loss_sum: Loss
    lr: float

    def loss(self) -> float:
        """Mean loss, in double precision."""
        self.network.eval()
        with torch.no_grad():
            return self.loss_sum(self.network(self.x).double(), self.y).item() / len(self.y)

    def fit(self, steps: int, optimizer: torch.optim.Optimizer | None = None) -> list[float]:
        """Descend; return the loss before every step."""
        optimizer = optimizer or self.optimizer()
        losses = []
        self.network.train()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = self.loss_sum(self.network(self.x), self.y) / len(self.y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def optimizer(self) -> torch.optim.Optimizer:
        """Return plain gradient descent with momentum, at rest."""
        return make_optimizer(self.network, self.lr, MOMENTUM, 0.0)

    def double(self) -> Toy:
        """Return a copy in double precision, where small differences of the loss are told apart."""
        wanted = self.y.double() if self.y.is_floating_point() else self.y
        return Toy(deepcopy(self.network).double(), self.x.double(), wanted, self.loss_sum, self.lr)

    def copy(self) -> Toy:
        """Return the same toy with a network of its own."""
        return Toy(deepcopy(self.network), self.x, self.y, self.loss_sum, self.lr)

    def traced(self) -> NetworkTrace:
        """Find the channel groups."""
        return trace(self.network, self.x.shape[1:])

    def indices(self) -> list[SplittingIndex]:
        """Lowest eigenpairs of every neuron's splitting matrix, over all samples."""
        operator = SplittingOperator(self.traced(), [(self.x, self.y)], self.loss_sum)
        return lanczos(operator, PRODUCTS, generator(0))


def bells(seed: int, samples: int = 200) -> Toy:
    """One neuron that is to become many: a sum of 15 radial basis functions is to be fitted in one dimension.

    The toy of Liu, Wu, Wang (2019), section 4: a bias is an input of constant 1.
    """
    rng = generator(seed, 50)
    line = torch.linspace(-5, 5, samples)[:, None]
    x = torch.cat([line, torch.ones_like(line)], dim=1)
    hidden = torch.randn(15, 2, generator=rng) * torch.tensor([1.5, 3.0])
    y = torch.exp(-0.5 * (x @ hidden.T).square()) @ torch.randn(15, 1, generator=rng)
    network = nn.Sequential(nn.Linear(2, 1, bias=False), Bell(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.randn(1, 2, generator=rng))
        network[2].weight.copy_(torch.randn(1, 1, generator=rng))
    return Toy(network, x, y, squared_error_sum, 0.2)


def disc_mlp(seed: int, samples: int = 400) -> Toy:
    """Two hidden neurons that are to tell the inside of a disc from its outside, and cannot.

    Each of them cuts the plane once; a closed curve takes three at least. A bias is an input of constant 1.
    """
    rng = generator(seed, 54)
    place = torch.randn(samples, 2, generator=rng)
    y = (place.norm(dim=1) < 1.1).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Tanh(), nn.Linear(2, 2))
    return Toy(network, torch.cat([place, torch.ones(samples, 1)], dim=1), y, cross_entropy_sum, 0.2)


def split(
    toy: Toy,
    chosen: Sequence[tuple[SplittingIndex, torch.Tensor]],
    step: float,
    rng: torch.Generator | None = None,
    state: Any = None,
) -> dict[nn.Parameter, torch.Tensor]:
    """Split neurons of a toy in place, and return the directions that part the copies, a unit step each.

    Parameters
    ----------
    toy : Toy
    chosen : sequence of (SplittingIndex, torch.Tensor)
        Indices of groups, and which of their channels ``(m,)``.
    step : float
        Relative to the filters' norms; 0 leaves plain copies.
    rng : torch.Generator, optional
        Draws directions, as long as the eigenvectors are, in their place.
    state : mapping, optional
        The optimiser's.
    """
    traced = toy.traced()
    groups = {group.name: group for group in traced.growable}
    splits = []
    for index, channels in chosen:
        directions = index.directed(channels)
        if rng is not None:
            drawn = torch.randn(len(channels), index.directions.shape[1], generator=rng)
            drawn = drawn / drawn.norm(dim=1, keepdim=True)
            directions = index.block.unpack(index.block.scale()[channels] * drawn)
        splits.append(ChannelSplit(groups[index.block.group.name], channels, directions))
    parting = split_channels(traced, splits, state)
    for weight, direction in parting.items():
        weight.data += step * direction
    return parting


def best_step(toy: Toy, chosen: Sequence[tuple[SplittingIndex, torch.Tensor]]) -> float:
    """Find the step that lowers the loss most, of those that growth tries."""
    trial = toy.copy()
    parting, present, losses = split(trial, chosen, 0.0), 0.0, {}
    for step in GrowConfig().step_sizes:
        for weight, direction in parting.items():
            weight.data += (step - present) * direction
        present = step
        losses[step] = trial.loss()
    return min(losses, key=losses.__getitem__)


def gradient_norm(toy: Toy) -> float:
    """Euclidean norm of the mean loss's gradient with respect to all parameters."""
    toy.network.train()
    loss = toy.loss_sum(toy.network(toy.x), toy.y) / len(toy.y)
    found = torch.autograd.grad(loss, list(toy.network.parameters()))
    return float(torch.cat([g.flatten() for g in found]).norm())
