"""The claims' pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY, _BLACK, _GREEN = "#1f5fa8", "#e07b22", "#9a9a9a", "#222222", "#2f8f5b"

_DECADES = 1e6
"""Ratio of the largest gain to the smallest that is shown."""

_NARROW = 2.5
"""Ratio of an axis' ends below which its labels are evenly spaced."""

_ARMS = {
    "training": ("just more training", _GREY, ":", 2.2),
    "copies": ("plain copies", _BLACK, "--", 1.2),
    "random": ("split, random direction", _ORANGE, "-", 1.4),
    "split": ("split, lowest eigenvector", _BLUE, "-", 1.8),
}
"""Label, colour, line and width of each way to go on; the last is drawn on top."""

_NORMAL = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update(_NORMAL)
    return pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)


def _save(figure: Figure, file: Path) -> None:
    from matplotlib import pyplot

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def draw_cliff(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the loss before and after growths from a local optimum, four ways to go on: the toys, the MLP."""
    count = len(figures["bells"])
    figure, axes = _figure(2, count, 3.4 * count, 5.6)
    for row, toys in enumerate(("bells", "mlp")):
        for number, toy in enumerate(figures[toys]):
            axis = axes[row][number]
            for arm, (label, colour, line, width) in _ARMS.items():
                steps, losses = zip(*toy["arms"][arm]["curve"], strict=True)
                axis.plot(steps, losses, line, color=colour, linewidth=width, label=label)
            _frame_cliff(axis, toy)
            kind = "RBF toy, one neuron a growth" if toys == "bells" else "MLP 3-2-2, both neurons at once"
            axis.set_title(f"{kind}\n" if number == 0 else "\n", loc="left", fontsize=9, fontweight="bold")
            axis.annotate(f"run {number + 1}", (0.98, 0.96), xycoords="axes fraction", ha="right", va="top")
            if row == 1:
                axis.set_xlabel("optimiser steps, full batch")
        axes[row][0].set_ylabel("mean squared error / 2" if toys == "bells" else "cross-entropy, nats")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=min(4, count + 1))
    _save(figure, file)


def _frame_cliff(axis: Axes, toy: Mapping[str, Any]) -> None:
    """Show the stuck end of the first training and all that follows; mark the growths."""
    arms, first, steps = toy["arms"], toy["first"], toy["steps"]
    growths = len(arms["split"]["falls"])
    shown = [loss for arm in arms.values() for step, loss in arm["curve"] if step >= 0.7 * first]
    axis.set_xlim(0.7 * first, first + growths * steps)
    axis.set_yscale("log")
    low, high = min(shown), max(shown)
    axis.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.15)
    _plain_log_labels(axis)
    for growth in range(growths):
        axis.axvline(first + growth * steps, color=_GREEN, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.annotate("growth", (first, 0.02), xycoords=("data", "axes fraction"), color=_GREEN, fontsize=8,
                  xytext=(3, 0), textcoords="offset points")  # fmt: skip


def _plain_log_labels(axis: Axes) -> None:
    """Label a logarithmic axis with plain numbers, also where it spans less than a decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_ylim()
    wide = high / low > _NARROW
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))


def draw_gains(figures: Mapping[str, Any], file: Path) -> None:
    """Draw predicted against realised gain, channel by channel and for whole growth steps."""
    figure, ((left, middle, right),) = _figure(1, 3, 11.4, 3.9)
    for axis, kind in ((left, "SiLU"), (middle, "ReLU")):
        steps = figures["channels"][kind]
        colours = _shades(len(steps))
        for (step, pairs), colour in zip(steps.items(), colours, strict=True):
            gaining = [(-p, -r) for p, r in pairs if p < 0 < -r]
            axis.scatter(*zip(*gaining, strict=True), s=11, color=colour, linewidths=0, alpha=0.8,
                         label=f"relative step {step}")  # fmt: skip
        lost = sum(p < 0 <= r for pairs in steps.values() for p, r in pairs)
        axis.set_title(f"one channel at a time, {kind}", loc="left", fontsize=9, fontweight="bold")
        _frame_gains(axis, f"{lost} splits not shown: the loss rose" if lost else "")
    events = figures["growth_steps"]
    colours = _shades(max(event["growth"] for event in events))
    for number in sorted({event["growth"] for event in events}):
        best = [event["steps"][str(event["best"])] for event in events if event["growth"] == number]
        gains = [(-p, -r) for p, r in best if r < 0]
        if gains:
            right.scatter(*zip(*gains, strict=True), s=30, color=colours[number - 1], linewidths=0,
                          label=f"growth step {number}")  # fmt: skip
    right.set_title("half of all channels at once, ReLU", loc="left", fontsize=9, fontweight="bold")
    _frame_gains(right)
    left.set_ylabel("realised gain: fall of the loss, nats")
    for axis in (left, right):
        axis.legend(loc="upper left", handletextpad=0.2, borderaxespad=0.1, fontsize=8)
    _save(figure, file)


