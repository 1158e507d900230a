"""PyTorch's shapes, options and parameters in the graph's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgegrow.deploy.graph import Array, Pads, Weighted

if TYPE_CHECKING:
    from torch import nn

NO_PADS: Pads = ((0, 0), (0, 0))


def nhwc_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape in the graph of ``(n, c, h, w)``, ``(n, c, length)`` (a map one high) or ``(n, features)``."""
    if len(shape) == 2:
        return (1, shape[1])
    height_width = shape[2:] if len(shape) == 4 else (1, shape[2])
    return (1, *height_width, shape[1])


def axis_pair(value: Any, rank: int, height: int) -> tuple[int, int]:
    """Option of both axes from PyTorch's int, or one an axis; a signal (rank 3) has `height` vertically."""
    axes = tuple(value) if isinstance(value, tuple | list) else (value,) * (rank - 2)
    return (height, axes[0]) if rank == 3 else (axes[0], axes[1])


def sum_pads(a: Pads, b: Pads) -> Pads:
    """Zeros of two paddings, one after the other."""
    return (a[0][0] + b[0][0], a[0][1] + b[0][1]), (a[1][0] + b[1][0], a[1][1] + b[1][1])


def padded_size(shape: Sequence[int], pads: Pads) -> tuple[int, int]:
    """Height and width of a map ``(1, h, w, c)`` with zeros around it."""
    return shape[1] + sum(pads[0]), shape[2] + sum(pads[1])


def columns_nhwc(weight: Array, shape: Sequence[int]) -> Array:
    """Reorder the columns of a linear layer that reads a flattened map of this graph shape.

    PyTorch flattens ``(c, h, w)``, the graph ``(h, w, c)``.
    """
    if len(shape) == 2:
        return weight
    _, h, w, c = shape
    return weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(weight), -1)


def norm_factors(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Array, Array]:
    """Factors and summands, float64 ``(c,)``, of a batch norm with running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = 1 / np.sqrt(norm.running_var.double().numpy() + norm.eps)
    shift = -norm.running_mean.double().numpy() * factor
    if norm.affine:
        gamma = norm.weight.detach().double().numpy()
        factor, shift = factor * gamma, shift * gamma + norm.bias.detach().double().numpy()
    return factor, shift


def scale_outputs(op: Weighted, factor: Array, shift: Array, folded: str) -> Weighted:
    """Multiply a float operator's output channels, and add to them; `folded` names what does."""
    return replace(
        op,
        weight=(op.weight * factor.reshape(op.along_channels)).astype(np.float32),
        bias=(op.bias * factor + shift).astype(np.float32),
        folded=(*op.folded, folded),
    )
