"""Moves that restructure a network, and those of them that insert a block: what they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import Layer, NetworkTrace
from edgegrow.growth.moves.calibration import calibrate, evaluating
from edgegrow.growth.moves.insertion import Insertion, Place, block_layers, fresh_block, insert_blocks
from edgegrow.growth.moves.protocol import Context, Proposal, outputs
from edgegrow.training import TRAIN_PASSES


@dataclass(frozen=True, eq=False, kw_only=True)
class Restructuring(Proposal, ABC):
    """A change of what layers there are, or of their kernels: an option of a growth step of its own.

    Attributes
    ----------
    insertion : Insertion
        Its record.
    frees : bool
        Whether it leaves a cheaper network: it is judged with the channels that are bought instead.
    """

    insertion: Insertion
    frees: ClassVar[bool] = False

    @abstractmethod
    def made(self, network: NetworkTrace) -> NetworkTrace:
        """Make it on a network, in place, and return the network as it is then; it can be made again."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Inserting(Restructuring):
    """A block to be inserted.

    Attributes
    ----------
    block : nn.Sequential
        What; a copy of it is inserted, so that a move can be tried.
    added : tuple of Layer
        Its layers.
    weight : str
        Path in the block of the parameter that a step moves.
    direction : torch.Tensor
        What a unit step adds to it.
    """

    block: nn.Sequential
    added: tuple[Layer, ...]
    weight: str
    direction: torch.Tensor

    @property
    def layers(self) -> tuple[Layer, ...]:
        """See `Move`."""
        return self.added

    def made(self, network: NetworkTrace) -> NetworkTrace:
        """See `Restructuring`."""
        return insert_blocks(network, [self.insertion], [deepcopy(self.block)])


def offer_blocks(
    kind: str,
    context: Context,
    places: Sequence[Place],
    weight: str,
    natural_norm: Callable[[torch.Tensor], float],
    settle: Callable[[nn.Sequential], None] = lambda block: None,
) -> list[Inserting]:
    """Offer a block at every place, by the gradient at one of its parameters.

    A copy of the network gets all of them: identities, they do not see each other.

    Parameters
    ----------
    kind : str
        Name of the kind.
    context : Context
        The network and the samples.
    places : sequence of Place
        Where.
    weight : str
        Path of the parameter in a block.
    natural_norm : callable
        Gives that of the parameter, which a relative step is measured by.
    settle : callable, optional
        Makes a block whose batch norms know their statistics leave the function as it is.
    """
    if not places:
        return []
    with _seeded(context.generator):
        blocks = [fresh_block(context.trace, place) for place in places]
    trial = insert_blocks(deepcopy(context.trace), [place.insertion for place in places], blocks)
    paths = {module: name for name, module in trial.graph.named_modules()}
    for block in blocks:
        norms = [module for module in block if hasattr(module, "running_mean")]
        everything = {paths[norm]: torch.arange(len(norm.weight)) for norm in norms}  # type: ignore[arg-type]
        calibrate(trial.graph, context.batches[0][0], everything)
        settle(block)
        context.macs += len(context.batches[0][1]) * count_macs(trial.shapes(trial.widths()))
    weights = [block.get_parameter(weight) for block in blocks]
    gradients = [torch.zeros_like(weight) for weight in weights]
    with evaluating(trial.graph):
        for x, y in context.batches:
            loss = context.mean_loss(outputs(trial.graph, x), y)
            for total, gradient in zip(gradients, torch.autograd.grad(loss, weights), strict=True):
                total += gradient
    context.macs += TRAIN_PASSES * context.samples * count_macs(trial.shapes(trial.widths()))
    moves = []
    for place, block, gradient in zip(places, blocks, gradients, strict=True):
        unit, size = natural_norm(block.get_parameter(weight).detach()), gradient.norm()
        moves.append(
            Inserting(
                kind=kind,
                group=place.insertion.after,
                slope=-unit * size.item(),
                insertion=place.insertion,
                block=block,
                added=tuple(block_layers(place, block)),
                weight=weight,
                direction=-unit * gradient / size.clamp_min(torch.finfo(size.dtype).tiny),
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
