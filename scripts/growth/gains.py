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

    Correlations are over the tries of one run, averaged over runs: growth steps differ in size. A pair of
    options of the same step has the same cost; ``better_promise`` is the share of pairs of which the one that
    promised more also won back more, one half where promises tell nothing.
    """
    rows = []
    for task, arms in results.items():
        for arm, cells in arms.items():
            events = [cell["growth"] for cell in cells.values() if cell.get("growth")]
            if events:
                rows.append({"task": task, "arm": arm, "runs": len(events), **_figures(events)})
    return rows


def _figures(runs: Sequence[Sequence[Mapping[str, Any]]]) -> Row:
    found = [one for run in runs if (one := agreement(run)) is not None]
    pairs = [pair for run in runs for event in run for pair in combinations(event["options"], 2)]
    told = [(a["gain"] - b["gain"]) * (a["won_back"] - b["won_back"]) for a, b in pairs]
    decided = [value > 0 for value in told if value]
    return {
        "tries": sum(len(event["options"]) for run in runs for event in run),
        "with_realised": fmean(one.with_realised for one in found) if found else None,
        "with_won_back": fmean(one.with_won_back for one in found) if found else None,
        "pairs": len(decided),
        "better_promise": fmean(decided) if decided else None,
    }
