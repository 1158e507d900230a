"""Standard output of the command line: where results go, and nothing else."""

from __future__ import annotations

import os
import sys
from io import StringIO
from typing import TYPE_CHECKING

from edgegrow.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

_PIPED_COLUMNS = 120
"""A pipe has no width of its own: what would be folded at 80 columns is worth more whole."""


def emit(text: str) -> None:
    """Write text. A reader who has gone, as ``head`` does, is no failure of ours.

    Raises
    ------
    InputError
        If it cannot be written for another reason: a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the last flush fail
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"standard output: cannot write it: {error.strerror}") from error


def emit_table(renderable: RenderableType, to_stderr: bool = False) -> None:
    """Write a table or text of rich, in colour on a terminal; to standard error where JSON is the result."""
    from rich.console import Console

    if to_stderr:
        Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_COLUMNS).print(renderable)
        return
    screen, page = Console(), StringIO()
    width = screen.width if screen.is_terminal else _PIPED_COLUMNS
    Console(file=page, force_terminal=screen.is_terminal, width=width).print(renderable)
    emit(page.getvalue())
