"""Do predicted gains tell what training wins back? Over all tries of the growths in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from edgegrow.report.gains import agreement
from growth.claims import Results

Row = dict[str, Any]


def gain_rows(results: Results) -> list[Row]:
    """For every task and arm that grew: rank correlations, and how often the better promise won more.

    Over all tries of all runs whose weights were inherited. A pair of options of the same
    step has the same cost; ``better_promise`` is the share of pairs of which the one that promised more also
    won back more, one half where promises tell nothing.
    """
    rows = []
    for task, arms in results.items():
        for arm, cells in arms.items():
            events = [e for cell in cells.values() for e in cell.get("growth", ()) if not e["fresh"]]
            if events:
                rows.append({"task": task, "arm": arm, **_figures(events)})
    return rows


def _figures(events: Sequence[Mapping[str, Any]]) -> Row:
    found = agreement(events)
    pairs = [pair for event in events for pair in combinations(event["options"], 2)]
    told = [(a["gain"] - b["gain"]) * (a["won_back"] - b["won_back"]) for a, b in pairs]
    decided = [value > 0 for value in told if value]
    return {
        "tries": sum(len(event["options"]) for event in events),
        "with_realised": found.with_realised if found else None,
        "with_won_back": found.with_won_back if found else None,
        "pairs": len(decided),
        "promises_kept": sum(decided),
        "better_promise": fmean(decided) if decided else None,
    }
