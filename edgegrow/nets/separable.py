"""Networks of depthwise-separable blocks: DS-CNN and MobileNetV1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgegrow.nets.layers import conv_norm, strided


class SeparableNet(nn.Module):
    """A stem convolution and depthwise-separable blocks, pooled into a linear classifier.

    Each block is a 3x3 depthwise and a 1x1 convolution, each with batch norm and ReLU
    (Howard et al., "MobileNets", 2017, figure 3).

    Parameters
    ----------
    input_shape : sequence of int
        ``(c, h, w)`` of one sample.
    classes : int
        Number of outputs.
    widths : sequence of int
        Channels of the stem, then of each block.
    strides : sequence of int
        Stride of the stem, then of each block.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        channels, *size = input_shape
        self.stem = nn.Sequential(
            *conv_norm(channels, widths[0], size, kernel=3, stride=strides[0]), nn.ReLU()
        )
        channels, size = widths[0], list(strided(size, strides[0]))
        blocks = []
        for width, stride in zip(widths[1:], strides[1:], strict=True):
            depthwise = conv_norm(channels, channels, size, kernel=3, stride=stride, groups=channels)
            size = list(strided(size, stride))
            pointwise = conv_norm(channels, width, size, kernel=1)
            blocks.append(nn.Sequential(*depthwise, nn.ReLU(), *pointwise, nn.ReLU()))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of inputs ``(n, c, h, w)``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))


def dscnn(
    input_shape: Sequence[int], classes: int, widths: Sequence[int] = (16, 24, 32, 32, 32)
) -> SeparableNet:
    """DS-CNN: a strided stem and four separable blocks (Zhang et al., "Hello Edge", 2017)."""
    return SeparableNet(input_shape, classes, widths, strides=(2, 1, 2, 1, 1))


def mobilenet(
    input_shape: Sequence[int], classes: int, widths: Sequence[int] = (8, 16, 24, 24, 32, 32, 48, 48)
) -> SeparableNet:
    """MobileNetV1 in style: a strided stem and seven separable blocks, narrowing three times more."""
    return SeparableNet(input_shape, classes, widths, strides=(2, 1, 2, 1, 2, 1, 2, 1))
