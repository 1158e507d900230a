from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.data import load_dataset
from edgegrow.data.dataset import Dataset

Y = np.arange(30) % 3
RNG = np.random.default_rng(0)


def load(path: Path) -> Dataset:
    return load_dataset(str(path))


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "d.npz", **arrays)
    return path / "d.npz"


def shaped(*shape: int) -> np.ndarray:
    return RNG.normal(size=(30, *shape)).astype(np.float32)


def same_rows(data: Dataset, x: np.ndarray) -> bool:
    """Whether the splits hold exactly the rows of x."""
    rows = np.concatenate(
        [part.x.reshape(len(part), -1) for part in (data.train, data.validation, data.test)]
    )
    return sorted(map(tuple, rows)) == sorted(map(tuple, x.reshape(len(x), -1)))


@pytest.mark.parametrize(
    ("shape", "layout", "becomes", "axes"),
    [
        ((5,), None, (5,), (0, 1)),
        ((5,), "nf", (5,), (0, 1)),
        ((5,), "nl", (1, 5), (0, 1)),
        ((4, 5), None, (1, 4, 5), (0, 1, 2)),
        ((4, 5), "nhw", (1, 4, 5), (0, 1, 2)),
        ((4, 5), "ncl", (4, 5), (0, 1, 2)),
        ((4, 5), "nlc", (5, 4), (0, 2, 1)),
        ((3, 4, 5), None, (3, 4, 5), (0, 1, 2, 3)),
        ((1, 4, 5), None, (1, 4, 5), (0, 1, 2, 3)),
        ((4, 5, 3), None, (3, 4, 5), (0, 3, 1, 2)),
        ((4, 5, 1), None, (1, 4, 5), (0, 3, 1, 2)),
        ((3, 4, 3), "nchw", (3, 4, 3), (0, 1, 2, 3)),
        ((3, 4, 3), "nhwc", (3, 3, 4), (0, 3, 1, 2)),
        ((4, 5, 6), "nhwc", (6, 4, 5), (0, 3, 1, 2)),
    ],
)
def test_layouts(shape: Any, layout: str | None, becomes: Any, axes: Any, tmp_path: Path) -> None:
    x = shaped(*shape)
    data = load(saved(tmp_path, x=x, y=Y, **({} if layout is None else {"layout": layout})))
    assert data.input_shape == becomes
    assert same_rows(data, x.transpose(axes))
    assert not data.flip


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_everything_given(save: Callable[..., None], tmp_path: Path, samples: Any) -> None:
    x, y = samples
    path = tmp_path / "d.npz"
    save(path, x=x, y=y, x_test=x[:6], y_test=y[:6], class_names=["a", "b", "c"])
    data = load(path)
    assert data.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(data.test.x, x[:6, None].astype(np.float32) / 255)
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 6)
    assert data.origin == f"arrays in {path}, layout nhw, scaled to 0..1, its own test split"
    assert data.fingerprint == load(path).fingerprint


def test_fortran_order(tmp_path: Path) -> None:
    x = shaped(4, 5)
    assert same_rows(load(saved(tmp_path, x=np.asfortranarray(x), y=Y)), x)


