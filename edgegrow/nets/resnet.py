"""ResNet-8, the residual network of MLPerf Tiny."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.nets.layers import conv_norm, strided


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, or to a 1x1 convolution of it where the shape changes.

    Parameters
    ----------
    cin, hidden, cout : int
        Channels in, between the convolutions, and out.
    size : sequence of int
        ``(h, w)`` of the input.
    stride : int
        Stride of the first convolution and of the shortcut.
    """

    def __init__(self, cin: int, hidden: int, cout: int, size: Sequence[int], stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_norm(cin, hidden, size, kernel=3, stride=stride), nn.ReLU())
        self.second = nn.Sequential(*conv_norm(hidden, cout, strided(size, stride), kernel=3))
        # MLPerf Tiny's network has an identity in its first stack, whose width does not change.
        self.shortcut: nn.Module = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(*conv_norm(cin, cout, size, kernel=1, stride=stride))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, cin, h, w)`` to ``(n, cout, h / stride, w / stride)``."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet8(nn.Module):
    """A stem and three residual blocks, pooled into a linear classifier.

    With its default widths and ``(3, 32, 32)`` inputs it needs the 12,501,632 MACs of MLPerf Tiny's
    image-classification network (Banbury et al., 2021).

    Parameters
    ----------
    input_shape : sequence of int
        ``(c, h, w)`` of one sample.
    classes : int
        Number of outputs.
    widths : sequence of int
        Pairs ``(hidden, out)`` of the three blocks; the stem has the width of the first ``out``, to which the
        identity shortcut ties it.
    """

    def __init__(
        self, input_shape: Sequence[int], classes: int, widths: Sequence[int] = (16, 16, 32, 32, 64, 64)
    ) -> None:
        super().__init__()
        channels, *size = input_shape
        self.stem = nn.Sequential(*conv_norm(channels, widths[1], size, kernel=3), nn.ReLU())
        channels = widths[1]
        blocks = []
        for hidden, out, stride in zip(widths[::2], widths[1::2], (1, 2, 2), strict=True):
            blocks.append(ResidualBlock(channels, hidden, out, size, stride))
            channels, size = out, list(strided(size, stride))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of inputs ``(n, c, h, w)``."""
        return self.classifier(self.pool(self.blocks(self.stem(x))))
