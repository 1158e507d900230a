"""Splits into two equal copies that part along the lowest eigenvector: splitting steepest descent.

Liu, Wu, Wang, "Splitting Steepest Descent for Growing Neural Architectures" (NeurIPS 2019), theorem 2.4: the
best split with positive weights is two copies at ``theta +- eps v_min``, each read with half the weight; the
loss changes by ``eps**2 / 2 * lambda_min``. Where ``lambda_min >= 0`` a channel is splitting-stable; it is
offered all the same, with no positive gain, so that a budget can be filled.
"""

from __future__ import annotations

import torch

from edgegrow.growth.moves.copies import Copies, by_channel, spread
from edgegrow.growth.moves.protocol import Context


def offer(context: Context) -> list[Copies]:
    """Offer the best split of every channel of every growable group."""
    moves = []
    for name, index in context.indices.items():
        channels = len(index.eigenvalues)
        directed = [by_channel(rows, channels) for rows in index.directed(torch.arange(channels))]
        for channel, curvature in enumerate(index.eigenvalues.tolist()):
            offsets = spread(index.block.group.filtered, [rows[channel] for rows in directed], (1.0, -1.0))
            moves.append(
                Copies(
                    kind="split",
                    group=name,
                    curvature=curvature,
                    channel=channel,
                    weights=(0.5, 0.5),
                    offsets=offsets,
                )
            )
    return moves
