"""What a group offers at every number of new channels: its best candidates, by a knapsack of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """One proposed change of a group.

    Attributes
    ----------
    group : str
        The channel group that grows.
    gain : float
        What it promises, in one measure for all kinds of change; at most 0 where it promises nothing.
    channels : int
        Channels that the group gains by it.
    key : object
        Whatever tells the caller which change it is.
    source : hashable, optional
        What it changes, e.g. a neuron: of a group's candidates of one source at most one is chosen. ``None``
        stands for something of its own.
    """

    group: str
    gain: float
    channels: int = 1
    key: object = None
    source: Hashable = None

    @property
    def promise(self) -> float:
        """The gain that counts: one that is not there cannot be lost."""
        return max(self.gain, 0.0)


class Menu:
    """Best candidates of one group for every number of channels.

    Parameters
    ----------
    candidates : sequence of Candidate
        All of one group.
    width : int
        The group's present channels.
    step : int
        What widths must be a multiple of after growth.

    Attributes
    ----------
    levels : list of int
        Numbers of channels that can be gained, 0 first, ascending.
    """

    def __init__(self, candidates: Sequence[Candidate], width: int, step: int = 1) -> None:
        sources: dict[Hashable, list[Candidate]] = {}
        for place, candidate in enumerate(candidates):
            own = ("alone", place) if candidate.source is None else ("of", candidate.source)
            sources.setdefault(own, []).append(candidate)
        self._alternatives = list(sources.values())
        most = sum(max(c.channels for c in alternatives) for alternatives in self._alternatives)
        # Best sum of gains for exactly so many channels, source by source (a multiple-choice knapsack).
        best = np.full(most + 1, -np.inf)
        best[0] = 0.0
        self._taken = np.full((len(self._alternatives), most + 1), -1, np.int16)
        for row, alternatives in enumerate(self._alternatives):
            before = best.copy()
            for number, candidate in enumerate(alternatives):
                n = candidate.channels
                with_it = before[: most + 1 - n] + candidate.gain
                better = with_it > best[n:]
                best[n:][better] = with_it[better]
                self._taken[row, n:][better] = number
        reachable = np.flatnonzero(np.isfinite(best))
        self.levels = [int(n) for n in reachable if n == 0 or (width + n) % step == 0]

    def chosen(self, level: int) -> list[Candidate]:
        """Candidates that gain so many channels."""
        found = []
        for row in range(len(self._alternatives) - 1, -1, -1):
            number = self._taken[row, level]
            if number >= 0:
                found.append(self._alternatives[row][number])
                level -= found[-1].channels
        return found[::-1]

    @cached_property
    def promises(self) -> dict[int, float]:
        """What each level promises."""
        return {level: sum(c.promise for c in self.chosen(level)) for level in self.levels}

    def next(self, level: int) -> int | None:
        """Return the next level that promises no less."""
        here = self.promises[level]
        return next((n for n in self.levels if n > level and self.promises[n] >= here), None)

    def previous(self, level: int) -> int:
        """Return the level before, of one above 0."""
        return self.levels[self.levels.index(level) - 1]
