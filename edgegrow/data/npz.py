"""A ``.npz`` file with ``x`` and ``y``. The file is not trusted: nothing in it is unpickled.

Arrays
------
``x``, ``y``
    Inputs ``(n, ...)`` and integer labels ``(n,)``. ``uint8`` inputs are scaled to 0..1, others left alone.
``x_test``, ``y_test`` (optional)
    A test split of one's own; the rest is then split 80/20 into train and validation, otherwise 60/20/20.
``split`` (optional)
    Splits of one's own, integers ``(n,)``: 0 where a sample is to train with, 1 to validate, 2 to test; every
    class is in each. For samples that belong together, such as all of one speaker's, and must not be divided.
``class_names`` (optional)
    Text ``(classes,)``.
``layout`` (optional)
    What the axes of ``x`` are, one letter each: ``nf`` features; ``nl``, ``ncl`` or ``nlc`` signals; ``nhw``,
    ``nchw`` or ``nhwc`` images. Without it: two axes are ``nf``; three are ``nhw``; four are ``nchw`` if the
    second axis is 1 or 3, ``nhwc`` if the last one is, and refused if both are or none is. A signal therefore
    always says so: ``np.savez("signals.npz", x=x, y=y, layout="ncl")``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgegrow.data.checks import as_texts, check_size
from edgegrow.data.dataset import Dataset
from edgegrow.data.splits import assemble
from edgegrow.errors import InputError, reason
from edgegrow.files import open_regular

KEYS = ("x", "y", "x_test", "y_test", "split", "class_names", "layout")

LAYOUTS = {"nf": "nf", "nl": "ncl", "ncl": "ncl", "nlc": "ncl", "nhw": "nchw", "nchw": "nchw", "nhwc": "nchw"}
"""A file's axes -> what they become."""


def load_npz(name: str, path: Path) -> Dataset:
    """Load a ``.npz`` file; the module says what is in it.

    Parameters
    ----------
    name : str
        What was asked for.
    path : Path
        The file.

    Raises
    ------
    InputError
        If the file is damaged, pickled, too large, has other keys, or its samples are wrong in any way.
    """
    where = f"data {name}"
    arrays = _read(path, where)
    layout = _layout(arrays, where)
    x = _arrange(arrays["x"], layout, where, "x")
    test = None
    if "x_test" in arrays:
        test = _arrange(arrays["x_test"], layout, where, "x_test"), arrays["y_test"]
    scaling = "scaled to 0..1" if x.dtype == np.uint8 else "values as they are"
    own = ", its own splits" if "split" in arrays else ", its own test split" if test else ""
    return assemble(
        name,
        x,
        arrays["y"],
        origin=f"arrays in {path}, layout {layout}, {scaling}{own}",
        where=where,
        class_names=arrays.get("class_names"),
        test=test,
        parts=arrays.get("split"),
    )


def _read(path: Path, where: str) -> dict[str, NDArray[Any]]:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            _check_keys(entries, where)
            return {key: _read_array(archive, entry, f"{where}: {key}") for key, entry in entries.items()}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file: check the path") from error
    except Exception as error:  # zipfile and numpy raise anything for a damaged file
        raise InputError(
            f"{where}: not a readable .npz file ({reason(error)}): write it again with numpy.savez"
        ) from error


def _check_keys(keys: Collection[str], where: str) -> None:
    missing = [key for key in ("x", "y") if key not in keys]
    unknown = [key for key in keys if key not in KEYS]
    if missing or unknown:
        problem = f"no {' and no '.join(missing)}" if missing else f"unknown array {unknown[0]!r}"
        found = ", ".join(repr(key) for key in keys) or "nothing"
        raise InputError(
            f"{where}: {problem}, found {found:.200}: name the arrays {', '.join(KEYS)}; x and y suffice"
        )
    if ("x_test" in keys) != ("y_test" in keys):
        raise InputError(f"{where}: x_test and y_test come together: give both or none")
    if "x_test" in keys and "split" in keys:
        raise InputError(f"{where}: both x_test and split: give one, split says 2 for a test sample")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    """Read one array whose header is consistent with its size: memory is never taken on a header's word."""
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        header_bytes = stream.tell()
    if dtype.hasobject:
        raise InputError(f"{where} is pickled Python objects, which are not loaded: save numbers or text")
    check_size(max(prod(shape), entry.file_size // 8), where)
    if prod(shape) * dtype.itemsize != entry.file_size - header_bytes:
        raise InputError(
            f"{where} has {entry.file_size - header_bytes} bytes of data, its header {shape} of {dtype} says "
            "otherwise: write it again with numpy.savez"
        )
    with archive.open(entry) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return array


def _layout(arrays: dict[str, NDArray[Any]], where: str) -> str:
    """Take the layout the file gives, or the one that its shape leaves no doubt about."""
    x = arrays["x"]
    if "layout" in arrays:
        layout = " ".join(as_texts(arrays["layout"], where, "layout"))
        if layout not in LAYOUTS:
            raise InputError(f"{where}: layout is {layout[:20]!r}: give one of {', '.join(LAYOUTS)}")
        return layout
    if x.ndim in (2, 3):
        return "nf" if x.ndim == 2 else "nhw"
    if x.ndim != 4:
        raise InputError(f"{where}: x has shape {x.shape}: give 2 to 4 axes, samples first")
    first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
    if first == last:
        raise InputError(
            f"{where}: x has shape {x.shape}, channels first or last? add layout='nchw' or 'nhwc'"
        )
    return "nchw" if first else "nhwc"


def _arrange(array: NDArray[Any], layout: str, where: str, key: str) -> NDArray[Any]:
    """Bring ``array`` to ``nf``, ``ncl`` or ``nchw``."""
    if array.ndim != len(layout):
        raise InputError(
            f"{where}: {key} has shape {array.shape}, layout {layout} has {len(layout)} axes: fix one"
        )
    wanted = LAYOUTS[layout]
    if "c" in wanted and "c" not in layout:
        array, layout = array[:, None], f"nc{layout[1:]}"
    return array.transpose([layout.index(axis) for axis in wanted])
