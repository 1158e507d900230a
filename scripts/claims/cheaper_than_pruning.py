"""Claim 1: growing trains only small networks on the way, so it costs less than pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growth.claims import Results
from growth.tasks import DEFAULT
from results import table

from claims.comparisons import (
    PRUNED,
    TASK,
    alike,
    best_pruning,
    evidence,
    growth_steps,
    large_comparison,
    mean,
    slim,
    trained,
    wide,
)
from claims.effort import Effort
from claims.parts import Part
from edgegrow.baselines.prune import LARGE

CLAIM = (
    "It trains only small networks on the way, so it costs less than pruning, which must first train a large "
    "one."
)

LARGEST_ON_THE_WAY = 1.0
"""MACs of the largest network that is trained on the way, in units of the final one."""

CHEAPER = 1.0
"""All of growing's training MACs, in units of all of pruning's, on every task: less than this."""


def inputs(effort: Effort) -> Results:
    """Return what the figures depend on beside the effort."""
    return slim(large_comparison(effort.table))


def examine(effort: Effort) -> dict[str, Any]:
    """Train the small task's networks, and read the large comparison."""
    small = trained(effort, (DEFAULT, *PRUNED))
    return {
        "small": slim(small),
        "large": inputs(effort),
        "macs_on_the_way": {
            str(seed): [event["costs"]["macs"] for event in growth_steps(effort, seed)]
            for seed in effort.seeds
        },
    }


def parts(figures: Mapping[str, Any]) -> list[Part]:
    """Judge both halves of the claim."""
    small, (results, source) = wide(figures["small"]), evidence(figures)
    on_the_way = max(
        max(macs) / small[TASK][DEFAULT][int(seed)]["macs"]
        for seed, macs in figures["macs_on_the_way"].items()
    )
    shares = _shares(results)
    dearest = max(shares, key=lambda task: shares[task][1])
    large_alone = max(share for _, _, share in shares.values())
    return [
        Part(
            "The largest network trained on the way is no larger than the final one",
            f"{on_the_way:.2f} of its MACs at most ({TASK})",
            f"at most {LARGEST_ON_THE_WAY:g}",
            on_the_way <= LARGEST_ON_THE_WAY,
        ),
        Part(
            "All of growing costs less training than all of pruning",
            f"{shares[dearest][1]:.2f} of its training MACs at most ({dearest}; by {source})",
            f"less than {CHEAPER:g} on every task",
            shares[dearest][1] < CHEAPER,
        ),
        Part(
            "All of growing costs less than training the large network alone",
            f"{large_alone:.2f} of its training MACs at most",
            f"less than {CHEAPER:g} on every task",
            large_alone < CHEAPER,
            "retraining after pruning is counted",
        ),
    ]


def _shares(results: Results) -> dict[str, tuple[str, float, float]]:
    """For each task the best pruning arm, and growing's cost in units of its own and its large network's."""
    shares = {}
    for task, arms in results.items():
        arm = best_pruning(arms)
        assert arm is not None
        grown, pruned = alike(arms, arm)
        own = mean(grown, "macs_trained")
        shares[task] = (
            arm, own / mean(pruned, "macs_trained"), own / mean(pruned, "large_macs_trained")
        )  # fmt: skip
    return shares


def section(figures: Mapping[str, Any]) -> list[str]:
    """Lines of the readable page."""
    results = {**wide(figures["small"]), **wide(figures["large"])}
    rows = [
        [task, arm, *(f"{mean(cells, 'macs_trained') / 1e9:,.2f}" for cells in alike(results[task], arm)),
         f"{share:.2f}", f"{alone:.2f}"]
        for task, (arm, share, alone) in _shares(results).items()
    ]  # fmt: skip
    header = [
        "task",
        "best pruning arm",
        "growing, GMACs",
        "pruning, GMACs",
        "share",
        "of the large network's",
    ]
    return [
        "Training MACs are counted: three forward passes a step; scoring and line searches are in growing's,",
        f"scoring and retraining in pruning's. The large network has {LARGE:g} times the budget, and is",
        "given as much training as the pruned one is afterwards: that growing takes half of pruning's is",
        "this choice of ours and no finding. Trained for as many epochs as the pruned one, the large network",
        f"alone would take about {LARGE:g} times as much. The arm is the one that is best on validation",
        "data; means are over the seeds that it and growing have.",
        "",
        *table(header, rows),
    ]
