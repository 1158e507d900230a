"""How instructions become time on a board."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CycleScale:
    """How instructions become time on a board.

    Attributes
    ----------
    cycles : float
        Cycles for one instruction.
    clock_hz : float
    calibration : str
        How it was found.
    error : float
        Relative error seen; 0.1 is 10 %.
    """

    cycles: float
    clock_hz: float
    calibration: str
    error: float
