"""Text from files of others, made safe to print: no terminal escapes, no line breaks, no end in sight."""

from __future__ import annotations

LONGEST = 400
"""Characters of a foreign text that are shown."""


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Write what does not print as an escape, and cut what is too long.

    Examples
    --------
    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
