"""Stored profiles, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgegrow.measure.protocol import Profile
from edgegrow.printable import printable
from edgegrow.report.terminal import measurement_text, new_table

_FIGURES = ("accuracy", "latency", "instructions", "flash", "energy")


def profiles_table(profiles: Mapping[Path, Profile | str], folder: Path) -> RenderableType:
    """List the profiles below a folder with their most asked for figures; of a damaged one the reason."""
    table = new_table(None, "<profile", "<artifact", "<target", *_FIGURES)
    table.columns[0].overflow = "fold"
    damaged: list[Text] = []
    for path, profile in profiles.items():
        if isinstance(profile, str):
            damaged.append(Text(printable(profile), style="red"))
            continue
        name = str(path.relative_to(folder))
        cells = [printable(text) for text in (name, Path(profile.artifact.path).name, profile.target.name)]
        for metric in _FIGURES:
            m = profile.find(metric)
            cells.append(f"{printable(measurement_text(m))}\n{m.evidence}" if m is not None else "-")
        table.add_row(*map(Text, cells))
    return Group(table, *damaged)


def profiles_json(profiles: Mapping[Path, Profile | str]) -> list[dict[str, Any]]:
    """Give the same for machines, every figure of them but the samples."""
    return [
        {"file": str(path), "damaged": profile}
        if isinstance(profile, str)
        else {
            "file": str(path),
            "artifact": profile.artifact.model_dump(),
            "target": profile.target.model_dump(),
            "measurements": [m.model_dump(exclude={"samples"}) for m in profile.measurements],
        }
        for path, profile in profiles.items()
    ]
