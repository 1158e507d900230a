"""New channels, which nothing reads at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from edgegrow.growth.moves.protocol import Proposal

Statistics = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Neuron(Proposal):
    """A new channel.

    Attributes
    ----------
    filters : mapping
        ``{layer path: (rows, ...)}``, its filters in every producer and depthwise layer of the group; layers
        left out get fresh ones.
    statistics : mapping
        ``{norm path: (mean, variance)}``, running statistics ``(rows,)`` of each batch norm that it passes.
    columns : mapping
        ``{consumer path: (filters, columns a channel, ...)}``, what a unit step adds to its outgoing weights.
    """

    filters: Mapping[str, torch.Tensor]
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def channels(self) -> Mapping[str, int]:
        """See `Move`."""
        return {self.group: 1}
