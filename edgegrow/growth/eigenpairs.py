"""The extreme eigenpairs of every channel's splitting matrix, both ends from the same products.

The lowest eigenvalue prices a split into copies of equal weight, the highest one a split into copies of
opposite weights (`edgegrow.growth.moves.signed`). A Krylov space approaches both ends of a spectrum alike, so
the second costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgegrow.growth.splitting import ChannelBlock, SplittingOperator


@dataclass(frozen=True)
class SplittingIndex:
    """The extreme eigenpairs of every channel of a group.

    Attributes
    ----------
    block : ChannelBlock
        The group's parameters.
    eigenvalues : torch.Tensor
        ``(n,)``, lowest eigenvalue of ``D S D``: a split with relative step ``eps`` changes the loss by
        ``eps**2 / 2`` times it. Zero or more: the channel is splitting-stable.
    directions : torch.Tensor
        ``(n, d)``, the unit eigenvectors, in relative coordinates.
    highest, highest_directions : torch.Tensor
        The same of the highest eigenvalue.
    """

    block: ChannelBlock
    eigenvalues: torch.Tensor
    directions: torch.Tensor
    highest: torch.Tensor
    highest_directions: torch.Tensor

    def directed(self, channels: torch.Tensor) -> list[torch.Tensor]:
        """``D v`` of some channels ``(m,)``, as tensors ``(m, ...)`` shaped as the block's weights."""
        return self._scaled(self.directions, channels)

    def directed_highest(self, channels: torch.Tensor) -> list[torch.Tensor]:
        """`directed` along the highest eigenvalue's vectors."""
        return self._scaled(self.highest_directions, channels)

    def _scaled(self, vectors: torch.Tensor, channels: torch.Tensor) -> list[torch.Tensor]:
        return self.block.unpack(self.block.scale()[channels] * vectors[channels])


def lanczos(operator: SplittingOperator, products: int, generator: torch.Generator) -> list[SplittingIndex]:
    """Extreme eigenpairs of every channel's splitting matrix, by batched Lanczos.

    Full reorthogonalisation (twice); each channel runs its own recurrence in the shared products.

    Parameters
    ----------
    operator : SplittingOperator
        All splitting matrices.
    products : int
        Lanczos steps, at most; a channel of ``d`` parameters is exact after ``d``.
    generator : torch.Generator
        For the starting vectors.

    Returns
    -------
    list of SplittingIndex
        One for each block of the operator.
    """
    starts = [
        torch.randn(block.shape, generator=generator, dtype=block.weights[0].dtype)
        for block in operator.blocks
    ]
    bases = [[v / v.norm(dim=1, keepdim=True)] for v in starts]
    tridiagonals = [torch.zeros(len(v), products, products, dtype=v.dtype) for v in starts]
    for k in range(products):
        images = operator([basis[-1] for basis in bases])
        for basis, tridiagonal, image in zip(bases, tridiagonals, images, strict=True):
            tridiagonal[:, k, k] = (basis[-1] * image).sum(1)
            for _ in range(2):
                for q in basis:
                    image = image - (image * q).sum(1, keepdim=True) * q
            norm = image.norm(dim=1)
            # An exhausted Krylov space leaves rounding noise only: end that channel's recurrence with zeros.
            alive = norm > 1e-6 * tridiagonal.abs().amax(dim=(1, 2)).clamp_min(1e-30)
            basis.append(torch.where(alive[:, None], image / norm.clamp_min(1e-30)[:, None], 0.0))
            if k + 1 < products:
                tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = norm * alive
    return [
        _extremes(block, basis[:products], tridiagonal.double())
        for block, basis, tridiagonal in zip(operator.blocks, bases, tridiagonals, strict=True)
    ]


def _extremes(block: ChannelBlock, basis: list[torch.Tensor], tridiagonal: torch.Tensor) -> SplittingIndex:
    """Ritz pairs at both ends of a Krylov space: basis ``products x (n, d)``, ``(n, products, products)``."""
    vectors = torch.stack(basis, dim=1)
    unreached = torch.diag_embed((vectors.abs().sum(2) == 0).double())
    ends = []
    for sign in (1.0, -1.0):
        # Rows that an ended recurrence never reached must not pose as an eigenvalue 0 beyond this end.
        padded = sign * tridiagonal + unreached * torch.finfo(torch.float32).max
        values, mixtures = torch.linalg.eigh(padded)
        direction = torch.einsum("nk,nkd->nd", mixtures[:, :, 0].to(vectors.dtype), vectors)
        ends += [(sign * values[:, 0]).to(vectors.dtype), direction]
    return SplittingIndex(block, *ends)


def exact_matrices(operator: SplittingOperator) -> list[torch.Tensor]:
    """Compute every relative splitting matrix in full, ``(n, d, d)`` a block: the reference, for small ``d``.

    Column ``j`` of all channels' matrices is one product with the ``j``-th unit vectors, so this takes as
    many products as the largest block has parameters a channel.
    """
    units = [torch.zeros(block.shape, dtype=block.weights[0].dtype) for block in operator.blocks]
    matrices = [unit[:, :, None].repeat(1, 1, unit.shape[1]) for unit in units]
    for j in range(max(unit.shape[1] for unit in units)):
        for unit in units:
            unit.zero_()
            unit[:, j : j + 1] = 1.0
        for matrix, column in zip(matrices, operator(units), strict=True):
            if j < matrix.shape[2]:
                matrix[:, :, j] = column
    return matrices


def exact_indices(operator: SplittingOperator) -> list[SplittingIndex]:
    """Extreme eigenpairs by full eigen-decomposition, ``O(n d^3)``: what `lanczos` is checked against."""
    indices = []
    for block, matrix in zip(operator.blocks, exact_matrices(operator), strict=True):
        values, vectors = torch.linalg.eigh((matrix + matrix.mT).double() / 2)
        values, vectors = values.to(matrix.dtype), vectors.to(matrix.dtype)
        indices.append(
            SplittingIndex(block, values[:, 0], vectors[:, :, 0], values[:, -1], vectors[:, :, -1])
        )
    return indices
