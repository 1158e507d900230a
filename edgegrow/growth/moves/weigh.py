r"""Weights for every position of a map that a global average pool has taken as equals.

The pool becomes a depthwise convolution as large as the map, as MobileFaceNets end in (Chen, Liu, Gao, Han,
"MobileFaceNets", CCBR 2018, section 3.1), and a batch norm. Its weights ``w`` begin equal and the batch norm
undoes itself, so that nothing changes at first. What they can win is the gradient at them,

    slope = -||w|| ||dL/dw||.

It costs a multiply-accumulate for each value of a map, next to nothing where budgets are of multiply-
accumulates; its parameters are the cheapest that a small network can get.
"""

from __future__ import annotations

import torch
from torch import nn

from edgegrow.growth.moves.blocks import Inserting, offer_blocks
from edgegrow.growth.moves.insertion import last_norm
from edgegrow.growth.moves.places import find_pools
from edgegrow.growth.moves.protocol import Context


def offer(context: Context) -> list[Inserting]:
    """Offer weights for every global average pool of growable channels."""
    pools = find_pools(context.trace)
    return offer_blocks("weigh", context, pools, "depthwise.weight", lambda w: w.norm().item(), _undo)


@torch.no_grad()
def _undo(block: nn.Sequential) -> None:
    """Let a batch norm scale and shift by what it divides by and takes off."""
    norm = last_norm(block)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(norm.running_mean)
