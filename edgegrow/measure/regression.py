"""Two profiles, compared figure by figure: what got worse, by how much, and whether that is too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgegrow.measure.chance import slower
from edgegrow.measure.limits import Limits
from edgegrow.measure.protocol import Aggregation, Evidence, Identity, Measurement, Profile

Verdict = Literal["worse", "vanished", "not comparable", "ok", "better", "new", "gone", "informs"]

FAILING: tuple[Verdict, ...] = ("worse", "vanished")

_RISING = ("accuracy", "float_accuracy", "agreement")
"""Metrics of which more is better."""

_HEADLINES: tuple[Aggregation, ...] = ("exact", "median", "mean", "max", "p99", "p90", "min")
"""Aggregations in the order in which one of them stands for a metric."""

_ROUNDING = 1e-12
"""Relative error of a difference of two floats that is no difference."""

Key = tuple[str, Evidence, Aggregation]


@dataclass(frozen=True)
class Difference:
    """A field of the identity in which two profiles differ.

    Attributes
    ----------
    field : str
    baseline, candidate : str
    metrics : tuple of str
        Figures that it concerns; none where it is the profile's own.
    """

    field: str
    baseline: str
    candidate: str
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A figure of two profiles.

    Attributes
    ----------
    metric, evidence, aggregation : str
    headline : bool
        Whether it stands for its metric: the median, not the percentiles beside it.
    baseline, candidate : Measurement or None
        None where that profile has no such figure.
    verdict : str
        ``worse`` and ``vanished`` fail; ``gone`` is vanished where no limit holds.
    limit : float or None
        Allowed relative increase; of fractions the allowed fall. None where the figure informs only.
    why : str
        Where the limit comes from and how it was judged, or why a figure is not there.
    """

    metric: str
    evidence: Evidence
    aggregation: Aggregation
    headline: bool
    baseline: Measurement | None
    candidate: Measurement | None
    verdict: Verdict
    limit: float | None = None
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether it got worse by more than its limit, or is not there any more."""
        return self.verdict in FAILING

    @property
    def operator(self) -> str:
        """The operator whose figure it is; empty for that of the whole artifact."""
        return self.metric.partition(":")[2]

    @property
    def increase(self) -> float | None:
        """How much more the candidate has, in the figure's unit; None where that cannot be said."""
        if self.baseline is None or self.candidate is None or self.verdict == "not comparable":
            return None
        return self.candidate.value - self.baseline.value

    @property
    def change(self) -> float | None:
        """The increase relative to the baseline, but of fractions as it is; None also from zero."""
        if (increase := self.increase) is None or self.baseline is None:
            return None
        if self.baseline.unit == "fraction" or increase == 0:
            return float(increase)
        ratio = increase / abs(self.baseline.value) if self.baseline.value else float("inf")
        return ratio if abs(ratio) < float("inf") else None


@dataclass(frozen=True)
class Comparison:
    """Two profiles, compared.

    Attributes
    ----------
    baseline : Profile or None
        None where there is none yet: every figure is new.
    candidate : Profile
    rows : tuple of Row
        In the baseline's order, then what is new.
    differences : tuple of Difference
        What keeps figures from being compared.
    """

    baseline: Profile | None
    candidate: Profile
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """Figures that fail."""
        return tuple(row for row in self.rows if row.failed)

    def grown_operators(self, whole: Row) -> tuple[Row, ...]:
        """Operators that take more of a figure than before, the most grown first; new ones too."""
        parts = [
            row
            for row in self.rows
            if row.operator
            and row.metric == f"{whole.metric}:{row.operator}"
            and (row.evidence, row.aggregation) == (whole.evidence, whole.aggregation)
            and row.verdict != "not comparable"
        ]
        grown = (row for row in parts if _growth(row) > 0)
        return tuple(sorted(grown, key=lambda row: -_growth(row)))


def _growth(row: Row) -> float:
    before, after = (m.value if m is not None else 0 for m in (row.baseline, row.candidate))
    return after - before


def compare(baseline: Profile | None, candidate: Profile, limits: Limits | None = None) -> Comparison:
    """Compare two profiles figure by figure.

    Figures are matched by metric and evidence. One that was the same in every run is exact and has no
    further aggregations: it stands for all of them. Figures whose units or identities differ are not
    compared, nor is anything where the targets or the artifacts' formats differ.

    Parameters
    ----------
    baseline : Profile or None
    candidate : Profile
    limits : Limits, optional

    Raises
    ------
    InputError
        If a limit is for a metric that neither has.
    """
    limits = limits or Limits()
    before = baseline.measurements if baseline is not None else ()
    limits.check({m.metric for m in (*before, *candidate.measurements)})
    whole = _profile_differences(baseline, candidate) if baseline is not None else ()
    missing = {absent.metric: absent.reason for absent in candidate.unavailable}
    concerned: dict[tuple[str, str, str], dict[str, None]] = {}
    rows = []
    for pair in _pairs(before, candidate.measurements):
        metric = pair.either.metric
        if limits.leave_out(metric):
            continue
        differing = pair.differences()
        for key in differing:
            concerned.setdefault(key, {})[metric.partition(":")[0]] = None
        rows.append(_row(pair, not (whole or differing), limits, missing.get(metric, "")))
    differences = (*whole, *(Difference(*key, tuple(metrics)) for key, metrics in concerned.items()))
    return Comparison(baseline, candidate, tuple(rows), differences)


