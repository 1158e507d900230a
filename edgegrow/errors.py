"""The exceptions that edgegrow raises on purpose.

Every message is one line that says what is wrong, where, and what to do. The command line prints it after
``error:`` and ends with the exception's ``exit_code``; a traceback is a bug.
"""

from __future__ import annotations

from edgegrow.printable import printable


class EdgegrowError(Exception):
    """Base of every error a user can cause; ``exit_code`` is what the command line ends with.

    Parameters
    ----------
    message : str
        Line breaks in it, as of a value that is quoted, become spaces, and what does not print an escape.
    """

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        line = " ".join(message.splitlines())
        super().__init__(printable(line, longest=len(line)))


class InputError(EdgegrowError):
    """Something given to edgegrow is wrong: a value, a file, a data set, a network (exit code 2)."""


class UnsupportedError(InputError):
    """A network uses an operator that cannot be grown or deployed; the message names it and its place."""


class DivergedError(InputError):
    """A network's loss is no number any more."""


class BudgetError(EdgegrowError):
    """A budget or a gate is not met (exit code 1)."""

    exit_code = 1


def reason(error: BaseException) -> str:
    """Describe someone else's exception in one line, for a message of ours."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message:.200}" if message else type(error).__name__
