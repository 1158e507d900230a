"""Two profiles side by side: the words of a comparison, and its table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgegrow.measure.protocol import Measurement
from edgegrow.measure.regression import Comparison, Difference, Row
from edgegrow.printable import printable
from edgegrow.report.terminal import measurement_text, new_table

OPERATORS = 5
"""Operators that are named, of those that take more."""

_STYLES = {"worse": "red", "vanished": "red", "not comparable": "yellow", "better": "green"}


def figure_text(row: Row) -> str:
    """Name a figure: ``latency, p99 (measured)``."""
    aggregation = "" if row.aggregation in ("exact", "median") else f", {row.aggregation}"
    return f"{printable(row.metric)}{aggregation} ({row.evidence})"


def value_text(measurement: Measurement | None) -> str:
    """Write one side of a figure."""
    return printable(measurement_text(measurement)) if measurement is not None else "-"


def change_text(row: Row) -> str:
    """Write how a figure changed: ``+2.00 %``, ``-0.28 points``, ``from 0``."""
    if row.increase is None:
        return ""
    if row.increase == 0:
        return "same"
    if (change := row.change) is None:
        return "from 0" if row.baseline is not None and row.baseline.value == 0 else "beyond measure"
    digits = ".2f" if 0.005 <= abs(100 * change) < 1e6 else ".1g"
    return f"{100 * change:+{digits}} {_unit(row)}"


def limit_text(row: Row) -> str:
    """Write how much worse a figure may get: ``0.1 %``; empty where it informs only."""
    if row.limit is None:
        return ""
    return f"{100 * row.limit:.3g} {_unit(row)}"


def _unit(row: Row) -> str:
    """Of changes and limits: percentage points of what is in percent itself."""
    return "points" if row.baseline is not None and row.baseline.unit == "fraction" else "%"


def shown_rows(comparison: Comparison, all_rows: bool = False) -> list[Row]:
    """List the figures of the whole artifact that stand for their metrics, and all that fail; or all."""
    return [row for row in comparison.rows if all_rows or row.failed or (row.headline and not row.operator)]


def where_texts(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """Say for each figure that grew in which operators, where the profiles tell."""
    texts = []
    for row in rows:
        grown = comparison.grown_operators(row) if row.increase is not None and row.increase > 0 else ()
        if grown:
            parts = [_operator_text(part) for part in grown[:OPERATORS]]
            more = f", and {len(grown) - OPERATORS} more" if len(grown) > OPERATORS else ""
            texts.append(f"{figure_text(row)} grew in {', '.join(parts)}{more}")
    return texts


def _operator_text(row: Row) -> str:
    name = printable(row.operator)
    if row.baseline is None:
        return f"{name} (new, {value_text(row.candidate)})"
    return f"{name} ({value_text(row.baseline)} to {value_text(row.candidate)}, {change_text(row)})"


def difference_text(difference: Difference) -> str:
    """Name a field in which two profiles differ, with both values."""
    metrics = f" (of {printable(', '.join(difference.metrics))})" if difference.metrics else ""
    return f"{difference.field} {printable(difference.baseline)} / {printable(difference.candidate)}{metrics}"


def headings(comparison: Comparison) -> list[str]:
    """Name the two artifacts and the target."""
    found = [("baseline", comparison.baseline), ("candidate", comparison.candidate)]
    return [
        f"{name}: {printable(p.artifact.path)} ({p.artifact.format}, sha256 {p.artifact.sha256[:12]}) "
        f"on {printable(p.target.name)}"
        if p is not None
        else f"{name}: none yet"
        for name, p in found
    ]


def comparison_table(comparison: Comparison, all_rows: bool = False) -> RenderableType:
    """Show a comparison: figures, what keeps others from being compared, and where figures grew."""
    rows = shown_rows(comparison, all_rows)
    table = new_table(None, "<figure", "baseline", "candidate", "change", "limit", "<verdict", "<why")
    for row in rows:
        # As text: rich would take brackets in a foreign file for a style.
        texts = (figure_text(row), value_text(row.baseline), value_text(row.candidate), change_text(row))
        verdict = Text(row.verdict, style=_STYLES.get(row.verdict, ""))
        table.add_row(*map(Text, (*texts, limit_text(row))), verdict, Text(printable(row.why)))
    notes = [f"not the same: {difference_text(d)}" for d in comparison.differences]
    notes += where_texts(comparison, rows)
    return Group(*map(Text, headings(comparison)), table, *map(Text, notes))


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison for machines, every row of it."""

    def side(measurement: Measurement | None) -> float | None:
        return measurement.value if measurement is not None else None

    baseline = comparison.baseline
    return {
        "accepted": not comparison.failures,
        "baseline": baseline.artifact.model_dump() if baseline is not None else None,
        "candidate": comparison.candidate.artifact.model_dump(),
        "target": comparison.candidate.target.model_dump(),
        "differences": [
            {"field": d.field, "baseline": d.baseline, "candidate": d.candidate, "metrics": list(d.metrics)}
            for d in comparison.differences
        ],
        "figures": [
            {
                "metric": row.metric,
                "evidence": row.evidence,
                "aggregation": row.aggregation,
                "unit": either.unit,
                "baseline": side(row.baseline),
                "candidate": side(row.candidate),
                "change": row.change,
                "limit": row.limit,
                "verdict": row.verdict,
                "why": row.why,
            }
            for row in comparison.rows
            if (either := row.baseline or row.candidate) is not None
        ],
    }