@dataclass(frozen=True)
class _Pair:
    """A figure of either profile, or of one; `headline` where it stands for its metric."""

    first: Measurement | None
    second: Measurement | None
    headline: bool

    @property
    def either(self) -> Measurement:
        one = self.first or self.second
        assert one is not None
        return one

    def differences(self) -> list[tuple[str, str, str]]:
        """``(field, baseline's, candidate's)`` of what must be the same for figures to be compared."""
        if self.first is None or self.second is None:
            return []
        a, b = self.first, self.second
        fields = [("unit", a.unit, b.unit)]
        fields += [(n, getattr(a.identity, n), getattr(b.identity, n)) for n in Identity.model_fields]
        return [(name, _words(old), _words(new)) for name, old, new in fields if old != new]


def _pairs(before: Sequence[Measurement], after: Sequence[Measurement]) -> Iterator[_Pair]:
    old, new = ({(m.metric, m.evidence, m.aggregation): m for m in side} for side in (before, after))
    seen = set()
    for m in before:
        other = _partner(m, new)
        seen.add((id(m), id(other)))
        yield _Pair(m, other, _stands_for_metric(m, old))
    for m in after:
        other = _partner(m, old)
        if (id(other), id(m)) not in seen:
            known = any((m.metric, m.evidence, name) in old for name in _HEADLINES)
            yield _Pair(other, m, not known and _stands_for_metric(m, new))


def _stands_for_metric(m: Measurement, among: Mapping[Key, Measurement]) -> bool:
    return m.aggregation == next(name for name in _HEADLINES if (m.metric, m.evidence, name) in among)


def _partner(m: Measurement, others: Mapping[Key, Measurement]) -> Measurement | None:
    second: Aggregation = "median" if m.aggregation == "exact" else "exact"
    for aggregation in (m.aggregation, second):
        if (found := others.get((m.metric, m.evidence, aggregation))) is not None:
            return found
    return None


def _row(pair: _Pair, comparable: bool, limits: Limits, missing: str) -> Row:
    first, second, either = pair.first, pair.second, pair.either
    names = [m.aggregation for m in (first, second) if m is not None]
    aggregation: Aggregation = next((name for name in names if name != "exact"), "exact")

    def row(verdict: Verdict, limit: float | None = None, why: str = "") -> Row:
        return Row(
            either.metric, either.evidence, aggregation, pair.headline, first, second, verdict, limit, why
        )

    if first is None:
        return row("new")
    gates = pair.headline and (":" not in first.metric or first.metric in limits.given)
    allowed = limits.allow(first, second) if gates else None
    if second is None:
        why = missing and f"unavailable: {missing}"
        return row("vanished", allowed.share, why) if allowed else row("gone", None, why)
    if not comparable:
        return row("not comparable")
    if allowed is None:
        return row("informs")
    worse, how = _worse(first, second, allowed.share)
    gained = first.value < second.value if first.metric in _RISING else first.value > second.value
    verdict: Verdict = "worse" if worse else "better" if gained else "ok"
    return row(verdict, allowed.share, "; ".join(part for part in (allowed.why, how) if part))


def _worse(first: Measurement, second: Measurement, limit: float) -> tuple[bool, str]:
    """Whether a figure got worse by more than a limit, and how that was judged."""
    if first.metric in _RISING or first.unit == "fraction":
        lost = first.value - second.value if first.metric in _RISING else second.value - first.value
        return lost > limit + _ROUNDING, ""
    if first.evidence == "measured" and first.unit != "bytes":
        if first.samples and second.samples:
            counts = f"{len(first.samples)} and {len(second.samples)} samples"
            worse = slower(first.samples, second.samples, limit)
            chance = not worse and _beyond(first.value, second.value, limit)
            return worse, f"chance explains it in {counts}: measure again" if chance else f"by {counts}"
        return _beyond(first.value, second.value, limit), "by the value alone: there are no samples"
    return _beyond(first.value, second.value, limit), ""


def _beyond(before: float, after: float, limit: float) -> bool:
    return after - before > (limit + _ROUNDING) * abs(before)


def _profile_differences(baseline: Profile, candidate: Profile) -> tuple[Difference, ...]:
    fields = (
        ("target", baseline.target.name, candidate.target.name),
        ("the target's file", baseline.target.sha256[:12], candidate.target.sha256[:12]),
        ("the artifact's format", baseline.artifact.format, candidate.artifact.format),
    )
    return tuple(Difference(name, a, b) for name, a, b in fields if a != b)


def _words(value: str | float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
