from __future__ import annotations

import doctest
import importlib
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegrow.data import DATASETS, load_dataset


def test_digits() -> None:
    data = load_dataset("digits")
    assert data.name == "digits"
    assert data.input_shape == (1, 8, 8)
    assert data.class_names == tuple("0123456789")
    assert not data.flip
    assert data.origin == "scikit-learn digits, 8x8, not resized, scaled to 0..1"
    assert len(data.train) + len(data.validation) + len(data.test) == 1_797
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    assert (data.train.x.dtype, data.train.y.dtype) == (np.float32, np.int64)
    # Pinned: a record that names this fingerprint can be trusted with any version of numpy and scikit-learn.
    assert data.fingerprint == "9710b7559792c3daaae1aab3b9b2f3d8357f722b16bb2a61244465028d38858e"


def test_mnist1d() -> None:
    pytest.importorskip("mnist1d", reason="no mnist1d: pip install edgegrow[datasets]")
    random.seed(1), np.random.seed(1)
    data = load_dataset("mnist1d")
    drawn = random.random(), np.random.random()
    random.seed(1), np.random.seed(1)
    assert drawn == (random.random(), np.random.random())  # the global generators are left as they were
    assert (data.name, data.input_shape, data.class_names) == ("mnist1d", (1, 40), tuple("0123456789"))
    for split, each in ((data.train, 800), (data.validation, 200), (data.test, 200)):
        assert np.bincount(split.y).tolist() == [each] * 10
    everything = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert len(np.unique(everything, axis=0)) == 12_000
    assert abs(everything.mean()) < 1e-6
    assert everything.std() == pytest.approx(1)
    assert data.fingerprint == "adfb1773c85d6fcaf94d443f42613580d4b338b5bc3dbd66c7cc1fa7d00241bb"


def test_mnist1d_without_its_package(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    fails(lambda: load_dataset("mnist1d"), "data mnist1d: ", "edgegrow[datasets]")


@pytest.mark.parametrize("name", ["", "mnist", "Digits", "digits "])
def test_unknown_name(name: str, fails: Callable[..., str]) -> None:
    fails(lambda: load_dataset(name), f"data {name}: unknown", *DATASETS, ".npz", "module:function")


def test_missing_paths(tmp_path: Path, fails: Callable[..., str]) -> None:
    fails(lambda: load_dataset(str(tmp_path / "none")), "none: no such file or folder")
    fails(lambda: load_dataset("none.npz"), "data none.npz: no such file or folder")
    fails(lambda: load_dataset("x" * 5000), "unknown")


def test_a_file_of_another_kind(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "d.csv").write_text("1,2")
    fails(lambda: load_dataset(str(tmp_path / "d.csv")), "d.csv: not a data set", ".npz")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module of data functions."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from edgegrow.data.dataset import Dataset, Split

        x, y = np.linspace(-1, 1, 240).reshape(30, 2, 4), np.arange(30) % 3
        part = Split(x, y)

        def pair(): return x, y
        def pixels(): return [(np.full((30, 1, 2, 2), 255, np.uint8)), y.tolist()]
        small, tiny = Split(x[:6], y[:6]), Split(x[6:8], y[6:8])
        def given(): return Dataset("mine", Split(x, y), small, tiny, list("abc"), True, "by hand")
        def nothing(): pass
        def three(): return x, y, y
        def failing(): raise KeyError("a\\nb")
        def needy(argument): pass
        def nan(): return np.where(x > 0.99, np.nan, x), y
        def arrays(): return Dataset("mine", x, part, part, list("abc"), True, "")
        def unnamed(): return Dataset("mine", part, part, part, None, True, "")
        def few_names(): return Dataset("mine", part, part, part, list("ab"), True, "")
        def odd(): return Dataset("mine", part, Split(x[:, :1], y), part, list("abc"), True, "")
        def empty(): return Dataset("mine", part, part, Split(x[:0], y[:0]), list("abc"), True, "")
        def huge(): raise MemoryError
        number = 3
        """)
    )
    monkeypatch.chdir(tmp_path)
    return name


def test_own_arrays(own: str) -> None:
    data = load_dataset(f"{own}:pair")
    assert data.name == f"{own}:pair"
    assert data.input_shape == (2, 4)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 6)
    assert data.train.x.min() < 0
    assert load_dataset(f"{own}:pixels").train.x.max() == 1


def test_own_dataset_keeps_its_splits(own: str) -> None:
    data = load_dataset(f"{own}:given")
    assert (data.name, data.class_names, data.flip, data.origin) == ("mine", ("a", "b", "c"), True, "by hand")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 6, 2)
    assert data.train.x.dtype == np.float32
    assert len(data.fingerprint) == 64
    assert load_dataset(f"{own}:unnamed").class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nothing", ["it returned NoneType", "(x, y) or a Dataset"]),
        ("three", ["it returned tuple"]),
        ("failing", ["calling it failed: KeyError"]),
        ("needy", ["calling it failed: TypeError"]),
        ("nan", ["is nan"]),
        ("arrays", ["train is not a Split"]),
        ("few_names", ["out of range for 2 class_names"]),
        ("odd", ["x_validation has samples of shape (1, 4)"]),
        ("empty", ["x_test has shape (0, 2, 4)"]),
        ("huge", ["calling it failed: MemoryError"]),
        ("number", ["not a function"]),
        ("missing", ["cannot import it"]),
    ],
)
def test_own_mistakes(function: str, words: list[str], own: str, fails: Callable[..., str]) -> None:
    fails(lambda: load_dataset(f"{own}:{function}"), f"data {own}:{function}: ", *words)


def test_out_of_memory(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def digits(data_dir: Path | None) -> None:
        raise MemoryError

    monkeypatch.setattr("edgegrow.data.builtin.digits", digits)
    fails(lambda: load_dataset("digits"), "data digits: it does not fit in memory")


def test_importing_is_light() -> None:
    code = "import sys, edgegrow.data; print({'numpy', 'sklearn', 'PIL', 'torch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("module", ["edgegrow.data", "edgegrow.data.dataset", "edgegrow.data.splits"])
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
