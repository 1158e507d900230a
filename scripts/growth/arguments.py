"""What the command lines of experiments have in common."""

from __future__ import annotations

from collections.abc import Iterable

from edgegrow.errors import InputError


def names(text: str) -> list[str]:
    """Read ``one,two``; each counts once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that is not among those there are.

    Raises
    ------
    InputError
        With those there are.
    """
    there = list(known)
    for name in given:
        if name not in there:
            raise InputError(f"{what} '{name}': unknown: choose from {', '.join(there)}")


def check_seeds(given: Iterable[str]) -> None:
    """Refuse what is no number.

    Raises
    ------
    InputError
        For the first that is none.
    """
    for seed in given:
        if not seed.isdecimal():
            raise InputError(f"seed '{seed}': not a number")
