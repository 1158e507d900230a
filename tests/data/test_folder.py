from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgegrow.data import folder, load_dataset


def fill(root: Path, mode: str = "L", suffix: str = ".png", size: tuple[int, int] = (5, 4)) -> Path:
    """Two classes of five images each; every image has one grey of its own."""
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(5):
            grey = 20 * (5 * label + index)
            Image.new(mode, size, (grey,) * 3 if mode == "RGB" else grey).save(
                root / name / f"{index}{suffix}"
            )
    return root


@pytest.mark.parametrize(
    ("mode", "suffix"), [(m, s) for m in ("L", "RGB") for s in (".png", ".jpg", ".BMP")] + [("RGB", ".webp")]
)
def test_reads(mode: str, suffix: str, tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", mode, suffix)
    (root / ".hidden").mkdir()
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    data = load_dataset(str(root))
    assert data.class_names == ("cat", "dog")
    assert data.input_shape == ({"L": 1, "RGB": 3}[mode], 4, 5)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert not data.flip
    words = {"L": "greyscale", "RGB": "RGB"}[mode]
    assert data.origin == f"images in folder {root}, 5x4 {words}, not resized, scaled to 0..1"
    for split in (data.train, data.validation, data.test):
        grey = split.x.mean(axis=(1, 2, 3)) * 255
        np.testing.assert_array_equal(grey > 90, split.y)
    assert data.fingerprint == load_dataset(str(root)).fingerprint


def test_pixels_keep_their_places(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", "RGB")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for path in root.rglob("*.png"):
        Image.fromarray(pixels).save(path)
    expected = pixels.transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(load_dataset(str(root)).test.x[0], expected)


def test_greyscale_without_conversion(tmp_path: Path) -> None:
    assert load_dataset(str(fill(tmp_path / "pets", "L", ".pgm"))).input_shape == (1, 4, 5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "pets")


def mistake(root: Path, fails: Callable[..., str], *words: str) -> None:
    fails(lambda: load_dataset(str(root)), f"data {root}: ", *words)


def test_empty_folder(tmp_path: Path, fails: Callable[..., str]) -> None:
    mistake(tmp_path, fails, "the folder is empty", "FOLDER/CLASS/images")


def test_empty_class(root: Path, fails: Callable[..., str]) -> None:
    (root / "eel").mkdir()
    mistake(root, fails, "class folder 'eel' is empty")


def test_one_class(root: Path, fails: Callable[..., str]) -> None:
    (root / "dog").rename(root.parent / "dog")
    mistake(root, fails, "only one class, 'cat'")


def test_too_few_images(root: Path, fails: Callable[..., str]) -> None:
    for index in range(3):
        (root / "dog" / f"{index}.png").unlink()
    mistake(root, fails, "class 1 ('dog') has 2 samples", "at least 3")


def test_images_without_class_folders(root: Path, fails: Callable[..., str]) -> None:
    (root / "cat" / "0.png").rename(root / "0.png")
    mistake(root, fails, "'0.png' is not a class folder")


def test_a_folder_too_deep(root: Path, fails: Callable[..., str]) -> None:
    (root / "cat" / "more").mkdir()
    mistake(root, fails, "more' is not a file", "FOLDER/CLASS/images")


def test_foreign_file(root: Path, fails: Callable[..., str]) -> None:
    (root / "cat" / "notes.txt").write_text("hello")
    mistake(root, fails, "notes.txt' is not an image", ".png")


@pytest.mark.parametrize(
    ("mode", "size", "word"), [("L", (4, 5), "4x5 greyscale"), ("RGB", (5, 4), "5x4 RGB")]
)
def test_mixed_images(
    mode: str, size: tuple[int, int], word: str, root: Path, fails: Callable[..., str]
) -> None:
    Image.new(mode, size).save(root / "dog" / "3.png")
    mistake(
        root, fails, f"{root / 'cat' / '0.png'}' is 5x4 greyscale", f"{root / 'dog' / '3.png'}' is {word}"
    )


@pytest.mark.parametrize("mode", ["P", "1", "RGBA", "LA", "I;16"])
def test_other_modes(mode: str, root: Path, fails: Callable[..., str]) -> None:
    Image.new(mode, (5, 4)).save(root / "dog" / "3.png")
    mistake(root, fails, f"3.png' has mode {mode}", "greyscale (L) or RGB")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_corrupt_image(content: bytes, root: Path, fails: Callable[..., str]) -> None:
    (root / "dog" / "3.png").write_bytes(content)
    mistake(root, fails, "3.png' is not a readable image", "remove or replace it")


def test_truncated_image(root: Path, fails: Callable[..., str]) -> None:
    path = root / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:-20])
    mistake(root, fails, "3.png' is not a readable image")


def test_formats_beyond_the_listed_are_not_decoded(root: Path, fails: Callable[..., str]) -> None:
    Image.new("L", (5, 4)).save(root / "dog" / "3.png", format="TIFF")
    mistake(root, fails, "3.png' is not a readable image")


@pytest.mark.parametrize("limit", [19, 1])
def test_large_image(
    limit: int, root: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MAX_PIXELS", limit)
    mistake(root, fails, f"0.png' is 5x4, above {limit} pixels")


def test_decompression_bomb(root: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    mistake(root, fails, "0.png' is not a readable image (DecompressionBombError")


def test_too_many_values(root: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegrow.data.checks.MAX_VALUES", 199)
    mistake(root, fails, "200 values, above the limit of 199")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whose rights are checked")
def test_folder_without_rights(root: Path, fails: Callable[..., str]) -> None:
    (root / "dog").chmod(0)
    try:
        mistake(root, fails, "cannot read it (Permission denied)")
    finally:
        (root / "dog").chmod(0o755)


def test_class_name_that_is_not_text(root: Path, fails: Callable[..., str]) -> None:
    (root / "dog").rename(root / "d\nog")
    mistake(root, fails, "class_names[1] is 'd\\nog'")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    root = fill(tmp_path_factory.mktemp("spoilt") / "pets", "RGB")
    sound = {}
    for form in ("PNG", "JPEG", "BMP", "WEBP", "PPM"):
        path = root.parent / form
        Image.new("RGB", (5, 4), (7, 8, 9)).save(path, format=form)
        sound[form] = path.read_bytes()
    return root, sound


@given(data=st.data(), form=st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "PPM"]))
@settings(deadline=None, max_examples=150)
def test_damage_ends_in_a_dataset_or_an_input_error(
    data: st.DataObject,
    form: str,
    spoilt: tuple[Path, dict[str, bytes]],
    outcome: Callable[..., Any],
) -> None:
    root, sound = spoilt
    content = bytearray(sound[form])
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    (root / "dog" / "3.png").write_bytes(content)
    read = outcome(lambda: load_dataset(str(root)))
    assert read is None or read.input_shape == (3, 4, 5)
