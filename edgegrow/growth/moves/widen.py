"""Plain copies, as a control: what growth wins without any splitting.

Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer" (ICLR 2016), section 2.2:
channels drawn at random are copied, and the outgoing weights divided among the copies. Equal copies with
equal outgoing weights receive equal gradients, and never part under gradient descent but for dropout or other
noise; so the outgoing weights are divided at random here. The copies' filters then move along the same
gradient, at speeds in proportion to their shares, and part.
"""

from __future__ import annotations

import torch

from edgegrow.growth.moves.copies import Copies
from edgegrow.growth.moves.protocol import Context

SMALLEST_SHARE = 0.25
"""Of the outgoing weights, which the lesser copy keeps at least: one without any would not learn."""


def offer(context: Context) -> list[Copies]:
    """Offer a copy of every channel of every growable group, in random order; none promises a gain."""
    moves = []
    for group in context.trace.growable:
        width = context.trace.widths()[group.name]
        shares = torch.rand(width, generator=context.generator) * (1 - 2 * SMALLEST_SHARE) + SMALLEST_SHARE
        for channel in torch.randperm(width, generator=context.generator).tolist():
            share = shares[channel].item()
            moves.append(
                Copies(
                    kind="widen", group=group.name, channel=channel, weights=(share, 1 - share), offsets={}
                )
            )
    return moves
