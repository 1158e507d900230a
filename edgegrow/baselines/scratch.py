"""Training from scratch at the final size: the control that growing has to win against."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from edgegrow.baselines.problem import Problem
from edgegrow.baselines.widths import uniform_widths
from edgegrow.growth.groups import NetworkTrace
from edgegrow.training import cosine, evaluate, generator, make_optimizer, train_drawing

STREAM = 2
"""Random stream of the batches: that of a grown run's anneal."""


@dataclass(frozen=True)
class Trained:
    """A trained network and what it took.

    Attributes
    ----------
    trace : NetworkTrace
        The network.
    macs_trained : float
        Multiply-accumulates spent, counted as a grown run counts them: a step takes three forward passes.
    seconds : float
        Wall time of training.
    validation_loss, validation_accuracy : float
        At the end; the accuracy from 0 to 1.
    """

    trace: NetworkTrace
    macs_trained: float
    seconds: float
    validation_loss: float
    validation_accuracy: float


def train_network(
    problem: Problem,
    trace: NetworkTrace,
    macs: float,
    stream: int = STREAM,
    before_step: Callable[[torch.optim.Optimizer], None] | None = None,
) -> Trained:
    """Train a network from where it stands, the rate falling along a cosine from its peak to 0.

    Optimiser, batches and schedule are those of a grown run's anneal.

    Parameters
    ----------
    problem : Problem
        Gives the data, the optimiser's settings and the seed.
    trace : NetworkTrace
        Trained in place.
    macs : float
        Multiply-accumulates to spend: as many whole steps as fit, at least one.
    stream : int
        Tells the random streams of several trainings of one seed apart.
    before_step : callable, optional
        Called with the optimiser before each of its steps, the gradients there.
    """
    config, batches, started = problem.train_config, problem.batches, time.monotonic()
    optimizer = make_optimizer(trace.graph, config.lr, config.momentum, config.weight_decay)
    if before_step is not None:
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: before_step(optimizer))
    step_macs = problem.step_macs(trace)
    total = max(1, int(macs / step_macs))
    for first in range(0, total, batches.steps_per_epoch):
        train_drawing(
            generator(problem.seed, stream, first),
            trace.graph,
            optimizer,
            batches,
            partial(cosine, config.lr, steps=total),
            range(first, min(first + batches.steps_per_epoch, total)),
        )
    loss, accuracy = evaluate(trace.graph, problem.data.validation)
    return Trained(trace, float(total * step_macs), time.monotonic() - started, loss, accuracy)


def train_from_scratch(
    problem: Problem, trace: NetworkTrace | None = None, macs: float | None = None
) -> Trained:
    """Train an untrained network: by default the uniform one that fills the budget, for all epochs.

    Parameters
    ----------
    problem : Problem
        What for, and how.
    trace : NetworkTrace, optional
        The untrained network; by default of `uniform_widths`.
    macs : float, optional
        All training's multiply-accumulates, such as a grown run's ``macs_trained``; by default what the
        problem's epochs take.

    Raises
    ------
    InputError
        If the budget is impossible, or training diverges.
    """
    trace = problem.network(uniform_widths(problem)) if trace is None else trace
    return train_network(
        problem, trace, problem.training_macs(trace, problem.epochs) if macs is None else macs
    )


def train_rungs(problem: Problem, rungs: Sequence[float], metric: str) -> list[Trained]:
    """Train a uniform network from scratch for every rung of a ladder, each for all epochs.

    Parameters
    ----------
    problem : Problem
        Its limit of ``metric`` is replaced by each rung's; its other limits hold for all.
    rungs : sequence of float
        Limits.
    metric : str
        What they bound.

    Returns
    -------
    list of Trained
        One for each rung, in their order.
    """
    return [train_from_scratch(problem.within({**problem.limits, metric: rung})) for rung in rungs]
