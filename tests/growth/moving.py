"""What the tests of moves share: small trained networks in double precision, and moves made at a step."""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.growth.groups import trace
from edgegrow.growth.moves import Context, apply
from edgegrow.training import generator

from .networks import INPUTS, build, fit, samples, smooth

SMALL = {
    "mlp": (6, 5),
    "conv1d": (4, 5, 5),
    "dscnn": (4, 5, 6, 5, 6),
    "mobilenet": (4, 5, 4, 5, 4, 5, 4, 5),
    "resnet8": (4, 5, 4, 5, 4, 5),
}


class Tied(nn.Module):
    """A residual sum whose channels are made twice, smooth and without batch norm."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, 2), nn.Conv2d(4, 5, 3, 1, 1), nn.Conv2d(5, 4, 3, 1, 1)
        self.out = nn.Linear(36, 10)

    def forward(self, x):
        h = F.silu(self.a(x))
        return self.out((h + F.silu(self.c(F.silu(self.b(h))))).flatten(1))


def prepared(name, data, n=64, steps=20, make_smooth=True, products=8, seed=0):
    """Train a small network briefly: ``(context, (x, y))``; its samples come in two batches."""
    torch.manual_seed(seed)
    shape = INPUTS.get(name, (1, 8, 8))
    module = Tied() if name == "tied" else build(name, SMALL[name])
    module = smooth(module) if make_smooth else module
    x, y = samples(name, data, n)
    x = x.to(torch.get_default_dtype())
    fit(module, x, y, steps=steps)
    module.eval()
    module.zero_grad()
    halves = [(x[: n // 2], y[: n // 2]), (x[n // 2 :], y[n // 2 :])]
    return Context(trace(module, shape), halves, generator(seed), products), (x, y)


def applied(context, moves, optimizer=None):
    """Make moves on a copy of the network, at step zero."""
    copy = deepcopy(context.trace) if optimizer is None else context.trace
    made = apply(copy, moves, generator(1), optimizer)
    made.trace.graph.eval()
    return made


@torch.no_grad()
def step_to(made, step):
    """Go along the direction from step zero."""
    for parameter, direction in made.directions.items():
        parameter += step * direction


@torch.no_grad()
def logits(context, moves, step, x):
    """Outputs of the network with some moves made at a step."""
    made = applied(context, moves)
    step_to(made, step)
    return made.trace.graph(x)


def change(context, moves, step, samples):
    """Change of the loss."""
    x, y = samples
    with torch.no_grad():
        before = F.cross_entropy(context.trace.graph(x), y)
        return (F.cross_entropy(logits(context, moves, step, x), y) - before).item()
