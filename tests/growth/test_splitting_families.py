"""The second-order law on every family of networks, in double precision."""

from copy import deepcopy

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth import kinks
from edgegrow.growth.eigenpairs import lanczos
from edgegrow.growth.groups import trace
from edgegrow.growth.kinks import kinked
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.growth.surgery import ChannelSplit, split_channels
from edgegrow.training import generator

from .architectures import FAMILIES, Family
from .networks import fit, loss, samples
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


def average_for_maximum(module):
    """A maximum has kinks too: where twins differ in it, their mean is above the original's."""
    for parent in list(module.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool1d | nn.MaxPool2d):
                average = nn.AvgPool1d if isinstance(child, nn.MaxPool1d) else nn.AvgPool2d
                setattr(parent, key, average(child.kernel_size))


LAWS = {
    **FAMILIES,
    "tokens beside features": Family(TokensAndFeatures, ("patch.0", "tokens.0", "features.0")),
}


@pytest.mark.parametrize("name", LAWS)
def test_second_order_law(name):
    """Splitting a channel along any v changes the loss by ``eps^2 / 2 v'Sv``, in every group."""
    family = LAWS[name]
    module, _, inputs, y = trained(family, torch.float64, act=nn.SiLU)
    average_for_maximum(module.eval())
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


POOLS = {
    "module": (nn.MaxPool2d(2), (2, 3, 6, 6)),
    "overlapping": (nn.MaxPool2d(3, 2, 1), (2, 3, 7, 7)),
    "oblong": (nn.MaxPool2d((1, 3), (1, 2)), (2, 3, 4, 7)),
    "1-D": (nn.MaxPool1d(4), (2, 3, 12)),
    "function": (lambda x: F.max_pool2d(x, 2, stride=1), (2, 3, 4, 5)),
}


class Called(nn.Module):
    """Calls what it is given: a module, or a function."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def run_kinked(call, x):
    graph = fx.symbolic_trace(Called(call))
    node = next(n for n in graph.graph.nodes if n.op in ("call_module", "call_function"))
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    return kinked(node, module, (x, *node.args[1:]), dict(node.kwargs))


@pytest.mark.parametrize("name", POOLS)
def test_maxima_are_smeared_in_the_second_derivative_alone(name):
    """It is that of ``log(sum(exp(3 z))) / 3`` over each window."""
    call, shape = POOLS[name]
    rng = torch.Generator().manual_seed(0)
    z, u = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    z.requires_grad_()
    expected = call(z)
    g = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    (slope,) = torch.autograd.grad(expected, z, g)
    found = run_kinked(call, z)
    torch.testing.assert_close(found, expected)
    (own,) = torch.autograd.grad(found, z, g, create_graph=True)
    torch.testing.assert_close(own.detach(), slope)
    (curved,) = torch.autograd.grad(own, z, u)

    # Sums over the same windows are averages of exponentials, times the windows' size.
    averaged = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool1d: nn.AvgPool1d}.get(type(call))
    mean = (
        averaged(call.kernel_size, call.stride, call.padding)
        if averaged
        else lambda x: F.avg_pool2d(x, 2, stride=1)
    )
    (first,) = torch.autograd.grad(mean((3 * z).exp()).log() / 3, z, g, create_graph=True)
    torch.testing.assert_close(curved, torch.autograd.grad(first, z, u)[0])


def test_what_a_relu_has_clamped_takes_no_part_in_a_maximum():
    """The kink between it and what is above 0 is the ReLU's own, and counts once."""
    z = torch.tensor([[[[0.2, 0.0], [0.0, 0.0]]]], dtype=torch.float64, requires_grad=True)
    (own,) = torch.autograd.grad(run_kinked(nn.MaxPool2d(2), z).sum(), z, create_graph=True)
    moved = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]], dtype=torch.float64)
    (curved,) = torch.autograd.grad(own, z, moved)
    assert not curved.any()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, dilation=2)])
def test_pools_whose_windows_are_cut_or_dilated_are_left_alone(pool):
    assert run_kinked(pool, torch.zeros(1, 1, 5, 5)) is None


@pytest.mark.parametrize("act", [nn.SiLU, nn.ReLU])
def test_splits_see_the_kinks_of_maxima(act, digits, monkeypatch):
    """Their loss change is about what is predicted, and lower than of splits that see activations alone."""
    torch.manual_seed(0)
    x, y = samples("dscnn", digits, 600)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, 1, 1), nn.BatchNorm2d(6), act(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, 1, 1), nn.BatchNorm2d(8), act(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    fit(module, x, y, lr=0.1)
    module.double().eval()
    x = x.double()

    def changes():
        traced = trace(module, (1, 8, 8))
        operator = SplittingOperator(traced, [(x, y)])
        predicted, realised = 0.0, 0.0
        for number, index in enumerate(lanczos(operator, 9, generator(0))):
            for channel in torch.arange(len(index.eigenvalues))[:, None]:
                copy = deepcopy(module)
                widened = trace(copy, (1, 8, 8))
                split = ChannelSplit(widened.growable[number], channel, index.directed(channel))
                for weight, direction in split_channels(widened, [split]).items():
                    weight.data += 0.1 * direction
                predicted += 0.1**2 / 2 * index.eigenvalues[channel].item()
                realised += loss(copy, x, y) - operator.loss
        return predicted, realised

    predicted, realised = changes()
    assert 0.5 < realised / predicted < 1.6
    monkeypatch.setattr(kinks, "_max_pool", lambda *_, **__: None)
    _, unseen = changes()
    assert realised < 1.1 * unseen


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
