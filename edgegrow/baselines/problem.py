"""What every baseline of one task starts from: the same network, data, budget and training as a grown run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from edgegrow.config import TrainConfig
from edgegrow.cost.layers import LayerShape, count_macs
from edgegrow.data.dataset import Dataset
from edgegrow.growth.architecture import initialise
from edgegrow.growth.groups import NetworkTrace
from edgegrow.growth.seed import build_network
from edgegrow.growth.select import CostModel
from edgegrow.growth.surgery import resize
from edgegrow.nets import SeedNetwork
from edgegrow.training import TRAIN_PASSES, Batches, batches_of


@dataclass(frozen=True)
class Problem:
    """A network, data and a budget; and how networks are trained.

    Attributes
    ----------
    net : SeedNetwork
        What all networks are built from.
    data : Dataset
        Trains on its training split, decides on its validation split, never sees the test split.
    costs : CostModel
        Prices whole networks in the metrics of `limits`.
    limits : mapping
        ``{metric: upper bound}``.
    train_config : TrainConfig
        As of the grown run; its ``epochs`` are resolved to a number.
    seed : int
        Decides everything random.
    """

    net: SeedNetwork
    data: Dataset
    costs: CostModel
    limits: Mapping[str, float]
    train_config: TrainConfig
    seed: int

    @property
    def epochs(self) -> float:
        """Epochs of a whole training."""
        assert self.train_config.epochs is not None
        return self.train_config.epochs

    @cached_property
    def example(self) -> NetworkTrace:
        """The network at its own widths, untrained: what others are scaled from and priced by."""
        return build_network(self.net, self.data.input_shape, self.data.classes, None, self.seed)

    @cached_property
    def batches(self) -> Batches:
        """Training batches, as a grown run draws them."""
        return batches_of(self.data, self.train_config)

    def network(self, widths: Mapping[str, int]) -> NetworkTrace:
        """Build an untrained network of these widths, ``{group name: channels}``, its weights the seed's."""
        data = self.data
        trace = build_network(self.net, data.input_shape, data.classes, None, self.seed)
        resize(trace, widths)
        initialise(trace, self.seed)
        return trace

    def within(self, limits: Mapping[str, float]) -> Problem:
        """Return the same problem under other limits, of metrics that `costs` gives."""
        return replace(self, limits=limits)

    def within_macs(self, macs: float) -> Problem:
        """Return the same problem bounded by multiply-accumulates alone."""
        return replace(self, costs=_macs, limits={"macs": macs})

    def step_macs(self, trace: NetworkTrace) -> int:
        """Multiply-accumulates of one optimiser step of a network."""
        return TRAIN_PASSES * macs_of(trace) * self.batches.size

    def training_macs(self, trace: NetworkTrace, epochs: float) -> float:
        """Multiply-accumulates of some epochs of training of a network."""
        return epochs * self.batches.steps_per_epoch * self.step_macs(trace)


def _macs(layers: Sequence[LayerShape]) -> dict[str, float]:
    return {"macs": float(count_macs(layers))}


def macs_of(trace: NetworkTrace) -> int:
    """Multiply-accumulates of one inference at a network's present widths."""
    return count_macs(trace.shapes(trace.widths()))
