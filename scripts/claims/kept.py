"""Finished claims, kept as JSON so that they are not examined again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from claims.effort import Effort
from claims.parts import Part
from edgegrow.errors import InputError
from edgegrow.files import write_atomic
from edgegrow.versions import versions


class Claim(Protocol):
    """What every claim's module has."""

    CLAIM: str
    """The claim, as it was made."""

    def inputs(self, effort: Effort) -> Any:
        """Return what the figures depend on beside the effort, as plain values; None for nothing."""
        ...

    def examine(self, effort: Effort) -> dict[str, Any]:
        """Do the work: all figures, as plain values."""
        ...

    def parts(self, figures: Mapping[str, Any]) -> list[Part]:
        """Judge the figures."""
        ...

    def section(self, figures: Mapping[str, Any]) -> list[str]:
        """Tell of them: lines of Markdown."""
        ...


def file_of(number: int, effort: Effort) -> Path:
    """Where a claim's figures are kept."""
    return effort.runs / f"claim-{number}.json"


def kept(number: int, claim: Claim, effort: Effort) -> dict[str, Any] | None:
    """Read a finished claim; None where it is not finished, or what it depends on has changed since.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    file = file_of(number, effort)
    if not file.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        made_with = record["settings"], record["inputs"]
        if not {"figures", "versions", "seconds"} <= set(record):
            raise KeyError
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged: delete it to examine claim {number} again") from error
    return record if made_with == (effort.settings(), _plain(claim.inputs(effort))) else None


def finished(number: int, claim: Claim, effort: Effort) -> dict[str, Any]:
    """Read a finished claim, or examine it now and keep it."""
    record = kept(number, claim, effort)
    if record is None:
        made_with, started = versions(), time.process_time()
        figures = claim.examine(effort)
        record = _plain(
            {
                "settings": effort.settings(),
                "inputs": claim.inputs(effort),
                "versions": made_with,
                "seconds": time.process_time() - started,
                "figures": figures,
            }
        )
        effort.runs.mkdir(parents=True, exist_ok=True)
        write_atomic(file_of(number, effort), json.dumps(record, allow_nan=False) + "\n")
    return record


def _plain(values: Any) -> Any:
    """Return values as JSON gives them back: keys as text, tuples as lists."""
    return json.loads(json.dumps(values, allow_nan=False))
