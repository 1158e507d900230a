"""The mathematics, held to its equations."""

from copy import deepcopy
from statistics import median

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegrow.cost.dispatched import DispatchedMacs
from edgegrow.cost.layers import count_macs
from edgegrow.growth import kinks, splitting
from edgegrow.growth.eigenpairs import exact_matrices, lanczos
from edgegrow.growth.groups import trace
from edgegrow.growth.splitting import SplittingOperator
from edgegrow.growth.surgery import ChannelSplit, split_channels
from edgegrow.training import generator

from .moving import Tied
from .networks import INPUTS, build, fit, loss, samples, scored


def split_one(module, name, group_number, index, channel, step):
    """A copy of the network with one channel split by a step, relative to its filters' norms."""
    split = deepcopy(module)
    traced = trace(split, INPUTS[name])
    chosen = torch.tensor([channel])
    directions = index.directed(chosen)
    moves = split_channels(traced, [ChannelSplit(traced.growable[group_number], chosen, directions)])
    for weight, direction in moves.items():
        weight.data += step * direction
    return split


@pytest.mark.parametrize("name", ["mlp", "conv1d", "dscnn"])
def test_second_order_law(name, digits):
    """One filter split by 0.02 of its norm changes the loss by what the splitting matrix predicts."""
    module, operator, indices, (x, y) = scored(name, digits)
    before = loss(module, x, y)
    assert operator.loss == pytest.approx(before, rel=1e-5)
    ratios = []
    for number, index in enumerate(indices):
        for channel in index.eigenvalues.argsort()[:4].tolist():
            after = loss(split_one(module, name, number, index, channel, 0.02), x, y)
            ratios.append((after - before) / (0.5 * 0.02**2 * index.eigenvalues[channel].item()))
    assert 0.95 < median(ratios) < 1.05
    assert min(ratios) > 0.9
    assert max(ratios) < 1.1


def test_second_order_law_of_a_tied_residual_group_with_several_producers(digits):
    """The split of a whole tied group: the sum over its producers, none counted twice."""
    torch.manual_seed(1)

    module = Tied()
    x, y = samples("dscnn", digits, 400)
    fit(module, x, y, lr=0.1)
    traced = trace(module, (1, 8, 8))
    tied = traced.growable[0]
    assert tied.producers == ("a", "c")
    index = lanczos(SplittingOperator(traced, [(x, y)]), 16, generator(0))[0]
    before = loss(module, x, y)
    for channel in range(4):
        split = deepcopy(module)
        retraced = trace(split, (1, 8, 8))
        chosen = torch.tensor([channel])
        moves = split_channels(retraced, [ChannelSplit(retraced.growable[0], chosen, index.directed(chosen))])
        for weight, direction in moves.items():
            weight.data += 0.02 * direction
        predicted = 0.5 * 0.02**2 * index.eigenvalues[channel].item()
        assert loss(split, x, y) - before == pytest.approx(predicted, rel=0.05)


def test_splits_of_neighbouring_groups_add_up(digits):
    """Every group's best channel at once: a filter that is split while its inputs are keeps its direction."""
    module, _, indices, (x, y) = scored("dscnn", digits)
    before = loss(module, x, y)
    copy = deepcopy(module)
    traced = trace(copy, INPUTS["dscnn"])
    splits, predicted = [], 0.0
    for group, index in zip(traced.growable, indices, strict=True):
        chosen = index.eigenvalues.argmin()[None]
        predicted += 0.5 * 0.02**2 * index.eigenvalues[chosen].item()
        splits.append(ChannelSplit(group, chosen, index.directed(chosen)))
    everything = [
        ChannelSplit(
            group, torch.arange(n), [torch.zeros_like(traced.module(f).weight) for f in group.filtered]
        )
        for group, n in zip(traced.growable, traced.widths().values(), strict=True)
    ]
    for split, zero in zip(splits, everything, strict=True):  # all inputs of all split filters are split too
        for rows, direction in zip(zero.directions, split.directions, strict=True):
            rows[split.channels] = direction
    for weight, direction in split_channels(traced, everything).items():
        weight.data += 0.02 * direction
    assert loss(copy, x, y) - before == pytest.approx(predicted, rel=0.05)


