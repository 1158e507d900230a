"""Constants of the C kernels' arithmetic: packed weights, folded biases, and the scales of the outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegrow.deploy.fixed_point import clamp_limits, multipliers
from edgegrow.deploy.graph import Add, Array, Mean, Mul, Weighted

_LARGEST_INPUT = 128  # magnitude of an int8


@dataclass(frozen=True)
class Scales:
    """How sums become outputs: what ``struct scale`` and ``struct output`` of the kernels hold.

    Attributes
    ----------
    rows : list of tuple
        ``(fraction, addend, shift)``, one a channel, or one for all.
    fast : bool
        The sums come doubled: the product's upper word is then the product rounded to 32 bits.
    one_sign : bool
        What is below the output's zero point is clamped, and may be rounded in any way.
    low, high : int
        Limits of the outputs.
    """

    rows: list[tuple[int, int, int]]
    fast: bool
    one_sign: bool
    low: int
    high: int

    @property
    def output(self) -> dict[str, object]:
        """Fields of ``struct output``."""
        return {
            "fast": int(self.fast),
            "one_sign": int(self.one_sign),
            "low": self.low,
            "high": self.high,
        }


def output_scales(
    op: Weighted | Add | Mul | Mean, fractions: list[tuple[int, int]], largest: Array
) -> Scales:
    """Choose the fast way of scaling where no sum can overflow it, and the exact one otherwise.

    Parameters
    ----------
    op : Weighted, Add, Mul or Mean
    fractions : list of tuple
        ``(fraction, shift)`` as `edgegrow.deploy.fixed_point` gives them.
    largest : ndarray
        int64, for each of them the greatest magnitude that a sum can have; a graph refuses sums that a shift
        to the left makes overflow 32 bits.
    """
    zero_point = op.output.zero_point
    low, high = clamp_limits(op)
    one_sign = low >= zero_point
    rows, fast = [], True
    for (fraction, shift), magnitude in zip(fractions, largest.tolist(), strict=True):
        addend = (2 * zero_point + 1) << (-shift - 1) if shift < 0 else zero_point
        fast &= shift <= 0 and (one_sign or shift < 0 or fraction == 0)
        fast &= 2 * magnitude < 2**31 and magnitude + 2 + abs(addend) < 2**31
        rows.append((fraction, addend, -shift))
    if not fast:
        rows = [(fraction, zero_point, shift) for fraction, shift in fractions]
    return Scales(rows, fast, one_sign or not any(fraction for fraction, _ in fractions), low, high)


def sums_and_scales(op: Weighted, matrix: Array) -> tuple[Array, Scales]:
    """Fold the input's zero point into the biases, so that the kernels sum plain products.

    Parameters
    ----------
    op : Weighted
    matrix : ndarray
        int8 ``(out, depth)``, its weights by output channel.

    Returns
    -------
    tuple
        The biases, int32 ``(out,)``, doubled where the scales are fast and wrapped around as the sums are;
        and the scales.
    """
    zero_point = op.inputs[0].zero_point
    weights = matrix.astype(np.int64)
    sizes = np.abs(weights).sum(axis=1) * max(127 - zero_point, zero_point + _LARGEST_INPUT)
    largest = np.abs(op.bias.astype(np.int64)) + sizes
    fractions = multipliers(op)
    if len(fractions) == 1:
        largest = largest.max(keepdims=True)
    scales = output_scales(op, fractions, largest)
    bias = op.bias.astype(np.int64) - zero_point * weights.sum(axis=1)
    return (bias << int(scales.fast)).astype(np.int32), scales


def pack_products(matrix: Array) -> tuple[Array, bool]:
    """Arrange weights for ``edgegrow_product.h``: two channels and two inputs a word, four channels a block.

    Parameters
    ----------
    matrix : ndarray
        int8 ``(out, depth)``.

    Returns
    -------
    tuple
        uint32 words ``(blocks, pairs, 2)``, flat; and whether half words are ``256 * b + a``, for which every
        b must have room for the borrow of a negative a, and its sums fit 24 bits.
    """
    channels, depth = matrix.shape
    filled = np.zeros((-(-channels // 4) * 4, depth + depth % 2), np.int16)
    filled[:channels, :depth] = matrix
    a, b = filled[0::2], filled[1::2]
    borrowed = b - (a < 0)
    packed = bool(borrowed.min() >= -128 and np.abs(b.astype(np.int64)).sum(axis=1).max() * 128 < 2**23)
    pairs = np.stack([a, borrowed if packed else b], axis=2).astype(np.int8)  # (channels / 2, depth, 2)
    blocks = pairs.reshape(len(filled) // 4, 2, -1, 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks).view("<u4").reshape(-1), packed


def pack_rows(taps: Array, overlapping: bool) -> Array:
    """Arrange weights for ``edgegrow_depthwise_conv2d.h``: pairs of neighbours in a row, as 16 bits each.

    Parameters
    ----------
    taps : ndarray
        int8 ``(channels, kernel_h, kernel_w)``.
    overlapping : bool
        Of three weights u, v, w give the pairs (u, v) and (v, w) instead of (u, v) and (w, 0).

    Returns
    -------
    ndarray
        uint32 words ``(channels, kernel_h, pairs)``, flat.
    """
    wide = taps.astype("<i2")
    if overlapping:
        wide = wide[:, :, [0, 1, 1, 2]]
    elif wide.shape[2] % 2:
        wide = np.pad(wide, ((0, 0), (0, 0), (0, 1)))
    return np.ascontiguousarray(wide).view("<u4").reshape(-1)


def interleave(matrix: Array) -> Array:
    """Order inputs as ``edgegrow_fully_connected.h`` widens them: of four, 0 and 2, then 1 and 3.

    Parameters
    ----------
    matrix : ndarray
        int8 ``(out, features)``.

    Returns
    -------
    ndarray
        int8 ``(out, features)``, the features filled up with zeros to a multiple of 4.
    """
    filled = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % 4)))
    return filled.reshape(len(matrix), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(matrix), -1)
