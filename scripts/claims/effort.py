"""How much work goes into the claims, and where what is finished is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from results import FOLDER


@dataclass(frozen=True)
class Effort:
    """How much is trained and repeated.

    Attributes
    ----------
    epochs : float
        Of every whole training on the small task.
    seeds : tuple of int
        Of everything that is repeated with other random numbers.
    steps : int
        Optimiser steps of a toy's stage; other lengths are in proportion.
    repeats : int
        Times that a duration is taken; the median counts.
    runs : Path
        Where finished work is kept.
    table : Path
        The large comparison's results, where it has been run.
    """

    epochs: float = 12.0
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1000
    repeats: int = 5
    runs: Path = Path("runs/claims")
    table: Path = FOLDER / "growth.json"

    def settings(self) -> dict[str, Any]:
        """Everything but places, as plain values."""
        values = asdict(self)
        return {name: values[name] for name in ("epochs", "repeats", "steps")} | {"seeds": list(self.seeds)}
