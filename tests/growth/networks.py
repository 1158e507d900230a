"""Networks for the growth tests: small, briefly trained, smooth where an equation is to hold."""

import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.growth.eigenpairs import lanczos
from edgegrow.growth.groups import trace
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.nets import load_net
from edgegrow.training import generator

INPUTS = {
    "mlp": (1, 8, 8),
    "conv1d": (1, 40),
    "dscnn": (1, 8, 8),
    "mobilenet": (1, 8, 8),
    "resnet8": (1, 8, 8),
}


def build(name, widths=None, classes=10):
    return load_net(name).build(INPUTS[name], classes, widths)


def samples(name, data, n):
    """Real samples ``(n, ...)``; a digit's 64 pixels stand for the signal of a 1-D network."""
    x = torch.from_numpy(data.train.x[:n])
    y = torch.from_numpy(data.train.y[:n])
    return (x.reshape(n, 1, -1)[:, :, :40] if name == "conv1d" else x), y


def smooth(module):
    """Put SiLU in place of every ReLU module: it has a second derivative of its own."""
    for parent in list(module.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, key, nn.SiLU())
    return module


def fit(module, x, y, steps=30, lr=0.05):
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=0.9)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()
    return optimizer


def loss(module, x, y):
    """Cross-entropy in double precision, for differences far below float32's own steps."""
    module.eval()
    with torch.no_grad():
        return F.cross_entropy(module(x).double(), y).item()


def scored(name, data, n=400, make_smooth=True, products=12):
    """Train briefly, and score every channel: ``(module, operator, indices, (x, y))``."""
    module = smooth(build(name)) if make_smooth else build(name)
    x, y = samples(name, data, n)
    fit(module, x, y)
    module.eval()
    traced = trace(module, INPUTS[name])
    operator = SplittingOperator(traced, [(x[: n // 2], y[: n // 2]), (x[n // 2 :], y[n // 2 :])])
    return module, operator, lanczos(operator, products, generator(0)), (x, y)
