"""Lanczos' ends of every spectrum, against the exact decomposition."""

import pytest
import torch
from torch import nn

from edgegrow.config import GrowConfig
from edgegrow.growth.eigenpairs import exact_indices, exact_matrices, lanczos
from edgegrow.growth.groups import trace
from edgegrow.growth.splitting import ChannelBlock, SplittingOperator
from edgegrow.training import generator

from .networks import fit, samples, scored


@pytest.mark.parametrize("name", ["conv1d", "dscnn"])
def test_lanczos_agrees_with_the_exact_decomposition(name, digits):
    _, operator, indices, _ = scored(name, digits, make_smooth=False, products=24)
    for found, exact in zip(indices, exact_indices(operator), strict=True):
        torch.testing.assert_close(found.eigenvalues, exact.eigenvalues, rtol=0.02, atol=1e-6)
        torch.testing.assert_close(found.highest, exact.highest, rtol=0.02, atol=1e-6)
    # The vectors belong to the values: their Rayleigh quotients are the eigenvalues.
    for values, vectors in (("eigenvalues", "directions"), ("highest", "highest_directions")):
        images = operator([getattr(index, vectors) for index in indices])
        for index, image in zip(indices, images, strict=True):
            direction = getattr(index, vectors)
            torch.testing.assert_close(direction.norm(dim=1), torch.ones(len(direction)))
            quotient = (direction * image).sum(1)
            torch.testing.assert_close(quotient, getattr(index, values), rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "conv1d", "dscnn"])
def test_lanczos_as_growth_runs_it_finds_nearly_all_of_the_gain(name, digits):
    _, operator, indices, _ = scored(name, digits, make_smooth=False, products=GrowConfig().products)
    found = torch.cat([index.eigenvalues for index in indices])
    exact = torch.cat([index.eigenvalues for index in exact_indices(operator)])
    assert (found >= exact - 1e-6 - 1e-3 * exact.abs()).all()  # a Rayleigh quotient is never below
    assert found.clamp(max=0).sum() / exact.clamp(max=0).sum() > 0.98
    assert ((found - exact) / exact.abs()).median() < 0.02


def test_lanczos_is_exact_where_the_space_is_exhausted(digits):
    """A channel of d parameters has d eigenvalues: more products change nothing and break nothing."""
    x, y = samples("mlp", digits, 200)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 10)
    )
    fit(module, x, y)
    operator = SplittingOperator(trace(module, (1, 8, 8)), [(x, y)])
    small = lanczos(operator, 12, generator(0))[1]
    assert small.directions.shape == (4, 3)
    exact = exact_indices(operator)[1]
    torch.testing.assert_close(small.eigenvalues, exact.eigenvalues, rtol=1e-3, atol=1e-7)


def test_in_double_precision_both_ends_are_exact(digits):
    """Small channels, all products: eigenvalues and vectors, up to a sign, to nine digits."""
    x, y = samples("mlp", digits, 100)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 10)
    )
    fit(module, x, y)
    traced = trace(module, (1, 8, 8))
    traced.graph.double()
    operator = SplittingOperator(traced, [(x.double(), y)])
    found, matrix = lanczos(operator, 64, generator(0))[1], exact_matrices(operator)[1]
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    assert found.eigenvalues.dtype == torch.float64
    torch.testing.assert_close(found.eigenvalues, values[:, 0], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found.highest, values[:, -1], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close((found.directions * vectors[:, :, 0]).sum(1).abs(), torch.ones(6).double())
    torch.testing.assert_close(
        (found.highest_directions * vectors[:, :, -1]).sum(1).abs(), torch.ones(6).double()
    )


def test_an_ended_recurrence_does_not_pose_as_an_eigenvalue(digits):
    """Definite matrices of both signs, and spaces that end early: zeros lie inside neither spectrum."""

    class Definite:
        def __init__(self, signs):
            self.matrix = torch.diag_embed(signs[:, None] * torch.tensor([1.0, 2.0, 3.0]))
            filters = torch.arange(len(signs))[:, None]
            self.blocks = [ChannelBlock(None, [nn.Parameter(torch.ones(len(signs), 3))], [filters])]

        def __call__(self, vectors):
            return [torch.einsum("nij,nj->ni", self.matrix, vectors[0])]

    (index,) = lanczos(Definite(torch.tensor([1.0, -1.0])), 8, generator(0))
    torch.testing.assert_close(index.eigenvalues, torch.tensor([1.0, -3.0]))
    torch.testing.assert_close(index.highest, torch.tensor([3.0, -1.0]))
