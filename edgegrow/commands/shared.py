"""What the commands share: options, progress, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from edgegrow.output import emit

if TYPE_CHECKING:
    from edgegrow.listener import Listener

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also show every epoch.")]
TargetOption = Annotated[str, typer.Option("--target", help="A target's name, or a file of one.")]


@contextmanager
def listening_to_progress(quiet: bool, verbose: bool) -> Iterator[Listener]:
    """Show progress; what a user's own code prints goes to standard error too."""
    from edgegrow.report.progress import listening

    with redirect_stdout(sys.stderr), listening(quiet, verbose) as listener:
        yield listener


def print_json(value: object) -> None:
    """Print a result for machines."""
    emit(json.dumps(value, indent=2, allow_nan=False) + "\n")
