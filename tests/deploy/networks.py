"""Networks with batch norms and weights as training leaves them, and their graphs."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

from edgegrow.deploy.graph import FloatGraph, Graph
from edgegrow.deploy.lower import lower
from edgegrow.deploy.quantize import quantize
from edgegrow.nets import load_net

torch.set_num_threads(1)

CLASSES = 10
CASES = [
    ("mlp", (1, 8, 8)),
    ("mlp", (3, 32, 32)),
    ("mlp", (1, 40)),
    ("conv1d", (1, 40)),
    ("dscnn", (1, 8, 8)),
    ("dscnn", (1, 28, 28)),
    ("mobilenet", (1, 28, 28)),
    ("mobilenet", (3, 32, 32)),
    ("resnet8", (1, 8, 8)),
    ("resnet8", (3, 32, 32)),
]
NAMES = [f"{name}-{'x'.join(map(str, shape))}" for name, shape in CASES]


def samples(shape: tuple[int, ...], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy copies of one coarse pattern a class, and their labels."""
    prototypes = np.random.default_rng(99).normal(size=(CLASSES, *shape))
    for axis in range(2, 1 + len(shape)):  # neighbours alike, four at a time
        prototypes = prototypes.take(np.arange(shape[axis - 1]) // 4, axis)
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    x = prototypes[labels] + 0.5 * rng.normal(size=(n, *shape))
    return x.astype(np.float32), labels


def settle(module: nn.Module, shape: tuple[int, ...], steps: int) -> nn.Module:
    """Give batch norms statistics and factors of their own, and train a little."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.3, generator=generator)
            norm.momentum = 0.3
    optimizer = torch.optim.Adam(module.parameters(), lr=0.005)
    x, labels = samples(shape, 32 * steps, seed=1)
    module.train()
    for batch in range(steps):
        part = slice(32 * batch, 32 * (batch + 1))
        logits = module(torch.from_numpy(x[part]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, torch.from_numpy(labels[part])).backward()
        optimizer.step()
    return module.eval()


@cache
def network(name: str, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    return settle(load_net(name).build(shape, CLASSES), shape, steps=12 if name == "resnet8" else 60)


@cache
def float_graph(name: str, shape: tuple[int, ...]) -> FloatGraph:
    return lower(network(name, shape), shape)


@cache
def graph(name: str, shape: tuple[int, ...]) -> Graph:
    return quantize(float_graph(name, shape), samples(shape, 128, seed=2)[0])
