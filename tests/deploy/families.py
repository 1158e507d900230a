"""Small networks of families that branch: each is built of `widths`, which may be any."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from networks import CLASSES, samples, settle
from torch import nn
from torch.nn import functional as F

from edgegrow.deploy.graph import FloatGraph, Graph
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize

SHAPE = (2, 8, 8)


class InvertedResidual(nn.Module):
    """MobileNetV2: expanded, depthwise, projected, ReLU6; its output is added to its input."""

    def __init__(self, stem: int, inner: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU6()
        )
        self.block = nn.Sequential(
            nn.Conv2d(stem, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, stem, 1, bias=False), nn.BatchNorm2d(stem),
        )  # fmt: skip
        self.head = nn.Linear(stem, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(x.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Three gates, each written in another way: linear layers, convolutions, hard functions."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze, self.excite = nn.Linear(width, squeezed), nn.Linear(squeezed, width)
        self.middle = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Hardswish())
        self.gate = nn.Sequential(
            nn.Conv2d(width, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, width, 1), nn.Hardsigmoid()
        )
        self.last = nn.Conv2d(width, width, 1)
        self.tune = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        n, c, _, _ = x.size()
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(self.pool(x).view(n, c)))))
        x = self.middle(x * gate.view(n, c, 1, 1).expand_as(x))
        x = self.gate(x.mean(dim=(2, 3), keepdim=True)) * x
        x = torch.tanh(self.last(x))
        x = x * self.tune(F.adaptive_avg_pool2d(x, 1).flatten(1))[:, :, None, None]
        return self.head(self.pool(x).flatten(1))


class Dense(nn.Module):
    """DenseNet with pre-activation: norm, ReLU, convolution; all that came before is read by each layer."""

    def __init__(self, stem: int, growth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, stem, 3, padding=1, bias=False)
        self.norms, self.convs = nn.ModuleList(), nn.ModuleList()
        for i in range(3):
            self.norms.append(nn.BatchNorm2d(stem + i * growth))
            self.convs.append(nn.Conv2d(stem + i * growth, growth, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(stem + 3 * growth)
        self.head = nn.Linear(stem + 3 * growth, CLASSES)

    def forward(self, x):
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        x = F.relu(self.norm(torch.cat(features, 1)), inplace=True)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class Inception(nn.Module):
    """Parallel branches, one a pool, joined by concatenation; the ReLU comes after it."""

    def __init__(self, one: int, three: int, pooled: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, one, 1)
        self.three = nn.Sequential(nn.Conv2d(2, one, 1), nn.ReLU(), nn.Conv2d(one, three, 3, padding=1))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(2, pooled, 1), nn.Sigmoid())
        width = one + three + pooled
        self.mixed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.head = nn.Linear(width + one + 2, CLASSES)

    def forward(self, x):
        one = self.one(x)
        y = F.relu(torch.cat((one, self.three(x), self.pooled(x)), dim=1))
        y = F.max_pool2d(self.mixed(y), 2).relu_()
        ends = [part.mean((2, 3)) for part in (y, one, x)]
        return self.head(torch.cat(ends, dim=-1))


class UNet(nn.Module):
    """Down and up again: what was large is concatenated with what was made large by repetition."""

    def __init__(self, top: int, middle: int, bottom: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, top, 3, padding=1), nn.BatchNorm2d(top), nn.ReLU())
        self.middle = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(top, middle, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(middle, bottom, 3, padding=1), nn.ReLU())
        self.rise = nn.Upsample(scale_factor=2)
        self.join = nn.Sequential(nn.Conv2d(middle + bottom, middle, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(top + middle, top, 3, padding=1)
        self.head = nn.Linear(top, CLASSES)

    def forward(self, x):
        top = self.down(x)
        middle = self.middle(top)
        x = self.join(torch.cat([self.rise(self.bottom(middle)), middle], 1))
        x = self.last(torch.cat([top, F.interpolate(x, size=(8, 8), mode="nearest")], 1))
        return self.head(F.relu(x).mean((-2, -1)))


FAMILIES: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "inverted residual": (InvertedResidual, (8, 20)),
    "squeeze and excite": (SqueezeExcite, (12, 5)),
    "dense": (Dense, (8, 5)),
    "inception": (Inception, (6, 7, 5)),
    "u-net": (UNet, (6, 8, 10)),
}


@cache
def network(name: str, widths: tuple[int, ...] | None = None) -> nn.Module:
    kind, default = FAMILIES[name]
    torch.manual_seed(0)
    return settle(kind(*(widths or default)), SHAPE, steps=150)


@cache
def float_graph(name: str, widths: tuple[int, ...] | None = None) -> FloatGraph:
    return lower(network(name, widths), SHAPE)


@cache
def graph(name: str) -> Graph:
    return quantize(float_graph(name), samples(SHAPE, 128, seed=2)[0])


def inputs(name: str, n: int = 50) -> np.ndarray:
    """Random int8 inputs of a family's graph."""
    return np.random.default_rng(0).integers(-128, 128, (n, *graph(name).input.shape[1:]), np.int8)
