"""What the rest of edgegrow sees of a data set: three splits, their shape, their classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgegrow.errors import InputError

FIXED_SEED = 20_240_229
"""Seed of every draw in this package: what a data set consists of never depends on a run's own seed."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels.

    Attributes
    ----------
    x : ndarray of float32
        Inputs ``(n, *input_shape)``.
    y : ndarray of int64
        Labels ``(n,)``, ``0..classes-1``.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the samples, ``n``."""
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split(x={self.x.shape}, y={self.y.shape})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, split once and for all.

    Attributes
    ----------
    name : str
        What was asked for.
    train, validation, test : Split
        Growth sees ``train``, decisions are taken on ``validation``, reports use ``test``.
    class_names : tuple of str
        The name of every label.
    flip : bool
        Whether a horizontally flipped image keeps its class.
    origin : str
        Where the samples came from and what was done to them, in words.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    flip: bool
    origin: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``(c, h, w)``, ``(c, length)`` or ``(features,)``."""
        return tuple(int(size) for size in self.train.x.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the shapes and bytes of all arrays; equal for equal data on any machine."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.x.astype("<f4", copy=False), split.y.astype("<i8", copy=False)):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def calibration(self, samples: int) -> NDArray[np.float32]:
        """Draw a fixed, class-balanced part of the training split.

        A smaller draw is the beginning of a larger one. Classes take turns; one that runs out is passed over.

        Parameters
        ----------
        samples : int
            How many to draw; all of the training split where it has fewer.

        Returns
        -------
        ndarray of float32
            ``(min(samples, len(train)), *input_shape)``.

        Raises
        ------
        InputError
            If ``samples`` is not positive.

        Examples
        --------
        >>> from edgegrow.data import load_dataset
        >>> load_dataset("digits").calibration(100).shape
        (100, 1, 8, 8)
        """
        if samples < 1:
            raise InputError(f"data {self.name}: {samples} calibration samples: ask for at least 1")
        order = np.random.RandomState(FIXED_SEED).permutation(len(self.train))
        labels = self.train.y[order]
        turn = np.empty(len(order), np.int64)  # (n,): how many of its class come before each sample
        for label in range(self.classes):
            members = np.flatnonzero(labels == label)
            turn[members] = np.arange(len(members))
        drawn = order[np.lexsort((labels, turn))][:samples]
        return self.train.x[drawn]
