from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegrow.errors import InputError


@pytest.fixture
def fails() -> Callable[..., str]:
    """Call something that must end in one line of InputError, which holds all of the words."""

    def check(call: Callable[[], object], *words: str) -> str:
        with pytest.raises(InputError) as caught:
            call()
        message = str(caught.value)
        assert message.isprintable(), message
        for word in words:
            assert word in message
        return message

    return check


@pytest.fixture(scope="session")
def outcome() -> Callable[[Callable[[], Any]], Any]:
    """Call something on damaged input: its result, or None for one line of InputError."""

    def check(call: Callable[[], Any]) -> Any:
        message = ""
        try:
            return call()
        except InputError as error:
            message = str(error)
        assert len(message.splitlines()) == 1
        return None

    return check


@pytest.fixture(scope="session")
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """Write IDX, independently of the reader: big-endian header, then bytes."""

    def write(array: np.ndarray) -> bytes:
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    return write


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    """30 images (n, 4, 5) of uint8 in 3 classes, each unlike any other."""
    return np.arange(30 * 20, dtype=np.int64).astype(np.uint8).reshape(30, 4, 5), np.arange(30) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's cache, or a proxy."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder
