"""A stretch of training, counted and recorded: what growing, annealing and finishing all consist of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from edgegrow.data.dataset import Dataset
from edgegrow.growth.progress import Journal, Progress
from edgegrow.training import TRAIN_PASSES, Batches, evaluate, generator, train_drawing

Rates = Callable[[int], float]


class Stretch(NamedTuple):
    """What came of a stretch.

    Attributes
    ----------
    next_step : int
        Number of the step to go on with.
    train_loss : float
        Mean over its steps.
    validation_loss, validation_accuracy : float
        At its end.
    """

    next_step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Trainer:
    """Trains networks on one data set.

    Attributes
    ----------
    data : Dataset
        Its training split is trained on, its validation split is reported on.
    batches : Batches
        Of the training split.
    seed : int
        Decides the order of the samples.
    journal : Journal
        Is told of every step and stretch.
    """

    data: Dataset
    batches: Batches
    seed: int
    journal: Journal

    def epoch_macs(self, macs: int) -> float:
        """Multiply-accumulates that an epoch of a network takes whose inference takes so many."""
        return float(TRAIN_PASSES * macs * self.batches.size * self.batches.steps_per_epoch)

    def train(
        self,
        network: nn.Module,
        macs: int,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        stage: str,
        key: tuple[int, ...],
        rates: Rates,
        first: int,
        total: int,
    ) -> Stretch:
        """Train for an epoch, or for what is left of ``total`` steps.

        Parameters
        ----------
        network : nn.Module
            Trained in place.
        macs : int
            Multiply-accumulates of one inference.
        optimizer : torch.optim.Optimizer
            Over its parameters.
        progress : Progress
            Is charged with the training, also where it diverges.
        stage : str
            What it is called in the history.
        key : tuple of int
            Of the random streams, with the seed.
        rates : callable
            Learning rate of a step.
        first, total : int
            The step to begin with, and how many there are in all.

        Returns
        -------
        Stretch

        Raises
        ------
        DivergedError
            If the training diverges.
        """
        steps = range(first, min(first + self.batches.steps_per_epoch, total))
        progress.macs_trained += TRAIN_PASSES * macs * self.batches.size * len(steps)
        started = time.monotonic()
        loss = train_drawing(
            generator(self.seed, *key),
            network,
            optimizer,
            self.batches,
            rates,
            steps,
            lambda step, value: self.journal.step(stage, step + 1, total, value),
        )
        validation_loss, validation_accuracy = evaluate(network, self.data.validation)
        self.journal.record(
            "epoch",
            {
                "stage": stage,
                "steps": len(steps),
                "lr": rates(first),
                "train_loss": loss,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "macs_trained": progress.macs_trained,
                "seconds": time.monotonic() - started,
            },
        )
        return Stretch(steps.stop, loss, validation_loss, validation_accuracy)
