"""Claim 3: far cheaper than architecture search, and as many splitting steps as the final size, at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from growth.claims import POINTS, written
from growth.statistics import Interval, paired
from growth.tasks import DEFAULT
from results import table

from claims import pictures
from claims.comparisons import TASK, cell, trained
from claims.effort import Effort
from claims.parts import Part
from edgegrow import api
from edgegrow.baselines.problem import Problem, macs_of
from edgegrow.baselines.scratch import Trained, train_network
from edgegrow.baselines.widths import share_used
from edgegrow.config import RunConfig, resolve_config
from edgegrow.growth.seed import NARROWEST
from edgegrow.listener import Silent
from edgegrow.run import RunFolder
from edgegrow.setting import Setting
from edgegrow.training import evaluate, generator

CLAIM = (
    "It is far cheaper than architecture search by random, evolutionary or policy-gradient methods: the "
    "number of splitting steps is linear in the final size."
)

TRIED = (1, 4, 20)
"""Networks of random widths that a search tries; of a single one nothing need be chosen."""

SHORT = 0.1
"""Training that each of several is chosen by, in units of a whole training."""

SPREAD = 3.0
"""Each group's width is drawn up to this factor narrower or wider than in the net's own proportions."""

AS_GOOD = 0.3
"""Points of test accuracy that a search may be behind and still count as accurate as growing. It is behind by
more only where the whole interval over the seeds is: a mean of few is chance."""

FAR = 3.0
"""Times growing's training MACs that a search as accurate must cost at least."""

LINEAR = 1.1
"""Exponent of growth steps over added channels that still counts as linear, at most."""

BUDGETS = ("1200", "4800", "19200")
"""MACs that networks are grown to from the narrowest, to count steps."""

CONTROL = "scratch"
"""Uniform widths at growing's own training MACs."""

_SHORT_STREAM, _WHOLE_STREAM, _BISECTIONS = 60, 61, 40


def inputs(effort: Effort) -> None:
    """Return what the figures depend on beside the effort: nothing."""


def examine(effort: Effort) -> dict[str, Any]:
    """Search with the small task's budget beside its grown runs, and count growth steps to several sizes."""
    made = trained(effort, (DEFAULT, CONTROL))[TASK]
    keys = ("test_accuracy", "macs_trained", "widths")
    runs = [
        {
            "grown": {key: made[DEFAULT][seed][key] for key in keys},
            "uniform": {key: made[CONTROL][seed][key] for key in keys},
            "search": _search(effort, seed),
        }
        for seed in effort.seeds
    ]
    growth = [_growth_steps(effort, macs) for macs in BUDGETS]
    return {"epochs": effort.epochs, "runs": runs, "growth": growth}


def _search(effort: Effort, seed: int) -> dict[str, Any]:
    """Try ever more networks of random widths, and train the best of the first few to the end."""
    config = cell(effort, DEFAULT, seed).config
    setting = Setting(config, Silent())
    problem = Problem(setting.net, setting.data, setting.costs, setting.limits, setting.train_config, seed)
    rng = generator(seed, _SHORT_STREAM)
    widths = [random_widths(problem, rng) for _ in range(max(TRIED))]
    tried = [_train(problem, w, SHORT, _SHORT_STREAM) for w in widths]
    whole: dict[int, Trained] = {}
    found = {}
    for count in TRIED:
        best = max(range(count), key=lambda i: tried[i].validation_accuracy)
        if best not in whole:
            whole[best] = _train(problem, widths[best], 1.0, _WHOLE_STREAM)
        spent = 0.0 if count == 1 else sum(one.macs_trained for one in tried[:count])
        found[str(count)] = {
            "test_accuracy": evaluate(whole[best].trace.graph, problem.data.test)[1],
            "macs_trained": spent + whole[best].macs_trained,
            "macs": macs_of(whole[best].trace),
            "widths": list(widths[best].values()),
        }
    return found


def _train(problem: Problem, widths: Mapping[str, int], share: float, stream: int) -> Trained:
    trace = problem.network(widths)
    return train_network(problem, trace, share * problem.training_macs(trace, problem.epochs), stream)


def random_widths(problem: Problem, rng: torch.Generator) -> dict[str, int]:
    """Draw proportions, log-uniform about the net's own; find their widest network that keeps the budget.

    What rounding leaves is filled by single channels, in random order.
    """
    own = problem.example.widths()
    factors = {
        name: exp((2 * torch.rand((), generator=rng).item() - 1) * log(SPREAD)) * width
        for name, width in own.items()
    }

    def scaled(scale: float) -> dict[str, int]:
        return {name: max(NARROWEST, round(scale * factor)) for name, factor in factors.items()}

    low, high = 0.0, 64.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if share_used(problem, scaled(middle)) <= 1 else (low, middle)
    widths, names = scaled(low), list(own)
    while True:
        for place in torch.randperm(len(names), generator=rng).tolist():
            wider = {**widths, names[place]: widths[names[place]] + 1}
            if share_used(problem, wider) <= 1:
                widths = wider
                break
        else:
            return widths


