"""What kinds of moves are asked on: how many training samples, and which."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import torch

from edgegrow.config import GrowConfig
from edgegrow.data.dataset import Split
from edgegrow.errors import DivergedError
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import Context, Move, offer
from edgegrow.growth.moves.protocol import Batch
from edgegrow.growth.splitting import BUILD_PASSES, PRODUCT_PASSES
from edgegrow.memory_format import arrangement
from edgegrow.training import TRAIN_PASSES, generator

FEWEST_SAMPLES, MOST_SAMPLES = 64, 1024
"""Fewest and most samples that are scored where ``grow.samples`` is not given."""

_SCORING_SHARE = 0.05
"""Share of all training that all scoring takes at most, where there are more than the fewest samples."""

_EIGENPAIRS = ("split", "signed", "firefly")
"""Kinds that need the extreme eigenpairs of splitting matrices; they share them."""

_OWN_PASSES = {"new": 12, "gradmax": 24, "firefly": 200, "deepen": 8, "weigh": 5, "trim": 3}
"""What the other parts of kinds take at most, in forward passes; seen on the built-in networks."""

_SCORING_BATCH = 256
"""Samples whose graph is kept as one piece while scoring; bounds nothing but the size of single tensors."""

_FILLER = "widen"
"""Kind that fills a group's part of the budget where none of those asked for widens it."""


def subsets(train: Split, config: GrowConfig, epochs: float, seed: int, step: int) -> tuple[Split, Split]:
    """Draw training samples for scoring, and others for the line search.

    Parameters
    ----------
    train : Split
        All training samples.
    config : GrowConfig
    epochs : float
        Of all training: scoring is given a twentieth.
    seed, step : int
        Decide the draw.
    """
    wanted = config.samples or _affordable_samples(config, epochs * len(train))
    size = min(wanted, len(train) // 2)
    order = torch.randperm(len(train), generator=generator(seed, 4, step)).numpy()
    first, second = order[:size], order[size : 2 * size]
    return Split(train.x[first], train.y[first]), Split(train.x[second], train.y[second])


def _affordable_samples(config: GrowConfig, trained: float) -> int:
    """How many samples `_SCORING_SHARE` of all training can score, the network growing as planned."""
    sizes = sum(config.seed_fraction ** (1 - step / config.steps) for step in range(config.steps))
    passes = sum(_OWN_PASSES.get(kind, 1) for kind in config.moves)
    if any(kind in _EIGENPAIRS for kind in config.moves):
        passes += BUILD_PASSES + config.products * PRODUCT_PASSES
    affordable = int(_SCORING_SHARE * TRAIN_PASSES * trained / (passes * sizes))
    return max(FEWEST_SAMPLES, min(MOST_SAMPLES, affordable))


def score(
    trace: NetworkTrace, samples: Split, config: GrowConfig, rng: torch.Generator
) -> tuple[list[Move], Context]:
    """Ask all kinds of moves that are configured for their candidates.

    Parameters
    ----------
    trace : NetworkTrace
        The network; left as it is.
    samples : Split
        What expectations are taken over.
    config : GrowConfig
        Its ``moves`` and ``products``.
    rng : torch.Generator
        For everything random.

    Returns
    -------
    moves : list of Move
        Some of them widen, whatever the group; what promises no number is left out.
    context : Context
        Knows what it took.

    Raises
    ------
    DivergedError
        If the network has gone so far astray that nothing can be scored.
    """
    context = Context(trace, list(_batches(trace, samples)), rng, config.products)
    try:
        moves = [move for kind in config.moves for move in offer(kind, context) if isfinite(move.gain)]
    except torch.linalg.LinAlgError as error:
        message = (
            "growth: the network's derivatives are no numbers any more, training diverged: lower train.lr"
        )
        raise DivergedError(message) from error
    widened = {group for move in moves for group in move.channels}
    filling = (move for move in offer(_FILLER, context) if move.group not in widened)
    return [*moves, *(move for move in filling if isfinite(move.gain))], context


def _batches(trace: NetworkTrace, samples: Split) -> Iterator[Batch]:
    x, y = arrangement(trace.graph)(torch.from_numpy(samples.x)), torch.from_numpy(samples.y)
    return zip(x.split(_SCORING_BATCH), y.split(_SCORING_BATCH), strict=True)
