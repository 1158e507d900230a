from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.data.dataset import Dataset, Split
from edgegrow.data.splits import SHARES, assemble, split
from edgegrow.errors import InputError


@st.composite
def labelled(draw: st.DrawFn, least: int = 3) -> np.ndarray:
    counts = draw(st.lists(st.integers(least, 40), min_size=1, max_size=6))
    return np.array(draw(st.permutations([label for label, n in enumerate(counts) for _ in range(n)])))


@given(labelled(least=4), st.lists(st.integers(1, 60_000), min_size=2, max_size=4))
@settings(deadline=None)
def test_split_is_disjoint_complete_stratified_and_deterministic(y: np.ndarray, shares: list[int]) -> None:
    x = np.arange(len(y), dtype=np.float32)[:, None]
    parts = split(x, y, shares)
    drawn = np.concatenate([part.x[:, 0] for part in parts])
    assert sorted(drawn) == list(range(len(y)))
    for part in parts:
        np.testing.assert_array_equal(part.y, y[part.x[:, 0].astype(int)])
    for label in np.unique(y):
        n = int((y == label).sum())
        counts = [int((part.y == label).sum()) for part in parts]
        assert min(counts) >= 1
        exact = [n * share / sum(shares) for share in shares]
        if min(exact) >= 1:
            assert all(abs(count - share) < 1 for count, share in zip(counts, exact, strict=True))

    np.random.seed(int(y.sum()))  # the global generator has no say
    for part, again in zip(parts, split(x.copy(), y.copy(), shares), strict=True):
        np.testing.assert_array_equal(part.x, again.x)
        np.testing.assert_array_equal(part.y, again.y)


@given(labelled())
@settings(deadline=None, max_examples=30)
def test_split_looks_at_labels_not_at_values(y: np.ndarray) -> None:
    x = np.arange(len(y), dtype=np.float32)[:, None]
    for part, other in zip(split(x, y), split(-x, y), strict=True):
        np.testing.assert_array_equal(part.x, -other.x)


def test_exact_shares() -> None:
    y = np.arange(600) % 10
    assert [np.bincount(part.y).tolist() for part in split(y[:, None], y, SHARES)] == [
        [36] * 10,
        [12] * 10,
        [12] * 10,
    ]
    assert [np.bincount(part.y).tolist() for part in split(y[:, None], y, (55_000, 5_000))] == [
        [55] * 10,
        [5] * 10,
    ]


def test_a_part_begins_with_every_class_although_the_samples_were_sorted() -> None:
    y = np.repeat(np.arange(4), 200)
    assert set(split(y[:, None], y)[1].y[:40]) == {0, 1, 2, 3}


def test_the_split_is_pinned() -> None:
    y = np.arange(12) % 2
    parts = split(np.arange(12)[:, None], y)
    assert [part.x[:, 0].tolist() for part in parts] == [[3, 10, 7, 6, 1, 2, 11, 4], [8, 5], [0, 9]]


def test_too_few_samples() -> None:
    with pytest.raises(InputError, match="2 samples cannot be split into 3 parts"):
        split(np.zeros((2, 1), np.float32), np.zeros(2, np.int64))


def dataset(counts: tuple[int, ...] = (20, 5, 10)) -> Dataset:
    y = np.repeat(np.arange(len(counts)), counts)
    train = Split(np.arange(len(y), dtype=np.float32)[:, None], y)
    return Dataset("d", train, train, train, tuple("abc"), False, "made here")


@pytest.mark.parametrize("samples", [1, 3, 7, 15, 34, 35])
def test_calibration_is_balanced_fixed_and_nested(samples: int) -> None:
    made = dataset()
    drawn = made.calibration(samples)
    assert drawn.shape == (samples, 1)
    assert drawn.dtype == np.float32
    assert len(np.unique(drawn)) == samples
    np.testing.assert_array_equal(drawn, dataset().calibration(samples))
    np.testing.assert_array_equal(drawn, made.calibration(35)[:samples])
    counts = np.bincount(made.train.y[drawn[:, 0].astype(int)], minlength=3)
    if samples <= 15:
        assert counts.max() - counts.min() <= 1


def test_calibration_bounds() -> None:
    assert dataset().calibration(1_000).shape == (35, 1)
    with pytest.raises(InputError, match="0 calibration samples"):
        dataset().calibration(0)


def test_fingerprint_depends_on_every_array_and_shape_and_on_nothing_else() -> None:
    x, y = np.arange(240, dtype=np.float32).reshape(30, 2, 4), np.arange(30) % 3

    def fingerprint(x: np.ndarray, y: np.ndarray) -> str:
        return assemble("d", x, y, origin="", where="").fingerprint

    first = fingerprint(x, y)
    assert len(first) == 64
    assert first == fingerprint(x.copy(), y.copy()) == fingerprint(x.astype(">f8"), y.astype(np.uint8))
    assert first != fingerprint(x.reshape(30, 8), y)
    assert first != fingerprint(x, (y + 1) % 3)
    changed = x.copy()
    changed[-1, -1, -1] += 1
    assert first != fingerprint(changed, y)


def test_properties() -> None:
    x, y = np.zeros((30, 2, 4), np.float32), np.arange(30) % 3
    made = assemble("d", x, y, origin="zeros", where="", class_names=["a", "b", "c"], flip=True)
    assert made.input_shape == (2, 4)
    assert (made.classes, made.class_names, made.flip, made.origin) == (3, ("a", "b", "c"), True, "zeros")
    assert (len(made.train), len(made.validation), len(made.test)) == (18, 6, 6)
    assert "x=(18, 2, 4)" in repr(made)
