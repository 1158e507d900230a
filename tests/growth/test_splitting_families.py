"""The second-order law on every family of networks, in double precision."""

from copy import deepcopy

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.groups import trace
from edgegrow.growth.kinks import kinked
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.growth.surgery import ChannelSplit, split_channels

from .architectures import FAMILIES, Family
from .test_architectures import inputs_of, loss_sum, outputs, trained

STEP = 5e-3


class TokensAndFeatures(nn.Module):
    """A mixer without layer norms: tokens' hidden units grow, and so do the features beside them."""

    def __init__(self, act=nn.GELU):
        super().__init__()
        self.patch = nn.Sequential(nn.Conv2d(1, 6, 2, 2), act())
        self.tokens = nn.Sequential(nn.Linear(16, 5), act(), nn.Linear(5, 16), act())
        self.features, self.out = nn.Sequential(nn.Linear(6, 4), act()), nn.Linear(4, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2)
        x = x + self.tokens(x)
        return self.out(self.features(x.transpose(1, 2)).mean(1))


LAWS = {
    **FAMILIES,
    "tokens beside features": Family(TokensAndFeatures, ("patch.0", "tokens.0", "features.0")),
}


@pytest.mark.parametrize("name", LAWS)
def test_second_order_law(name):
    """Splitting a channel along any v changes the loss by ``eps^2 / 2 v'Sv``, in every group."""
    family = LAWS[name]
    module, _, inputs, y = trained(family, torch.float64, act=nn.SiLU)
    module.eval()
    traced = trace(module, family.shapes)
    assert {group.name for group in traced.growable} >= set(family.growable)
    operator = SplittingOperator(traced, [(inputs, y)], loss_sum)
    before = loss_sum(outputs(module, inputs), y) / len(y)
    assert operator.loss == pytest.approx(before.item(), rel=1e-9)
    rng = torch.Generator().manual_seed(2)
    vectors = [
        F.normalize(torch.randn(block.shape, generator=rng, dtype=torch.float64), dim=1)
        for block in operator.blocks
    ]
    for number, image in enumerate(operator(vectors)):
        group, v = operator.blocks[number].group, vectors[number]
        curvatures = (v * image).sum(1)
        channel = curvatures.abs().argmax()[None]
        predicted = STEP**2 / 2 * curvatures[channel].item()
        assert abs(predicted) > 1e-13, f"{group.name} is linear"
        copy = deepcopy(module)
        widened = trace(copy, family.shapes)
        block = operator.blocks[number]
        directions = block.unpack(block.scale()[channel] * v[channel])
        split = ChannelSplit(widened.groups[traced.groups.index(group)], channel, directions)
        for weight, direction in split_channels(widened, [split]).items():
            weight.data += STEP * direction
        change = loss_sum(outputs(copy, inputs), y) / len(y) - before
        assert change.item() == pytest.approx(predicted, rel=0.02), group.name


@pytest.mark.parametrize("name", LAWS)
def test_splitting_matrices_are_symmetric(name):
    """Products are of block-diagonal matrices: no channel's image depends on another channel's vector."""
    family = LAWS[name]
    module, _, inputs, y = trained(family, torch.float64, act=nn.SiLU)
    operator = SplittingOperator(trace(module.eval(), family.shapes), [(inputs, y)], loss_sum)
    rng = torch.Generator().manual_seed(3)

    def draw():
        return [torch.randn(b.shape, generator=rng, dtype=torch.float64) for b in operator.blocks]

    u, v = draw(), draw()
    for a, b, sa, sb in zip(u, v, operator(u), operator(v), strict=True):
        torch.testing.assert_close((a * sb).sum(1), (b * sa).sum(1), rtol=1e-7, atol=1e-10)
    alone = [torch.zeros_like(part) for part in v]
    for part, whole in zip(alone, v, strict=True):
        part[0] = whole[0]
    for image, whole in zip(operator(alone), operator(v), strict=True):
        torch.testing.assert_close(image[0], whole[0], rtol=1e-7, atol=1e-12)
        assert image[1:].abs().max() < 1e-12


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.PReLU(3), nn.Hardsigmoid(), nn.Hardswish()],
    ids=lambda module: type(module).__name__,
)
def test_kinks_are_smeared_in_the_second_derivative_alone(activation):
    graph = fx.symbolic_trace(nn.Sequential(activation))
    node = next(n for n in graph.graph.nodes if n.op == "call_module")
    activation = activation.double()
    z = (torch.linspace(-5, 9, 303, dtype=torch.float64)[1::2][:150].reshape(50, 3)).requires_grad_()
    expected = activation(z)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    found = kinked(node, activation, (z,), {})
    torch.testing.assert_close(found, expected)
    (own,) = torch.autograd.grad(found.sum(), z, create_graph=True)
    torch.testing.assert_close(own.detach(), slope)
    (curvature,) = torch.autograd.grad(own.sum(), z)
    near = (z.detach().abs() < 0.1) if not isinstance(activation, nn.Hardsigmoid) else (z + 3).abs() < 0.1
    assert curvature[near].abs().min() > 0.05


def test_an_activation_that_is_named_as_another_is_left_alone():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.SiLU()

        def forward(self, x):
            return self.relu(x)

    graph = fx.symbolic_trace(Named())
    node = next(n for n in graph.graph.nodes if n.op == "call_module")
    assert kinked(node, graph.get_submodule("relu"), (torch.zeros(1),), {}) is None


def test_scoring_needs_no_labels_of_one_input():
    """Several batches of several inputs give the mean over all of their samples."""
    family = FAMILIES["multi-input"]
    module, _, inputs, y = trained(family, torch.float64, act=nn.SiLU)
    traced = trace(module.eval(), family.shapes)
    parts = [(tuple(x[:6] for x in inputs), y[:6]), (tuple(x[6:] for x in inputs), y[6:])]
    whole, halves = SplittingOperator(traced, [(inputs, y)]), SplittingOperator(traced, parts)
    vectors = [torch.ones(b.shape, dtype=torch.float64) for b in whole.blocks]
    for one, other in zip(whole(vectors), halves(vectors), strict=True):
        torch.testing.assert_close(one, other)
    assert inputs_of(family)[1].shape == y.shape
