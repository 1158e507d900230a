"""A comparison as Markdown: a comment on a pull request, a summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgegrow.measure.regression import Comparison, Row
from edgegrow.report.comparison import (
    change_text,
    difference_text,
    figure_text,
    headings,
    limit_text,
    shown_rows,
    value_text,
    where_texts,
)

_SIGNS = {"worse": "❌", "vanished": "❌", "better": "✅", "ok": "✅", "not comparable": "⚠️"}

_COLUMNS = ("figure", "baseline", "candidate", "change", "limit", "verdict")


def comparison_markdown(comparison: Comparison) -> str:
    """Write a comparison in GitHub's and GitLab's Markdown.

    What gates comes first, what informs is folded away. Names from the profiles are shown as they are: no
    mark-up, mention or link of theirs takes effect.
    """
    rows = shown_rows(comparison)
    gated = [row for row in rows if row.limit is not None]
    others = [row for row in rows if row.limit is None]
    failed = len(comparison.failures)
    verdict = f"❌ {failed} of {len(gated)} figures got worse" if failed else "✅ nothing got worse"
    parts = [f"### edgegrow gate: {verdict}", _bullets(headings(comparison))]
    if gated:
        parts.append(_table(gated))
    notes = [f"not the same: {difference_text(d)}" for d in comparison.differences]
    notes += [f"{figure_text(row)}: {row.why}" for row in comparison.failures if row.why]
    notes += where_texts(comparison, rows)
    if notes:
        parts.append(_bullets(notes))
    if others:
        inform = f"<details><summary>{len(others)} figures inform only</summary>"
        parts += [inform, _table(others), "</details>"]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row]) -> str:
    lines = [_line(_COLUMNS), "|:--|--:|--:|--:|--:|:--|"]
    for row in rows:
        figures = (value_text(row.baseline), value_text(row.candidate), change_text(row), limit_text(row))
        sign = _SIGNS.get(row.verdict, "")
        lines.append(_line((*map(_plain, (figure_text(row), *figures)), f"{sign} {row.verdict}".strip())))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Write every sign that could mean something in Markdown, HTML or to GitHub as an entity.

    Entities are still mentions to GitHub, and words links, but not inside ``code``.
    """
    harmless = re.sub(r"[^\w ,.()%+/-]|_", lambda sign: f"&#{ord(sign[0])};", text)
    return harmless if harmless == text and "www." not in text.lower() else f"<code>{harmless}</code>"
