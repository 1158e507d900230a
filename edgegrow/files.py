"""Writing files so that a reader never sees half of one; their sizes; and where caches are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edgegrow.errors import InputError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name, sync it and rename it into place.

    Several processes may write the same file at once: it is then one of theirs, whole.

    Raises
    ------
    InputError
        If the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write it: {error.strerror}: choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def size_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cache_folder() -> Path:
    """Folder of the user's for what can be had again: downloads, calibrations; it may not exist yet.

    Raises
    ------
    InputError
        If the user has no home folder, and ``XDG_CACHE_HOME`` names none.
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = configured if configured.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError("cache: there is no home folder to keep it in: set XDG_CACHE_HOME") from error
    return base / "edgegrow"
