"""Progress on a terminal as bars with an estimate, elsewhere as plain lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgegrow.listener import Listener, Silent

_PLAIN_LINES = 10
"""Lines that a stage takes where there is no terminal."""


class _Bars:
    """One bar, of the stage that is running."""

    def __init__(self, progress: Progress, verbose: bool) -> None:
        self.progress, self.verbose = progress, verbose
        self.task: tuple[str, TaskID] | None = None

    def say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)

    def warn(self, line: str) -> None:
        self.progress.console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)

    def detail(self, line: str) -> None:
        if self.verbose:
            self.say(line)

    def step(self, stage: str, step: int, steps: int, figures: str) -> None:
        if self.task is None or self.task[0] != stage:
            if self.task is not None:
                self.progress.remove_task(self.task[1])
            self.task = stage, self.progress.add_task(stage, total=steps, figures=figures)
        self.progress.update(self.task[1], completed=step, figures=figures)


class _Lines:
    """Plain lines for logs and pipes."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def say(self, line: str) -> None:
        # A reader who has gone must not end hours of training.
        with suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)

    def warn(self, line: str) -> None:
        self.say(f"warning: {line}")

    def detail(self, line: str) -> None:
        if self.verbose:
            self.say(line)

    def step(self, stage: str, step: int, steps: int, figures: str) -> None:
        if step == steps or step * _PLAIN_LINES // steps != (step - 1) * _PLAIN_LINES // steps:
            self.say(f"{stage}: step {step}/{steps}, {figures}")


@contextmanager
def listening(quiet: bool, verbose: bool) -> Iterator[Listener]:
    """Provide the listener that suits standard error.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    verbose : bool
        Show every epoch.
    """
    if quiet:
        yield Silent()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(verbose)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress, verbose)
