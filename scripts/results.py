"""Where the scripts write what they found: ``docs/results/NAME.json`` and ``NAME.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "results"


def write_results(
    name: str, contents: Mapping[str, Any], lines: Sequence[str], folder: Path = FOLDER
) -> None:
    """Write both files, and print the readable one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(contents, indent=2) + "\n")
    text = "\n".join(lines) + "\n"
    (folder / f"{name}.md").write_text(text)
    print(text, end="")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
