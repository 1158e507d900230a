"""A fast stream of samples, kept as energy at a thousand points a second and at the edges of its marker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegrow.measure.meters.meter import MeterError, Readings, Span

POINTS_HZ = 1000
"""Points kept a second; between them the energy is linear, so that nothing of it is lost."""

MAX_POINTS = 10**7
"""Points kept in all: almost three hours."""


class EnergyStream:
    """Adds up the energy of samples that come block by block.

    Parameters
    ----------
    rate_hz : int
        Samples a second.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._every = max(1, rate_hz // POINTS_HZ)
        self._samples, self._energy_j = 0, 0.0
        self._times: list[NDArray[np.float64]] = [np.zeros(1)]
        self._energies: list[NDArray[np.float64]] = [np.zeros(1)]
        self._points = 1
        self._high = False
        self._edges_s: list[float] = []

    def add(
        self, power_w: NDArray[np.float64], marker: NDArray[np.bool_], lost: NDArray[np.int64] | None = None
    ) -> None:
        """Add samples.

        Parameters
        ----------
        power_w, marker : ndarray
            float64 and bool ``(n,)``, n >= 1.
        lost : ndarray, optional
            Samples that are missing before each, ``(n,)``: they are taken to be like the one that follows.

        Raises
        ------
        MeterError
            If there are too many.
        """
        spans = 1 + (lost if lost is not None else np.zeros(len(power_w), np.int64))
        counts = self._samples + np.cumsum(spans)
        energies = self._energy_j + np.cumsum(power_w * spans) / self._rate_hz
        edges = np.flatnonzero(np.diff(np.concatenate([[self._high], marker]).astype(np.int8)))
        self._edges_s.extend(((counts[edges] - spans[edges]) / self._rate_hz).tolist())
        self._high = bool(marker[-1])
        kept = np.flatnonzero(counts // self._every != (counts - spans) // self._every)
        self._times.append(counts[kept] / self._rate_hz)
        self._energies.append(energies[kept])
        self._points += len(kept)
        if self._points > MAX_POINTS:
            raise MeterError("it recorded for hours: take shorter windows (--seconds)")
        self._samples, self._energy_j = int(counts[-1]), float(energies[-1])

    def readings(self, doubts: tuple[str, ...] = ()) -> Readings:
        """Return what has been added."""
        return Readings(
            np.concatenate(self._times), np.concatenate(self._energies), pulses(self._edges_s), doubts
        )


def pulses(edges_s: list[float]) -> tuple[Span, ...]:
    """Pair the edges of a marker that is low at first; what is still high at the end is none."""
    return tuple(zip(edges_s[0::2], edges_s[1::2], strict=False))
