"""How much worse a figure may get before a gate fails."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgegrow.errors import InputError
from edgegrow.measure.chance import STANDARD_ERRORS, chance_difference
from edgegrow.measure.protocol import Measurement

REPEATS = 0.001
"""Relative increase that computed figures may have: counts of LiteRT and of microcontrollers repeat exactly,
medians of ONNX Runtime's to 0.05 %."""

ELSEWHERE = 0.003
"""As `REPEATS`, for counts of tflite-runtime, which is for 32 bits: they repeat exactly on one machine or in
one image, and between them to 0.22 %. What an inference takes varies with where memory lies, and that with
the order in which a file system lists Python's folders."""

UNTRIED = 0.01
"""Fall of an accuracy that is allowed where it is not known how many samples it was counted on: one point."""

COMPUTED = frozenset(
    {"instructions", "cycles", "macs", "params", "latency", "energy", "processor_operators"}
    | {"flash", "ram", "arena", "stack", "scratch", "tflm_arena", "peak_activations"}
)
"""Figures of an artifact that repeat wherever no clock or meter gave them."""

_ITEM = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*%\s*")


@dataclass(frozen=True)
class Allowed:
    """How much worse a figure may be.

    Attributes
    ----------
    share : float
        Relative increase; of a figure in fractions, the absolute fall.
    why : str
        Where that comes from; empty where it is the default.
    """

    share: float
    why: str = ""


@dataclass(frozen=True)
class Limits:
    """Limits that were given; what has none is judged by its kind.

    Attributes
    ----------
    given : mapping
        ``{metric: share}``; None leaves the metric out of the comparison.
    """

    given: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read ``latency=1%,accuracy=0.5%,load=off``.

        Raises
        ------
        InputError
            For anything else, or a metric given twice.
        """
        given: dict[str, float | None] = {}
        for item in text.split(","):
            name, equals, value = item.rpartition("=")
            name, match = name.strip(), _ITEM.fullmatch(value)
            if not equals or not name or (match is None and value.strip() != "off"):
                raise InputError(
                    f"--max-regression '{item.strip()}': write metric=percent, such as latency=1%, or "
                    "metric=off to leave it out"
                )
            if name in given:
                raise InputError(f"--max-regression: {name} is given twice: give it once")
            given[name] = None if match is None else float(match[1]) / 100
        return cls(given)

    def check(self, metrics: Collection[str]) -> None:
        """Refuse limits of metrics that there are not: a misspelt one would gate nothing.

        Raises
        ------
        InputError
            It names what there is.
        """
        for name in self.given:
            if name not in metrics:
                whole = sorted(metric for metric in metrics if ":" not in metric)
                near = difflib.get_close_matches(name, whole, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(whole) or 'none'}"
                raise InputError(f"--max-regression: neither profile has a figure of {name}: {hint}")

    def leave_out(self, metric: str) -> bool:
        """Whether a metric, or the whole that an operator's figure is a part of, is not compared."""
        return any(self.given.get(name, 0.0) is None for name in (metric, metric.partition(":")[0]))

    def allow(self, baseline: Measurement, candidate: Measurement | None) -> Allowed | None:
        """Tell how much worse a figure may get; None where it informs only.

        By default figures that were computed gate (`COMPUTED`), as do the artifact's size, its accuracy and
        its agreement with the simulator. What a clock or a meter gave informs.
        """
        given = self.given.get(baseline.metric)
        if given is not None:
            return Allowed(given, "as given")
        if baseline.metric == "agreement":
            return Allowed(0.0)
        if baseline.metric == "accuracy":
            return _by_chance(baseline, candidate)
        counted = (baseline.metric, baseline.evidence) == ("instructions", "emulated")
        if counted and baseline.identity.runtime == "tflite-runtime":
            return Allowed(ELSEWHERE, "tflite-runtime's counts vary from machine to machine")
        computed = baseline.evidence in ("emulated", "predicted") and baseline.metric in COMPUTED
        # An emulator's clock is no device's, and does not repeat.
        clocked = baseline.metric in ("latency", "energy") and baseline.evidence == "emulated"
        size = baseline.metric == "flash" and baseline.evidence == "measured"
        return Allowed(REPEATS) if (computed and not clocked) or size else None


def _by_chance(baseline: Measurement, candidate: Measurement | None) -> Allowed:
    if candidate is None or baseline.trials is None or candidate.trials is None:
        return Allowed(UNTRIED, "of how many samples is not known")
    n, m = baseline.trials, candidate.trials
    allowed = chance_difference(baseline.value, n, candidate.value, m)
    counts = f"{n}" if n == m else f"{n} and {m}"
    return Allowed(allowed, f"{STANDARD_ERRORS:g} standard errors of {counts} samples")
