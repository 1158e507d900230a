"""Convolutions and norms that are cheap to differentiate twice: their derivatives are PyTorch's own."""

import pytest
import torch
from torch import fx, nn

from edgegrow.cost.dispatched import DispatchedMacs
from edgegrow.growth.convolution import foldable_norms, twice_differentiable

CONVS = {
    "plain": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 6)),
    "strided": (nn.Conv2d(3, 4, (3, 2), stride=2, bias=False), (2, 3, 7, 8)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "multiplied": (nn.Conv2d(2, 6, 3, groups=2, bias=False), (2, 2, 5, 5)),
    "dilated": (nn.Conv2d(2, 3, 3, dilation=2), (2, 2, 7, 7)),
    "1-D": (nn.Conv1d(3, 4, 5, stride=2, padding=2), (2, 3, 11)),
}


def settled_norm(channels, rank):
    norm = (nn.BatchNorm1d if rank == 1 else nn.BatchNorm2d)(channels).double().eval()
    for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
        tensor.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("name", CONVS)
def test_both_derivatives_are_pytorchs(name, with_norm):
    torch.manual_seed(0)
    conv, shape = CONVS[name]
    conv = conv.double()
    norm = settled_norm(conv.out_channels, len(shape) - 2) if with_norm else None
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    ends = (x, conv.weight)

    def derivatives(y):
        """Values, gradients, and the product of the Hessian of ``sum(y^3)`` with a vector."""
        first = torch.autograd.grad((y**3).sum(), ends, create_graph=True)
        rng = torch.Generator().manual_seed(1)
        v = [torch.randn(e.shape, generator=rng, dtype=torch.float64) for e in ends]
        return (y, *first, *torch.autograd.grad(first, ends, v))

    own = conv(x) if norm is None else norm(conv(x))
    for found, expected in zip(
        derivatives(twice_differentiable(conv, x, norm)), derivatives(own), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_norm_of_its_own_is_a_factor_and_a_shift():
    norm = settled_norm(3, 2)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(twice_differentiable(norm, x), norm(x))
    unweighted = nn.BatchNorm2d(3, affine=False).double().eval()
    torch.testing.assert_close(twice_differentiable(unweighted, x), unweighted(x))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.ReLU(),
        None,
    ],
)
def test_other_modules_are_left_alone(module):
    assert twice_differentiable(module, torch.zeros(1, 3, 4, 4)) is None


def test_only_norms_that_alone_read_a_convolution_are_folded():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(2, 2, 1) for _ in range(3))
            self.na, self.nb, self.nc = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, x):
            x = self.na(self.a(x))
            b = self.b(x)
            return self.nc(torch.relu(self.c(b + self.nb(b))))

    graph = fx.symbolic_trace(Network())
    assert {conv.target: norm.target for conv, norm in foldable_norms(graph).items()} == {"a": "na"}


def test_a_second_derivative_takes_few_multiplications():
    """Of a convolution of an input that is fixed: one convolution, and one gradient of a weight."""
    conv = nn.Conv2d(4, 8, 3, padding=1, bias=False)
    y = twice_differentiable(conv, torch.randn(2, 4, 6, 6))
    (slope,) = torch.autograd.grad(y.pow(3).sum(), conv.weight, create_graph=True)
    with DispatchedMacs() as counter:
        torch.autograd.grad(slope, conv.weight, torch.randn_like(conv.weight))
    assert counter.macs == 2 * 2 * 36 * conv.weight.numel()
