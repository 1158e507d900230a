"""What the table says of the claims that growing makes, against ourselves where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from growth.statistics import Interval, paired, pooled
from growth.tasks import ARMS, DEFAULT, PRUNING, TWICE

POINTS = 100
"""Of accuracy in one."""

GOAL = 0.5
"""Points that the default should be better by."""

SCORING = 0.1
"""Share of a run's time that scoring may take."""

Results = Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]
"""``{task: {arm: {seed: figures}}}``."""


@dataclass(frozen=True)
class Claim:
    """A claim, whether it holds (None: not enough has been run), and by how much in words."""

    text: str
    holds: bool | None
    evidence: str

    def __str__(self) -> str:
        verdict = {True: "holds", False: "**fails**", None: "open"}[self.holds]
        return f"{self.text}: {verdict} ({self.evidence})"


def differences(results: Results, task: str, arm: str, ours: str = DEFAULT) -> list[float]:
    """Test accuracy of our arm minus that of another, in points, one for each seed that both have."""
    own, other = results[task].get(ours, {}), results[task].get(arm, {})
    seeds = sorted(set(own) & set(other))
    return [POINTS * (own[s]["test_accuracy"] - other[s]["test_accuracy"]) for s in seeds]


def task_differences(results: Results, arm: str, ours: str = DEFAULT) -> dict[str, Interval]:
    """Paired differences of our arm against another on every task that has any."""
    found = {task: differences(results, task, arm, ours) for task in results}
    return {task: paired(values) for task, values in found.items() if values}


def pooled_difference(results: Results, arm: str, ours: str = DEFAULT) -> Interval | None:
    """Paired difference of our arm against another over all tasks that have any."""
    found = [values for task in results if (values := differences(results, task, arm, ours))]
    return pooled(found) if found else None


def written(interval: Interval) -> str:
    """Write an interval in points: ``+0.42 [+0.10, +0.74]``."""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.2f}"
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def claims(results: Results, tasks: Sequence[str]) -> list[Claim]:
    """Judge every claim on what is there.

    Parameters
    ----------
    results : mapping
        ``{task: {arm: {seed: figures}}}``, of finished cells.
    tasks : sequence of str
        All tasks that a claim over every task has to hold on.
    """
    return [
        _as_good_as(results, tasks, "scratch", "uniform widths from scratch"),
        _better_on_three(results),
        _as_good_as(results, tasks, "grown-scratch", "the grown widths from scratch"),
        _better_than_pruning(results),
        _cheaper_than_pruning(results),
        _as_good_as_pruning(results),
        _cheap_scoring(results),
        *(_not_behind(results, arm) for arm in grown_arms(results)),
    ]


def grown_arms(results: Results) -> list[str]:
    """Arms that grow with other moves than the default."""
    seen = dict.fromkeys(arm for arms in results.values() for arm in arms)
    return [arm for arm in seen if arm not in (DEFAULT, TWICE) and ARMS[arm].kind == "grow"]


def _as_good_as(results: Results, tasks: Sequence[str], arm: str, name: str) -> Claim:
    found = task_differences(results, arm)
    behind = [task for task, interval in found.items() if interval.below]
    missing = [task for task in tasks if task not in found or found[task].low is None]
    parts = [f"{task} {written(interval)}" for task, interval in found.items()]
    if behind:
        parts.append(f"behind on {', '.join(behind)}")
    if missing:
        parts.append(f"not enough seeds on {', '.join(missing)}")
    holds = False if behind else None if missing else True
    text = f"At least as accurate as {name} at equal total training MACs on every task"
    return Claim(text, holds, _sentence(parts))


def _better_on_three(results: Results) -> Claim:
    found = task_differences(results, "scratch")
    better = [task for task, interval in found.items() if interval.above]
    by_goal = [task for task in better if found[task].mean >= GOAL]
    parts = [f"interval above 0 on {len(better)} of {len(found)} ({', '.join(better) or 'none'})"]
    parts.append(f"by {GOAL} points or more on {len(by_goal)}")
    known = sum(interval.low is not None for interval in found.values())
    holds = True if len(better) >= 3 else None if known < 3 else False
    return Claim("Better than uniform widths from scratch on at least three tasks", holds, _sentence(parts))


