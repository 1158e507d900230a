"""The gate: a candidate is accepted if nothing of its profile is worse than the baseline's beyond limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgegrow.errors import BudgetError, InputError
from edgegrow.measure.limits import Limits
from edgegrow.measure.protocol import Profile
from edgegrow.measure.regression import Comparison, compare
from edgegrow.report.comparison import change_text, difference_text, figure_text, limit_text

NAMED = 24
"""Differences of identity that a refusal names: more than an identity has fields."""


def check_distinct(written: Mapping[str, Path | None], read: Mapping[str, Path]) -> None:
    """Refuse to write a report over another, or over a profile that is compared.

    Parameters
    ----------
    written, read : mapping
        ``{what to call it: file}``.

    Raises
    ------
    InputError
        If two are the same file.
    """
    taken = {os.path.realpath(path): name for name, path in read.items()}
    for name, path in written.items():
        if path is None:
            continue
        if other := taken.get(os.path.realpath(path)):
            raise InputError(f"{name} {path}: it is the file of {other} too: give another")
        taken[os.path.realpath(path)] = name


def read_profile(path: Path) -> Profile:
    """Read a profile's file, or a run folder's ``profile.json``.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    return Profile.read(path / "profile.json" if _is_folder(path) else path)


def read_baseline(path: Path, update: bool) -> Profile | None:
    """Read a baseline; None where there is none yet and an accepted candidate will be it.

    Raises
    ------
    InputError
        If there is none and none will be, if it is damaged, or must not be written over.
    """
    if update and _is_folder(path):
        # Its profile is of the artifacts beside it.
        raise InputError(f"--update: {path} is a folder: give a profile's file as the baseline")
    try:
        path.stat()
    except FileNotFoundError as error:
        if update:
            return None
        raise InputError(f"baseline {path}: there is none: --update makes the candidate the first") from error
    except OSError:
        pass  # reading it says why
    return read_profile(path)


def gate(baseline: Profile | None, candidate: Profile, limits: Limits) -> Comparison:
    """Compare a candidate with a baseline of the same target and identity.

    Raises
    ------
    InputError
        If target, format, unit or identity differ: it names every field with both values; or if no figure of
        the baseline has a limit, so that nothing would be judged.
    """
    comparison = compare(baseline, candidate, limits)
    if comparison.differences:
        named = "; ".join(map(difference_text, comparison.differences[:NAMED]))
        if (more := len(comparison.differences) - NAMED) > 0:
            named += f"; and {more} more"
        raise InputError(
            f"gate: baseline and candidate are not of the same identity: {named}: measure both alike, or "
            "leave a metric out with --max-regression METRIC=off"
        )
    if baseline is not None and all(row.limit is None for row in comparison.rows):
        raise InputError(
            f"gate: nothing was compared: none of the baseline's {len(baseline.measurements)} figures has a "
            "limit: take a baseline with counts, sizes or accuracies, or give one: --max-regression METRIC=1%"
        )
    return comparison


def check(comparison: Comparison) -> None:
    """Refuse a candidate of which a figure got worse.

    Raises
    ------
    BudgetError
        It names them.
    """
    if comparison.failures:
        worse = (
            f"{figure_text(row)} {change_text(row) or row.verdict} (limit {limit_text(row)})"
            for row in comparison.failures
        )
        raise BudgetError(f"gate: not met: {', '.join(worse)}")


def find_profiles(folder: Path) -> list[Path]:
    """Find the profiles that are stored below a folder: ``profile.json``, ``profile-onnx.json``, ...

    Raises
    ------
    InputError
        If there is no such folder.
    """
    if not _is_folder(folder):
        raise InputError(f"profiles {folder}: no such folder: name one with runs in it")
    return sorted(path for path in folder.rglob("profile*.json") if path.is_file())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, or no right to look
        return False
