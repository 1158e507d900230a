"""A multilayer perceptron with batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import nn


class MLP(nn.Module):
    """Linear, batch norm and ReLU for every width, then a linear classifier.

    Parameters
    ----------
    input_shape : sequence of int
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample; it is flattened.
    classes : int
        Number of outputs.
    widths : sequence of int
        Units of each hidden layer.
    """

    def __init__(self, input_shape: Sequence[int], classes: int, widths: Sequence[int] = (32, 24)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
        features = prod(input_shape)
        for width in widths:
            layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            features = width
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of inputs ``(n, *input_shape)``."""
        return self.classifier(self.body(x))