def _best_pruning(results: Results) -> str | None:
    """Return the pruning arm of the best validation accuracy, of those that most tasks have."""
    has = {arm: [task for task in results if results[task].get(arm)] for arm in PRUNING}
    most = max(map(len, has.values()))
    arms = [arm for arm in PRUNING if len(has[arm]) == most]
    tasks = [task for task in results if all(results[task].get(arm) for arm in arms)]
    if not tasks:
        return None

    def mean(arm: str) -> float:
        return fmean(
            fmean(figures["validation_accuracy"] for figures in results[task][arm].values()) for task in tasks
        )

    return max(arms, key=mean)


def _better_than_pruning(results: Results) -> Claim:
    text = f"At least {GOAL} points above the best pruning arm on average"
    best = _best_pruning(results)
    difference = None if best is None else pooled_difference(results, best)
    if best is None or difference is None:
        return Claim(text, None, "no task has both")
    parts = [f"best by validation is {best}", f"{written(difference)} points over {difference.pairs} pairs"]
    if difference.low is not None and difference.low < GOAL <= difference.mean:
        parts.append(f"the interval reaches below {GOAL}")
    holds = None if difference.low is None else difference.mean >= GOAL
    return Claim(text, holds, _sentence(parts))


def _cheaper_than_pruning(results: Results) -> Claim:
    text = "At most half of the best pruning arm's total training MACs on every task"
    best = _best_pruning(results)
    shares = {}
    for task, arms in results.items():
        own, other = arms.get(DEFAULT, {}), arms.get(best or "", {})
        if seeds := own.keys() & other.keys():
            shares[task] = fmean(own[s]["macs_trained"] / other[s]["macs_trained"] for s in seeds)
    if not shares:
        return Claim(text, None, "no task has both")
    return Claim(
        text,
        max(shares.values()) <= 0.5,
        _sentence([f"{task} {share:.3f}" for task, share in shares.items()]),
    )


def _as_good_as_pruning(results: Results) -> Claim:
    """Compare at equal training: what twice the default's buys growing, too."""
    text = "At least as accurate as the best pruning arm at equal total training MACs, twice the default's"
    best = _best_pruning(results)
    difference = None if best is None else pooled_difference(results, best, TWICE)
    if best is None or difference is None:
        return Claim(text, None, "no task has both")
    found = task_differences(results, best, TWICE)
    parts = [f"{best}: {written(difference)} points over {difference.pairs} pairs"]
    parts += [f"{task} {written(interval)}" for task, interval in found.items()]
    behind = difference.below or any(interval.below for interval in found.values())
    return Claim(text, None if difference.low is None else not behind, _sentence(parts))


def _cheap_scoring(results: Results) -> Claim:
    """Compare the wall time of scoring with that of the whole run, of the default."""
    shares, most = {}, 0.0
    for task, arms in results.items():
        told = [
            (sum(event["scoring_seconds"] for event in cell["growth"]), cell["seconds"])
            for cell in arms.get(DEFAULT, {}).values()
            if cell.get("growth") and all("scoring_seconds" in event for event in cell["growth"])
        ]
        if told:
            shares[task] = sum(scoring for scoring, _ in told) / sum(whole for _, whole in told)
            most = max(most, *(scoring / whole for scoring, whole in told))
    text = f"Scoring takes at most {100 * SCORING:g} % of a run's time, on the mean of every task"
    if not shares:
        return Claim(text, None, _sentence([]))
    parts = [f"{task} {100 * share:.1f} %" for task, share in shares.items()]
    parts.append(f"a single run at most {100 * most:.1f} %")
    return Claim(text, max(shares.values()) <= SCORING, _sentence(parts))


def _not_behind(results: Results, arm: str) -> Claim:
    """Whether an arm that grows with other moves beats the default: then the default is the wrong one."""
    found = task_differences(results, arm)
    difference = pooled_difference(results, arm)
    text = f"The default is not behind growing by {arm} alone"
    if difference is None:
        return Claim(text, None, "no task has both")
    ahead = [task for task, interval in found.items() if interval.below]
    parts = [f"{written(difference)} points over {difference.pairs} pairs"]
    if ahead:
        parts.append(f"{arm} is ahead on {', '.join(ahead)}")
    holds = False if ahead or difference.below else None if difference.low is None else True
    return Claim(text, holds, _sentence(parts))


def _sentence(parts: Sequence[str]) -> str:
    return "; ".join(parts) or "nothing has been run"
