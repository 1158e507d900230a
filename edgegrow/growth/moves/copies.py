"""A channel becomes several copies of itself, whose filters then part: every kind of split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from edgegrow.growth.moves.protocol import Proposal


@dataclass(frozen=True, eq=False, kw_only=True)
class Copies(Proposal):
    """A channel's copies; they are read with weights that sum to 1, so that the function is kept.

    Attributes
    ----------
    channel : int
        The channel; it stays as the first copy, the others come after all present channels.
    weights : tuple of float
        What the outgoing weights of each copy are multiplied by.
    offsets : mapping
        ``{layer path: (copies, rows, ...)}``, what a unit step adds to each copy's filters, of which a
        channel has one in most layers, and ``group.rows`` in general.
    """

    channel: int
    weights: tuple[float, ...]
    offsets: Mapping[str, torch.Tensor]

    @property
    def channels(self) -> Mapping[str, int]:
        """See `Move`: one copy is the channel itself."""
        return {self.group: len(self.weights) - 1}


def spread(
    names: Sequence[str], directions: Sequence[torch.Tensor], coefficients: Sequence[float]
) -> dict[str, torch.Tensor]:
    """Lay a direction out for several copies, each with its coefficient.

    Parameters
    ----------
    names : sequence of str
        Paths of the layers.
    directions : sequence of torch.Tensor
        One channel's direction in each layer, ``(rows, ...)``.
    coefficients : sequence of float
        For each copy.

    Returns
    -------
    dict
        ``{layer path: (copies, rows, ...)}``.
    """
    return {
        name: torch.stack([coefficient * direction for coefficient in coefficients])
        for name, direction in zip(names, directions, strict=True)
    }


def by_channel(rows: torch.Tensor, channels: int) -> torch.Tensor:
    """Tell apart the channels of filters ``(channels * rows, ...)``: ``(channels, rows, ...)``."""
    return rows.reshape(channels, -1, *rows.shape[1:])
