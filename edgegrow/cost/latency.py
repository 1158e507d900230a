"""Latency of a network from a calibration: the sum of its layers' times, and a constant of the network.

The constant holds what files of single layers do not tell: they all have an input, an output and a call of
their own, and operators that cannot stand alone are in none. It is fitted to one half of the whole networks
that were measured; the other half tells the error.

However the constant errs, a network is not faster than its slowest layer alone: it runs this layer, and has
an input, an output and a call too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from edgegrow.cost.calibration import LatencyCalibration, Reading
from edgegrow.cost.latency_plan import Family, LatencyPlan
from edgegrow.cost.layers import LayerShape
from edgegrow.cost.operators import kind, sizes
from edgegrow.cost.staircase import SWEPT, Sizes, Staircase, find_block
from edgegrow.cost.structure import resize_graph
from edgegrow.deploy.graph import FloatGraph
from edgegrow.errors import InputError

Shapes = Callable[[Mapping[str, int]], Sequence[LayerShape]]
"""Layers of a network whose channel groups have some widths."""


class Table:
    """Times of layers over widths, in ns at the speed that the machine had on the whole.

    Parameters
    ----------
    plan : LatencyPlan
        Of the network's structure.
    calibration : LatencyCalibration
        Readings; of an unfinished one some may be missing.
    """

    def __init__(self, plan: LatencyPlan, calibration: LatencyCalibration) -> None:
        self.plan = plan
        readings: Sequence[Reading] = (*calibration.layers, *calibration.networks)
        self.reference_ns = float(np.median([r.reference_ns for r in readings])) if readings else 1.0
        self._readings = {(reading.kind, reading.sizes): reading for reading in calibration.layers}

    def time_ns(self, reading: Reading) -> float:
        """Median of a reading's windows, as if the machine had been as fast as it was on the whole."""
        return float(np.median(reading.windows_ns)) * self.reference_ns / reading.reference_ns

    def has(self, layer_kind: str, at: Sizes) -> bool:
        """Whether a layer was measured at some sizes."""
        return (layer_kind, at) in self._readings

    @cached_property
    def blocks(self) -> dict[Family, int]:
        """Width of each family's steps; all sweeps are there."""
        found = {}
        for family, sweep in self.plan.sweeps.items():
            readings = [self._readings[sweep.layer.kind, at] for at in sweep.points]
            scale = [self.reference_ns / reading.reference_ns for reading in readings]
            times = [[s * w for w in r.windows_ns] for s, r in zip(scale, readings, strict=True)]
            found[family] = find_block(SWEPT, times)
        return found

    @cached_property
    def staircases(self) -> dict[str, Staircase]:
        """Time over widths of each kind of layer; the whole grid is there."""
        return {
            key: Staircase(
                self.plan.axes(layer, self.blocks),
                {at: self.time_ns(self._readings[key, at]) for at in self.plan.grid(layer, self.blocks)},
            )
            for key, layer in self.plan.layers.items()
        }

    def layers_ns(self, graph: FloatGraph) -> list[float]:
        """Time of each of a network's layers that can stand alone."""
        staircases = self.staircases
        return [staircases[key](sizes(op)) for op in graph.operators if (key := kind(op)) in staircases]


class LatencyModel:
    """Latency of a network of one structure at any widths; a prediction.

    Parameters
    ----------
    graph : FloatGraph
        The network at any widths, to be deployed.
    plan, calibration
        What was measured of it: everything that is planned.
    shapes : callable
        Its layers at the widths that networks were measured at.

    Attributes
    ----------
    constant_ns : float
        Added to the layers' times: of all constants the one with the least relative errors.
    error : float
        The greatest relative error on the networks that the constant was not fitted to.
    spread : float
        Relative deviation of a window from its file's median that nine of ten windows keep to.

    Raises
    ------
    InputError
        If a reading is missing.
    """

    def __init__(
        self, graph: FloatGraph, plan: LatencyPlan, calibration: LatencyCalibration, shapes: Shapes
    ) -> None:
        self.graph, self.table = graph, Table(plan, calibration)
        try:
            measured = [
                (self.table.layers_ns(resize_graph(graph, shapes(net.widths))), self.table.time_ns(net))
                for net in calibration.networks
            ]
        except KeyError as error:
            raise InputError(
                f"calibration: it has no reading of {error.args[0]}, which the network needs"
            ) from error
        fitted, unseen = measured[::2], measured[1::2]
        if not unseen:
            raise InputError("calibration: it has fewer than two whole networks")
        self.constant_ns = _constant([(sum(layers), time) for layers, time in fitted])
        self.error = max(abs(self._whole_ns(layers) / time - 1) for layers, time in unseen)
        deviations = [
            abs(window / float(np.median(net.windows_ns)) - 1)
            for net in calibration.networks
            for window in net.windows_ns
        ]
        self.spread = float(np.percentile(deviations, 90))

    def __call__(self, graph: FloatGraph) -> float:
        """Predict the latency of the network at a graph's widths, in ms."""
        return self._whole_ns(self.table.layers_ns(graph)) / 1e6

    def _whole_ns(self, layers_ns: Sequence[float]) -> float:
        """Time of a network of these layers: not less than of the slowest of them."""
        return max([sum(layers_ns) + self.constant_ns, *layers_ns])


def _constant(fitted: Sequence[tuple[float, float]]) -> float:
    """Find what to add to layers' times, ``(layers, network)``, for the least sum of relative errors.

    A median of the differences, weighted by the inverse of the networks' times: a percent of a large network
    is more than a small one takes.
    """
    differences = np.array([time - layers for layers, time in fitted])
    weights = np.array([1 / time for _, time in fitted])
    order = np.argsort(differences)
    place = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(differences[order][place])
