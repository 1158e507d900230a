"""Moves of several kinds made at once: the network at step zero, and the direction to go."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves.blocks import Inserting, Restructuring
from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.insertion import Insertion, insert_blocks
from edgegrow.growth.moves.kernels import narrow_kernels
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.moves.placement import Placement, weight_of
from edgegrow.growth.moves.protocol import Move
from edgegrow.growth.moves.trim import Trimming


@dataclass(frozen=True)
class Applied:
    """What is left of moves when they are made.

    Attributes
    ----------
    trace : NetworkTrace
        The grown network; its function is that from before, but for kernels that were narrowed.
    directions : dict
        For every parameter concerned, in its new shape, what is to be added to it, times a step.
    insertions : tuple of Insertion
        What has restructured it, in order: records for `edgegrow.growth.moves.replay`.
    """

    trace: NetworkTrace
    directions: dict[nn.Parameter, torch.Tensor]
    insertions: tuple[Insertion, ...]


@torch.no_grad()
def apply(
    trace: NetworkTrace,
    moves: Sequence[Move],
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer | None = None,
) -> Applied:
    """Make moves at step zero: the function stays as it is, unless one narrows kernels.

    That is done last, so that what other moves do to filters is narrowed with them.

    Parameters
    ----------
    trace : NetworkTrace
        The network that the moves were offered for, or a copy; changed in place.
    moves : sequence of Move
        At most one that copies each channel, and one block behind each node.
    generator : torch.Generator
        For filters that moves leave open, as those of a new channel in a block that is new as well.
    optimizer : torch.optim.Optimizer, optional
        Its state is carried along, and parameters of inserted blocks join those of their kind.

    Returns
    -------
    Applied
        To be read instead of `trace` from then on.

    Raises
    ------
    ValueError
        If two moves copy the same channel, or a move is of no known class.
    """
    insertions = tuple(move.insertion for move in moves if isinstance(move, Restructuring))
    trims = any(isinstance(move, Trimming) for move in moves)
    deeper = [move for move in moves if isinstance(move, Inserting)]
    wider = [move for move in moves if isinstance(move, (Copies, Neuron))]
    if len(insertions) + len(wider) < len(moves):
        raise ValueError("moves: one is neither copies, nor a neuron, nor does it restructure the network")
    blocks = [deepcopy(move.block).train(trace.graph.training) for move in deeper]
    if blocks:
        trace = insert_blocks(trace, [move.insertion for move in deeper], blocks)
    state = None if optimizer is None else optimizer.state
    if optimizer is not None:
        for block in blocks:
            _adopt(optimizer, block)
    placement = Placement(trace, wider, generator, state)
    placement.place_neurons(wider)
    directions: dict[nn.Parameter, torch.Tensor] = {
        weight_of(trace, name): laid for name, laid in placement.directions(wider).items()
    }
    layer_of = {
        trace.module(name).weight: layer.shape.name
        for layer in trace.layers
        for name in (layer.shape.name, layer.norm)
        if name
    }
    for move, block in zip(deeper, blocks, strict=True):
        weight = block.get_parameter(move.weight)
        directions[weight] = placement.follow_rows(layer_of[weight], move.direction)
    if trims:
        trace = narrow_kernels(trace, state, directions)
    return Applied(trace, directions, insertions)


def _adopt(optimizer: torch.optim.Optimizer, block: nn.Module) -> None:
    """Give an optimiser a block's parameters: matrices beside its matrices, vectors beside its vectors."""
    for parameter in block.parameters():
        matrix = parameter.ndim > 1
        alike = [g for g in optimizer.param_groups if any((p.ndim > 1) == matrix for p in g["params"])]
        (alike or optimizer.param_groups)[0]["params"].append(parameter)
