"""Make ``keywords.npz``: ten spoken keywords, other words, silence, in noise; features of TFLM's frontend.

    python scripts/keywords.py [--out keywords.npz] [--cache FOLDER] [--seed 0]
    edgegrow grow --data keywords.npz --net dscnn --budget macs=500k

espeak-ng speaks: minutes the first time, after which the cache does. Each sample is a second at 16 kHz: a
word by one speaker, somewhere in the second, in noise. Speakers (and whoever babbles behind them) of
training, validation and test differ. What was made is written down in ``docs/results/keywords.md``, and
``.json``.

Features are those of TFLM's micro_speech example: windows of 30 ms every 20 ms, 40 bands, noise reduction and
gain control, scaled as micro_speech scales them to int8 - here plus 128, as uint8 ``(1, 49, 40)``. All 40
bands are kept, because a device has them from the frontend as they are; the 10 MFCCs of other keyword
networks would need a DCT of their own there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from noise import KINDS, noise
from results import table, write_results
from speech import RATE_HZ, Utterance, espeak_version, speak

from edgegrow.data.checks import SPLITS
from edgegrow.data.npz import load_npz
from edgegrow.errors import InputError
from edgegrow.files import write_atomic

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN = (
    *("low", "cup", "town", "light", "gone", "top", "bed", "bird", "cat", "dog"),
    *("happy", "house", "tree", "wow", "zero", "one", "three", "six", "seven", "nine"),
)
"""Other words; the first six sound like a keyword, and none is pronounced like one."""

CLASSES = (*KEYWORDS, "unknown", "silence")
EACH = (1000, 170, 250)
"""Samples of each class in training, validation and test."""

ACCENTS = (
    *("en-us", "en-us-nyc", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp"),
    "en-029",
)
# Voices that are relatives (klatt to klatt6, iven to iven4) are in the same part.
VARIANTS = (
    (
        *("m1", "m2", "m3", "m4", "f1", "f2", "f3", "klatt", "klatt2", "klatt3", "klatt4", "klatt5"),
        *("RicishayMax", "RicishayMax2", "RicishayMax3", "iven", "iven2", "iven3", "iven4", "steph"),
        *("steph2", "steph3", "anika", "Andy", "AnxiousAndy", "edward", "edward2", "croak", "whisper"),
        *("Alex", "Andrea", "Denis", "Henrique", "Jacky", "Marco", "Michael", "adam", "aunty", "belinda"),
        *("boris", "david", "grandpa", "john", "linda", "max", "miguel", "norbert", "paul", "rob"),
    ),
    ("m5", "m6", "f4", "Annie", "Hugo", "Lee", "antonio", "grandma", "marcelo", "quincy", "travis", "shelby"),
    (
        *("m7", "m8", "f5", "whisperf", "Alicia", "Diogo", "Mario", "Nguyen", "Storm", "announcer"),
        *("benjamin", "gustave", "kaukovalta", "pedro", "sandro", "victor"),
    ),
)
"""espeak-ng's voice variants in training, validation and test; a speaker is an accent and a variant."""

SPEED_WPM = (110, 230)
PITCH = (20, 80)
SNR_DB = (10.0, 30.0)
LEVEL = (0.05, 0.9)
"""The loudest sample of a second, of full scale; drawn evenly on a logarithmic scale."""

OUTSIDE = 0.05
"""This share of a word may be before the second begins, or after it ends."""

FRAMES, BANDS = 49, 40
_STEP_BYTES = 2 * RATE_HZ // 100  # pymicro-features takes steps of 10 ms


@dataclass(frozen=True)
class Keywords:
    """The data set: ``x`` uint8 ``(n, 1, 49, 40)``, ``y`` and ``split`` uint8 ``(n,)``, who says what."""

    x: np.ndarray
    y: np.ndarray
    split: np.ndarray
    utterances: list[Utterance | None]

    def npz(self) -> bytes:
        """Return the bytes of the file."""
        stream = io.BytesIO()
        arrays = {"x": self.x, "y": self.y, "split": self.split}
        np.savez_compressed(stream, **arrays, class_names=np.array(CLASSES), layout=np.array("nchw"))
        return stream.getvalue()


def build(cache: Path, seed: int = 0, each: tuple[int, ...] = EACH) -> Keywords:
    """Speak, mix and take the features.

    Parameters
    ----------
    cache : Path
        Where speech is kept.
    seed : int
        Everything is drawn from it.
    each : tuple of int
        Samples of each class in training, validation and test.

    Raises
    ------
    InputError
        If espeak-ng is missing or fails.
    """
    parts, planned = [], []
    for part, count in enumerate(each):
        labels = np.arange(count * len(CLASSES)) % len(CLASSES)
        plan = [_plan(_random(seed, part, i, 0), part, label) for i, label in enumerate(labels)]
        talk = speak([utterance for utterance in plan if utterance is not None], cache)
        words = iter(talk)
        x = np.empty((len(plan), 1, FRAMES, BANDS), np.uint8)
        for i, utterance in enumerate(plan):
            word = None if utterance is None else next(words)
            x[i, 0] = features(mix(word, _random(seed, part, i, 1), talk))
        parts.append((x, labels.astype(np.uint8), np.full(len(plan), part, np.uint8)))
        planned += plan
    return Keywords(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)), planned)


def _random(*key: int) -> np.random.RandomState:
    """Make a generator whose stream numpy has frozen."""
    return np.random.RandomState(key)


