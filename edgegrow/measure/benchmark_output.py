"""What Google's ``benchmark_model`` prints: the timings of a .tflite file.

Two kinds of lines tell them, after prefixes such as ``INFO:`` or ``I tflite :``; a build prints one or both:

- ``count=50 first=1279 curr=1195 min=1166 max=1279 avg=1.19e+03 std=24``, in us, one line of the warm-up and
  one of the measurement; newer builds add ``p5=... median=... p95=...``;
- ``Inference timings in us: Init: 855, First inference: 4906, Warmup (avg): 3482.5, Inference (avg): 1190``.

See TensorFlow, ``tensorflow/lite/tools/benchmark``, and ``Stat`` of ``stats_calculator.h``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgegrow.errors import InputError

LONGEST_LINE = 2000
"""Characters; a line that is longer tells nothing of timings."""

ROUNDING = 1e-4
"""Relative difference that the six digits of a printed figure may make."""

_NUMBER = r"(-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|-?inf|-?nan)(?=[\s,]|$)"
_FIELD = re.compile(rf"\b(count|first|curr|min|max|avg|std|p5|median|p95)={_NUMBER}", re.IGNORECASE)
_TIMINGS = re.compile(rf"(Init|First inference|Warmup \(avg\)|Inference \(avg\)): {_NUMBER}", re.IGNORECASE)
# Profiles of operators have such lines too, for something else.
_OTHER = re.compile(r"(microseconds|bytes)\):", re.IGNORECASE)


@dataclass(frozen=True)
class Timings:
    """Times of inferences, in us; None is "not printed".

    Attributes
    ----------
    mean_us, min_us, max_us, std_us, median_us : float or None
        Of the measured inferences.
    count : int or None
        How many they were.
    init_us, first_us : float or None
        Time to load the file, and of the first inference.
    kernels : str or None
        What computed it, as far as the output says.
    """

    mean_us: float
    min_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None
    median_us: float | None = None
    count: int | None = None
    init_us: float | None = None
    first_us: float | None = None
    kernels: str | None = None


def parse(output: str) -> Timings:
    """Read what ``benchmark_model`` has printed, stdout and stderr together.

    Raises
    ------
    InputError
        If there are no timings, or impossible ones; the message names no file.
    """
    lines = [line for line in output.splitlines() if len(line) <= LONGEST_LINE]
    counted = [found for line in lines if (found := _counted(line))]
    summary: dict[str, float] = {}
    for line in lines:
        if "inference timings in us:" in line.lower():
            summary = {name.lower(): float(value) for name, value in _TIMINGS.findall(line)}
    # A single line and nothing else is the warm-up of a run that was broken off.
    stated = counted[-1] if len(counted) > 1 or (counted and summary) else {}
    mean = stated.get("avg", summary.get("inference (avg)"))
    if mean is None:
        raise InputError("benchmark_model printed no timings")
    _check(stated, summary, mean)
    return Timings(
        mean_us=mean,
        min_us=stated.get("min"),
        max_us=stated.get("max"),
        std_us=stated.get("std"),
        median_us=stated.get("median"),
        count=int(stated["count"]) if stated else None,
        init_us=summary.get("init"),
        first_us=summary.get("first inference"),
        kernels=_kernels(output),
    )


def _counted(line: str) -> dict[str, float] | None:
    """Read a line of ``count=...``; None if it is none, or lacks what every build prints."""
    if _OTHER.search(line):
        return None
    found = {name.lower(): float(value) for name, value in _FIELD.findall(line)}
    return found if {"count", "min", "max", "avg", "std"} <= found.keys() else None


def _check(stated: dict[str, float], summary: dict[str, float], mean: float) -> None:
    """Refuse figures that no run can have."""
    figures = [*stated.values(), *summary.values()]
    possible = all(math.isfinite(figure) and 0 <= figure < 1e12 for figure in figures) and mean > 0
    if possible and stated:
        inner = [stated[name] for name in ("avg", "median") if name in stated]
        low, high = stated["min"] * (1 - ROUNDING), stated["max"] * (1 + ROUNDING)
        possible = (
            stated["count"] >= 1
            and stated["count"].is_integer()
            and all(low <= figure <= high for figure in inner)
        )
    if possible and stated and "inference (avg)" in summary:
        possible = math.isclose(summary["inference (avg)"], mean, rel_tol=ROUNDING)
    if not possible:
        raise InputError("benchmark_model printed impossible timings")


def _kernels(output: str) -> str | None:
    """Say what computed it: a delegate can take all of a model, a part, or silently nothing."""
    text = output.lower()
    if "will not be executed by the delegate" in text:
        return "built-in"
    if "partially executed by the delegate" in text:
        return "XNNPACK in part, built-in" if "xnnpack" in text else "delegate in part, built-in"
    if "completely executed by the delegate" in text:
        return "XNNPACK" if "xnnpack" in text else "delegate"
    return None
