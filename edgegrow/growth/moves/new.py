"""New channels with random filters: the simplest thing that may grow from nothing.

Filters are drawn as long as the layer's present ones. Outgoing weights start at zero; their gradient there
says what they can win (`edgegrow.growth.moves.outgoing`). It is the first-order term of Wu, Liu, Stone, Liu,
"Firefly Neural Architecture Descent" (NeurIPS 2020), without the search for good filters.
"""

from __future__ import annotations

from edgegrow.growth.moves.copies import by_channel
from edgegrow.growth.moves.neurons import Neuron
from edgegrow.growth.moves.outgoing import score_neurons
from edgegrow.growth.moves.protocol import Context
from edgegrow.growth.new_channels import fresh_filters


def offer(context: Context) -> list[Neuron]:
    """Offer as many new channels for every growable group as it has: a step at most doubles a group."""
    candidates = []
    for group in context.trace.growable:
        width = context.trace.widths()[group.name]
        drawn = fresh_filters(context.trace, group, width, context.generator)
        for filters in zip(*(by_channel(rows, width) for rows in drawn), strict=True):
            named = dict(zip(group.filtered, filters, strict=True))
            candidates.append(Neuron(kind="new", group=group.name, filters=named))
    return score_neurons(context, candidates)