def _shades(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.05 + 0.8 * i / max(1, count - 1)) for i in range(count)]


def _frame_gains(axis: Axes, note: str = "") -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    high = max(axis.get_xlim()[1], axis.get_ylim()[1])
    low = max(min(axis.get_xlim()[0], axis.get_ylim()[0]), high / _DECADES)
    axis.annotate(note, (0.97, 0.03), xycoords="axes fraction", ha="right", fontsize=8)
    axis.plot([low, high], [low, high], color=_GREY, linewidth=0.9, zorder=0)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_aspect("equal")
    axis.set_xlabel("predicted gain, nats")
    axis.annotate("as predicted", (0.97, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=8,
                  color=_GREY, xytext=(-18, -2), textcoords="offset points")  # fmt: skip


def draw_eigenpairs(figures: Mapping[str, Any], file: Path) -> None:
    """Draw how good eigenpairs get with products, and what the exact decomposition takes."""
    figure, ((left, right),) = _figure(1, 2, 9.2, 3.7)
    products = [int(count) for count in figures["lanczos"]]
    left.plot(products, [100 * v for v in figures["lanczos"].values()], "o-", color=_BLUE, markersize=4,
              label="Lanczos")  # fmt: skip
    rates = figures["descent"]
    best = max(rates, key=lambda rate: rates[rate][figures["products"] - 1])
    shares = [100 * v for v in rates[best]]
    left.plot(range(1, len(shares) + 1), shares, color=_ORANGE, label=f"RMSprop, best rate ({best})")
    usual = figures["usual_rate"]
    if usual != best:
        plain = [100 * v for v in rates[usual]]
        left.plot(
            range(1, len(plain) + 1), plain, "--", color=_GREY, label=f"RMSprop, PyTorch's rate ({usual})"
        )
    left.set_xscale("log", base=2)
    left.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    left.set_ylim(bottom=min(0.0, left.get_ylim()[0]), top=103)
    left.set_xlabel("products S v with all training samples")
    left.set_ylabel("share of the exact gain, %")
    left.legend(loc="lower right")
    left.set_title("lowest eigenpairs of all channels", loc="left", fontsize=9, fontweight="bold")
    sizes = [int(size) for size in figures["exact_ms"]]
    times = list(figures["exact_ms"].values())
    right.plot(sizes, times, "o-", color=_BLUE, markersize=4, label="measured")
    last = times[-1]
    right.plot(sizes, [last * (d / sizes[-1]) ** 3 for d in sizes], "--", color=_GREY, linewidth=1,
               label="proportional to d³")  # fmt: skip
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.minorticks_off()
    right.set_xlabel("parameters d of a neuron")
    right.set_ylabel("CPU time a neuron, ms")
    right.legend(loc="upper left")
    right.set_title("exact decomposition of S", loc="left", fontsize=9, fontweight="bold")
    _save(figure, file)


def draw_search(figures: Mapping[str, Any], file: Path) -> None:
    """Draw accuracy against all training of random search, and growing's beside it."""
    figure, ((axis,),) = _figure(1, 1, 5.2, 3.6)
    costs = [median(run["search"][tried]["macs_trained"] for run in figures["runs"]) / 1e9
             for tried in figures["runs"][0]["search"]]  # fmt: skip
    for tried, cost in zip(figures["runs"][0]["search"], costs, strict=True):
        values = [100 * run["search"][tried]["test_accuracy"] for run in figures["runs"]]
        axis.scatter([cost] * len(values), values, s=14, color=_GREY, linewidths=0)
        axis.annotate(f"{tried} tried", (cost, max(values)), xytext=(0, 5), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    means = [sum(100 * run["search"][t]["test_accuracy"] for run in figures["runs"]) / len(figures["runs"])
             for t in figures["runs"][0]["search"]]  # fmt: skip
    axis.plot(costs, means, "s-", color=_ORANGE, markersize=5, label="random search, mean")
    grown = [100 * run["grown"]["test_accuracy"] for run in figures["runs"]]
    at = median(run["grown"]["macs_trained"] for run in figures["runs"]) / 1e9
    axis.scatter([at] * len(grown), grown, s=14, color=_BLUE, linewidths=0, alpha=0.5)
    axis.plot([at], [sum(grown) / len(grown)], "D", color=_BLUE, markersize=7, label="grown, mean")
    axis.set_xlim(left=0)
    axis.margins(y=0.15)
    axis.set_xlabel("all training, billions of multiply-accumulates (counted)")
    axis.set_ylabel("test accuracy, %")
    axis.legend(loc="lower left")
    _save(figure, file)
