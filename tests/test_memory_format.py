import pytest
import torch
from torch import fx, nn

from edgegrow.growth.groups import trace
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.memory_format import arrangement
from edgegrow.training import Batches, evaluate, generator, make_optimizer, train

from .growth.architectures import FAMILIES


class FlatByView(nn.Module):
    def forward(self, x: torch.Tensor):
        return x.view(x.size(0), -1)


FLATTENED = {
    "module": (nn.Flatten(), True),
    "reshape": (lambda x: x.reshape(x.size(0), -1), True),
    "shape": (lambda x: torch.flatten(x, 1).reshape(x.shape[0], -1), True),
    "view": (lambda x: x.view(x.size(0), -1), False),
    "strided": (lambda x: torch.as_strided(x, (x.size(0), 108), (108, 1)), False),
    "strided copy": (lambda x: torch.as_strided_scatter(x, x, x.shape, (108, 36, 6, 1)).flatten(1), False),
    "strides": (lambda x: x.flatten(1) / x.stride(1), False),
    "complex": (lambda x: torch.view_as_complex(x.unflatten(3, (3, 2))).abs().flatten(1).repeat(1, 2), False),
    "resized": (lambda x: x.detach().clone().resize_(x.size(0), 108), False),
    "scripted": (torch.jit.script(FlatByView()), False),
    "own function": (lambda x: flat_by_view(x), False),
}
"""Ways to flatten, and whether they are sure to take maps with channels last."""


def flat_by_view(x):
    return x.view(len(x), -1)


fx.wrap("flat_by_view")


class Flattened(nn.Module):
    """A convolution and a classifier, and between them a way to flatten."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 3, 3), nn.Linear(3 * 36, 10)
        self.flatten = FLATTENED[way][0]

    def forward(self, x):
        return self.linear(self.flatten(self.conv(x)))


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("way", FLATTENED)
def test_channels_are_last_where_the_network_takes_it(digits, way, shift):
    network = trace(Flattened(way), digits.input_shape)
    seen = []
    network.graph.conv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    batches = Batches(digits.train, 32, shift).draw(generator(0))
    train(network.graph, make_optimizer(network.graph, 0.1, 0.9, 0.0), batches, lambda step: 0.1, range(2))
    evaluate(network.graph, digits.validation)
    if network.growable:  # nothing is known of what a function of one's own does to channels
        SplittingOperator(network, [next(batches)])
    last = [output.is_contiguous(memory_format=torch.channels_last) for output in seen]
    assert last == [FLATTENED[way][1]] * len(seen)
    assert len(seen) >= 3


def test_a_network_that_is_not_traced_gets_channels_first():
    x = torch.randn(4, 1, 5, 6)
    arrange = arrangement(Flattened("module"))
    assert arrange(x) is x
    there = arrange(x.as_strided(x.shape, (30, 1, 6, 1)))  # as channels last of one channel: both are true
    assert torch.equal(there, x)
    assert there.stride() == (30, 30, 6, 1)


@pytest.mark.parametrize("shape", [(4, 1, 5, 6), (4, 3, 5, 6), (4, 3, 1, 1), (1, 2, 5, 6), (4, 7), (4, 3, 9)])
def test_values_stay_the_same(shape):
    x = torch.randn(shape)
    arrange = arrangement(fx.symbolic_trace(nn.Identity()))
    there = arrange(x)
    assert torch.equal(there, x)
    assert arrange(there) is there
    if x.ndim == 4:
        _, c, h, w = shape
        assert there.stride() == (c * h * w, 1, w * c, c)
    else:
        assert there is x


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_compute_the_same_wherever_channels_lie(name):
    """In training: outputs, and gradients of all parameters."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    graph = trace(family.build().double(), family.shapes).graph.train()
    inputs = [torch.randn(5, *shape, dtype=torch.float64) for shape in family.shapes]

    def computed(arrange):
        found = graph(*map(arrange, inputs))
        found = found if isinstance(found, tuple) else (found,)
        loss = sum(output.square().sum() for output in found)
        return [*found, *torch.autograd.grad(loss, list(graph.parameters()))]

    for there, plain in zip(computed(arrangement(graph)), computed(lambda x: x), strict=True):
        assert torch.allclose(there, plain, rtol=1e-9, atol=1e-9)
