"""Building blocks of the seed networks, padded so that export needs no PAD operator.

TensorFlow Lite knows two paddings. ``SAME`` puts the odd zero of a strided convolution at the end, PyTorch's
``padding=1`` puts one at both ends: for stride 2 on an even size the two differ, and a converter must then
insert a PAD. The blocks here pad as ``SAME`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from torch import nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis, as TensorFlow's ``SAME`` has them.

    Parameters
    ----------
    size, kernel, stride : int
        Length of the axis, of the kernel along it, and the stride.

    Returns
    -------
    tuple of int
        ``(before, after)``; the output has ``ceil(size / stride)`` positions.

    Examples
    --------
    >>> same_padding(28, kernel=3, stride=2), same_padding(28, kernel=3, stride=1)
    ((0, 1), (1, 1))
    """
    total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv_norm(
    cin: int, cout: int, size: Sequence[int], *, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Make a ``SAME``-padded convolution without bias, and its batch norm.

    Parameters
    ----------
    cin, cout : int
        Channels in and out.
    size : sequence of int
        Spatial size of the input: ``(h, w)``, or ``(length,)`` for a 1-D convolution.
    kernel, stride, groups : int
        As of ``nn.Conv2d``; the kernel is square.

    Returns
    -------
    list of nn.Module
        ``[pad,] conv, norm``: the explicit pad only where it is not the same at both ends.
    """
    one_d = len(size) == 1
    pads = [same_padding(s, kernel, stride) for s in size]
    symmetric = all(before == after for before, after in pads)
    layers: list[nn.Module] = []
    if not symmetric:
        flat = [p for pad in reversed(pads) for p in pad]  # torch lists the last axis first
        layers.append(nn.ConstantPad1d(tuple(flat), 0.0) if one_d else nn.ZeroPad2d(tuple(flat)))  # type: ignore[arg-type]
    padding = tuple(before for before, _ in pads) if symmetric else (0,) * len(size)
    conv = nn.Conv1d if one_d else nn.Conv2d
    norm = nn.BatchNorm1d if one_d else nn.BatchNorm2d
    layers.append(conv(cin, cout, kernel, stride, padding, groups=groups, bias=False))  # type: ignore[arg-type]
    layers.append(norm(cout))
    return layers


def strided(size: Sequence[int], stride: int) -> tuple[int, ...]:
    """Spatial size after a ``SAME``-padded layer of this stride."""
    return tuple(ceil(s / stride) for s in size)
