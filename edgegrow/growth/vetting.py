"""A hard look at blocks: what they do to samples that are not trained on.

A block is chosen by a short training on all samples, and there whatever has more parameters is ahead: it
learns faster. What it does to data that are scarce shows only late. So the network is also trained with and
without it on few samples for all epochs, from fresh weights, where what overfits is behind. (One that makes
the network cheaper is looked at with what that buys: both networks are those of the growth step.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt

import torch

from edgegrow.config import TrainConfig
from edgegrow.data.dataset import Dataset, Split
from edgegrow.errors import DivergedError
from edgegrow.growth.architecture import initialise
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.probe import count_of
from edgegrow.training import (
    TRAIN_PASSES,
    Batches,
    batches_of,
    cosine,
    evaluate,
    generator,
    make_optimizer,
    train_drawing,
)

_LEAST_PART, _LEAST_STEPS = 0.04, 600
"""Share of the training samples, and optimiser steps on them: with fewer, all networks underfit."""

_MOST_PART = 0.1
"""Share of the training samples, and with it of all training, that one network takes at most. Where that is
fewer steps, all of training is short, and who learns faster ends higher."""

_MOST_LOSS = 1.5
"""Ratio of losses above which a block overfits. Weights for positions had 0.8 to 1.2 on Fashion-MNIST, where
they help, and 1.7 to 2.2 on spoken keywords, where they cost 2 to 4 points (scripts/growth/tried.md)."""

_SAMPLES, _ORDER = 6, 7
"""Random streams."""


@dataclass(frozen=True)
class Look:
    """What came of training a network on few samples: on validation samples.

    Attributes
    ----------
    accuracy : float
        From 0 to 1.
    loss : float
    """

    accuracy: float
    loss: float


@dataclass(frozen=True)
class Vetting:
    """Trains networks on a part of the training samples for all epochs.

    Attributes
    ----------
    data : Dataset
        Its validation split decides.
    config : TrainConfig
        Its ``epochs`` are a number.
    seed : int
        Decides the part, the weights, and the order.
    """

    data: Dataset
    config: TrainConfig
    seed: int

    @property
    def batches(self) -> Batches:
        """Batches of the part: of as many samples as the least steps need, up to the most."""
        assert self.config.epochs is not None
        train = self.data.train
        needed = max(_LEAST_PART * len(train), _LEAST_STEPS * self.config.batch_size / self.config.epochs)
        count = max(2, round(min(needed, _MOST_PART * len(train))))
        order = torch.randperm(len(train), generator=generator(self.seed, _SAMPLES))[:count].numpy()
        return batches_of(self.data, self.config, Split(train.x[order], train.y[order]))

    def holds(self, without: Look | None, with_block: Look | None, alike: bool) -> bool:
        """Whether a network with a block is not behind one without it.

        Its loss may be higher by half: more is confidence in what is wrong. Where both began alike, its
        accuracy may be lower by a standard error of the difference, ``sqrt(2 p (1 - p) / n)`` for ``n``
        validation samples.

        Parameters
        ----------
        without, with_block : Look or None
            None of one whose training diverged: it is behind every other.
        alike : bool
            Whether both had the same fresh weights, but for the block's. Between networks of other widths
            the fresh weights alone make 6 points of accuracy (standard deviation of 8 differences, conv1d on
            MNIST-1D at 4k MACs), so that theirs tells nothing.
        """
        if without is None or with_block is None:
            return with_block is not None
        if with_block.loss > _MOST_LOSS * without.loss:
            return False
        p = without.accuracy
        error = sqrt(2 * p * (1 - p) / len(self.data.validation))
        return not alike or with_block.accuracy >= p - error

    @property
    def steps(self) -> int:
        """Optimiser steps that one network is trained for."""
        assert self.config.epochs is not None
        return max(1, round(self.config.epochs * self.batches.steps_per_epoch))

    def macs(self, trace: NetworkTrace) -> float:
        """Multiply-accumulates that the training of a network takes."""
        return float(TRAIN_PASSES * count_of(trace) * self.batches.size * self.steps)

    def look(self, trace: NetworkTrace, on_step: Callable[[int, int, float], None]) -> Look | None:
        """Train a network from fresh weights, and see what it does on validation samples.

        Parameters
        ----------
        trace : NetworkTrace
            Trained in place.
        on_step : callable
            Called with the number of each step, of all steps, and its loss.

        Returns
        -------
        Look or None
            None if the training diverges.
        """
        config, batches, steps = self.config, self.batches, self.steps
        initialise(trace, self.seed)
        optimizer = make_optimizer(trace.graph, config.lr, config.momentum, config.weight_decay)
        try:
            train_drawing(
                generator(self.seed, _ORDER),
                trace.graph,
                optimizer,
                batches,
                partial(cosine, config.lr, steps=steps),
                range(steps),
                lambda step, loss: on_step(step + 1, steps, loss),
            )
            loss, accuracy = evaluate(trace.graph, self.data.validation)
        except DivergedError:
            return None
        return Look(accuracy, loss)
