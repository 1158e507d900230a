"""What a claim comes to: parts with thresholds chosen beforehand, and a verdict that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOLDS, FAILS, HOLDS_WHEN = "holds", "fails", "holds when"


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, as far as it can be measured.

    Attributes
    ----------
    text : str
        What it says.
    found : str
        What was found, with its unit.
    threshold : str
        What it was held to.
    holds : bool
        Whether it kept the threshold.
    when : str
        What must be the case for the claim to hold although this part fails; empty where the claim fails
        with it.
    """

    text: str
    found: str
    threshold: str
    holds: bool
    when: str = ""


@dataclass(frozen=True)
class Verdict:
    """``holds``, ``fails`` or ``holds when``, and the reason for the latter two."""

    word: str
    reason: str = ""

    def __str__(self) -> str:
        """Write it as a sentence's end."""
        gap = " " if self.word == HOLDS_WHEN else ": "
        return f"**{self.word}**" + (gap + self.reason if self.reason else "")


def verdict(parts: Sequence[Part]) -> Verdict:
    """Judge a claim by its parts.

    It holds where all of them do, and fails with any that fails and names no condition; otherwise it holds
    under the conditions of those that fail.

    Raises
    ------
    ValueError
        If there is no part: nothing was tested.
    """
    if not parts:
        raise ValueError("verdict: there is nothing to judge by")
    failed = [part for part in parts if not part.holds]
    fatal = [part for part in failed if not part.when]
    if fatal:
        return Verdict(FAILS, "; ".join(f"{part.text}: {part.found}" for part in fatal))
    if failed:
        return Verdict(HOLDS_WHEN, "; and ".join(dict.fromkeys(part.when for part in failed)))
    return Verdict(HOLDS)
