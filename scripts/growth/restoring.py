"""Finished cells out of the published table: a checkout elsewhere goes on where this one stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegrow.errors import InputError
from edgegrow.files import write_atomic

TOLD = ("predicted_loss_change", "realised_loss_change", "won_back", "gain")
"""What of a growth step's options is published with the cell that took it."""


def restore(table: Path, runs: Path, known: Callable[[str, str], bool]) -> int:
    """Write the cells of a published table that are not there yet.

    The run folder of a growth is not published: what needs its checkpoint has to grow again.

    Parameters
    ----------
    table : Path
        ``growth.json``; nothing is restored where there is none.
    runs : Path
        Folder of all cells.
    known : callable
        Tells whether there is such a task and arm.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    InputError
        If it is no such table.
    """
    if not table.exists():
        return 0
    try:
        tasks: dict[str, Any] = json.loads(table.read_text(encoding="utf-8"))["tasks"]
        cells = [
            (runs / task / arm / f"seed-{int(cell['seed'])}.json", cell)
            for task, content in tasks.items()
            for arm, made in content["cells"].items()
            for cell in made
            if known(task, arm)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{table}: no table of cells: give another --results, or delete it") from error
    missing = [(file, cell) for file, cell in cells if not file.exists()]
    for file, cell in missing:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(cell, indent=1, allow_nan=False) + "\n")
    return len(missing)


def told(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shorten growth events to what is published of them."""
    return [
        {
            "fresh": event["fresh"],
            **{key: event[key] for key in ("scoring_seconds",) if key in event},  # older tables have none
            "options": [{key: option[key] for key in TOLD} for option in event["options"]],
        }
        for event in events
    ]
