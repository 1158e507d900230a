"""A layer as costs see it, and the counts that need nothing else: multiply-accumulates and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerShape:
    """One convolution or linear layer, batch norm folded in.

    Attributes
    ----------
    name : str
        Path of the module.
    cin, cout : int
        Channels in and out. For a linear layer after a flatten, ``cin`` counts every column.
    taps : int
        Elements of the kernel: ``kh * kw``, 1 for a linear layer.
    positions : int
        Positions of one sample at which each weight is used: ``h * w`` of the output (of the input for a
        transposed convolution), tokens for a linear layer on the last of several dimensions, else 1.
    depthwise : bool
        Whether every output channel reads one input channel only.
    linear : bool
        Whether it is a fully connected layer.
    groups : int
        Groups of a convolution, of which each reads its own share of the channels.
    """

    name: str
    cin: int
    cout: int
    taps: int
    positions: int
    depthwise: bool = False
    linear: bool = False
    groups: int = 1

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.taps * self.cout * (1 if self.depthwise else self.cin // self.groups)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: every weight once a position."""
        return self.weights * self.positions

    @property
    def params(self) -> int:
        """Weights and biases as deployed: a batch norm leaves one bias a channel."""
        return self.weights + self.cout


def count_macs(layers: Sequence[LayerShape]) -> int:
    """Multiply-accumulates of one inference (one sample); additions and pooling are not counted."""
    return sum(layer.macs for layer in layers)


def count_params(layers: Sequence[LayerShape]) -> int:
    """Weights and biases as deployed, batch norms folded; a layer that runs twice is stored once.

    Layers do not tell where it is not: `edgegrow.deploy.graph.FloatGraph.params` knows the norms behind them.
    """
    return sum({layer.name: layer.params for layer in layers}.values())
