from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegrow.data import builtin, download, load_dataset
from edgegrow.data.builtin import FASHION_MNIST_FILES, SYSTEM_FOLDERS

INSTALLED = next(
    (
        path / "fashion-mnist"
        for path in SYSTEM_FOLDERS
        if all((path / "fashion-mnist" / f"{name}.gz").is_file() for name in FASHION_MNIST_FILES)
    ),
    None,
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FASHION_MNIST_FILES


@pytest.mark.skipif(INSTALLED is None, reason="no system data set: apt install dataset-fashion-mnist")
def test_the_installed_data_set() -> None:
    data = load_dataset("fashion-mnist")
    assert data.input_shape == (1, 28, 28)
    assert data.flip
    assert str(INSTALLED) in data.origin
    assert data.class_names[9] == "Ankle boot"
    for split, each in ((data.train, 5_500), (data.validation, 500), (data.test, 1_000)):
        assert np.bincount(split.y).tolist() == [each] * 10
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    assert data.test.y[:5].tolist() == [9, 2, 1, 1, 6]  # the official order
    assert data.fingerprint == "4af8ce57175bf20b8d7a4f5531b3f75aac3bdfc76e38f443e071ff06f7ccfc37"


@dataclass
class Server:
    """Files by path, what was asked for, and how to misbehave."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    status: int = 200
    promise: int = 0
    lengths: bool = True


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(state.status)
            if state.lengths:
                self.send_header("Content-Length", str(len(body) + state.promise))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Server(f"http://127.0.0.1:{http.server_address[1]}/data")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch, idx_bytes: Any) -> dict[str, bytes]:
    """A small data set of the same form, published by the server and known by its checksums."""
    rng = np.random.default_rng(0)
    arrays = {
        TRAIN_IMAGES: rng.integers(0, 256, (120, 28, 28), np.uint8),
        TRAIN_LABELS: np.arange(120, dtype=np.uint8) % 10,
        TEST_IMAGES: rng.integers(0, 256, (20, 28, 28), np.uint8),
        TEST_LABELS: np.arange(20, dtype=np.uint8) % 10,
    }
    contents = {name: idx_bytes(array) for name, array in arrays.items()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    server.files = {f"/data/{name}.gz": gzip.compress(content) for name, content in contents.items()}
    monkeypatch.setattr(builtin, "FASHION_MNIST_FILES", sums)
    monkeypatch.setattr(builtin, "FASHION_MNIST_ADDRESS", server.address)
    monkeypatch.setattr(builtin, "SYSTEM_FOLDERS", ())
    return contents


def write(folder: Path, contents: dict[str, bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


def fashion(data_dir: Path | None = None) -> Any:
    return load_dataset("fashion-mnist", data_dir)


def test_download_once_then_cache(published: Any, server: Server, cache: Path) -> None:
    data = fashion()
    assert (len(data.train), len(data.validation), len(data.test)) == (110, 10, 20)
    assert len(server.requests) == 4
    cached = cache / "edgegrow" / "fashion-mnist"
    assert sorted(path.name for path in cached.iterdir()) == sorted(f"{name}.gz" for name in published)
    server.files.clear()
    assert fashion().fingerprint == data.fingerprint
    assert len(server.requests) == 4
    assert str(cached) in data.origin


def test_a_broken_off_download_goes_on_where_it_was(published: Any, server: Server) -> None:
    labels = server.files.pop(f"/data/{TEST_LABELS}.gz")
    with pytest.raises(builtin.InputError):
        fashion()
    server.files[f"/data/{TEST_LABELS}.gz"] = labels
    server.requests.clear()
    fashion()
    assert server.requests == [f"/data/{TEST_LABELS}.gz"]


def failed(fails: Callable[..., str], cache: Path, *words: str) -> str:
    message = fails(
        fashion, "data fashion-mnist: not in ", str(cache), "dataset-fashion-mnist", "--data-dir", *words
    )
    assert list((cache / "edgegrow" / "fashion-mnist").iterdir()) == []
    return message


def test_wrong_checksum(published: Any, server: Server, fails: Callable[..., str], cache: Path) -> None:
    wrong = bytearray(published[TRAIN_IMAGES])
    wrong[-1] ^= 1
    server.files[f"/data/{TRAIN_IMAGES}.gz"] = gzip.compress(wrong)
    failed(fails, cache, f"{server.address}/{TRAIN_IMAGES}.gz: checksum mismatch")


def test_not_found(published: Any, server: Server, fails: Callable[..., str], cache: Path) -> None:
    server.files.clear()
    failed(fails, cache, f"{server.address}/{TRAIN_IMAGES}.gz: download failed", "404")


def test_cut_off(published: Any, server: Server, fails: Callable[..., str], cache: Path) -> None:
    server.promise = 1000
    failed(fails, cache, f"{server.address}/{TRAIN_IMAGES}.gz: download ")


def test_truncated_without_a_length(
    published: Any, server: Server, fails: Callable[..., str], cache: Path
) -> None:
    server.lengths = False
    server.files[f"/data/{TRAIN_IMAGES}.gz"] = server.files[f"/data/{TRAIN_IMAGES}.gz"][:-100]
    failed(fails, cache, "damaged gzip file")


def test_too_large(
    published: Any, server: Server, fails: Callable[..., str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    failed(fails, cache, "above 1,000 bytes")


def test_no_server(
    published: Any, fails: Callable[..., str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "FASHION_MNIST_ADDRESS", "http://127.0.0.1:1")
    failed(fails, cache, "download failed (URLError", "refused")


def test_every_place_is_named(
    published: Any,
    server: Server,
    fails: Callable[..., str],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files.clear()
    monkeypatch.setattr(builtin, "SYSTEM_FOLDERS", (tmp_path / "system",))
    own = write(tmp_path / "own", {TRAIN_LABELS: b""})
    fails(
        lambda: fashion(own),
        f"{own} (without {TRAIN_IMAGES}, {TEST_IMAGES}, {TEST_LABELS})",
        str(own / "fashion-mnist"),
        str(tmp_path / "system" / "fashion-mnist"),
        str(cache / "edgegrow" / "fashion-mnist"),
        server.address,
    )


def test_order_of_places(
    published: Any, server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin, "SYSTEM_FOLDERS", (tmp_path / "system",))
    cached = write(cache / "edgegrow" / "fashion-mnist", published)
    assert str(cached) in fashion().origin
    system = write(tmp_path / "system" / "fashion-mnist", published, packed=True)
    assert str(system) in fashion().origin
    below = write(tmp_path / "own" / "fashion-mnist", published)
    assert str(below) in fashion(tmp_path / "own").origin
    assert f"from {below}, " in fashion(below).origin
    assert server.requests == []


def test_a_wrong_file_in_a_folder_is_a_mistake_at_once(
    published: Any, server: Server, tmp_path: Path, fails: Callable[..., str]
) -> None:
    own = write(tmp_path / "own", published | {TEST_LABELS: published[TRAIN_LABELS]})
    fails(lambda: fashion(own), f"{own / TEST_LABELS}: checksum mismatch")
    own = write(tmp_path / "other", published | {TEST_LABELS: published[TEST_LABELS][:-1]})
    fails(lambda: fashion(own), f"{own / TEST_LABELS}: truncated")
    assert server.requests == []


def test_cache_that_cannot_be_written(
    published: Any, tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fails(fashion, "cannot write there (Not a directory)", "--data-dir")


def test_home_is_where_the_cache_is(published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".cache" / "edgegrow" / "fashion-mnist", published)
    assert str(tmp_path / ".cache") in fashion().origin


def test_no_home(published: Any, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    fails(fashion, "set XDG_CACHE_HOME")


def test_only_web_addresses(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "a").write_text("secret")
    fails(lambda: download.download(f"file://{tmp_path}/a", tmp_path / "b", print), "not an https address")
