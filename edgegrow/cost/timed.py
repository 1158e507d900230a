"""What a network takes on a device: counted, predicted from a calibration, and checked by its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgegrow.cost.clock import Clock
from edgegrow.cost.latency import LatencyModel
from edgegrow.cost.layers import LayerShape
from edgegrow.cost.model import LayerCosts
from edgegrow.cost.structure import random_graph, resize_graph
from edgegrow.deploy.graph import Array

_LEAST_MARGIN, _GREATEST_MARGIN = 0.02, 0.03
"""Bounds of what latencies are held above the clock's: medians of a second were seen to differ by 1 to 2 % on
an idle machine; more than the latter would leave budgets unfilled."""

_ROUNDS, _SECONDS = 9, 0.05
"""Windows of a network that is checked, and the length of one in s."""

_DRIFT = 0.1
"""Change of the machine's speed since calibration that is warned about."""

_SEED = 0


class TimedCosts:
    """Costs of a network on a device with a clock, in the metrics of a budget with a latency.

    Latencies are upper estimates: a margin above what the clock says, so that the artifact that is delivered
    keeps the budget when it is measured at another moment.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give: ``latency_ms`` and those of `edgegrow.cost.model.PREDICTED`.
    counted : LayerCosts
        All of them but the latency.
    model : LatencyModel
        Predicts it.
    clock : Clock
        Its reference is that of the calibration.
    samples : ndarray
        A few, for the ranges of activations; as `edgegrow.deploy.quantize.quantize` takes them.
    warn : callable
        Told, in a line, what makes checks doubtful.
    target : str
        Name of the device, for these lines.

    Attributes
    ----------
    margin : float
        Share that latencies are held above the clock's.
    factor : float
        Measured over predicted at the last check: all that changes after construction.
    """

    def __init__(
        self,
        metrics: Iterable[str],
        counted: LayerCosts,
        model: LatencyModel,
        clock: Clock,
        samples: Array,
        warn: Callable[[str], None],
        target: str,
    ) -> None:
        self.metrics, self.counted, self.model = tuple(metrics), counted, model
        self.clock, self.samples, self.warn, self.target = clock, samples, warn, target
        self.margin = float(np.clip(model.spread, _LEAST_MARGIN, _GREATEST_MARGIN))
        self.factor = 1.0

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Predict ``{metric: value}`` of a network of these layers, whatever its weights."""
        graph = resize_graph(self.model.graph, layers)
        return self._costs(layers, self.factor * self.model(graph))

    def check(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Export a network of these layers, time it on the device, and correct the model there.

        Where the device is faster just now than it was on the whole while it was calibrated, the time is
        scaled to that speed; where it is slower, it is taken as it is.
        """
        shaped = resize_graph(self.model.graph, layers)
        graph = random_graph(shaped, self.samples, _SEED)
        (windows_ns, reference_ns), *_ = self.clock.time([graph], _ROUNDS, _SECONDS)
        speed = self.model.table.reference_ns / reference_ns
        if abs(speed - 1) > _DRIFT:
            self.warn(
                f"target {self.target} is {'faster' if speed > 1 else 'slower'} than when it was calibrated, "
                f"by {100 * abs(1 / speed - 1):.0f} %: measure when it is idle, or calibrate again"
            )
        found_ms = float(np.median(windows_ns)) * max(1.0, speed) / 1e6
        self.factor = found_ms / self.model(shaped)
        return self._costs(layers, found_ms)

    def learnt(self) -> dict[str, Any]:
        """Return the correction as a plain value."""
        return {"factor": self.factor}

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Take a correction that `learnt` has returned; none where it is empty."""
        self.factor = float(learnt.get("factor", 1.0))

    def _costs(self, layers: Sequence[LayerShape], latency_ms: float) -> dict[str, float]:
        every = {**self.counted(layers), "latency_ms": (1 + self.margin) * latency_ms}
        return {metric: float(every[metric]) for metric in self.metrics}
