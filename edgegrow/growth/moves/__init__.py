"""Moves: the ways in which a network can grow, under one protocol.

`offer` asks a kind for its candidates, `apply` makes a choice of them, of any kinds, at step zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from edgegrow.growth.moves import deepen, firefly, gradmax, new, signed, split, weigh, widen
from edgegrow.growth.moves.applying import Applied, apply
from edgegrow.growth.moves.insertion import replay
from edgegrow.growth.moves.protocol import REFERENCE_STEP, Context, Move

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
        "widen": widen.offer,
    }
)
"""Kinds of moves, by name."""

BLOCKS = ("deepen", "weigh")
"""Those that insert a block."""


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
