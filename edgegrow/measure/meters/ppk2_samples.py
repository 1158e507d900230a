"""Samples of Nordic's Power Profiler Kit II: their form, and from them to current.

A sample is a little-endian word of 32 bits: 14 of the converter, from bit 14 on 3 of the measuring range,
from bit 18 on 6 of a counter, from bit 24 on 8 of the digital inputs D0 to D7. There are 100,000 a second.
The kit tells its calibration as lines of text, ``R0: 1003.35`` and so on for each of five ranges:
https://github.com/NordicSemiconductor/pc-nrfconnect-ppk.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.meters.meter import MeterError

RATE_HZ = 100_000
RANGES = 5
SAMPLE_BYTES = 4

_VOLTS_PER_STEP = 1.8 / 163840
_COUNTER = 64
_LINE = re.compile(r"(GS|GI|UG|R|O|S|I)([0-4]): *(\S{1,40})")
_TOLD = re.compile(r"(Calibrated|HW): *(\S{1,20})")
_DEFAULTS = {"O": 0.0, "GS": 1.0, "GI": 1.0, "S": 0.0, "I": 0.0, "UG": 1.0}


@dataclass(frozen=True, eq=False)
class Calibration:
    """What turns a kit's samples into current.

    Attributes
    ----------
    hardware : str
        The kit's version, as it tells.
    table : dict of ndarray
        float64 ``(5,)`` for each coefficient, by its name in the kit's text; ``R`` is in Ohm.
    """

    hardware: str
    table: dict[str, NDArray[np.float64]]

    @classmethod
    def parse(cls, text: str) -> Calibration:
        """Read what the kit tells, up to its ``END``; a line of another form is passed over.

        Raises
        ------
        MeterError
            If a resistance is missing or is none, or a number is not one.
        """
        values: dict[str, dict[int, float]] = {name: {} for name in ("R", *_DEFAULTS)}
        told = {}
        for line in text.splitlines():
            if match := _TOLD.fullmatch(line.strip()):
                told[match[1]] = match[2]
            if match := _LINE.fullmatch(line.strip()):
                try:
                    number = float(match[3])
                except ValueError:
                    number = math.nan
                if not math.isfinite(number) or (match[1] == "R" and number <= 0):
                    raise MeterError(f"its calibration is damaged: {match[0]}: connect it again")
                values[match[1]][int(match[2])] = number
        if len(values["R"]) < RANGES:
            raise MeterError("its calibration is not complete: connect it again")
        table = {
            name: np.array([given.get(place, _DEFAULTS.get(name, math.nan)) for place in range(RANGES)])
            for name, given in values.items()
        }
        return cls(told.get("HW", "not told"), table)

    def amperes(self, words: NDArray[np.uint32], voltage_v: float) -> NDArray[np.float64]:
        """Compute the current of samples ``(n,)``, in A, without Nordic's smoothing after a change of range.

        Parameters
        ----------
        words : ndarray
            uint32 ``(n,)``.
        voltage_v : float
            Of the supply, in V.
        """
        place = np.minimum(words >> 14 & 7, RANGES - 1)
        t = {name: column[place] for name, column in self.table.items()}
        plain = ((words & 0x3FFF) * 4.0 - t["O"]) * (_VOLTS_PER_STEP / t["R"])
        return t["UG"] * (plain * (t["GS"] * plain + t["GI"]) + (t["S"] * voltage_v + t["I"]))

    def step_a(self, place: int) -> float:
        """Return the current of one step of the converter in a range, in A."""
        return float(4 * _VOLTS_PER_STEP / self.table["R"][place])


def lost_before(words: NDArray[np.uint32], expected: int | None) -> NDArray[np.int64]:
    """Count the samples that are missing before each, by its counter; 64 in a row are not noticed.

    Parameters
    ----------
    words : ndarray
        uint32 ``(n,)``, n >= 1.
    expected : int or None
        The first one's counter if none is missing before it; None where that is not known.
    """
    counters = (words >> 18 & (_COUNTER - 1)).astype(np.int64)
    before = np.concatenate([[counters[0] if expected is None else expected], counters[:-1] + 1])
    return (counters - before) % _COUNTER


def next_counter(words: NDArray[np.uint32]) -> int:
    """Counter of the sample that should follow."""
    return (int(words[-1] >> 18) + 1) % _COUNTER


def digital(words: NDArray[np.uint32], line: int) -> NDArray[np.bool_]:
    """Whether a digital input, 0 to 7, was high."""
    return (words >> (24 + line) & 1).astype(bool)
