"""A folder of class-named folders of images: ``FOLDER/CLASS/*.png``. The files are not trusted."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgegrow.data.checks import check_size
from edgegrow.data.dataset import Dataset
from edgegrow.data.splits import assemble
from edgegrow.errors import InputError, reason

MAX_PIXELS = 2**24
"""An image above this size is refused before its pixels are unpacked."""

FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".webp")
"""What is read; PIL's many other decoders are never started."""

_IGNORED = ("thumbs.db", "desktop.ini")


def load_folder(name: str, folder: Path) -> Dataset:
    """Load ``FOLDER/CLASS/image`` files; classes are numbered in the order of their names.

    Greyscale stays ``(1, h, w)`` and RGB ``(3, h, w)``, of any one size, scaled to 0..1; nothing is resized
    or converted. Hidden files are passed over, anything else that is not an image is a mistake.

    Parameters
    ----------
    name : str
        What was asked for.
    folder : Path
        The folder of class folders.

    Raises
    ------
    InputError
        For a folder that is missing, empty or of another layout, and for images that are damaged, too large,
        of another mode than L and RGB, or unlike the first one.
    """
    where = f"data {name}"
    classes = _listing(folder, where)
    for path in classes:
        if not path.is_dir():
            raise InputError(
                f"{where}: {path.name!r} is not a class folder: expected FOLDER/CLASS/images, move it"
            )
    if not classes:
        raise InputError(f"{where}: the folder is empty: expected FOLDER/CLASS/images")
    files = [(path, label) for label, inside in enumerate(classes) for path in _images(inside, where)]
    x = _read_all([path for path, _ in files], where)
    height, width, channels = x.shape[1:]
    return assemble(
        name,
        x.transpose(0, 3, 1, 2),
        np.array([label for _, label in files]),
        origin=f"images in folder {folder}, {width}x{height} {'RGB' if channels == 3 else 'greyscale'}, "
        "not resized, scaled to 0..1",
        where=where,
        class_names=[path.name for path in classes],
    )


def _listing(folder: Path, where: str) -> list[Path]:
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise InputError(f"{where}: {folder}: cannot read it ({error.strerror}): check the path") from error
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() not in _IGNORED]


def _images(folder: Path, where: str) -> list[Path]:
    paths = _listing(folder, where)
    if not paths:
        raise InputError(f"{where}: class folder {folder.name!r} is empty: add images or remove it")
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"{where}: {str(path)!r} is not a file: expected FOLDER/CLASS/images, not yet split"
            )
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{where}: {str(path)!r} is not an image ({', '.join(SUFFIXES)}): remove or convert it"
            )
    return paths


def _read_all(paths: list[Path], where: str) -> NDArray[np.uint8]:
    """Read images of one size and mode into ``(n, h, w, c)``."""
    first = _read(paths[0], where)
    check_size(len(paths) * first.size, where)
    x = np.empty((len(paths), *first.shape), np.uint8)
    for index, path in enumerate(paths):
        pixels = _read(path, where)
        if pixels.shape != first.shape:
            raise InputError(
                f"{where}: {str(paths[0])!r} is {_words(first)}, {str(path)!r} is {_words(pixels)}: "
                "bring all to one size and mode"
            )
        x[index] = pixels
    return x


def _read(path: Path, where: str) -> NDArray[np.uint8]:
    """Read one image as ``(h, w, c)``, verified first where its format has checksums."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which is checked below
            with Image.open(path, formats=FORMATS) as image:
                mode, (width, height) = image.mode, image.size
                if mode in ("L", "RGB") and width * height <= MAX_PIXELS:
                    image.verify()
                    with Image.open(path, formats=FORMATS) as again:
                        return np.asarray(again).reshape(height, width, -1)
    except Exception as error:  # decoders raise anything for a damaged file
        raise InputError(
            f"{where}: {str(path)!r} is not a readable image ({reason(error)}): remove or replace it"
        ) from error
    if mode not in ("L", "RGB"):
        raise InputError(f"{where}: {str(path)!r} has mode {mode}: convert it to greyscale (L) or RGB")
    raise InputError(
        f"{where}: {str(path)!r} is {width}x{height}, above {MAX_PIXELS:,} pixels: make it smaller"
    )


def _words(pixels: NDArray[np.uint8]) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} {'RGB' if channels == 3 else 'greyscale'}"
