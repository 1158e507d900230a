"""The cost model: every budgeted metric of a network, predicted from its layers' shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgegrow.cost.layers import LayerShape, count_macs, count_params
from edgegrow.errors import InputError

COUNTERS: dict[str, Callable[[Sequence[LayerShape]], float]] = {
    "macs": count_macs,
    "params": count_params,
}
"""Metric -> its value from the layers alone."""


class LayerCosts:
    """Costs of a network in the metrics of a budget, from its layers' shapes.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give: keys of a budget's ``limits``.
    target : str
        Name of the target, for the error's line.

    Raises
    ------
    InputError
        If a metric cannot be predicted for the target.
    """

    def __init__(self, metrics: Mapping[str, float], target: str) -> None:
        for metric in metrics:
            if metric not in COUNTERS:
                known = ", ".join(name.removesuffix("_bytes") for name in COUNTERS)
                raise InputError(
                    f"budget {metric}: target '{target}' has no cost model for it: "
                    f"growth is bounded by {known} there; measure the artifact for the rest"
                )
        self.metrics = tuple(metrics)

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Return ``{metric: value}`` of a network of these layers."""
        return {metric: float(COUNTERS[metric](layers)) for metric in self.metrics}
