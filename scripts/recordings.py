"""Inputs for the MLPerf Tiny reference models out of real recordings: Debian's ``alsa-utils`` speaks.

Eight of its files are a woman naming loudspeakers, one is noise; all are 48 kHz, and are resampled to 16 kHz.
Windows are cut at random, and become features by the published settings of MLPerf Tiny: with code of our own,
so that they are like what the models were trained on, and not the same.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from scipy.fft import dct
from scipy.signal import get_window, resample_poly

RECORDINGS = Path("/usr/share/sounds/alsa")
RATE_HZ = 16_000
_SLANEY_BREAK_HZ = 1000.0


def keyword_inputs(n: int, seed: int = 0) -> np.ndarray:
    """MFCCs of one second each: float32 ``(n, 1, 49, 10)``, frames by coefficients.

    Windows of 30 ms every 20 ms, magnitudes, 40 mel bins from 20 to 4000 Hz, a logarithm, the first 10 of an
    orthonormal DCT; the loudest sample of a second is 1.
    """
    seconds = _cut(n, RATE_HZ, seed)
    seconds /= np.abs(seconds).max(axis=1, keepdims=True)
    magnitudes = _spectrogram(seconds, width=480, hop=320, fft=512)
    filters = _filters(np.linspace(_htk_mel(20.0), _htk_mel(4000.0), 42), _htk_mel, fft=512)
    logarithms = np.log(magnitudes @ filters.T + 1e-6)
    coefficients = dct(logarithms, norm="ortho")[..., :10]
    return coefficients[:, None].astype(np.float32)


def machine_inputs(n: int, seed: int = 0) -> np.ndarray:
    """Five log-mel frames each: float32 ``(n, 640)``, frames by bins.

    Windows of 64 ms every 32 ms, power, 128 mel bins of equal area up to 8 kHz, in decibels.
    """
    pieces = _cut(n, 1024 + 4 * 512, seed)
    power = _spectrogram(pieces, width=1024, hop=512, fft=1024) ** 2
    edges = np.linspace(0.0, _slaney_mel(RATE_HZ / 2), 130)
    filters = _filters(edges, _slaney_mel, fft=1024)
    filters /= filters.sum(axis=1, keepdims=True) * RATE_HZ / 1024
    decibels = 10 * np.log10(power @ filters.T + np.finfo(np.float64).eps)
    return decibels.reshape(n, -1).astype(np.float32)


def _cut(n: int, samples: int, seed: int) -> np.ndarray:
    """Cut pieces ``(n, samples)`` in -1 .. 1 from the recordings in turn, at random places, none silent."""
    files = sorted(RECORDINGS.glob("*.wav"))
    if not files:
        raise SystemExit(f"{RECORDINGS}: no recordings: apt-get install --no-install-recommends alsa-utils")
    rng = np.random.default_rng(seed)
    sounds = [_read(file) for file in files]
    pieces = np.zeros((n, samples))
    for i, piece in enumerate(pieces):
        sound = sounds[i % len(sounds)]
        while np.abs(piece).max() < 0.01:
            start = rng.integers(len(sound) - samples)
            piece[:] = sound[start : start + samples]
    return pieces


def _read(file: Path) -> np.ndarray:
    with wave.open(str(file)) as recording:
        if (recording.getnchannels(), recording.getsampwidth()) != (1, 2):
            raise SystemExit(f"{file}: it is not mono of 16 bits, as those of alsa-utils are")
        rate = recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2") / 2**15
    return resample_poly(samples, RATE_HZ, rate)


def _spectrogram(x: np.ndarray, width: int, hop: int, fft: int) -> np.ndarray:
    """Magnitudes ``(n, frames, fft / 2 + 1)`` of Hann windows."""
    frames = np.lib.stride_tricks.sliding_window_view(x, width, axis=1)[:, ::hop]
    return np.abs(np.fft.rfft(frames * get_window("hann", width), fft))


def _filters(edges: np.ndarray, to_mel: np.ufunc, fft: int) -> np.ndarray:
    """Triangles ``(bins, fft / 2 + 1)`` between each edge and the next but one, in mel, each 1 at its top."""
    mel = to_mel(np.arange(fft // 2 + 1) * RATE_HZ / fft)
    rising = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    return np.minimum(rising, falling).clip(0)


def _htk_mel(hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def _slaney_mel(hz: np.ndarray | float) -> np.ndarray:
    """Linear up to 1 kHz, then 27 steps for every factor of 6.4."""
    hz = np.asarray(hz)
    above = 15 + 27 * np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / np.log(6.4)
    return np.where(hz < _SLANEY_BREAK_HZ, 15 * hz / _SLANEY_BREAK_HZ, above)
