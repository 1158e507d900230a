"""The IDX format of the MNIST family: big-endian header, then unsigned bytes; gzipped or not."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgegrow.data.checks import check_size
from edgegrow.errors import InputError
from edgegrow.files import open_regular

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_CHUNK = 2**20


def read_idx(path: Path, sha256: str | None = None, where: str | None = None) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, strictly.

    No more is unpacked than the header promises, and no header is believed beyond `checks.MAX_VALUES`: a
    small file that unpacks to a huge one is refused.

    Parameters
    ----------
    path : Path
        The file; gzip is told by its first bytes, not by its name.
    sha256 : str, optional
        Hex digest of the whole *uncompressed* file; gzip files of the same content differ between mirrors.
    where : str, optional
        The beginning of an error's line; the path unless given.

    Returns
    -------
    ndarray of uint8
        Of the header's 1 to 4 dimensions, ``(n, h, w)`` for images, ``(n,)`` for labels.

    Raises
    ------
    InputError
        If the file cannot be read, is not IDX of bytes, is too short or too long, or has another checksum.
    """
    where = where or str(path)
    try:
        with open_regular(path) as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _parse(file, sha256, where)
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(stream, sha256, where)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{where}: damaged gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise InputError(
            f"{where}: cannot read it ({error.strerror}): check the path and its rights"
        ) from error


def _parse(stream: IO[bytes] | gzip.GzipFile, sha256: str | None, where: str) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise InputError(
            f"{where}: not an IDX file, it starts with {magic.hex(' ') or 'nothing'}: check the file"
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise InputError(f"{where}: IDX type 0x{magic[2]:02x}: only unsigned bytes (0x08) are read")
    if not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise InputError(f"{where}: IDX with {magic[3]} dimensions: only 1 to {_MAX_DIMENSIONS} are read")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise InputError(f"{where}: truncated in the IDX header: fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    check_size(prod(shape), where)

    digest = hashlib.sha256(magic + sizes)
    content = bytearray()
    while chunk := stream.read(min(_CHUNK, prod(shape) - len(content))):
        content += chunk
        digest.update(chunk)
    if len(content) < prod(shape):
        raise InputError(
            f"{where}: truncated: {len(content):,} bytes of data, its header {shape} promises {prod(shape):,}"
            ": fetch it again"
        )
    if stream.read(1):
        raise InputError(f"{where}: more data than its header {shape} promises: fetch it again")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise InputError(f"{where}: checksum mismatch, not the published file: delete it and fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
