"""scripts/keywords.py with a dozen samples a split, and its parts."""

from __future__ import annotations

import shutil
import sys
import wave
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegrow.data import load_dataset
from edgegrow.errors import InputError

pytest.importorskip("pymicro_features", reason="no pymicro-features: pip install edgegrow[datasets]")
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng"
)


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Any:
    """The scripts' own folder is where they find each other."""
    path = str(Path(__file__).resolve().parents[2] / "scripts")
    sys.path.insert(0, path)
    yield
    sys.path.remove(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def made(cache: Path, scripts: Any) -> Any:
    from keywords import build

    return build(cache, 0, (1, 1, 1))


@needs_espeak
def test_a_data_set_with_its_own_splits(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "keywords.npz"
    path.write_bytes(made.npz())
    data = load_dataset(str(path))
    assert data.input_shape == (1, 49, 40)
    assert data.class_names[0] == "yes"
    assert data.class_names[10:] == ("unknown", "silence")
    for part, split in enumerate((data.train, data.validation, data.test)):
        assert sorted(split.y) == list(range(12))
        np.testing.assert_array_equal(split.x, np.float32(made.x[made.split == part]) / np.float32(255))
    flat = made.x.reshape(36, -1)
    assert len(np.unique(flat, axis=0)) == 36
    assert (flat.std(axis=1) > 10).all()


@needs_espeak
def test_it_repeats_and_does_not_speak_twice(
    made: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keywords import build

    assert build(tmp_path / "anew", 0, (1, 1, 1)).npz() == made.npz()
    monkeypatch.setattr("speech._say", lambda utterance: pytest.fail("it spoke again"))
    assert build(cache, 0, (1, 1, 1)).npz() == made.npz()


def test_no_speaker_is_in_two_splits(scripts: Any) -> None:
    from keywords import ACCENTS, CLASSES, UNKNOWN, VARIANTS, _plan, _random

    for one, other in combinations(VARIANTS, 2):
        assert not set(one) & set(other)
    assert len(set(ACCENTS)) * min(len(set(voices)) for voices in VARIANTS) >= 40
    assert not set(UNKNOWN) & set(CLASSES)
    each, others = 100, set()
    for part in range(3):
        plan = [_plan(_random(0, part, i, 0), part, i % 12) for i in range(12 * each)]
        spoken = [utterance for utterance in plan if utterance is not None]
        assert len(spoken) == 11 * each
        assert {utterance.variant for utterance in spoken} == set(VARIANTS[part])
        assert {utterance.accent for utterance in spoken} == set(ACCENTS)
        assert all(utterance.word == CLASSES[i % 12] for i, utterance in enumerate(plan) if i % 12 < 10)
        others |= {utterance.word for utterance in plan[10::12] if utterance}
    assert others == set(UNKNOWN)


@needs_espeak
def test_voices_of_different_splits_sound_different(scripts: Any, tmp_path: Path) -> None:
    from keywords import VARIANTS
    from speech import Utterance, speak

    sounds = []
    for voices in VARIANTS:
        said = speak([Utterance("left", "en-us", voice, 150, 50) for voice in voices], tmp_path)
        sounds.append({sound.tobytes() for sound in said})
    for one, other in combinations(sounds, 2):
        assert not one & other
    assert len(sounds[0]) >= 40


@needs_espeak
def test_speech_is_trimmed_and_at_16_khz(scripts: Any, tmp_path: Path) -> None:
    """The spectrum of a vowel stays where it is: espeak-ng itself speaks at 22.05 kHz."""
    import io
    import subprocess

    from speech import Utterance, speak

    (sound,) = speak([Utterance("go", "en-gb", "m1", 150, 50)], tmp_path)
    command = ["espeak-ng", "-v", "en-gb+m1", "-s", "150", "-p", "50", "--stdout", "go"]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as recording:
        rate = recording.getframerate()
        raw = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    for samples in (sound[:1], sound[-1:]):
        assert abs(int(samples[0])) >= 0.01 * np.abs(sound).max() - 1
    loudest = [
        np.argmax(np.abs(np.fft.rfft(x, 2**17))) * hz / 2**17 for x, hz in ((sound, 16_000), (raw, rate))
    ]
    assert loudest[0] == pytest.approx(loudest[1], rel=0.01)


def test_without_espeak(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from speech import Utterance, speak

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install"):
        speak([Utterance("go", "en-gb", "m1", 150, 50)], tmp_path)


@pytest.mark.parametrize(
    ("kind", "slope"), [("white", 0.0), ("pink", -1.0)], ids=["white is flat", "pink falls as 1 / f"]
)
def test_noise_has_its_spectrum(kind: str, slope: float, scripts: Any) -> None:
    from noise import noise

    random = np.random.RandomState(0)
    power = np.mean([np.abs(np.fft.rfft(noise(kind, random, []))) ** 2 for _ in range(50)], axis=0)
    hz = np.arange(20, 7_000)
    assert np.polyfit(np.log(hz), np.log(power[hz]), 1)[0] == pytest.approx(slope, abs=0.05)


def test_hum_is_at_multiples_of_the_mains(scripts: Any) -> None:
    from noise import noise

    random = np.random.RandomState(1)
    bases = set()
    for _ in range(20):
        power = np.abs(np.fft.rfft(noise("hum", random, []))) ** 2
        shares = {base: power[base : 13 * base : base].sum() / power.sum() for base in (50, 60)}
        bases.add(max(shares, key=lambda base: shares[base]))
        assert max(shares.values()) > 0.8
    assert bases == {50, 60}


def test_babble_is_of_the_voices_given(scripts: Any) -> None:
    from noise import noise

    time_s = np.arange(8_000) / 16_000
    talk = [np.rint(9_000 * np.sin(2 * np.pi * hz * time_s)).astype(np.int16) for hz in (400, 1_000)]
    made = noise("babble", np.random.RandomState(0), talk)
    power = np.abs(np.fft.rfft(made)) ** 2
    near = sum(power[hz - 20 : hz + 21].sum() for hz in (400, 1_000))
    assert near > 0.95 * power.sum()
    assert np.mean(made**2) == pytest.approx(1)


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 12.0])
def test_words_are_mixed_at_their_ratio(snr_db: float, scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a word of 1 kHz that is never cut off: its power stands in one line of the spectrum."""
    import keywords

    monkeypatch.setattr(keywords, "SNR_DB", (snr_db, snr_db))
    monkeypatch.setattr(keywords, "KINDS", ("white",))
    monkeypatch.setattr(keywords, "OUTSIDE", 0.0)
    word = np.rint(9_000 * np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 16_000)).astype(np.int16)
    ratios, places = [], []
    for seed in range(20):
        second = keywords.mix(word, np.random.RandomState(seed), []).astype(float)
        assert 0.05 * 32_767 - 1 <= np.abs(second).max() <= 0.9 * 32_767 + 1
        power = np.abs(np.fft.rfft(second)) ** 2
        line = power[900:1_101].sum()
        noise = power.sum() - line
        ratios.append(line / noise * 2)  # the word lasts half of the second
        places.append(np.argmax(np.convolve(second**2, np.ones(8_000), "valid")))
    # The band of 200 Hz around the line holds 200 / 8000 of the noise.
    assert 10 * np.log10(np.mean(ratios)) == pytest.approx(
        10 * np.log10(10 ** (snr_db / 10) + 2 * 201 / 8_000), abs=0.4
    )
    assert max(places) - min(places) > 5_000


def test_features_follow_the_sound(scripts: Any) -> None:
    """A tone shows in the band of its frequency, and when it sounds; silence is all zeros."""
    from keywords import features

    assert not features(np.zeros(16_000, np.int16)).any()
    time_s = np.arange(8_000) / 16_000
    bands = []
    for hz in (300, 1_000, 4_000):
        second = np.zeros(16_000, np.int16)
        second[8_000:] = np.rint(9_000 * np.sin(2 * np.pi * hz * time_s))
        x = features(second)
        assert x.shape == (49, 40)
        assert x.dtype == np.uint8
        assert x[:20].max() < 30 < x[26:].max()
        bands.append(int(x[26:30].mean(axis=0).argmax()))
    assert 0 <= bands[0] < bands[1] < bands[2] < 40
