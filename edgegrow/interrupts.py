"""Ctrl-C: a command ends with one line and exit code 130, whatever it hits.

Python raises `KeyboardInterrupt` wherever it stands, and not all code lets it through: pybind11 makes an
`ImportError` of one that hits a library while it is imported; a finaliser, or a callback of C, loses it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgegrow.errors import EdgegrowError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_AGAIN_S = 0.05
"""After which an interrupt that was lost is raised again, in seconds."""

_pressed = threading.Event()


class Interrupted(EdgegrowError):
    """The user pressed Ctrl-C (exit code 130); the message says what is kept, if anything."""

    exit_code = INTERRUPTED


def watch() -> None:
    """Know from now on of Ctrl-C; where the process was told to ignore it, as in the background, it does."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        if hasattr(signal, "pthread_kill"):  # not on Windows
            sys.unraisablehook = _unraisable


@contextmanager
def one_line(said: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """Let whatever Ctrl-C has made of the code within be one line.

    Parameters
    ----------
    said : callable
        Gives it when it is needed.

    Raises
    ------
    Interrupted
        With that line, or that of a context within this one.
    """
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        if _pressed.is_set() or isinstance(error, KeyboardInterrupt):
            raise Interrupted(said()) from error
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)


def _unraisable(lost: Any) -> None:
    if issubclass(lost.exc_type, KeyboardInterrupt):
        # Raised in here it would be lost once more.
        main = threading.main_thread().ident
        again = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)