@pytest.mark.parametrize("top", [float("inf"), 6.0])
def test_the_surrogate_of_a_kink(top):
    """Values and slope are the clamp's own; the curvature is the bend of a softplus with beta 3."""
    z = torch.linspace(-2, 8, 201, dtype=torch.float64)[1::2].requires_grad_()
    value = kinks._KinkedClamp.apply(z, top)
    torch.testing.assert_close(value, z.clamp(0, top))
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    torch.testing.assert_close(slope, ((z > 0) & (z < top)).double())
    (curvature,) = torch.autograd.grad(slope.sum(), z)

    def bend(at):
        smooth = F.softplus(at, beta=3.0, threshold=100)
        (first,) = torch.autograd.grad(smooth.sum(), at, create_graph=True)
        return torch.autograd.grad(first.sum(), at)[0]

    expected = bend(z.detach().requires_grad_())
    if top < float("inf"):
        expected = expected - bend((z.detach() - top).requires_grad_())
    torch.testing.assert_close(curvature, expected)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_scoring_is_charged_at_least_what_pytorch_computes(name, kept, digits, monkeypatch):
    if not kept:
        monkeypatch.setattr(splitting, "KEPT_BYTES", 0)
    traced = trace(build(name), INPUTS[name])
    x, y = samples(name, digits, 16)
    with DispatchedMacs() as counter:
        operator = SplittingOperator(traced, [(x, y)])
        lanczos(operator, 6, generator(0))
    charged = operator.passes * count_macs(traced.shapes(traced.widths()))
    assert 0.97 * counter.macs <= charged <= 2.5 * counter.macs


def test_relu_curvature_is_of_the_right_size(digits):
    """ReLU's kink is smeared by the surrogate: splits of the predicted best channels do lower the loss."""
    module, _, indices, (x, y) = scored("dscnn", digits, make_smooth=False)
    before = loss(module, x, y)
    ratios = []
    for number, index in enumerate(indices):
        channel = int(index.eigenvalues.argmin())
        after = loss(split_one(module, "dscnn", number, index, channel, 0.1), x, y)
        ratios.append((after - before) / (0.5 * 0.1**2 * index.eigenvalues[channel].item()))
    assert 0.3 < median(ratios) < 2.0


def test_splitting_matrices_are_symmetric_and_equal_the_papers_formula(digits):
    """For z = w'x and a = tanh(z): S = E[g tanh''(z) x x'], here in relative coordinates."""
    x, y = samples("mlp", digits, 150)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False), nn.Tanh(), nn.Linear(5, 10))
    fit(module, x, y)
    (matrix,) = exact_matrices(SplittingOperator(trace(module, (1, 8, 8)), [(x, y)]))
    flat, weight = x.flatten(1), module[1].weight.detach()
    z = flat @ weight.T
    a = z.tanh().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(module[3](a), y), a)
    curvature = -2 * z.tanh() * (1 - z.tanh() ** 2)
    expected = (
        torch.einsum("nc,ni,nj->cij", g * curvature, flat, flat) * weight.norm(dim=1)[:, None, None] ** 2
    )
    torch.testing.assert_close(matrix, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(matrix, matrix.mT, rtol=1e-3, atol=1e-6)


def test_scoring_leaves_the_network_as_it_was(digits):
    module = build("resnet8")
    x, y = samples("resnet8", digits, 64)
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    SplittingOperator(trace(module, INPUTS["resnet8"]), [(x, y)])
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in module.parameters())


def test_products_do_not_depend_on_what_memory_allows_to_be_kept(digits, monkeypatch):
    _, operator, indices, (x, y) = scored("dscnn", digits, n=100)
    monkeypatch.setattr(splitting, "KEPT_BYTES", 0)
    frugal = SplittingOperator(operator._trace, [(x[:50], y[:50]), (x[50:], y[50:])])
    vectors = [index.directions for index in indices]
    for kept, rebuilt in zip(operator(vectors), frugal(vectors), strict=True):
        assert torch.equal(kept, rebuilt)


@pytest.mark.parametrize("seed", range(3))
def test_a_split_escapes_a_plateau_where_a_plain_copy_does_not(seed):
    """Trained to a stop, equal copies stay equal for ever; a split leaves along the negative curvature."""
    torch.manual_seed(seed)
    x = torch.randn(400, 2)
    y = (x.norm(dim=1) < 1.1).long()  # one neuron can cut the disc from one side only
    module = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 2))
    fit(module, x, y, steps=3000, lr=0.2)
    stuck = loss(module, x, y)
    (index,) = lanczos(SplittingOperator(trace(module, (2,)), [(x, y)]), 2, generator(0))
    assert index.eigenvalues[0] < 0
    won = {}
    for step in (0.0, 0.05):
        copy = deepcopy(module)
        retraced = trace(copy, (2,))
        chosen = torch.tensor([0])
        moves = split_channels(retraced, [ChannelSplit(retraced.growable[0], chosen, index.directed(chosen))])
        for weight, direction in moves.items():
            weight.data += step * direction
        fit(copy, x, y, steps=600, lr=0.2)
        won[step] = stuck - loss(copy, x, y)
    assert won[0.0] < 0.001
    assert won[0.05] > 0.05
