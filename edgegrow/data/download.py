"""Fetch a published file: bounded, verified before it gets its name, never half there."""

from __future__ import annotations

import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from edgegrow.errors import InputError, reason

MAX_BYTES = 2**28
"""No file is fetched beyond this size."""

_CHUNK = 2**16
_TIMEOUT_SECONDS = 20.0
_log = logging.getLogger(__name__)


def download(url: str, destination: Path, verify: Callable[[Path], object]) -> None:
    """Download ``url`` to ``destination``.

    The bytes go to a temporary name beside the destination, which replaces it only when all of them have
    arrived and ``verify`` is content; otherwise nothing is left behind.

    Parameters
    ----------
    url : str
        An https address (http too, for a server of one's own).
    destination : Path
        The file to make; its folder is made where missing.
    verify : callable
        Called with the temporary file; raises `InputError` if it is not what was asked for.

    Raises
    ------
    InputError
        If anything fails; the message is one line that names the address.
    """
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url}: not an https address: check it")
    _log.info("downloading %s", url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary_name = tempfile.mkstemp(".part", destination.name + ".", destination.parent)
    except OSError as error:
        raise InputError(
            f"{destination.parent}: cannot write there ({error.strerror}): check its rights"
        ) from error
    temporary = Path(temporary_name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _fetch(url, file)
        verify(temporary)
        temporary.replace(destination)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{url}: download failed ({reason(error)}): try again later") from error
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(url: str, file: IO[bytes]) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        promised = response.headers.get("Content-Length")
        received = 0
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            if received > MAX_BYTES:
                raise InputError(f"{url}: download is above {MAX_BYTES:,} bytes: not the published file")
            file.write(chunk)
    # A reader of chunks is not told that the connection ended early.
    if promised is not None and promised.isdigit() and received != int(promised):
        raise InputError(f"{url}: download was cut off after {received:,} of {promised} bytes: try again")
