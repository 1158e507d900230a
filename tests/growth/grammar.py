"""A small grammar of random networks: blocks that are drawn one after another, whatever their widths."""

import torch
from hypothesis import strategies as st
from torch import nn

INPUT = (2, 8, 8)


class Branches(nn.Module):
    """Several blocks that read the same, put side by side or added or multiplied."""

    def __init__(self, how, *branches):
        super().__init__()
        self.how, self.branches = how, nn.ModuleList(branches)

    def forward(self, x):
        made = [branch(x) for branch in self.branches]
        if self.how == "cat":
            return torch.cat(made, 1)
        joined = made[0]
        for other in made[1:]:
            joined = joined + other if self.how == "add" else joined * other
        return joined


class Halves(nn.Module):
    """One half of the channels passes a block, then they are shuffled."""

    def __init__(self, block):
        super().__init__()
        self.block, self.shuffle = block, nn.ChannelShuffle(2)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        return self.shuffle(torch.cat([self.block(left), right], dim=1))


class Twice(nn.Module):
    """One block in two places."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return self.block(self.block(x))


class Computed(nn.Module):
    """A shuffle by views, of computed sizes."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        b, c, h, w = x.size()
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).flatten(1, 2)


@st.composite
def conv_block(draw, cin, cout=None, kernel=None):
    """A convolution that keeps positions, with or without norm, bias and activation."""
    cout = cout or draw(st.integers(1, 4)) * draw(st.sampled_from([1, 2]))
    kernel = kernel or draw(st.sampled_from([1, 3]))
    groups = draw(st.sampled_from([1, 1, 2])) if cin % 2 == cout % 2 == 0 else 1
    layers = [nn.Conv2d(cin, cout, kernel, padding=kernel // 2, groups=groups, bias=draw(st.booleans()))]
    norm = draw(st.sampled_from(["batch", "single", "none"]))
    if norm == "batch":
        layers.append(nn.BatchNorm2d(cout))
    if norm == "single":
        layers.append(nn.GroupNorm(cout, cout))
    layers.append(draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.Hardswish, nn.Identity]))())
    return nn.Sequential(*layers), cout


@st.composite
def block(draw, cin, depth=2):
    """A block of any kind that reads ``cin`` channels, and how many it makes."""
    kinds = ["conv", "depthwise"]
    if depth:
        kinds += ["residual", "project", "cat", "dense", "excite", "twice"]
        kinds += ["halves", "shuffle"] if cin % 2 == 0 else []
    kind = draw(st.sampled_from(kinds))
    if kind == "conv":
        return draw(conv_block(cin))
    if kind == "depthwise":
        times = draw(st.sampled_from([1, 1, 2]))
        depthwise = nn.Conv2d(cin, cin * times, 3, padding=1, groups=cin)
        return nn.Sequential(depthwise, nn.BatchNorm2d(cin * times), nn.ReLU()), cin * times
    if kind == "shuffle":
        return Computed(2), cin
    if kind == "halves":
        return Halves(draw(conv_block(cin // 2, cin // 2))[0]), cin
    if kind == "twice":
        return Twice(draw(conv_block(cin, cin))[0]), cin
    first, width = draw(block(cin, depth - 1))
    if kind == "residual":
        return Branches("add", nn.Sequential(first, draw(conv_block(width, cin))[0]), nn.Identity()), cin
    if kind == "project":
        return Branches("add", first, draw(conv_block(cin, width))[0]), width
    if kind == "dense":
        return Branches("cat", nn.Identity(), first), cin + width
    if kind == "excite":
        gate = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(cin, 2, 1), nn.ReLU(), nn.Conv2d(2, cin, 1), nn.Sigmoid()]
        return nn.Sequential(Branches("mul", nn.Identity(), nn.Sequential(*gate)), first), width
    second, other = draw(block(cin, depth - 1))
    return Branches("cat", first, second), width + other


@st.composite
def networks(draw):
    """Blocks with pooling between them, then a head of linear layers."""
    layers, channels, size = [], INPUT[0], INPUT[1]
    stem, channels = draw(conv_block(channels))
    layers.append(stem)
    for _ in range(draw(st.integers(1, 3))):
        drawn, channels = draw(block(channels))
        layers.append(drawn)
        if size > 2 and draw(st.booleans()):
            layers.append(draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(2))
            size //= 2
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(1))
        size = 1
    layers.append(nn.Flatten())
    hidden = draw(st.integers(1, 6))
    layers += [nn.Linear(channels * size * size, hidden), nn.ReLU(), nn.Linear(hidden, 3)]
    return nn.Sequential(*layers)
