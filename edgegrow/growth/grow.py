"""The growth loop: train a little, score every channel, split the best, and anneal at the final size.

Growing happens early and fast, at a constant high learning rate, while the network is small and training is
cheap; nearly all of the training is left for the network that is delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from edgegrow.config import LONGEST_GROWTH, GrowConfig, TrainConfig
from edgegrow.cost.layers import count_macs
from edgegrow.data.dataset import Dataset, Split
from edgegrow.growth.eigenpairs import SplittingIndex, lanczos
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.menu import Candidate
from edgegrow.growth.progress import Journal, Progress
from edgegrow.growth.select import CheckedCostModel, CostModel, select_checked
from edgegrow.growth.splitting import BUILD_PASSES, PRODUCT_PASSES, SplittingOperator
from edgegrow.growth.surgery import ChannelSplit, filter_norms, rescale_filters, split_channels
from edgegrow.training import (
    TRAIN_PASSES,
    Batches,
    cosine,
    evaluate,
    generator,
    image_shift,
    make_optimizer,
    train,
)

_SCORING_BATCH = 256
"""Samples whose graph is kept as one piece while scoring; bounds nothing but the size of single tensors."""


FEWEST_SAMPLES, MOST_SAMPLES = 64, 1024
"""Fewest and most samples that are scored where ``grow.samples`` is not given."""

_SCORING_SHARE = 0.1
"""Share of all training that all scoring takes at most, where there are more than the fewest samples."""

_FAIR_ANNEAL = 0.5
"""Share of all training below which the anneal is warned about."""

_FILLED = 0.95
"""Share of a limit at which it counts as filled. A budget that the configured growth steps leave emptier, as
where a small network of fixed widths starts, is grown into by further ones."""


class Grower:
    """Grows one network on one data set under one budget.

    Parameters
    ----------
    trace : NetworkTrace
        The seed network, or the network of a checkpoint; grown in place.
    data : Dataset
        Trains on its training split, reports on its validation split, never sees the test split.
    costs : CostModel
        Prices whole networks in the metrics of `limits`, and may try each step's on the target.
    limits : mapping
        ``{metric: upper bound}``.
    train_config, grow_config
        See `edgegrow.config`; ``train_config.epochs`` must be resolved to a number.
    seed : int
        Decides everything random.
    journal : Journal
        Is told of everything.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        data: Dataset,
        costs: CostModel,
        limits: Mapping[str, float],
        train_config: TrainConfig,
        grow_config: GrowConfig,
        seed: int,
        journal: Journal,
    ) -> None:
        assert train_config.epochs is not None
        self.trace, self.data, self.costs, self.limits = trace, data, costs, dict(limits)
        self.train_config, self.config, self.seed, self.journal = train_config, grow_config, seed, journal
        self.epochs = train_config.epochs
        augment = train_config.augment
        self.batches = Batches(
            data.train,
            min(train_config.batch_size, len(data.train)),
            image_shift(data.input_shape) if augment else 0,
            data.flip and augment,
        )
        self.optimizer = make_optimizer(
            trace.graph, train_config.lr, train_config.momentum, train_config.weight_decay
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference at the present widths."""
        return count_macs(self.trace.shapes(self.trace.widths()))

    def run(self, progress: Progress) -> Progress:
        """Grow and anneal from wherever ``progress`` stands to the end; the network is left in place.

        Every stretch of at most an epoch ends in a checkpoint, and draws from streams of its own, keyed by
        seed and place: a resumed run takes the very steps that an uninterrupted one takes.
        """
        if isinstance(self.costs, CheckedCostModel):
            self.costs.recall(progress.learnt)
        if not progress.filter_norms:
            progress.filter_norms = filter_norms(self.trace)
            self.journal.checkpoint(progress, self.trace, self.optimizer)
        while progress.growth_steps < self.config.steps or self._unfilled(progress):
            if progress.waited < self._wait:
                self._train_before_growth(progress)
            else:
                self._grow(progress)
            self.journal.checkpoint(progress, self.trace, self.optimizer)
        if progress.anneal_total == 0:
            progress.anneal_total = self._anneal_length(progress)
        while progress.anneal_steps < progress.anneal_total:
            self._anneal_epoch(progress)
            self.journal.checkpoint(progress, self.trace, self.optimizer)
        return progress

    @property
    def _wait(self) -> int:
        """Optimiser steps before each growth step."""
        return max(1, round(self.config.interval * self.epochs * self.batches.steps_per_epoch))

    @property
    def epoch_macs(self) -> float:
        """Multiply-accumulates of one epoch of training at the present widths."""
        return float(TRAIN_PASSES * self.macs * self.batches.size * self.batches.steps_per_epoch)

    def _anneal_length(self, progress: Progress) -> int:
        """Optimiser steps that all training has left for the final size."""
        left = self.epochs * self.epoch_macs - progress.macs_trained
        if left < _FAIR_ANNEAL * self.epochs * self.epoch_macs:
            self.journal.warn(
                f"growing took {progress.macs_trained / self.epoch_macs:.1f} epochs' worth of the "
                f"{self.epochs:g} there are to train: give more --epochs, or fewer grow.samples"
            )
        return max(1, int(left / (TRAIN_PASSES * self.macs * self.batches.size)))

    def _unfilled(self, progress: Progress) -> bool:
        """Whether a budget is left that a channel more would fit into: a step at most doubles a group."""
        if (progress.growth_steps + 1) * self.config.interval > LONGEST_GROWTH:
            return False
        widths = self.trace.widths()
        now = self.costs(self.trace.shapes(widths))
        if any(now[metric] >= _FILLED * limit for metric, limit in self.limits.items()):
            return False
        wider = (
            self.costs(self.trace.shapes({**widths, group.name: widths[group.name] + 1}))
            for group in self.trace.growable
        )
        return any(all(costs[m] <= limit for m, limit in self.limits.items()) for costs in wider)

    def _train_before_growth(self, progress: Progress) -> None:
        number, rate = progress.growth_steps + 1, self.train_config.lr
        stage = f"grow {number}/{max(number, self.config.steps)}"
        key = (1, progress.growth_steps, progress.waited)
        progress.waited = self._train(progress, stage, key, lambda step: rate, progress.waited, self._wait)

    def _anneal_epoch(self, progress: Progress) -> None:
        first, total = progress.anneal_steps, progress.anneal_total
        rates = partial(cosine, self.train_config.lr, steps=total)
        progress.anneal_steps = self._train(progress, "anneal", (2, first), rates, first, total)

    def _train(
        self,
        progress: Progress,
        stage: str,
        key: tuple[int, ...],
        rates: Callable[[int], float],
        first: int,
        total: int,
    ) -> int:
        """Train for an epoch, or what is left of ``total`` steps, from step ``first``; return the next."""
        steps = range(first, min(first + self.batches.steps_per_epoch, total))
        started = time.monotonic()
        rng = generator(self.seed, *key)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.initial_seed())  # for the network's own dropout
            loss = train(
                self.trace.graph,
                self.optimizer,
                self.batches.draw(rng),
                rates,
                steps,
                lambda step, value: self.journal.step(stage, step + 1, total, value),
            )
        progress.macs_trained += TRAIN_PASSES * self.macs * self.batches.size * len(steps)
        validation_loss, validation_accuracy = evaluate(self.trace.graph, self.data.validation)
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
        return steps.stop

    def _grow(self, progress: Progress) -> None:
        number = progress.growth_steps + 1
        started = time.monotonic()
        scored, searched = self._subsets(progress.growth_steps)
        rng = generator(self.seed, 3, progress.growth_steps)
        indices, passes = score(self.trace, scored, self.config.products, rng)
        scoring_macs = self.macs * passes
        progress.macs_trained += scoring_macs
        scoring_seconds = time.monotonic() - started
        widths_before = self.trace.widths()
        selection = select_checked(
            widths_before, self.trace.shapes, split_candidates(indices), self.costs, self._limits_at(number)
        )
        names = dict.fromkeys(candidate.group for candidate in selection.chosen)
        chosen = {name: torch.tensor(selection.keys(name)) for name in names}
        if isinstance(self.costs, CheckedCostModel):
            progress.learnt = self.costs.learnt()
        loss_before = evaluate(self.trace.graph, searched)[0]
        step, loss_after, predicted = self._split(indices, chosen, searched)
        progress.macs_trained += self.macs * len(searched) * (1 + len(self.config.step_sizes))
        rescale_filters(self.trace, progress.filter_norms, self.optimizer.state)
        progress.growth_steps, progress.waited = number, 0
        widths = self.trace.widths()
        self.journal.record(
            "growth",
            {
                "step": number,
                "splits": {name: len(channels) for name, channels in chosen.items()},
                "widths_before": widths_before,
                "widths": widths,
                "step_size": step,
                "predicted_loss_change": predicted,
                "realised_loss_change": loss_after - loss_before,
                "loss_before": loss_before,
                "loss_after": loss_after,
                "lowest_eigenvalues": {i.block.group.name: i.eigenvalues.tolist() for i in indices},
                "costs": dict(self.costs(self.trace.shapes(widths))),
                "gain": selection.promise,
                "gain_bound": selection.bound,
                "checked": list(selection.checked),
                "model_errors": list(selection.errors),
                "samples": len(scored),
                "scoring_macs": scoring_macs,
                "scoring_seconds": scoring_seconds,
                "macs_trained": progress.macs_trained,
                "seconds": time.monotonic() - started,
            },
        )

    def _subsets(self, growth_step: int) -> tuple[Split, Split]:
        """Training samples for the splitting matrices, and others for the line search."""
        wanted = self.config.samples or self._affordable_samples()
        size = min(wanted, len(self.data.train) // 2)
        order = torch.randperm(len(self.data.train), generator=generator(self.seed, 4, growth_step)).numpy()
        first, second = order[:size], order[size : 2 * size]
        x, y = self.data.train.x, self.data.train.y
        return Split(x[first], y[first]), Split(x[second], y[second])

    def _affordable_samples(self) -> int:
        """How many samples `_SCORING_SHARE` of all training can score, the network growing as planned."""
        config = self.config
        sizes = sum(config.seed_fraction ** (1 - step / config.steps) for step in range(config.steps))
        passes = BUILD_PASSES + config.products * PRODUCT_PASSES
        training = TRAIN_PASSES * self.epochs * len(self.data.train)
        affordable = int(_SCORING_SHARE * training / (passes * sizes))
        return max(FEWEST_SAMPLES, min(MOST_SAMPLES, affordable))

    def _limits_at(self, number: int) -> dict[str, float]:
        """Bounds of a growth step: geometrically from the present costs to the budget over the steps left."""
        now = self.costs(self.trace.shapes(self.trace.widths()))
        share = 1 / max(1, self.config.steps - number + 1)
        return {metric: now[metric] ** (1 - share) * limit**share for metric, limit in self.limits.items()}

    def _split(
        self, indices: Sequence[SplittingIndex], chosen: Mapping[str, torch.Tensor], searched: Split
    ) -> tuple[float, float, float]:
        """Split channels by the step that lowers the loss most: ``(step, loss, predicted change)``."""
        splits, curvature = [], 0.0
        for index in indices:
            group = index.block.group
            if group.name in chosen:
                channels = chosen[group.name]
                splits.append(ChannelSplit(group, channels, index.directed(channels)))
                curvature += index.eigenvalues[channels].sum().item()
        directions = split_channels(self.trace, splits, self.optimizer.state)
        present, losses = 0.0, {}

        def move_to(step: float) -> None:
            nonlocal present
            for weight, direction in directions.items():
                weight.data += (step - present) * direction
            present = step

        for step in self.config.step_sizes:
            move_to(step)
            losses[step] = evaluate(self.trace.graph, searched)[0]
        best = min(losses, key=losses.__getitem__)
        move_to(best)
        return best, losses[best], 0.5 * best**2 * curvature


def split_candidates(indices: Sequence[SplittingIndex]) -> list[Candidate]:
    """Name the split of every channel as a candidate: the key is the channel, the gain -eigenvalue."""
    return [
        Candidate(index.block.group.name, -value, key=channel)
        for index in indices
        for channel, value in enumerate(index.eigenvalues.tolist())
    ]


def score(
    trace: NetworkTrace, samples: Split, products: int, rng: torch.Generator
) -> tuple[list[SplittingIndex], int]:
    """Best split of every channel of every growable group, estimated on some samples.

    Parameters
    ----------
    trace : NetworkTrace
        The network.
    samples : Split
        What the splitting matrices are averaged over.
    products : int
        Lanczos steps.
    rng : torch.Generator
        For the starting vectors.

    Returns
    -------
    indices : list of SplittingIndex
        One for each growable group.
    passes : int
        What it took, in forward passes of one sample.
    """
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    pieces = zip(x.split(_SCORING_BATCH), y.split(_SCORING_BATCH), strict=True)
    operator = SplittingOperator(trace, pieces)
    return lanczos(operator, products, rng), operator.passes
