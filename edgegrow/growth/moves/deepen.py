"""Near-identity residual blocks: the network grows deeper.

Behind a place where the network's own blocks end, ``x`` becomes ``x + f(x)`` with ``f`` ending in a batch
norm whose scales ``gamma`` are zero: an identity, exactly, as those of Net2DeeperNet are (Chen, Goodfellow,
Shlens, "Net2Net", ICLR 2016, section 2.3). What a block can win is the gradient at its scales,

    slope = -sqrt(c) ||dL/dgamma||,

for ``c`` channels, whose natural norm is that of all ones.
"""

from __future__ import annotations

from edgegrow.growth.moves.blocks import Inserting, offer_blocks
from edgegrow.growth.moves.places import find_places
from edgegrow.growth.moves.protocol import Context


def offer(context: Context) -> list[Inserting]:
    """Offer a block at every place: none where the network has no activation behind a growable group."""
    return offer_blocks(
        "deepen", context, find_places(context.trace), "norm.weight", lambda gamma: len(gamma) ** 0.5
    )
