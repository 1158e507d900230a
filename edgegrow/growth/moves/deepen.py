"""Near-identity residual blocks: the network grows deeper.

Behind a place where the network's own blocks end, ``x`` becomes ``x + f(x)`` with ``f`` ending in a batch
norm whose scales ``gamma`` are zero: an identity, exactly, as those of Net2DeeperNet are (Chen, Goodfellow,
Shlens, "Net2Net", ICLR 2016, section 2.3). What a block can win is the gradient at its scales,

    slope = -sqrt(c) ||dL/dgamma||,

for ``c`` channels, whose natural norm is that of all ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import Layer
from edgegrow.growth.moves.calibration import calibrate, evaluating
from edgegrow.growth.moves.insertion import (
    Insertion,
    block_layers,
    find_places,
    fresh_block,
    insert_blocks,
    last_norm,
)
from edgegrow.growth.moves.protocol import Context, Proposal, outputs
from edgegrow.training import TRAIN_PASSES


@dataclass(frozen=True, eq=False, kw_only=True)
class Deepening(Proposal):
    """A block to be inserted.

    Attributes
    ----------
    insertion : Insertion
        Where.
    block : nn.Sequential
        What; a copy of it is inserted, so that a move can be tried.
    added : tuple of Layer
        Its layers.
    scales : torch.Tensor
        ``(c,)``, what a unit step adds to the scales of its last batch norm.
    """

    insertion: Insertion
    block: nn.Sequential
    added: tuple[Layer, ...]
    scales: torch.Tensor

    @property
    def layers(self) -> tuple[Layer, ...]:
        """See `Move`."""
        return self.added


def offer(context: Context) -> list[Deepening]:
    """Offer a block at every place: none where the network has no activation behind a growable group.

    A copy of the network gets all of them: identities, they do not see each other.
    """
    places = find_places(context.trace)
    if not places:
        return []
    with _seeded(context.generator):
        blocks = [fresh_block(context.trace, place) for place in places]
    trial = insert_blocks(deepcopy(context.trace), [place.insertion for place in places], blocks)
    paths = {module: name for name, module in trial.graph.named_modules()}
    norms = [module for block in blocks for module in block if hasattr(module, "running_mean")]
    everything = {paths[norm]: torch.arange(len(norm.weight)) for norm in norms}  # type: ignore[arg-type]
    calibrate(trial.graph, context.batches[0][0], everything)
    scales = [last_norm(block).weight for block in blocks]
    gradients = [torch.zeros_like(scale) for scale in scales]
    with evaluating(trial.graph):
        for x, y in context.batches:
            loss = context.mean_loss(outputs(trial.graph, x), y)
            for total, gradient in zip(gradients, torch.autograd.grad(loss, scales), strict=True):
                total += gradient
    context.macs += TRAIN_PASSES * context.samples * count_macs(trial.shapes(trial.widths()))
    moves = []
    for place, block, gradient in zip(places, blocks, gradients, strict=True):
        unit, size = len(gradient) ** 0.5, gradient.norm()
        moves.append(
            Deepening(
                kind="deepen",
                group=place.insertion.after,
                slope=-unit * size.item(),
                insertion=place.insertion,
                block=block,
                added=tuple(block_layers(place, block)),
                scales=-unit * gradient / size.clamp_min(torch.finfo(size.dtype).tiny),
            )
        )
    return moves


@contextmanager
def _seeded(generator: torch.Generator) -> Iterator[None]:
    """Let PyTorch's own initialisation draw from a generator; its global state is left alone."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
