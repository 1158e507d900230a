"""The cost model: every budgeted metric of a network, predicted from its layers' shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from edgegrow.cost.flash import FlashModel
from edgegrow.cost.layers import LayerShape, count_macs, count_params
from edgegrow.cost.structure import resize_graph
from edgegrow.deploy.arena import plan_arena
from edgegrow.deploy.graph import FloatGraph, Weighted
from edgegrow.errors import InputError

PREDICTED = ("macs", "params", "flash_bytes", "ram_bytes")
"""Metrics that can be predicted for every target. RAM is the arena of activations, as it is planned."""

TIMED = ("latency_ms",)
"""Metrics that can be predicted where networks are timed, from a calibration."""


def check_predicted(metrics: Iterable[str], target: str, timed: bool, to_time: str = "") -> None:
    """Refuse metrics that growth cannot be bounded by.

    Parameters
    ----------
    metrics : iterable of str
        Keys of a budget's ``limits``.
    target : str
        Name of the target, for the error's line.
    timed : bool
        Whether it has a calibration of `TIMED`.
    to_time : str
        What to do to have them timed, for the error's line.

    Raises
    ------
    InputError
        If a metric cannot be predicted for the target.
    """
    there = (*PREDICTED, *TIMED) if timed else PREDICTED
    for metric in metrics:
        if metric not in there:
            instead = f", or {to_time}" if metric in TIMED and to_time else ""
            known = ", ".join(name.rpartition("_")[0] or name for name in there)
            raise InputError(
                f"budget {metric}: target '{target}' has no cost model for it: "
                f"growth is bounded by {known} there; measure the artifact for the rest{instead}"
            )


class LayerCosts:
    """Costs of a network in the metrics of a budget: of its deployed graph at the widths of some layers.

    Where a batch norm cannot be folded, the graph has a depthwise convolution in its place, which the layers
    do not tell of; it has multiply-accumulates and parameters too. Nor do they tell of a layer that is called
    several times, each time with a norm of its own behind it: it is stored once for each of them.

    Parameters
    ----------
    metrics : iterable of str
        Metrics to give, of `PREDICTED`.
    flash : FlashModel
        Knows the network's file.
    graph : FloatGraph
        The network at any widths, to be deployed.
    """

    def __init__(self, metrics: Iterable[str], flash: FlashModel, graph: FloatGraph) -> None:
        self.metrics, self._flash, self._graph = tuple(metrics), flash, graph
        weighted = [op for op in graph.operators if isinstance(op, Weighted)]
        self._weighted = {op.name for op in weighted}
        self._stored_once = len({op.stored_as for op in weighted}) == len(self._weighted)

    def __call__(self, layers: Sequence[LayerShape]) -> dict[str, float]:
        """Return ``{metric: value}`` of a network of these layers."""
        graph = cache(lambda: resize_graph(self._graph, layers))
        # Counting layers takes a hundredth of the time, and growth counts often.
        plain = self._stored_once and self._weighted == {layer.name for layer in layers}
        counters: Mapping[str, Callable[[], float]] = {
            "macs": lambda: count_macs(layers) if plain else graph().macs,
            "params": lambda: count_params(layers) if plain else graph().params,
            "flash_bytes": lambda: self._flash(graph()),
            "ram_bytes": lambda: plan_arena(graph()).peak_bytes,
        }
        return {metric: float(counters[metric]()) for metric in self.metrics}
