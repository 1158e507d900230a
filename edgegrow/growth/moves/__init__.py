"""Moves: the ways in which a network can grow, under one protocol.

`offer` asks a kind for its candidates, `apply` makes a choice of them, of any kinds, at step zero: there
every kind leaves the function as it is, but ``trim``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves import deepen, firefly, gradmax, new, signed, split, trim, weigh, widen
from edgegrow.growth.moves.applying import Applied, apply
from edgegrow.growth.moves.kernels import find_trim
from edgegrow.growth.moves.places import find_places, find_pools
from edgegrow.growth.moves.protocol import REFERENCE_STEP, Context, Move
from edgegrow.growth.moves.replaying import replay

__all__ = ["BLOCKS", "KINDS", "REFERENCE_STEP", "Applied", "Context", "Move", "apply", "offer", "replay"]

KINDS: Mapping[str, Callable[[Context], Sequence[Move]]] = MappingProxyType(
    {
        "split": split.offer,
        "signed": signed.offer,
        "new": new.offer,
        "gradmax": gradmax.offer,
        "firefly": firefly.offer,
        "deepen": deepen.offer,
        "weigh": weigh.offer,
        "trim": trim.offer,
        "widen": widen.offer,
    }
)
"""Kinds of moves, by name."""

BLOCKS: Mapping[str, Callable[[NetworkTrace], Sequence[object]]] = MappingProxyType(
    {"deepen": find_places, "weigh": find_pools, "trim": find_trim}
)
"""Those that restructure the network, most by a block, with what finds the places that it has for them: each
is an option of a growth step of its own."""


def offer(kind: str, context: Context) -> list[Move]:
    """Ask a kind of move for its candidates.

    Parameters
    ----------
    kind : str
        A name of `KINDS`.
    context : Context
        The network and the samples; neither is changed.
    """
    return list(KINDS[kind](context))
