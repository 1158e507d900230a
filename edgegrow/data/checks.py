"""What is true of every ``(x, y)``, checked in one place.

Inputs become finite ``float32`` of shape ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``. ``uint8``
is taken for pixels and scaled to 0..1; every other number is left as it is. A mean and a standard deviation
are never applied: they would have to be applied again on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgegrow.errors import InputError, reason

SPLITS = ("train", "validation", "test")
"""What the numbers of given splits mean."""

MAX_VALUES = 2**30
"""A file may hold this many values (4 GiB as ``float32``): edgegrow keeps a data set in memory."""


def check_size(values: int, where: str) -> None:
    """Raise `InputError` where a file says it holds more than `MAX_VALUES` values."""
    if values > MAX_VALUES:
        raise InputError(f"{where}: {values:,} values, above the limit of {MAX_VALUES:,}: give fewer samples")


def as_array(values: ArrayLike, where: str, key: str) -> NDArray[Any]:
    """Turn ``values`` into an array of numbers or text.

    Raises
    ------
    InputError
        For ragged lists, objects, and what cannot be an array.
    """
    try:
        array = np.asarray(values)
    except Exception as error:  # any __array__ of a user's object may run here
        raise InputError(
            f"{where}: {key} is not an array ({reason(error)}): give samples of one shape in one numpy array"
        ) from error
    if array.dtype.hasobject:
        raise InputError(
            f"{where}: {key} is an array of Python objects: give samples of one shape in one numeric array"
        )
    return array


def as_texts(values: ArrayLike, where: str, key: str) -> list[str]:
    """Turn ``values`` into a list of text; a single text gives a list of one.

    Raises
    ------
    InputError
        If it is anything else, or no characters.
    """
    array = as_array(values, where, key)
    if array.ndim > 1 or array.dtype.kind != "U":
        raise InputError(f"{where}: {key} has type {array.dtype}, shape {array.shape}: give text")
    try:
        return [str(text) for text in array.reshape(-1)]
    except (SystemError, ValueError) as error:  # numpy's text may hold numbers that are no characters
        raise InputError(f"{where}: {key} is not text ({reason(error)}): write it again") from error


def check_inputs(x: ArrayLike, where: str, key: str = "x") -> NDArray[np.float32]:
    """Check inputs and convert them.

    Parameters
    ----------
    x : array_like
        ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)`` of any real type.
    where, key : str
        The beginning of an error's line, and the array's name in it.

    Returns
    -------
    ndarray of float32
        The same shape, contiguous; ``uint8`` divided by 255.

    Raises
    ------
    InputError
        For another type or shape, no samples, NaN, infinity.
    """
    array = as_array(x, where, key)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: {key} has type {array.dtype}: give float32 or uint8")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise InputError(
            f"{where}: {key} has shape {array.shape}: give (n, c, h, w), (n, c, length) or (n, features), "
            "none of them 0"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(np.divide(array, 255, dtype=np.float32))
    with np.errstate(over="ignore"):
        inputs = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(inputs)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), inputs.shape))
        raise InputError(f"{where}: {key}{list(index)} is {array[index]}: remove or repair sample {index[0]}")
    return inputs


def check_labels(
    y: ArrayLike, samples: int, where: str, classes: int | None = None, key: str = "y"
) -> NDArray[np.int64]:
    """Check labels and convert them to ``int64``.

    Parameters
    ----------
    y : array_like
        Integers ``(samples,)``.
    samples : int
        How many there must be.
    where, key : str
        The beginning of an error's line, and the array's name in it.
    classes : int, optional
        Labels must be below it.

    Raises
    ------
    InputError
        For another type, shape or number, and for labels out of range.
    """
    array = as_array(y, where, key)
    if array.ndim != 1:
        raise InputError(
            f"{where}: {key} has shape {array.shape}: give one integer label a sample, ({samples},)"
        )
    if len(array) != samples:
        raise InputError(
            f"{where}: {samples} samples but {len(array)} labels in {key}: give one label a sample"
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: {key} has type {array.dtype}: labels are integers 0..classes-1")
    # Without gaps no label reaches the number of samples, which bounds all that is counted later on.
    below = samples if classes is None else classes
    wrong = (array < 0) | (array >= below)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f"{where}: {key}[{index}] is {array[index]}: "
            + ("number the classes 0, 1, ... without gaps" if classes is None else f"use 0..{classes - 1}")
        )
    return array.astype(np.int64)


def check_names(class_names: ArrayLike | None, labels: NDArray[np.int64], where: str) -> tuple[str, ...]:
    """Check the classes' names against the labels ``(n,)``; without names, the labels are the names.

    Raises
    ------
    InputError
        If names are not distinct, printable text, or a label has no name.
    """
    highest = int(labels.max())
    if class_names is None:
        return tuple(str(label) for label in range(highest + 1))
    names = tuple(as_texts(class_names, where, "class_names"))
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name.strip() or not name.isprintable():
            raise InputError(f"{where}: class_names[{index}] is {name!r}: give printable text")
        if name in seen:
            raise InputError(
                f"{where}: class_names[{index}] repeats {name!r}: give each class a name of its own"
            )
        seen.add(name)
    if highest >= len(names):
        index = int(np.argmax(labels >= len(names)))
        raise InputError(
            f"{where}: y[{index}] is {labels[index]}, out of range for {len(names)} class_names: "
            f"use 0..{len(names) - 1} or name every class"
        )
    return names


def check_counts(labels: NDArray[np.int64], names: tuple[str, ...], least: int, where: str) -> None:
    """Check that there are two classes or more, each with ``least`` samples: one for every split.

    Raises
    ------
    InputError
        Otherwise; the message names the first class that is too small.
    """
    if len(names) < 2:
        raise InputError(f"{where}: only one class, {names[0]!r}: a classifier needs two or more")
    for label, count in enumerate(np.bincount(labels, minlength=len(names))):
        if count == 0:
            raise InputError(
                f"{where}: class {label} ({names[label]!r}) has no samples: add some or renumber"
            )
        if count < least:
            raise InputError(
                f"{where}: class {label} ({names[label]!r}) has {count} samples: give at least {least}, "
                "one for each split"
            )


def check_parts(
    parts: ArrayLike, labels: NDArray[np.int64], names: tuple[str, ...], where: str, key: str = "split"
) -> NDArray[np.int64]:
    """Check given splits ``(n,)`` of samples with ``labels`` ``(n,)``: 0 train, 1 validation, 2 test.

    Raises
    ------
    InputError
        For another type, shape or number, and where a class is not in all three.
    """
    array = as_array(parts, where, key)
    if array.shape != labels.shape or array.dtype.kind not in "iu":
        raise InputError(
            f"{where}: {key} has type {array.dtype}, shape {array.shape}: give one integer a sample, "
            f"({len(labels)},)"
        )
    wrong = (array < 0) | (array >= len(SPLITS))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f"{where}: {key}[{index}] is {array[index]}: use 0 for train, 1 for validation, 2 for test"
        )
    for part, split in enumerate(SPLITS):
        counts = np.bincount(labels[array == part], minlength=len(names))
        if not counts.all():
            label = int(np.argmin(counts))
            raise InputError(
                f"{where}: class {label} ({names[label]!r}) has no samples with {key} {part} ({split}): "
                "give each split some of every class"
            )
    return array.astype(np.int64)


def check_test(
    x: ArrayLike,
    inputs: NDArray[np.float32],
    x_test: ArrayLike,
    y_test: ArrayLike,
    classes: int,
    where: str,
    key: str = "test",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Check a given split, ``key``, against the training data ``x``, already converted to ``inputs``.

    Returns
    -------
    tuple of ndarray
        Inputs ``(m, *input_shape)`` and labels ``(m,)``; a class may be missing here.

    Raises
    ------
    InputError
        For samples of another shape or scale, and for all that is wrong with any samples.
    """
    tested = check_inputs(x_test, where, f"x_{key}")
    shape = inputs.shape[1:]
    if tested.shape[1:] != shape:
        raise InputError(
            f"{where}: x_{key} has samples of shape {tested.shape[1:]}, x of {shape}: give one shape"
        )
    types = np.asarray(x).dtype, np.asarray(x_test).dtype
    if types[0] != types[1] and np.uint8 in types:
        raise InputError(
            f"{where}: x is {types[0]}, x_{key} is {types[1]}, and only uint8 is scaled: give one type"
        )
    return tested, check_labels(y_test, len(tested), where, classes, f"y_{key}")