X = shaped(4)
PARTS = np.repeat([0, 1, 2], [9, 9, 12])
NAN = X.copy()
NAN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, ["no y", "found 'x'", "x_test"]),
        ({"y": Y}, ["no x", "found 'y'"]),
        ({}, ["no x and no y", "found nothing"]),
        ({"x_train": X, "y_train": Y}, ["no x and no y", "found 'x_train', 'y_train'"]),
        ({"x": X, "y": Y, "lables": Y}, ["unknown array 'lables'"]),
        ({"x": X, "y": Y, "x_test": X}, ["x_test and y_test come together"]),
        ({"x": X.astype(object), "y": Y}, ["x is pickled Python objects"]),
        ({"x": X, "y": Y.astype(object)}, ["y is pickled Python objects"]),
        ({"x": X, "y": Y, "class_names": np.array(["a", 1], object)}, ["class_names is pickled"]),
        ({"x": NAN, "y": Y}, ["x[3, 2] is nan", "sample 3"]),
        ({"x": X, "y": Y[:-1]}, ["30 samples but 29 labels"]),
        ({"x": X, "y": Y - 1}, ["y[0] is -1"]),
        ({"x": X, "y": Y / 2}, ["y has type float64"]),
        ({"x": X, "y": Y, "class_names": ["a", "b"]}, ["out of range for 2 class_names"]),
        ({"x": X, "y": Y, "layout": "hwc"}, ["layout is 'hwc'", "nchw"]),
        ({"x": X, "y": Y, "layout": ["n", "f"]}, ["layout is 'n f'", "nchw"]),
        ({"x": X, "y": Y, "layout": 3}, ["layout has type int64", "give text"]),
        ({"x": X, "y": Y, "layout": np.full(1, -1, "i4").view("U1")}, ["layout is not text"]),
        ({"x": X, "y": Y, "class_names": np.full(3, -1, "i4").view("U1")}, ["class_names is not text"]),
        ({"x": X, "y": Y, "layout": "ncl"}, ["x has shape (30, 4), layout ncl has 3 axes"]),
        ({"x": X, "y": Y, "x_test": shaped(4, 5), "y_test": Y}, ["x_test has shape (30, 4, 5), layout nf"]),
        ({"x": shaped(3, 4, 3), "y": Y}, ["channels first or last?", "layout="]),
        ({"x": shaped(4, 5, 6), "y": Y}, ["channels first or last?"]),
        ({"x": X[:, 0], "y": Y}, ["x has shape (30,)"]),
        ({"x": np.float32(1), "y": Y}, ["x has shape ()"]),
        ({"x": shaped(1, 2, 3, 4), "y": Y}, ["x has shape (30, 1, 2, 3, 4)"]),
        ({"x": X.astype(str), "y": Y}, ["x has type <U"]),
        ({"x": np.zeros(30, "i4,f4"), "y": Y, "layout": "nf"}, ["x has shape (30,)"]),
        ({"x": np.zeros((30, 2), "i4,f4"), "y": Y}, ["x has type [("]),
        ({"x": X, "y": Y, "split": PARTS, "x_test": X, "y_test": Y}, ["both x_test and split"]),
        ({"x": X, "y": Y, "split": PARTS[:-1]}, ["split has type int64, shape (29,)", "(30,)"]),
        ({"x": X, "y": Y, "split": PARTS[:, None]}, ["split has type int64, shape (30, 1)"]),
        ({"x": X, "y": Y, "split": PARTS / 1}, ["split has type float64"]),
        ({"x": X, "y": Y, "split": PARTS > 0}, ["split has type bool"]),
        ({"x": X, "y": Y, "split": PARTS.astype(str)}, ["split has type <U"]),
        ({"x": X, "y": Y, "split": PARTS.astype(object)}, ["split is pickled Python objects"]),
        ({"x": X, "y": Y, "split": PARTS + 1}, ["split[18] is 3", "2 for test"]),
        ({"x": X, "y": Y, "split": PARTS - 1}, ["split[0] is -1", "0 for train"]),
        ({"x": X, "y": Y, "split": Y}, ["class 1 ('1') has no samples with split 0 (train)"]),
        (
            {"x": X, "y": Y, "split": np.minimum(PARTS, 1)},
            ["class 0 ('0') has no samples with split 2 (test)"],
        ),
    ],
)
def test_mistakes(
    arrays: dict[str, Any], words: list[str], tmp_path: Path, fails: Callable[..., str]
) -> None:
    path = saved(tmp_path, **arrays)
    fails(lambda: load(path), f"data {path}: ", *words)


