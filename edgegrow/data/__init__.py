"""Data sets: a name or a path in, checked splits out.

Inputs of images are scaled to 0..1; floating-point data is left as it is. No mean and standard deviation are
applied: they would have to be applied again on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgegrow.errors import InputError, reason
from edgegrow.plugins import import_function

if TYPE_CHECKING:
    from edgegrow.data.dataset import Dataset

DATASETS = ("digits", "fashion-mnist", "mnist1d")
"""Built-in data sets."""

_HINT = f"choose {', '.join(DATASETS)}, a folder of class folders, a .npz file or module:function"


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set and split it.

    Parameters
    ----------
    name : str
        One of `DATASETS`; a folder of class folders of images (`edgegrow.data.folder`); a ``.npz`` file
        (`edgegrow.data.npz`); or ``module:function``, called without arguments, which returns a `Dataset` or
        ``(x, y)``: inputs ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``, and integer labels
        ``(n,)``. A folder that shares its name with a built-in data set is given as ``./digits``.
    data_dir : Path, optional
        Where the files of a built-in data set are looked for first.

    Raises
    ------
    InputError
        If there is no such data set, or anything in it is wrong.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.input_shape, digits.classes, len(digits.train), len(digits.validation), len(digits.test)
    ((1, 8, 8), 10, 1078, 362, 357)
    """
    try:
        return _load(name, data_dir)
    except MemoryError as error:
        raise InputError(f"data {name}: it does not fit in memory: give fewer or smaller samples") from error


def _load(name: str, data_dir: Path | None) -> Dataset:
    if name in DATASETS:
        from edgegrow.data import builtin

        load: Callable[[Path | None], Dataset] = getattr(builtin, name.replace("-", "_"))
        return load(data_dir)
    path = _path(name)
    if path is None:
        return _from_function(name)
    if path.is_dir():
        from edgegrow.data.folder import load_folder

        return load_folder(name, path)
    from edgegrow.data.npz import load_npz

    return load_npz(name, path)


def _path(name: str) -> Path | None:
    """Return the folder or ``.npz`` file that ``name`` means, or None for ``module:function``."""
    path = Path(name)
    try:
        if name and (path.is_dir() or path.is_file()):
            if path.is_dir() or path.suffix.lower() == ".npz":
                return path
            raise InputError(f"data {name}: not a data set: {_HINT}")
    except (OSError, ValueError):  # a name that no path can have
        pass
    if path.suffix.lower() == ".npz" or (":" not in name and len(path.parts) > 1):
        raise InputError(f"data {name}: no such file or folder: check the path, or {_HINT}")
    if ":" not in name:
        raise InputError(f"data {name}: unknown: {_HINT}")
    return None


def _from_function(name: str) -> Dataset:
    from edgegrow.data.dataset import Dataset
    from edgegrow.data.splits import assemble

    where = f"data {name}"
    function = import_function(name, where, _HINT)
    try:
        result = function()
    except (Exception, SystemExit) as error:  # a user's function may fail in any way
        raise InputError(f"{where}: calling it failed: {reason(error)}") from error
    if isinstance(result, Dataset):
        return _checked(result, where)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise InputError(f"{where}: it returned {type(result).__name__}: return (x, y) or a Dataset")
    return assemble(
        name, *result, origin=f"{name}(); uint8 is scaled to 0..1, the rest is as it is", where=where
    )


def _checked(dataset: Dataset, where: str) -> Dataset:
    """Check a user's own `Dataset` like any other samples, keeping its splits."""
    from edgegrow.data.checks import check_counts, check_inputs, check_labels, check_names, check_test
    from edgegrow.data.dataset import Dataset, Split

    for key in ("train", "validation", "test"):
        if not isinstance(getattr(dataset, key), Split):
            raise InputError(
                f"{where}: the Dataset's {key} is not a Split: give edgegrow.data.dataset.Split(x, y)"
            )
    given = dataset.train.x
    x = check_inputs(given, where)
    y = check_labels(dataset.train.y, len(x), where)
    names = check_names(dataset.class_names, y, where)
    check_counts(y, names, 1, where)
    validation, test = (
        Split(*check_test(given, x, part.x, part.y, len(names), where, key))
        for key, part in (("validation", dataset.validation), ("test", dataset.test))
    )
    return Dataset(dataset.name, Split(x, y), validation, test, names, dataset.flip, dataset.origin)
