"""Words spoken by espeak-ng: 16 kHz, mono, 16 bits; what was spoken once is kept.

espeak-ng repeats itself byte for byte. Another version may sound different: what is kept goes by version.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from edgegrow.errors import InputError
from edgegrow.files import write_atomic

RATE_HZ = 16_000
MISSING = "espeak-ng: not installed: apt-get install --no-install-recommends espeak-ng"

_SHARD = 500  # utterances kept in one file: what an interrupted run loses at most
_AUDIBLE = 0.01  # of the loudest sample; what is below at either end is cut off
_SECONDS = 20


@dataclass(frozen=True)
class Utterance:
    """A word as somebody says it.

    Attributes
    ----------
    word : str
        What is said.
    accent, variant : str
        The speaker: one of espeak-ng's languages (``en-us``) and one of its voice variants (``f1``).
    speed_wpm : int
        Words a minute.
    pitch : int
        0 to 99; espeak-ng's own is 50.
    """

    word: str
    accent: str
    variant: str
    speed_wpm: int
    pitch: int


def espeak_version() -> str:
    """Return espeak-ng's version.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return _run(["espeak-ng", "--version"]).decode().split("text-to-speech:")[-1].split()[0]


def speak(utterances: Sequence[Utterance], cache: Path) -> list[np.ndarray]:
    """Return each utterance as int16 ``(samples,)``, without silence around it, at most a second.

    Parameters
    ----------
    utterances : sequence of Utterance
        What to say; 500 at a time are kept, so that an interrupted run goes on where it was.
    cache : Path
        The folder to keep them in.

    Raises
    ------
    InputError
        If espeak-ng is missing or fails, or the folder cannot be written.
    """
    version = espeak_version()
    spoken: list[np.ndarray] = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{cache}: cannot make it: {error.strerror}: choose another --cache") from error
    for start in range(0, len(utterances), _SHARD):
        spoken += _shard(utterances[start : start + _SHARD], version, cache)
        print(f"\r{len(spoken):,} of {len(utterances):,} utterances", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return spoken


def _shard(utterances: Sequence[Utterance], version: str, cache: Path) -> list[np.ndarray]:
    """Read one file of the cache, or write it."""
    named = json.dumps([version, *map(astuple, utterances)])
    path = cache / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            samples, lengths = kept["samples"], kept["lengths"]
    else:
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(_say, utterances))
        samples, lengths = np.concatenate(said), np.array([len(one) for one in said])
        stream = io.BytesIO()
        np.savez(stream, samples=samples, lengths=lengths)
        write_atomic(path, stream.getvalue())
    return np.split(samples, np.cumsum(lengths)[:-1])


def _say(utterance: Utterance) -> np.ndarray:
    voice = f"{utterance.accent}+{utterance.variant}"
    options = ["-v", voice, "-s", str(utterance.speed_wpm), "-p", str(utterance.pitch)]
    answer = _run(["espeak-ng", *options, "--stdout", "--", utterance.word])
    try:
        with wave.open(io.BytesIO(answer)) as recording:
            rate = recording.getframerate()
            sound = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float64)
    except (wave.Error, EOFError) as error:
        raise InputError(f"espeak-ng: voice {voice} says nothing: install it again") from error
    sound = resample_poly(sound, RATE_HZ, rate)
    audible = np.flatnonzero(np.abs(sound) > _AUDIBLE * np.abs(sound).max())
    if not len(audible):
        raise InputError(f"espeak-ng: voice {voice} is silent: install it again")
    sound = sound[audible[0] : audible[-1] + 1][:RATE_HZ]
    return np.clip(np.rint(sound), -(2**15), 2**15 - 1).astype(np.int16)


def _run(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True).stdout
    except FileNotFoundError as error:
        raise InputError(MISSING) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{' '.join(command)}: it failed ({error}): install espeak-ng again") from error
