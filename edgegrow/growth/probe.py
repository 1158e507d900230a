"""One option of a growth step tried: the network that takes it, and what a short training makes of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch

from edgegrow.config import TrainConfig
from edgegrow.cost.layers import count_macs
from edgegrow.data.dataset import Split
from edgegrow.growth.allocations import Option
from edgegrow.growth.architecture import initialise
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.filter_norms import filter_norms, rescale_filters
from edgegrow.growth.moves import apply
from edgegrow.growth.progress import Progress
from edgegrow.growth.stretch import Trainer
from edgegrow.training import cosine, evaluate, generator, make_optimizer

TRY_STREAM = 8
"""Key of the random stream of a step's options, with the seed and the step's number."""


@dataclass(frozen=True)
class Figures:
    """What an option promised, and what came of it.

    Attributes
    ----------
    step_size : float
        Relative step that its moves were taken with: of those tried, the one of least loss.
    predicted_loss_change : float
        At that step, by the moves' Taylor coefficients.
    loss_before, loss_after : float
        Right before and right after, on training samples that were not scored.
    validation_loss_before, validation_loss : float
        Before it, and after the short training; on validation samples.
    gain : float
        What all moves promise at the step that gains are compared at.
    """

    step_size: float
    predicted_loss_change: float
    loss_before: float
    loss_after: float
    validation_loss_before: float
    validation_loss: float
    gain: float

    @property
    def realised_loss_change(self) -> float:
        """Change of the loss right after."""
        return self.loss_after - self.loss_before

    @property
    def won_back(self) -> float:
        """What growth and the training behind it have lowered the validation loss by."""
        return self.validation_loss_before - self.validation_loss

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, which ``Figures(**values)`` reads back."""
        return asdict(self)


@dataclass(frozen=True)
class Taken:
    """A network that has taken an option.

    Attributes
    ----------
    trace : NetworkTrace
        The network, not yet trained any further.
    step_size, predicted_loss_change, loss_before, loss_after : float
        As of `Figures`.
    filter_norms : dict
        Norms of fresh filters of all its layers.
    macs : float
        Multiply-accumulates that finding the step took.
    """

    trace: NetworkTrace
    step_size: float
    predicted_loss_change: float
    loss_before: float
    loss_after: float
    filter_norms: dict[str, float]
    macs: float


def take(
    option: Option,
    trace: NetworkTrace,
    searched: Split,
    step_sizes: Sequence[float],
    norms: Mapping[str, float],
    rng: torch.Generator,
) -> Taken:
    """Make an option's moves on a copy of the network, by the step that lowers the loss most.

    Parameters
    ----------
    option : Option
        What to do.
    trace : NetworkTrace
        The network that its moves were offered for; left as it is.
    searched : Split
        Samples of the line search.
    step_sizes : sequence of float
        Steps to try.
    norms : mapping
        Norms of fresh filters, as `edgegrow.growth.filter_norms.filter_norms` gave them at initialisation.
    rng : torch.Generator
        For filters that moves leave open.

    Raises
    ------
    DivergedError
        If a step makes the loss no number.
    """
    loss_before = evaluate(trace.graph, searched)[0]
    applied = apply(deepcopy(trace), option.moves, rng)
    grown = applied.trace
    present, losses = 0.0, {}

    def move_to(step: float) -> None:
        nonlocal present
        for weight, direction in applied.directions.items():
            weight.data += (step - present) * direction
        present = step

    all_norms = {**filter_norms(grown), **norms}
    for step in step_sizes:
        move_to(step)
        losses[step] = evaluate(grown.graph, searched)[0]
    best = min(losses, key=losses.__getitem__)
    move_to(best)
    rescale_filters(grown, all_norms)
    return Taken(
        grown,
        best,
        sum(move.predicted(best) for move in option.moves),
        loss_before,
        losses[best],
        all_norms,
        float(len(searched) * (count_of(trace) + len(step_sizes) * count_of(grown))),
    )


def count_of(trace: NetworkTrace) -> int:
    """Multiply-accumulates of one inference of a network as it is."""
    return count_macs(trace.shapes(trace.widths()))


@dataclass(frozen=True)
class Probe:
    """An option that has been tried: its network is trained a little.

    Attributes
    ----------
    option : Option
    taken : Taken
        Its network.
    optimizer : torch.optim.SGD
        Over that.
    figures : Figures
    """

    option: Option
    taken: Taken
    optimizer: torch.optim.SGD
    figures: Figures


@dataclass(frozen=True)
class Prober:
    """Tries options, and trains networks as shortly as it does them.

    Attributes
    ----------
    trainer : Trainer
    config : TrainConfig
        Of the optimiser.
    steps : int
        Optimiser steps of every short training; the rate falls to 0 in them.
    step_sizes : sequence of float
        Steps that line searches try.
    """

    trainer: Trainer
    config: TrainConfig
    steps: int
    step_sizes: Sequence[float]

    def optimizer(self, trace: NetworkTrace) -> torch.optim.SGD:
        """Make an optimiser over a network."""
        return make_optimizer(trace.graph, self.config.lr, self.config.momentum, self.config.weight_decay)

    def rates(self, step: int) -> float:
        """Learning rate of a step of a short training."""
        return cosine(self.config.lr, step, self.steps)

    def probe(
        self,
        option: Option,
        trace: NetworkTrace,
        progress: Progress,
        number: int,
        searched: Split,
        before: float,
        fresh: bool,
    ) -> Probe:
        """Try an option. All options of a step see the same samples in the same order.

        Parameters
        ----------
        option : Option
        trace : NetworkTrace
            The network that its moves were offered for; left as it is.
        progress : Progress
            Is charged with it.
        number : int
            Of the growth step.
        searched : Split
            Samples of the line search.
        before : float
            The network's validation loss.
        fresh : bool
            Whether it is judged with fresh weights.

        Raises
        ------
        DivergedError
            If it diverges.
        """
        rng = generator(self.trainer.seed, TRY_STREAM, number)
        taken = take(option, trace, searched, self.step_sizes, progress.filter_norms, rng)
        progress.macs_trained += taken.macs
        if fresh:
            initialise(taken.trace, self.trainer.seed)
        optimizer = self.optimizer(taken.trace)
        stage, macs, done, after = f"grow {number}, {option.name}", count_of(taken.trace), 0, before
        while done < self.steps:
            done, _, after, _ = self.trainer.train(
                taken.trace.graph, macs, optimizer, progress, stage, (1, number, done),
                self.rates, done, self.steps,
            )  # fmt: skip
        figures = Figures(
            taken.step_size, taken.predicted_loss_change, taken.loss_before, taken.loss_after,
            before, after, option.gain,
        )  # fmt: skip
        return Probe(option, taken, optimizer, figures)
