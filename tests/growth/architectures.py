"""Twelve families of networks, and what of each must be able to grow.

Activations can be chosen: ReLU is what devices run, SiLU has a second derivative of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F


def conv(cin, cout, kernel=3, act=nn.ReLU, **options):
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False, **options), nn.BatchNorm2d(cout), act()
    )


class Plain(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.a, self.b = conv(1, 4, act=act), conv(4, 6, act=act)
        self.pool, self.out = nn.MaxPool2d(2), nn.Linear(6 * 16, 10)

    def forward(self, x):
        return self.out(torch.flatten(self.pool(self.b(self.a(x))), 1))


class Residual(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem, self.first = conv(1, 4, act=act), conv(4, 5, act=act)
        self.second, self.norm, self.act = nn.Conv2d(5, 4, 3, 1, 1), nn.BatchNorm2d(4), act()
        self.down, self.shortcut = conv(4, 6, act=nn.Identity), nn.Conv2d(4, 6, 1)
        self.out = nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        x = self.act(self.norm(self.second(self.first(x))) + x)
        x = self.act(self.down(x) + self.shortcut(x))
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: a wide depthwise inside, a linear projection outside."""

    def __init__(self, act=nn.ReLU6):
        super().__init__()
        self.stem, self.expand = conv(1, 4, act=act), conv(4, 8, 1, act=act)
        self.depthwise, self.project = conv(8, 8, groups=8, act=act), conv(8, 4, 1, act=nn.Identity)
        self.multiplied = conv(4, 8, groups=4, act=act)  # two filters for each channel
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.out(self.multiplied(x).mean((2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem, self.body = conv(1, 4, act=act), conv(4, 6, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze, self.act, self.excite = nn.Conv2d(6, 3, 1), act(), nn.Conv2d(3, 6, 1)
        self.dense = nn.Sequential(nn.Linear(6, 3), act(), nn.Linear(3, 6), nn.Sigmoid())
        self.head, self.out = conv(6, 5, 1, act=act), nn.Linear(5, 10)

    def forward(self, x):
        x = self.body(self.stem(x))
        x = x * torch.sigmoid(self.excite(self.act(self.squeeze(self.pool(x)))))
        b, c = x.shape[0], x.shape[1]
        x = x * self.dense(self.pool(x).view(b, c)).view(b, c, 1, 1)
        return self.out(self.pool(self.head(x)).flatten(1))


class Dense(nn.Module):
    """DenseNet's order: norm and activation of a whole concatenation before each convolution."""

    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, 1, 1)
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, 1, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(7), nn.Conv2d(7, 3, 3, 1, 1)
        self.norm3, self.act = nn.BatchNorm2d(10), act()
        self.depthwise = nn.Conv2d(10, 10, 3, 1, 1, groups=10)
        self.out = nn.Linear(10, 10)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([x, self.conv1(self.act(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(self.act(self.norm2(x)))], 1)
        x = self.act(self.depthwise(self.act(self.norm3(x))))
        return self.out(x.mean(dim=[2, 3]))


class Inception(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem = conv(1, 4, act=act)
        self.one = conv(4, 3, 1, act=act)
        self.three = nn.Sequential(conv(4, 2, 1, act=act), conv(2, 4, act=act))
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(4, 2, 1, act=act))
        self.mix, self.out = conv(9, 9, 1, act=nn.Identity), nn.Linear(9 * 4, 10)
        self.act, self.pool = act(), nn.MaxPool2d(4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.pooled(x)], dim=1)
        x = self.act(x + self.mix(x))  # one layer's filters belong to three groups
        return self.out(self.pool(x).flatten(1))


def shuffled(x, groups):
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)


class Shuffle(nn.Module):
    """Grouped convolutions and a shuffle between them, then ShuffleNetV2's unit, which cuts in halves."""

    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem, self.first = conv(1, 8, act=act), conv(8, 8, 1, groups=2, act=act)
        self.depthwise, self.second = conv(8, 8, groups=8, act=act), conv(8, 8, 1, groups=2, act=act)
        self.branch = nn.Sequential(conv(4, 6, 1, act=act), conv(6, 4, 1, act=act))
        self.shuffle, self.head, self.out = nn.ChannelShuffle(2), conv(8, 6, 1, act=act), nn.Linear(6, 10)

    def forward(self, x):
        x = self.second(self.depthwise(shuffled(self.first(self.stem(x)), 2)))
        left, right = x.chunk(2, dim=1)
        x = self.shuffle(torch.cat([left, self.branch(right)], 1))
        return self.out(F.adaptive_avg_pool2d(self.head(x), 1).flatten(1))


class Signal(nn.Module):
    """1-D convolutions; each sample's statistics are taken channel by channel, or the batch's."""

    def __init__(self, act=nn.ReLU, batch=False):
        super().__init__()
        norms = (
            (nn.BatchNorm1d(4), nn.BatchNorm1d(6))
            if batch
            else (nn.GroupNorm(4, 4), nn.InstanceNorm1d(6, affine=True))
        )
        self.body = nn.Sequential(
            nn.Conv1d(1, 4, 5, 2, 0 if batch else 2), nn.BatchNorm1d(4), act(), nn.Conv1d(4, 4, 3, groups=4),
            norms[0], act(), nn.Conv1d(4, 6, 3), norms[1], act(), nn.MaxPool1d(2), nn.Flatten(),
        )  # fmt: skip
        self.out = nn.Linear(6 * 8, 10)

    def forward(self, x):
        return self.out(self.body(x))


class MLPMixer(nn.Module):
    """Patches to tokens; one block mixes tokens, the other features; layer norms keep the features fixed."""

    def __init__(self, act=nn.GELU):
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 2, 2)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.tokens = nn.Sequential(nn.Linear(16, 5), act(), nn.Linear(5, 16))
        self.features = nn.Sequential(nn.Linear(8, 12), act(), nn.Linear(12, 8))
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).permute(0, 2, 1)).transpose(1, 2)
        x = x + self.features(self.norm2(x))
        return self.out(x.mean(dim=1))


