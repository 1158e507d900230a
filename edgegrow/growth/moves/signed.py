"""Splits into copies some of which are read with negative weight.

Wu, Ye, Lei, Lee, Liu, "Steepest Descent Neural Architecture Optimization: Escaping Local Optimum with Signed
Neural Splitting" (2020). With weights ``sum w_i = 1``, ``sum |w_i| <= c`` and offsets ``sum w_i d_i = 0`` the
loss changes by ``eps**2 / 2 * sum w_i d_i' S d_i``; with ``P = (c + 1) / 2`` and ``Q = (c - 1) / 2`` the best
of 2, 3 and 4 copies change it, in units of ``eps**2 / 2``, by

=================  ==========================================  =======================
scheme             copies                                      change
=================  ==========================================  =======================
positive binary    1/2, 1/2 at +-v_min                         lambda_min
negative binary    P at (Q/P) v_max, -Q at v_max               -(Q/P) lambda_max
triplet            P/2, P/2 at +-v_min, -Q at 0                P lambda_min
triplet            P at 0, -Q/2, -Q/2 at +-v_max               -Q lambda_max
quartet            P/2, P/2 at +-v_min, -Q/2, -Q/2 at +-v_max  P lambda_min - Q lambda_max
=================  ==========================================  =======================

so that a channel whose lowest eigenvalue is positive, stable for equal weights, can still be split where the
highest is positive too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgegrow.growth.moves.copies import Copies, by_channel, spread
from edgegrow.growth.moves.protocol import Context

BOUND = 3.0
"""``c``: what the absolute outgoing weights of all copies sum to at most."""

_P, _Q = (BOUND + 1) / 2, (BOUND - 1) / 2


@dataclass(frozen=True)
class Scheme:
    """How a channel is copied.

    Attributes
    ----------
    name : str
        Of the table above.
    weights : tuple of float
        Outgoing weight of each copy.
    lowest, highest : tuple of float
        Where each copy goes along ``v_min`` and ``v_max``.
    """

    name: str
    weights: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]

    def curvature(self, lowest: float, highest: float) -> float:
        """Second derivative of the loss for a channel with these extreme eigenvalues: ``sum w d' S d``.

        No copy goes along both vectors, so that no cross term appears.
        """
        along = zip(self.weights, self.lowest, self.highest, strict=True)
        return sum(w * (a**2 * lowest + b**2 * highest) for w, a, b in along)


SCHEMES = (
    Scheme("positive binary", (0.5, 0.5), (1, -1), (0, 0)),
    Scheme("negative binary", (_P, -_Q), (0, 0), (_Q / _P, 1)),
    Scheme("triplet of the lowest", (-_Q, _P / 2, _P / 2), (0, 1, -1), (0, 0, 0)),
    Scheme("triplet of the highest", (_P, -_Q / 2, -_Q / 2), (0, 0, 0), (0, 1, -1)),
    Scheme("quartet", (_P / 2, _P / 2, -_Q / 2, -_Q / 2), (1, -1, 0, 0), (0, 0, 1, -1)),
)
"""All schemes at `BOUND`; of equals the one with fewer copies comes first."""


def best_scheme(lowest: float, highest: float) -> Scheme:
    """Choose the scheme that lowers the loss most for each copy it adds."""
    return min(SCHEMES, key=lambda s: s.curvature(lowest, highest) / (len(s.weights) - 1))


def offer(context: Context) -> list[Copies]:
    """Offer every channel of every growable group, split by the scheme that suits it best."""
    moves = []
    for name, index in context.indices.items():
        channels = len(index.eigenvalues)
        lowest, highest = (
            [by_channel(rows, channels) for rows in directed(torch.arange(channels))]
            for directed in (index.directed, index.directed_highest)
        )
        ends = zip(index.eigenvalues.tolist(), index.highest.tolist(), strict=True)
        for channel, values in enumerate(ends):
            moves.append(
                copies(
                    name,
                    channel,
                    best_scheme(*values),
                    values,
                    {
                        layer: (low[channel], high[channel])
                        for layer, low, high in zip(index.block.group.filtered, lowest, highest, strict=True)
                    },
                )
            )
    return moves


def copies(
    group: str,
    channel: int,
    scheme: Scheme,
    values: tuple[float, float],
    directions: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> Copies:
    """Split one channel by a scheme.

    Parameters
    ----------
    group : str
        Name of the channel's group.
    channel : int
        The channel.
    scheme : Scheme
        How.
    values : tuple of float
        Lowest and highest eigenvalue.
    directions : dict
        ``{layer path: (D v_min, D v_max)}``, each ``(rows, ...)``.
    """
    lowest = spread(list(directions), [low for low, _ in directions.values()], scheme.lowest)
    highest = spread(list(directions), [high for _, high in directions.values()], scheme.highest)
    return Copies(
        kind="signed",
        group=group,
        curvature=scheme.curvature(*values),
        channel=channel,
        weights=scheme.weights,
        offsets={layer: lowest[layer] + highest[layer] for layer in directions},
    )
