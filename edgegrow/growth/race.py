"""Which fresh weights to train: several start, and after every short round only the best third goes on.

Tiny networks of the same architecture end further apart by their initial weights than by their widths, and
show it early (docs/results/growth.md). So the first steps of training are a race between several
initialisations, by successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016); the winner's training simply goes on.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from edgegrow.config import TrainConfig
from edgegrow.growth.architecture import initialise
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.probe import count_of
from edgegrow.growth.progress import Others, Progress
from edgegrow.growth.stretch import Trainer
from edgegrow.training import cosine, make_optimizer


@dataclass(frozen=True)
class Round:
    """Part of a race.

    Attributes
    ----------
    plants : int
        How many take part.
    until : float
        Share of the winner's whole training at which it ends.
    """

    plants: int
    until: float


def rounds(plants: int, first: float) -> list[Round]:
    """Plan a race: each round keeps a third, and trains what is left for as long as all rounds before.

    Parameters
    ----------
    plants : int
        At the start.
    first : float
        Length of the first round, as a share of the winner's whole training.
    """
    found, until = [], first
    while plants > 1:
        found.append(Round(plants, until))
        plants, until = _kept(plants), 2 * until
    return found


def _kept(plants: int) -> int:
    return max(1, round(plants / 3))


def lost_share(plan: list[Round]) -> float:
    """Training of all that are dropped, in units of the winner's whole training."""
    before = [0.0, *(part.until for part in plan)]
    return sum((part.plants - 1) * (part.until - start) for part, start in zip(plan, before, strict=False))


@dataclass(frozen=True)
class Plant:
    """One contestant.

    Attributes
    ----------
    number : int
        From 0; the first has the weights that training without a race begins with.
    trace : NetworkTrace
        Its network.
    optimizer : torch.optim.SGD
        Over its parameters.
    """

    number: int
    trace: NetworkTrace
    optimizer: torch.optim.SGD

    @property
    def prefix(self) -> str:
        """Of its tensors in a checkpoint."""
        return f"plant{self.number}_"


def sow(trace: NetworkTrace, numbers: list[int], seed: int, config: TrainConfig) -> list[Plant]:
    """Copy a network, each copy with fresh weights of its own.

    Parameters
    ----------
    trace : NetworkTrace
        The architecture.
    numbers : list of int
        Of the contestants: with the seed they decide the weights.
    seed : int
    config : TrainConfig
        Settings of the optimisers.
    """
    plants = []
    for number in numbers:
        grown = deepcopy(trace)
        initialise(
            grown, int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) if number else seed
        )
        optimizer = make_optimizer(grown.graph, config.lr, config.momentum, config.weight_decay)
        plants.append(Plant(number, grown, optimizer))
    return plants


class Race:
    """A race in progress.

    Parameters
    ----------
    plants : list of Plant
        Those that are still in it, as ``progress.race`` tells.
    plan : list of Round
        All rounds.
    total : int
        Optimiser steps of the winner's whole training.
    lr : float
        Peak of the learning rate.
    trainer : Trainer

    Attributes
    ----------
    plants : list of Plant
        Those that are still in it.
    """

    def __init__(
        self, plants: list[Plant], plan: list[Round], total: int, lr: float, trainer: Trainer
    ) -> None:
        self.plants, self.plan, self.total, self.trainer = plants, plan, total, trainer
        self._rates = partial(cosine, lr, steps=total)

    def others(self) -> Others:
        """Everything that a checkpoint has to keep beside the first of them."""
        return {plant.prefix: (plant.trace.graph, plant.optimizer) for plant in self.plants}

    def run(self, progress: Progress) -> Plant:
        """Run every round that is left, and return the winner; ``progress.anneal_steps`` is where it stands.

        All contestants see the same samples in the same order. Every stretch of at most an epoch ends in a
        checkpoint.
        """
        (first, *_) = self.plants
        state = progress.race
        for number in range(state.rounds, len(self.plan)):
            end = max(number + 1, round(self.plan[number].until * self.total))
            for plant in self.plants:
                key = str(plant.number)
                while state.steps[key] < end:
                    self._stretch(plant, number, end, progress)
                    self.trainer.journal.checkpoint(progress, first.trace, first.optimizer, self.others())
            ranked = sorted(self.plants, key=lambda plant: state.losses[str(plant.number)])
            kept = ranked[: _kept(len(ranked))]
            self.plants = sorted(kept, key=lambda plant: plant.number)
            state.rounds = number + 1
            self.trainer.journal.record(
                "race",
                {
                    "round": number + 1,
                    "losses": dict(state.losses),
                    "kept": [plant.number for plant in self.plants],
                },
            )
            state.losses = {}
            state.steps = {str(plant.number): state.steps[str(plant.number)] for plant in self.plants}
            first = self.plants[0]
        progress.anneal_steps = state.steps[str(first.number)]
        return first

    def _stretch(self, plant: Plant, number: int, end: int, progress: Progress) -> None:
        """Train one contestant for at most half of the round: the second half decides.

        By the loss on batches that it has not seen before, and by that on validation samples: each is noisy
        by itself.
        """
        state, key = progress.race, str(plant.number)
        start = 0 if number == 0 else max(number, round(self.plan[number - 1].until * self.total))
        middle = (start + end) // 2
        done = state.steps[key]
        stretch = self.trainer.train(
            plant.trace.graph,
            count_of(plant.trace),
            plant.optimizer,
            progress,
            f"race {number + 1}/{len(self.plan)}, plant {plant.number}",
            (2, done),
            self._rates,
            done,
            middle if done < middle else end,
        )
        state.steps[key] = stretch.next_step
        state.losses[key] = stretch.train_loss + stretch.validation_loss
