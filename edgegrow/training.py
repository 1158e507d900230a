"""The training loop: batches, optimiser, evaluation. Everything random comes from a seed given to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, isfinite, pi

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.config import TrainConfig
from edgegrow.data.dataset import Dataset, Split
from edgegrow.errors import DivergedError
from edgegrow.memory_format import arrangement

TRAIN_PASSES = 3
"""A training step's multiply-accumulates in units of a forward pass: forward, and two products backward."""


def deterministic(threads: int) -> None:
    """Make PyTorch repeat its results bit for bit, with this many threads; it holds for the whole process."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def generator(*key: int) -> torch.Generator:
    """Return a random generator for a key such as ``(seed, stage, epoch)``; equal keys give equal streams."""
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def make_optimizer(model: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on weights alone, not on biases and batch norms."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=lr,
        momentum=momentum,
        nesterov=momentum > 0,
    )


@dataclass(frozen=True)
class Batches:
    """Endless shuffled batches of a split, lightly augmented where it holds images.

    Attributes
    ----------
    split : Split
        Samples ``(n, *shape)`` and labels ``(n,)``.
    size : int
        Samples a batch.
    shift : int
        Images are moved by up to so many pixels each way, zeros coming in; 0 for none.
    flip : bool
        Whether half of the images are mirrored.
    """

    split: Split
    size: int
    shift: int = 0
    flip: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return max(1, len(self.split.y) // self.size)

    def draw(self, rng: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ``(x, y)`` for ever, reshuffled every pass."""
        x, y = torch.from_numpy(self.split.x), torch.from_numpy(self.split.y)
        while True:
            order = torch.randperm(len(y), generator=rng)
            for step in range(self.steps_per_epoch):
                index = order[step * self.size : (step + 1) * self.size]
                yield self._augment(x[index], rng), y[index]

    def _augment(self, x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        if self.flip:
            mirrored = torch.rand(len(x), generator=rng) < 0.5
            x = torch.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
        if self.shift:
            h, w = x.shape[-2:]
            padded = F.pad(x, (self.shift,) * 4)
            dy, dx = torch.randint(0, 2 * self.shift + 1, (2, len(x), 1), generator=rng)
            rows, columns = dy + torch.arange(h), dx + torch.arange(w)
            n = torch.arange(len(x))[:, None, None]
            # (n, h, w, c) after indexing two axes around the channels
            x = padded[n, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        return x


def image_shift(shape: tuple[int, ...]) -> int:
    """Pixels by which images ``(c, h, w)`` are moved in training: a fourteenth of the side; 0 for others."""
    return round(min(shape[1:]) / 14) if len(shape) == 3 else 0


def batches_of(data: Dataset, config: TrainConfig, split: Split | None = None) -> Batches:
    """Batch the training samples of a data set, or some of them, as a configuration asks for."""
    chosen = data.train if split is None else split
    shift = image_shift(data.input_shape) if config.augment else 0
    return Batches(chosen, min(config.batch_size, len(chosen)), shift, data.flip and config.augment)


def cosine(lr: float, step: int, steps: int) -> float:
    """Learning rate at ``step`` of ``steps``, from ``lr`` down to 0 along half a cosine."""
    return lr * 0.5 * (1 + cos(pi * step / steps))


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    rates: Callable[[int], float],
    steps: range,
    on_step: Callable[[int, float], None] | None = None,
) -> float:
    """Take optimiser steps.

    Parameters
    ----------
    model : nn.Module
        Left in training mode.
    optimizer : torch.optim.Optimizer
        Over the model's parameters.
    batches : iterator
        Of ``(x, y)``.
    rates : callable
        Learning rate of a step.
    steps : range
        The steps to take; the rate of each is asked for by its number.
    on_step : callable, optional
        Called with the step and its loss.

    Returns
    -------
    float
        Mean loss over the steps.

    Raises
    ------
    DivergedError
        If the loss is no number any more.
    """
    model.train()
    arrange = arrangement(model)
    total = 0.0
    for step in steps:
        x, y = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rates(step)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(arrange(x)), y)
        loss.backward()
        optimizer.step()
        value = _finite(loss.item())
        total += value
        if on_step is not None:
            on_step(step, value)
    return total / max(1, len(steps))


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, batch: int = 500) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (0 to 1) of a model in evaluation mode; its mode is restored.

    Raises
    ------
    DivergedError
        If the loss is no number any more.
    """
    training = model.training
    model.eval()
    arrange = arrangement(model)
    loss, correct = 0.0, 0
    for start in range(0, len(split.y), batch):
        x = torch.from_numpy(split.x[start : start + batch])
        y = torch.from_numpy(split.y[start : start + batch])
        logits = model(arrange(x))
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        correct += int((logits.argmax(1) == y).sum())
    model.train(training)
    return _finite(loss / len(split.y)), correct / len(split.y)


def train_drawing(
    rng: torch.Generator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    rates: Callable[[int], float],
    steps: range,
    on_step: Callable[[int, float], None] | None = None,
) -> float:
    """Take optimiser steps as `train` does, the samples and the network's own dropout drawn by a generator.

    The global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.initial_seed())
        return train(model, optimizer, batches.draw(rng), rates, steps, on_step)


def _finite(loss: float) -> float:
    if not isfinite(loss):
        raise DivergedError(f"training: it diverged (the loss is {loss}): lower train.lr")
    return loss