def _growth_steps(effort: Effort, macs: str) -> dict[str, float]:
    """Grow from the narrowest network to a budget, and count growth steps and channels."""
    folder = effort.runs / "steps" / macs
    values = {
        "data.name": "digits", "net.name": "mlp", "budget": {"macs": float(macs)},
        "net.widths": (NARROWEST, NARROWEST), "train.epochs": 5.0, "grow.steps": 1,
    }  # fmt: skip
    config: RunConfig = resolve_config(values=values)
    run = api.resume(folder) if (folder / "config.toml").exists() else api.grow(config, folder)
    events = list(RunFolder.open(run.folder.path).history("growth"))
    first, last = events[0]["widths_before"], events[-1]["widths"]
    return {
        "macs": float(macs),
        "steps": len(events),
        "added": sum(last.values()) - sum(first.values()),
    }


def parts(figures: Mapping[str, Any]) -> list[Part]:
    """Judge the cost of the cheapest search not shown to be behind, and the number of growth steps."""
    runs, growth = figures["runs"], figures["growth"]
    own = fmean(run["grown"]["macs_trained"] for run in runs)
    searches = {tried: _against(runs, _searched(runs, tried)) for tried in runs[0]["search"]}
    as_good = [
        (cost, tried, ahead)
        for tried, (ahead, cost) in searches.items()
        if ahead.high is None or ahead.high >= -AS_GOOD
    ]
    if as_good:
        cost, tried, ahead = min(as_good)
        found = (
            f"not shown of one at {cost / own:.2f} times growing's MACs, {tried} tried: {written(ahead)} "
            f"points over {ahead.pairs} seeds (95 % interval)"
        )
        far = cost / own >= FAR
    else:
        dearest = max(cost for _, cost in searches.values())
        found = f"all are, up to {dearest / own:.2f} times growing's MACs"
        far = dearest / own >= FAR
    slope = exponent(growth)
    return [
        Part(
            f"A random search is behind by more than {AS_GOOD:g} points unless it costs far more training",
            found,
            f"at least {FAR:g} times",
            far,
        ),
        Part(
            "The number of splitting steps is at most linear in the size",
            f"grows as the added channels to the power of {slope:.2f}",
            f"an exponent of at most {LINEAR:g}",
            slope <= LINEAR,
        ),
    ]


def _searched(runs: Sequence[Mapping[str, Any]], tried: str) -> list[Mapping[str, Any]]:
    return [run["search"][tried] for run in runs]


def _against(runs: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> tuple[Interval, float]:
    """Points that another way is ahead by at equal seeds, and what it costs in MACs on the mean."""
    ahead = [
        POINTS * (cell["test_accuracy"] - run["grown"]["test_accuracy"])
        for run, cell in zip(runs, cells, strict=True)
    ]
    return paired(ahead), fmean(cell["macs_trained"] for cell in cells)


def exponent(growth: list[Mapping[str, float]]) -> float:
    """Largest slope of growth steps over added channels, both as logarithms, between neighbouring sizes."""
    ordered = sorted(growth, key=lambda one: one["added"])
    return max(
        float(np.log(b["steps"] / a["steps"]) / np.log(b["added"] / a["added"])) for a, b in pairwise(ordered)
    )


def section(figures: Mapping[str, Any]) -> list[str]:
    """Lines of the readable page."""
    runs = figures["runs"]
    own = fmean(run["grown"]["macs_trained"] for run in runs)
    rows = [["grown", _accuracy([run["grown"] for run in runs]), "", "1.00"]]
    uniform = [run["uniform"] for run in runs]
    searches = {f"random, {tried} tried": _searched(runs, tried) for tried in runs[0]["search"]}
    for way, cells in {"uniform widths": uniform, **searches}.items():
        ahead, cost = _against(runs, cells)
        rows.append([way, _accuracy(cells), written(ahead), f"{cost / own:.2f}"])
    same = sum(run["uniform"]["widths"] == run["grown"]["widths"] for run in runs)
    steps = [[f"{g['macs']:,.0f}", str(g["added"]), str(g["steps"])] for g in figures["growth"]]
    return [
        "![Accuracy over all training: random search and growing](claims-search.png)",
        "",
        f"The small task, {TASK}. A search draws widths within the same budget, up to {SPREAD:g} times",
        f"narrower or wider a group than in the net's own proportions, trains each for {SHORT:g} of a whole",
        "training, and the best on validation data for a whole one. Means over seeds; test accuracy is",
        "measured, training in MACs counted, in units of growing's; points ahead are at equal seeds, with",
        f"Student's 95 % interval. A whole training is {figures['epochs']:g} epochs, so that it is quick:",
        f"growing tries its options with a few steps each then, and {same} of its {len(runs)} networks have",
        "the uniform widths. So this tells little of growing at its usual length.",
        "",
        *table(["way", "test accuracy", "points ahead of growing", "training"], rows),
        "",
        "Growth steps from two channels a layer (mlp on digits, `grow.steps=1`; a step at most doubles a",
        "group):",
        "",
        *table(["budget, MACs", "channels added", "growth steps"], steps),
        "",
        "Split one neuron at a time, as the first paper does, the steps are as many as the channels added,",
        "by construction. Evolutionary and policy-gradient searches were not run: they train more networks",
        "than the random search does.",
    ]


def _accuracy(cells: Sequence[Mapping[str, Any]]) -> str:
    return f"{POINTS * fmean(cell['test_accuracy'] for cell in cells):.2f} %"


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Draw accuracy over all training."""
    pictures.draw_search(figures, folder / "claims-search.png")
