"""What a growth has passed through, and networks of the sizes between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgegrow.cost.layers import count_macs
from edgegrow.growth.architecture import Architecture
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.goal_search import Trained
from edgegrow.growth.proportional import Widths, proportional_widths
from edgegrow.growth.seed import NARROWEST

_NEAR = 0.02
"""Relative difference in size below which a snapshot is taken as it is."""


@dataclass(frozen=True)
class Snapshot:
    """A network that growth has passed through.

    Attributes
    ----------
    step : int
        Growth steps before it.
    architecture : Architecture
        Its shape.
    short : Trained
        Its size, and the accuracy after the short training that it has had.
    """

    step: int
    architecture: Architecture
    short: Trained

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Snapshot:
        """Read it back from a run's history."""
        architecture = Architecture(event["widths"], event["insertions"])
        return cls(event["step"], architecture, Trained(event["macs"], event["validation_accuracy"]))


@dataclass(frozen=True)
class Sized:
    """An architecture of about a wanted size.

    Attributes
    ----------
    architecture : Architecture
    macs : int
        Multiply-accumulates of one inference.
    snapshot : int
        Growth steps before the snapshot that it is, or that was narrowed to it.
    short_accuracy : float
        That snapshot's, after its short training.
    """

    architecture: Architecture
    macs: int
    snapshot: int
    short_accuracy: float


def whole(snapshots: Sequence[Snapshot]) -> list[Sized]:
    """Return the snapshots as they are."""
    return [Sized(one.architecture, one.short.macs, one.step, one.short.accuracy) for one in snapshots]


def as_deep(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Return the snapshots that have all the blocks of the last: they are the better ones of their sizes."""
    blocks = snapshots[-1].architecture.insertions
    return [one for one in snapshots if one.architecture.insertions == blocks]


def narrowest(snapshots: Sequence[Snapshot], fresh: Callable[[], NetworkTrace]) -> int:
    """Multiply-accumulates of the narrowest network that the first snapshot can be narrowed to."""
    first = snapshots[0].architecture
    trace = first.build(fresh())
    return count_macs(trace.shapes(_least(first)))


def of_size(snapshots: Sequence[Snapshot], size: float, fresh: Callable[[], NetworkTrace]) -> Sized:
    """Return a network of a size: the next larger snapshot, narrowed in proportion.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Of ascending sizes.
    size : float
        Multiply-accumulates; from about `narrowest` to 2 % above the last snapshot's.
    fresh : callable
        Builds the seed network that growth started from.
    """
    for one in whole(snapshots):
        if abs(one.macs / size - 1) <= _NEAR:
            return one
    snapshot = next(one for one in snapshots if one.short.macs > size)
    above = snapshot.architecture
    trace = above.build(fresh())

    def share_used(widths: Mapping[str, int]) -> float:
        return count_macs(trace.shapes(widths)) / size

    least = _least(above)
    widths = proportional_widths(above.widths, least, share_used, above.widths)
    narrowed = Architecture(widths or least, above.insertions)
    macs = count_macs(trace.shapes(narrowed.widths))
    return Sized(narrowed, macs, snapshot.step, snapshot.short.accuracy)


def _least(architecture: Architecture) -> Widths:
    return {name: min(NARROWEST, width) for name, width in architecture.widths.items()}
