"""What came of all claims that are finished: ``claims.md``, ``claims.json`` and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch
from results import table, write_results

from claims.parts import verdict
from edgegrow.measure.identity import host_identity

WIDTH = 108
"""Longest line of a paragraph."""


def write(
    modules: Mapping[int, Any], records: Mapping[int, Mapping[str, Any]], command: str, folder: Path
) -> None:
    """Write the page, the figures and the pictures.

    Parameters
    ----------
    modules : mapping
        All claims, by number.
    records : mapping
        Of those that are finished, as of `claims.kept.finished`.
    command : str
        What made them.
    folder : Path
        Where they go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    judged = {number: modules[number].parts(record["figures"]) for number, record in records.items()}
    machine = host_identity("torch", torch.__version__.split("+")[0], None, 1)
    contents = {
        "command": command,
        "identity": machine.model_dump(exclude_none=True),
        "claims": {
            str(number): {
                "claim": modules[number].CLAIM,
                "verdict": asdict(verdict(parts)),
                "parts": [asdict(part) for part in parts],
                **{key: records[number][key] for key in ("settings", "versions", "seconds")},
                "figures": without_curves(records[number]["figures"]),
            }
            for number, parts in judged.items()
        },
        "not_finished": [number for number in modules if number not in records],
    }
    lines = [
        "# The founding claims of growing by splitting, tested one by one",
        "",
        f"Command: `{command}`.",
        "Every claim is taken apart into what can be measured, each part held to a threshold that its script",
        "(`scripts/claims/`) states. A claim fails with any part that fails, unless that part only names a",
        "condition. Losses and accuracies are measured, times are CPU time of one thread (measured; on",
        "an idle",
        "machine that is wall time), multiply-accumulates (MACs) are counted.",
        f"Measured with {machine.runtime} {machine.version}, {machine.cpu}, 1 thread; commits of edgegrow: "
        + "; ".join(
            f"claim {number} {record['versions'].get('edgegrow_commit', 'unknown')}"
            for number, record in records.items()
        )
        + ".",
        "",
        *table(
            ["", "claim", "verdict"],
            [_summary(number, module, judged) for number, module in modules.items()],
        ),
    ]
    for number, parts in judged.items():
        figures = records[number]["figures"]
        if hasattr(modules[number], "draw"):
            modules[number].draw(figures, folder)
        lines += [
            "",
            f"## Claim {number}",
            "",
            f"> {modules[number].CLAIM}",
            "",
            f"Verdict: {verdict(parts)}.",
            "",
            *table(
                ["part", "found", "held to", ""],
                [[p.text, p.found, p.threshold, "kept" if p.holds else "**missed**"] for p in parts],
            ),
            "",
            *modules[number].section(figures),
            "",
            *_effort(records[number]),
        ]
    write_results("claims", contents, filled(lines), folder)


def _effort(record: Mapping[str, Any]) -> list[str]:
    """Tell what a claim was examined with."""
    seeds = ", ".join(map(str, record["settings"]["seeds"]))
    if record["figures"].get("large"):
        told = "Seeds and times of the tables' cells are told in [growth](growth.md)."
        return [
            f"{told} The small task was trained with seeds {seeds}, {record['settings']['epochs']:g} epochs."
        ]
    return [f"Seeds {seeds}; {record['seconds']:.0f} s of one core."]


def without_curves(figures: Any) -> Any:
    """Leave out the points of curves, which the pictures show."""
    if isinstance(figures, Mapping):
        return {key: without_curves(value) for key, value in figures.items() if key != "curve"}
    return [without_curves(value) for value in figures] if isinstance(figures, list) else figures


def filled(lines: Sequence[str]) -> list[str]:
    """Fill paragraphs anew, to lines of the usual length; tables, headings and pictures are left alone."""
    result: list[str] = []
    for plain, group in groupby(lines, key=lambda line: bool(line) and line[0] not in "|#>!"):
        block = list(group)
        result += (
            wrap(" ".join(block), WIDTH, break_long_words=False, break_on_hyphens=False) if plain else block
        )
    return result


def _summary(number: int, module: Any, judged: Mapping[int, Any]) -> list[str]:
    found = str(verdict(judged[number])) if number in judged else "not run yet"
    return [str(number), module.CLAIM, found]
