"""Checked arrays -> a `Dataset` of train, validation and test: fixed, stratified, without overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgegrow.data.checks import (
    check_counts,
    check_inputs,
    check_labels,
    check_names,
    check_parts,
    check_test,
)
from edgegrow.data.dataset import FIXED_SEED, Dataset, Split
from edgegrow.errors import InputError

SHARES = (60, 20, 20)
"""Train, validation and test, where no test split is given."""

HELD_OUT = (80, 20)
"""Train and validation, where the test split is given."""


def split(x: NDArray[np.float32], y: NDArray[np.int64], shares: Sequence[int] = SHARES) -> tuple[Split, ...]:
    """Split samples into parts in which every class has the same share.

    The result depends on the arguments alone: the draw's seed is a constant, and the generator's stream is
    one that numpy has frozen. Every sample is in exactly one part. The order within a part is random but
    fixed, so that its beginning is a fair draw too.

    Parameters
    ----------
    x : ndarray
        Inputs ``(n, ...)``.
    y : ndarray
        Labels ``(n,)``, with at least as many samples of each class as there are parts.
    shares : sequence of int
        The parts' relative sizes, ``(60, 20, 20)`` or ``(55_000, 5_000)``. Each class is divided exactly by
        largest remainder, with at least one sample in each part.

    Returns
    -------
    tuple of Split
        One a share.

    Raises
    ------
    InputError
        If a class has fewer samples than there are parts.

    Examples
    --------
    >>> x, y = np.zeros((20, 1, 8, 8), np.float32), np.arange(20) % 2
    >>> [part.x.shape for part in split(x, y)]
    [(12, 1, 8, 8), (4, 1, 8, 8), (4, 1, 8, 8)]
    """
    random = np.random.RandomState(FIXED_SEED)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in shares]
    for label in np.unique(y):
        members = random.permutation(np.flatnonzero(y == label))
        ends = np.cumsum(_apportion(len(members), shares))[:-1]
        for part, chosen in zip(parts, np.split(members, ends), strict=True):
            part.append(chosen)
    orders = [random.permutation(np.concatenate(part)) for part in parts]
    return tuple(Split(x[order], y[order]) for order in orders)


def _apportion(samples: int, shares: Sequence[int]) -> list[int]:
    """Whole numbers, each at least 1, that sum to ``samples`` and are nearest to its shares."""
    if samples < len(shares):
        raise InputError(f"{samples} samples cannot be split into {len(shares)} parts: give more")
    total = sum(shares)
    counts = [samples * share // total for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda part: -(samples * shares[part] % total))
    for part in by_remainder[: samples - sum(counts)]:
        counts[part] += 1
    for part, count in enumerate(counts):
        if count == 0:
            counts[counts.index(max(counts))] -= 1
            counts[part] = 1
    return counts


def assemble(
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    origin: str,
    where: str,
    class_names: ArrayLike | None = None,
    flip: bool = False,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    parts: ArrayLike | None = None,
    shares: Sequence[int] | None = None,
) -> Dataset:
    """Check samples, scale them (``uint8`` to 0..1, nothing else), and split them.

    Parameters
    ----------
    name, origin, flip
        As in `Dataset`.
    x, y : array_like
        Inputs ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``; integer labels ``(n,)``.
    where : str
        The beginning of an error's line.
    class_names : array_like of str, optional
        The labels as text unless given.
    test : tuple of array_like, optional
        A given test split ``(x, y)``, kept as it is.
    parts : array_like of int, optional
        Given splits ``(n,)``, instead of ``test``: 0 train, 1 validation, 2 test. Samples keep their order.
    shares : sequence of int, optional
        What `split` is called with; `SHARES`, or `HELD_OUT` with a given test split.

    Raises
    ------
    InputError
        If anything is wrong with the samples.
    """
    shares = shares or (SHARES if test is None else HELD_OUT)
    inputs = check_inputs(x, where)
    labels = check_labels(y, len(inputs), where)
    names = check_names(class_names, labels, where)
    check_counts(labels, names, len(shares), where)
    if parts is not None:
        given = check_parts(parts, labels, names, where)
        train, validation, tested = (Split(inputs[given == part], labels[given == part]) for part in range(3))
    elif test is None:
        train, validation, tested = split(inputs, labels, shares)
    else:
        tested = Split(*check_test(x, inputs, *test, len(names), where))
        train, validation = split(inputs, labels, shares)
    return Dataset(name, train, validation, tested, names, flip, origin)