class UNet(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.down1, self.down2, self.bottom = conv(1, 4, act=act), conv(4, 6, act=act), conv(6, 8, act=act)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.up2, self.up1 = conv(14, 6, act=act), conv(10, 4, act=act)
        self.out = nn.Conv2d(4, 10, 8)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up2(torch.cat([self.up(self.bottom(self.pool(second))), second], 1))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.out(self.up1(torch.cat([x, first], 1))).flatten(1)


class MultiHead(nn.Module):
    """One trunk, whose block is used twice, and two heads."""

    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem, self.block = conv(1, 4, act=act), conv(4, 4, act=act)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.digit = nn.Sequential(nn.Linear(4, 6), act(), nn.Linear(6, 10))
        self.parity = nn.Sequential(nn.Linear(4, 3), act(), nn.Linear(3, 2))

    def forward(self, x):
        x = self.pool(self.block(self.block(self.stem(x))))
        return self.digit(x), self.parity(x)


class MultiInput(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.image = nn.Sequential(conv(1, 4, act=act), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.facts = nn.Sequential(nn.Linear(3, 5), nn.PReLU(5) if act is nn.ReLU else act())
        self.joint = nn.Sequential(nn.Linear(4 * 4 + 5 + 3, 6), act())
        self.out = nn.Linear(6, 10)

    def forward(self, image, facts):
        return self.out(self.joint(torch.cat([self.image(image), self.facts(facts), facts], -1)))


@dataclass(frozen=True)
class Family:
    """A network, the shapes of its inputs, the groups that must grow, some that must say why not, and why it
    cannot be deployed, where it cannot."""

    build: Callable[..., nn.Module]
    growable: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = ((1, 8, 8),)
    fixed: dict[str, str] = field(default_factory=dict)
    refused: str = ""


FAMILIES = {
    "plain": Family(Plain, ("a.0", "b.0")),
    "residual": Family(Residual, ("stem.0", "first.0", "down.0")),
    "inverted residual": Family(InvertedResidual, ("stem.0", "expand.0")),
    "squeeze-and-excite": Family(SqueezeExcite, ("stem.0", "body.0", "squeeze", "dense.0", "head.0")),
    "dense": Family(Dense, ("stem", "conv1", "conv2")),
    "inception": Family(Inception, ("stem.0", "one.0", "three.0.0", "three.1.0", "pooled.1.0")),
    "shuffle": Family(Shuffle, ("stem.0", "first.0", "second.0", "branch.0.0", "head.0"), refused="2 groups"),
    "1-D": Family(Signal, ("body.0", "body.6"), ((1, 40),), refused="neither none nor SAME"),
    "MLP-mixer": Family(
        MLPMixer,
        ("tokens.0", "features.0"),
        fixed={"patch": "LayerNorm (norm1) takes statistics over it"},
        refused="flatten each sample",
    ),
    "U-net-like": Family(UNet, ("down1.0", "down2.0", "bottom.0", "up2.0", "up1.0")),
    "multi-head": Family(MultiHead, ("stem.0", "digit.0", "parity.0"), refused="logits alone"),
    "multi-input": Family(
        MultiInput, ("image.0.0", "facts.0", "joint.0"), ((1, 8, 8), (3,)), refused="several inputs"
    ),
}

DEPLOYED = {**FAMILIES, "1-D": Family(partial(Signal, batch=True), ("body.0", "body.6"), ((1, 44),))}
"""The same, with norms that can be folded where there is a choice."""
