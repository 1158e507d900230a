"""Clocks of networks: artifacts that are written, and timed in turn with one that is always the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from edgegrow.deploy.graph import Graph
from edgegrow.measure.protocol import Identity
from edgegrow.measure.windows import TakeTurns

Windows = tuple[tuple[float, ...], float]
"""Windows of an artifact in ns, and the median of the reference's windows in the same run."""


class Clock(Protocol):
    """Times networks on a machine, together with a reference that tells how fast it is just then."""

    def identity(self) -> Identity:
        """Tell what figures depend on now."""
        ...

    def time(self, graphs: Sequence[Graph], rounds: int, seconds: float) -> list[Windows]:
        """Time graphs in turn with the reference.

        Parameters
        ----------
        graphs : sequence of Graph
        rounds, seconds : int, float
            Windows of each, and the length of one in s.

        Raises
        ------
        InputError
            If they do not run there.
        DeviceError
            If the machine cannot be reached, or fails.
        """
        ...


class ArtifactClock:
    """Times graphs as files of a format; a `Clock`.

    Parameters
    ----------
    reference : Graph
        What every run times too.
    write : callable
        Serializes a graph.
    take_turns : TakeTurns
        Times files on the machine.
    """

    def __init__(self, reference: Graph, write: Callable[[Graph], bytes], take_turns: TakeTurns) -> None:
        self._reference, self._write, self._take_turns = write(reference), write, take_turns

    def identity(self) -> Identity:
        """Tell what figures depend on now."""
        identity, _ = self._take_turns([self._reference], 1, 0.0)
        return identity

    def time(self, graphs: Sequence[Graph], rounds: int, seconds: float) -> list[Windows]:
        """Time graphs in turn with the reference."""
        files = [self._reference, *map(self._write, graphs)]
        _, windows_ns = self._take_turns(files, rounds, seconds)
        reference_ns = float(np.median(windows_ns[0]))
        return [(tuple(row.tolist()), reference_ns) for row in windows_ns[1:]]
