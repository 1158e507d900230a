from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegrow.data import idx
from edgegrow.data.idx import read_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("array", [IMAGES, IMAGES.ravel(), IMAGES[None], np.arange(7, dtype=np.uint8)])
def test_reads(array: np.ndarray, pack: Callable[[bytes], bytes], path: Path, idx_bytes: Any) -> None:
    content = idx_bytes(array)
    path.write_bytes(pack(content))
    read = read_idx(path, hashlib.sha256(content).hexdigest())
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["not an IDX file", "nothing"]),
        (b"\0\0\x08", ["not an IDX file", "00 00 08"]),
        (b"PK\x03\x04" + bytes(60), ["not an IDX file, it starts with 50 4b 03 04"]),
        (b"\0\0\x0d\x01" + bytes(60), ["IDX type 0x0d", "unsigned bytes"]),
        (b"\0\0\x08\x00" + bytes(60), ["0 dimensions"]),
        (b"\0\0\x08\x05" + bytes(60), ["5 dimensions"]),
        (b"\0\0\x08\x03\0\0\0\2\0\0", ["truncated in the IDX header"]),
        (b"\0\0\x08\x01\0\0\0\4abc", ["truncated: 3 bytes of data", "(4,) promises 4"]),
        (b"\0\0\x08\x01\0\0\0\4abcde", ["more data than its header (4,) promises"]),
        (b"\0\0\x08\x03" + b"\xff" * 12, ["values, above the limit"]),
    ],
)
def test_mistakes(content: bytes, words: list[str], pack: Any, path: Path, fails: Any) -> None:
    path.write_bytes(pack(content))
    fails(lambda: read_idx(path), f"{path}: ", *words)


def test_checksum(path: Path, idx_bytes: Any, fails: Any) -> None:
    path.write_bytes(gzip.compress(idx_bytes(IMAGES)))
    fails(lambda: read_idx(path, "0" * 64), f"{path}: checksum mismatch", "delete it")
    fails(lambda: read_idx(path, "0" * 64, "https://there"), "https://there: checksum mismatch")


def test_damaged_gzip(path: Path, idx_bytes: Any, fails: Any) -> None:
    packed = gzip.compress(idx_bytes(IMAGES))
    for damaged in (packed[:-5], packed[:12], packed[:-8] + bytes(8), packed[:3] + b"\xff" * 30):
        path.write_bytes(damaged)
        fails(lambda: read_idx(path), f"{path}: ", "fetch it again")


def test_a_gzip_bomb_is_not_unpacked(path: Path, fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\4" + bytes(2**26)))
    read = 0
    original = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int = -1) -> bytes:
        nonlocal read
        chunk = original(self, size)
        read += len(chunk)
        return chunk

    monkeypatch.setattr(idx.gzip.GzipFile, "read", counted)
    fails(lambda: read_idx(path), "more data than its header")
    assert read < 100


def test_unreadable(tmp_path: Path, fails: Any) -> None:
    fails(lambda: read_idx(tmp_path / "none"), "cannot read it (No such file")
    fails(lambda: read_idx(tmp_path), "cannot read it (Is a directory")


@given(data=st.data(), packed=st.booleans())
@settings(deadline=None, max_examples=300)
def test_damage_ends_in_an_array_or_an_input_error(
    data: st.DataObject,
    packed: bool,
    tmp_path_factory: pytest.TempPathFactory,
    idx_bytes: Any,
    outcome: Any,
) -> None:
    content = bytearray(idx_bytes(IMAGES))
    if packed:
        content = bytearray(gzip.compress(content))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged-idx"
    path.write_bytes(content[:end] if data.draw(st.booleans()) else content)
    read = outcome(lambda: read_idx(path))
    assert read is None or read.dtype == np.uint8
