"""Data sets known by name: scikit-learn's digits, Fashion-MNIST, MNIST-1D."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from edgegrow.data.dataset import Dataset
from edgegrow.data.download import download
from edgegrow.data.idx import read_idx
from edgegrow.data.splits import assemble
from edgegrow.errors import InputError, reason
from edgegrow.files import cache_folder

FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Published files -> SHA-256 of their *uncompressed* bytes; Debian's gzip files are not the project's."""

FASHION_MNIST_ADDRESS = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
"""The project's own repository; the address in its description is without https."""

SYSTEM_FOLDERS = (Path("/usr/local/share/datasets"), Path("/usr/share/datasets"))
"""Where distributions put data sets."""

_FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FASHION_MNIST_SHARES = (55_000, 5_000)
_MNIST1D_SHARES = (8_000, 2_000, 2_000)


def digits(data_dir: Path | None = None) -> Dataset:
    """Load scikit-learn's 1,797 handwritten digits, ``(1, 8, 8)``; the package contains them."""
    from sklearn.datasets import load_digits

    source = load_digits()
    return assemble(
        "digits",
        source.images[:, None] / 16,
        source.target,
        origin="scikit-learn digits, 8x8, not resized, scaled to 0..1",
        where="data digits",
    )


def fashion_mnist(data_dir: Path | None = None) -> Dataset:
    """Load Fashion-MNIST, ``(1, 28, 28)``: 55,000 to train, 5,000 to validate, the official 10,000 to test.

    Parameters
    ----------
    data_dir : Path, optional
        Looked at first; then the system's data sets, the user's cache, and the published address.

    Raises
    ------
    InputError
        If it is nowhere to be found, or a file is not the published one.
    """
    folder, paths = _find(data_dir)
    x, y, x_test, y_test = (read_idx(path, FASHION_MNIST_FILES[name]) for name, path in paths.items())
    return assemble(
        "fashion-mnist",
        x[:, None],
        y,
        origin=f"Fashion-MNIST from {folder}, 28x28 greyscale, not resized, scaled to 0..1; the official "
        "test split; 1 in 12 of the official training split held out for validation",
        where=f"data fashion-mnist: {folder}",
        class_names=_FASHION_MNIST_CLASSES,
        flip=True,
        test=(x_test[:, None], y_test),
        shares=_FASHION_MNIST_SHARES,
    )


def mnist1d(data_dir: Path | None = None) -> Dataset:
    """Make MNIST-1D, ``(1, 40)``: 8,000 signals to train, 2,000 to validate, 2,000 to test.

    The package ``mnist1d`` makes them from templates of the ten digits by its published settings and seed
    (Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", 2024), only more of them: 12,000, not
    5,000. As there, the mean and the standard deviation of all signals are 0 and 1.

    Raises
    ------
    InputError
        If the package is missing or broken.
    """
    where = "data mnist1d"
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except Exception as error:  # it imports matplotlib and requests, which may fail in any way
        raise InputError(
            f"{where}: the package that makes it does not work ({reason(error)}): "
            "pip install 'edgegrow[datasets]'"
        ) from error
    arguments = get_dataset_args()
    arguments.num_samples, arguments.train_split = sum(_MNIST1D_SHARES), 1.0  # split here, stratified
    states = random.getstate(), np.random.get_state()
    try:
        made = make_dataset(arguments)  # seeds the global generators, which are a user's
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    return assemble(
        "mnist1d",
        made["x"][:, None],
        made["y"],
        origin=f"12,000 signals of MNIST-1D, made by the package mnist1d with seed {arguments.seed}; "
        "values as they are",
        where=where,
        shares=_MNIST1D_SHARES,
    )


def installed_fashion_mnist() -> Path | None:
    """Return the folder that Fashion-MNIST would be read from where nothing else is said, if there is one."""
    for folder in _folders(None):
        if all(_file(folder, name) for name in FASHION_MNIST_FILES):
            return folder
    return None


def _find(data_dir: Path | None) -> tuple[Path, dict[str, Path]]:
    """Find a folder with all four files, in order; download them to the cache where there is none."""
    looked: list[str] = []
    for folder in _folders(data_dir):
        found = {name: _file(folder, name) for name in FASHION_MNIST_FILES}
        paths = {name: path for name, path in found.items() if path is not None}
        if len(paths) == len(found):
            return folder, paths
        missing = ", ".join(name for name, path in found.items() if path is None)
        looked.append(f"{folder} (without {missing})" if paths else str(folder))
    folder = cache_folder() / "fashion-mnist"
    paths = {}
    try:
        for name, digest in FASHION_MNIST_FILES.items():
            url, path = f"{FASHION_MNIST_ADDRESS}/{name}.gz", _file(folder, name)
            if path is None:
                path = folder / f"{name}.gz"
                download(url, path, partial(read_idx, sha256=digest, where=url))
            paths[name] = path
    except InputError as error:
        raise InputError(
            f"data fashion-mnist: not in {', '.join(looked)}; {error}; or apt install dataset-fashion-mnist, "
            "or give --data-dir a folder with its four files"
        ) from error
    return folder, paths


def _folders(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        yield data_dir
        yield data_dir / "fashion-mnist"
    for system in SYSTEM_FOLDERS:
        yield system / "fashion-mnist"
    yield cache_folder() / "fashion-mnist"


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        try:
            if path.is_file():
                return path
        except OSError:  # a folder that may not be entered has nothing for us
            pass
    return None
