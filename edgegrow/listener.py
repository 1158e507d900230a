"""Who is told what edgegrow is doing while it does it."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Shows progress; nothing depends on it."""

    def say(self, line: str) -> None:
        """Show one line: a stage that begins, a result."""
        ...

    def warn(self, line: str) -> None:
        """Show one line that makes a result doubtful."""
        ...

    def detail(self, line: str) -> None:
        """Show one line that only the curious want."""
        ...

    def step(self, stage: str, step: int, steps: int, figures: str) -> None:
        """Show that ``step`` of ``steps`` of a stage is done, and the figures there."""
        ...


class Silent:
    """A listener that shows nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""

    def warn(self, line: str) -> None:
        """Show nothing."""

    def detail(self, line: str) -> None:
        """Show nothing."""

    def step(self, stage: str, step: int, steps: int, figures: str) -> None:
        """Show nothing."""