def _plan(random: np.random.RandomState, part: int, label: int) -> Utterance | None:
    """Who says what in a sample of class ``label``; None for silence."""
    name = CLASSES[label]
    if name == "silence":
        return None
    word = UNKNOWN[random.randint(len(UNKNOWN))] if name == "unknown" else name
    accent = ACCENTS[random.randint(len(ACCENTS))]
    variant = VARIANTS[part][random.randint(len(VARIANTS[part]))]
    return Utterance(word, accent, variant, random.randint(*SPEED_WPM), random.randint(*PITCH))


def mix(word: np.ndarray | None, random: np.random.RandomState, talk: list[np.ndarray]) -> np.ndarray:
    """Put a word, or none, into a second of noise: int16 ``(16000,)``.

    The signal-to-noise ratio is that of mean squares: of the whole word, of the whole second of noise.
    """
    second = noise(KINDS[random.randint(len(KINDS))], random, talk)
    snr_db, level = random.uniform(*SNR_DB), np.exp(random.uniform(*np.log(LEVEL)))
    if word is not None:
        outside = int(OUTSIDE * len(word))
        start = random.randint(-outside, RATE_HZ - len(word) + outside + 1)
        shown = word[max(0, -start) : RATE_HZ - start] / np.sqrt(np.mean(word.astype(np.float64) ** 2))
        second[max(0, start) : max(0, start) + len(shown)] += 10 ** (snr_db / 20) * shown
    return np.rint(second * (level * (2**15 - 1) / np.abs(second).max())).astype(np.int16)


def features(second: np.ndarray) -> np.ndarray:
    """TFLM's audio frontend on int16 ``(16000,)``, as micro_speech scales it: uint8 ``(49, 40)``.

    The frontend of pymicro-features takes steps of 10 ms where micro_speech takes 20, so every other frame is
    kept: the windows are micro_speech's, and the estimate of the noise follows twice as fast.
    """
    from pymicro_features import MicroFrontend

    frontend, audio = MicroFrontend(), second.astype("<i2").tobytes()
    frames = []
    for start in range(0, len(audio), _STEP_BYTES):
        frame = frontend.process_samples(audio[start : start + _STEP_BYTES]).features
        if frame:
            frames.append(frame)
    # The frontend's own uint16 are divided by 25.6 in this package; micro_speech's int8 is
    # (256 value + 333) // 666 - 128 of them, saturated.
    values = np.rint(np.array(frames[: 2 * FRAMES : 2]) * 25.6).astype(np.int64)
    return np.clip((256 * values + 333) // 666, 0, 255).astype(np.uint8)


def lines(identity: dict, each: tuple[int, ...]) -> list[str]:
    """Lines of ``docs/results/keywords.md``."""
    rows = [
        [
            name,
            f"{len(CLASSES) * count:,}",
            f"{len(voices)}",
            f"{len(voices) * len(ACCENTS)}",
            " ".join(voices),
        ]
        for name, count, voices in zip(SPLITS, each, VARIANTS, strict=True)
    ]
    return [
        "# Spoken keywords",
        "",
        f"Command: `python scripts/{Path(__file__).name}`. The file itself is not in the repository.",
        "",
        f"- Classes, equally frequent: {', '.join(CLASSES)}.",
        f"- Unknown words: {', '.join(UNKNOWN)}.",
        f"- Speakers: {len(ACCENTS)} accents ({', '.join(ACCENTS)})",
        "  times the voice variants below, which no two splits share. Accents are in all splits. Whoever",
        "  babbles in the background is of the same split.",
        f"- {SPEED_WPM[0]} to {SPEED_WPM[1] - 1} words a minute, pitches of {PITCH[0]} to {PITCH[1] - 1}.",
        f"- One second at 16 kHz; the word anywhere in it, up to {OUTSIDE:.0%} of it cut off at either end.",
        f"- Noise: {', '.join(KINDS)}, equally often. The word is {SNR_DB[0]:g} to {SNR_DB[1]:g} dB above it",
        "  (mean squares of the whole word and of the second of noise); silence is the noise alone.",
        f"  The loudest sample is {LEVEL[0]} to {LEVEL[1]} of full scale.",
        "- Features: TFLM's audio frontend, windows of 30 ms, one kept every 20 ms, 40 bands, scaled as in",
        f"  micro_speech: uint8 (1, {FRAMES}, {BANDS}), read as 0..1. It steps by 10 ms inside, micro_speech",
        "  by 20 ms: its estimate of the noise follows twice as fast.",
        "",
        "Synthetic speech is pronounced more evenly than people's: an accuracy on it compares networks, and",
        "says nothing of how they would understand people.",
        "",
        *table(["split", "samples", "variants", "speakers", "voice variants"], rows),
        "",
        *(f"- {key}: {value}" for key, value in identity.items()),
    ]


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("keywords.npz"))
    parser.add_argument("--cache", type=Path, default=Path("runs/speech"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        content = build(given.cache, given.seed).npz()
        write_atomic(given.out, content)
        identity = {
            "espeak-ng": espeak_version(),
            **{package: version(package) for package in ("pymicro-features", "numpy", "scipy")},
            "seed": given.seed,
            "sha256 of the file": hashlib.sha256(content).hexdigest(),
            "fingerprint of the data set": load_npz(str(given.out), given.out).fingerprint,
        }
    except InputError as error:
        sys.exit(str(error))
    contents = {
        "identity": identity,
        "classes": CLASSES,
        "each": EACH,
        "accents": ACCENTS,
        "variants": VARIANTS,
    }
    write_results("keywords", contents, lines(identity, EACH))


if __name__ == "__main__":
    main()