@given(data=st.data(), dtype=st.sampled_from(["u1", "i8", ">i4", "u8"]))
@settings(deadline=None, max_examples=50)
def test_own_splits_are_kept(
    data: st.DataObject, dtype: str, tmp_path_factory: pytest.TempPathFactory, outcome: Any
) -> None:
    n = data.draw(st.integers(6, 60))
    numbers = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    y, parts = np.arange(n) % 2, np.array(data.draw(numbers), dtype)
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    path = tmp_path_factory.getbasetemp() / "parts.npz"
    np.savez(path, x=x, y=y, split=parts)
    complete = len(set(zip(parts.tolist(), y.tolist(), strict=True))) == 6  # every class in every split
    read = outcome(lambda: load(path))
    assert (read is not None) == complete
    if read is not None:
        for part, split in enumerate((read.train, read.validation, read.test)):
            np.testing.assert_array_equal(split.x, x[parts == part])  # in the order of the file
            np.testing.assert_array_equal(split.y, y[parts == part])
        assert read.origin.endswith("layout nf, values as they are, its own splits")


def test_no_such_file(tmp_path: Path, fails: Callable[..., str]) -> None:
    fails(lambda: load(tmp_path / "none.npz"), "none.npz: no such file or folder")


def test_truncated_and_foreign_files(tmp_path: Path, fails: Callable[..., str]) -> None:
    path = saved(tmp_path, x=X, y=Y)
    content = path.read_bytes()
    for damaged in (b"", b"hello", content[: len(content) // 2], content[:-10]):
        path.write_bytes(damaged)
        fails(lambda: load(path), "not a readable .npz file", "numpy.savez")
    np.save(path.open("wb"), X)
    fails(lambda: load(path), "not a readable .npz file")


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path / "d.npz"


@pytest.mark.parametrize(
    ("shape", "word"),
    [("(9999999999999, 4)", "limit"), ("(999999, 4)", "says otherwise"), ("(-3, -40)", "savez")],
)
def test_a_lying_header_costs_no_memory(
    shape: str, word: str, tmp_path: Path, fails: Callable[..., str]
) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + X.tobytes()
    fails(lambda: load(zipped(tmp_path, x=member, y=npy(Y))), word)


def test_a_zip_bomb_is_not_unpacked(
    tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegrow.data.checks.MAX_VALUES", 1000)
    path = zipped(tmp_path, x=npy(np.zeros((30, 4))) + bytes(10_000), y=npy(Y))
    fails(lambda: load(path), "above the limit of 1,000")


@given(data=st.data(), compressed=st.booleans())
@settings(deadline=None, max_examples=300)
def test_damaged_files(
    data: st.DataObject, compressed: bool, tmp_path_factory: pytest.TempPathFactory, outcome: Any
) -> None:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, x=X[:12, :2], y=Y[:12])
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged(stream.getvalue(), data))
    read = outcome(lambda: load(path))
    assert read is None or np.isfinite(read.train.x).all()


@given(data=st.data(), key=st.sampled_from(["x", "y", "split", "class_names", "layout"]))
@settings(deadline=None, max_examples=300)
@pytest.mark.filterwarnings("ignore")
def test_damaged_arrays_in_a_sound_zip(
    data: st.DataObject, key: str, tmp_path_factory: pytest.TempPathFactory, outcome: Any
) -> None:
    arrays = {"x": X[:12, :2], "y": Y[:12], "class_names": np.array(list("abc")), "layout": np.array("nf")}
    if data.draw(st.booleans()) or key == "split":
        arrays["split"] = np.arange(12) // 4 % 3
    members = {name: npy(array) for name, array in arrays.items()}
    members[key] = damaged(members[key], data)
    path = zipped(tmp_path_factory.getbasetemp(), **members)
    read = outcome(lambda: load(path))
    assert read is None or np.isfinite(read.train.x).all()


def damaged(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    for position in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=3)):
        changed[position] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        return bytes(changed[: data.draw(st.integers(0, len(changed)))])
    return bytes(changed)
