"""The cost model: every budgeted metric of a network, predicted from its layers' shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from edgegrow.cost.flash import FlashModel
from edgegrow.cost.layers import LayerShape, count_macs, count_params
from edgegrow.errors import InputError

PREDICTED = ("macs", "params", "flash_bytes")
"""Metrics that can be predicted for every target."""


def check_predicted(metrics: Iterable[str], target: str) -> None:
    """Refuse metrics that growth cannot be bounded by.

    Parameters
    ----------
    metrics : iterable of str
        Keys of a budget's ``limits``.
    target : str
        Name of the target, for the error's line.

    Raises
    ------
    InputError
        If a metric cannot be predicted for the target.
    """
    for metric in metrics:
        if metric not in PREDICTED:
            known = ", ".join(name.removesuffix("_bytes") for name in PREDICTED)
            raise InputError(
                f"budget {metric}: target '{target}' has no cost model for it: "
                f"growth is bounded by {known} there; measure the artifact for the rest"
            )


class LayerCosts:
    """Costs of a network in the metrics of a budget, from its layers' shapes.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give, of `PREDICTED`.
    flash : FlashModel
        Knows the network's file.
    """

    def __init__(self, metrics: Iterable[str], flash: FlashModel) -> None:
        counters: Mapping[str, Callable[[Sequence[LayerShape]], float]] = {
            "macs": count_macs,
            "params": count_params,
            "flash_bytes": flash,
        }
        self._counters = {metric: counters[metric] for metric in metrics}

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Return ``{metric: value}`` of a network of these layers."""
        return {metric: float(count(layers)) for metric, count in self._counters.items()}
