"""A plain 1-D convolutional network for signals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgegrow.nets.layers import conv_norm, strided


class Conv1dNet(nn.Module):
    """Strided 1-D convolutions with batch norm and ReLU, flattened into a linear classifier.

    Parameters
    ----------
    input_shape : sequence of int
        ``(c, length)`` of one sample.
    classes : int
        Number of outputs.
    widths : sequence of int
        Channels of each convolution; every one halves the length.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[int] = (12, 16, 16)
    ) -> None:
        super().__init__()
        channels, *size = input_shape
        layers: list[nn.Module] = []
        for width in widths:
            layers += [*conv_norm(channels, width, size, kernel=5, stride=2), nn.ReLU()]
            channels, size = width, list(strided(size, 2))
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(channels * size[0], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of inputs ``(n, c, length)``."""
        return self.classifier(self.body(x))
