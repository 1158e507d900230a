"""A second of background noise: white, pink, a hum of the mains, or others talking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from speech import RATE_HZ

KINDS = ("white", "pink", "hum", "babble")

_TALKERS = (3, 7)
_HARMONICS = 12
_HUM_FLOOR = 0.1  # white noise under a hum: no recording is without


def noise(kind: str, random: np.random.RandomState, talk: Sequence[np.ndarray]) -> np.ndarray:
    """Return float64 ``(16000,)`` of mean square 1.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    random : RandomState
        Where the noise comes from.
    talk : sequence of ndarray
        What the others say in a babble, ``(samples,)`` each.
    """
    if kind == "babble":
        made = _babble(random, talk)
    elif kind == "hum":
        made = _hum(random)
    else:
        made = random.standard_normal(RATE_HZ)
        if kind == "pink":  # power falls as 1 / f
            spectrum = np.fft.rfft(made)
            spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
            spectrum[0] = 0
            made = np.fft.irfft(spectrum, RATE_HZ)
    return made / np.sqrt(np.mean(made**2))


def _hum(random: np.random.RandomState) -> np.ndarray:
    """Hum at 50 or 60 Hz with harmonics that fall as 1 / k, more or less, over a little white noise."""
    base_hz = (50, 60)[random.randint(2)]
    time_s = np.arange(RATE_HZ // 10) / RATE_HZ  # a tenth of a second holds whole periods of both
    made = np.zeros(len(time_s))
    for harmonic in range(1, _HARMONICS + 1):
        phase, strength = 2 * np.pi * random.uniform(), random.uniform() / harmonic
        made += strength * np.sin(2 * np.pi * base_hz * harmonic * time_s + phase)
    return np.tile(made, 10) + _HUM_FLOOR * random.standard_normal(RATE_HZ)


def _babble(random: np.random.RandomState, talk: Sequence[np.ndarray]) -> np.ndarray:
    """Let a few talkers talk at once, each saying word after word, equally loud."""
    made = np.zeros(RATE_HZ)
    for _ in range(random.randint(_TALKERS[0], _TALKERS[1] + 1)):
        voice = np.zeros(0)
        while len(voice) < 2 * RATE_HZ:
            word = talk[random.randint(len(talk))].astype(np.float64)
            voice = np.concatenate([voice, word / np.sqrt(np.mean(word**2))])
        start = random.randint(RATE_HZ)
        made += voice[start : start + RATE_HZ]
    return made
