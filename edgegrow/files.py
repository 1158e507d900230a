"""Writing files so that a reader never sees half of one; reading foreign ones; where caches are."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edgegrow.errors import InputError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name, sync it and rename it into place.

    Several processes may write the same file at once: it is then one of theirs, whole. A link stays, and what
    it points to is written.

    Raises
    ------
    InputError
        If the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        raise InputError(f"{path}: cannot write it: {error.strerror}: choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(*places: Path | None) -> None:
    """Refuse places where `write_atomic` would fail, before anything is done that takes long.

    Raises
    ------
    InputError
        If the folder of one is not there or cannot be written, or it is a folder itself.
    """
    for path in places:
        if path is None:
            continue
        try:
            folder = Path(os.path.realpath(path)).parent
            number = errno.EISDIR if path.is_dir() else 0 if folder.is_dir() else errno.ENOENT
        except OSError as error:  # a name that no path can have
            number = error.errno or errno.EINVAL
        if not number and not os.access(folder, os.W_OK):
            number = errno.EACCES
        if number == errno.EISDIR:
            raise InputError(f"{path}: cannot write it: it is a folder: name a file")
        if number:
            raise InputError(f"{path}: cannot write it: {os.strerror(number)}: choose another folder")


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file from outside for reading: a pipe, which might never end or begin, is refused.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file; its ``strerror`` says so.
    """
    # Without O_NONBLOCK opening a pipe waits for who writes it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        number, said = (errno.EISDIR, None) if stat.S_ISDIR(mode) else (errno.EINVAL, "it is no regular file")
        raise OSError(number, said or os.strerror(number), str(path))
    return file


def read_regular(path: str | Path, most_bytes: int = -1) -> bytes:
    """Read a file from outside, up to a size; see `open_regular`."""
    with open_regular(path) as file:
        return file.read(most_bytes)


@contextmanager
def locked(path: Path, held: str) -> Iterator[None]:
    """Keep a file to this process; the system lets go of it when the process ends, however it does.

    That keeps out whoever locks it too, not who reads it. Windows has no such lock: nothing is kept there.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    held : str
        What to say where another process has it.

    Raises
    ------
    InputError
        If another process has it, or it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file = path.open("ab")  # to write: network file systems lock nothing else
    except OSError as error:
        raise InputError(f"{path}: cannot write it: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(held) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise  # those have no locks
        yield


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
