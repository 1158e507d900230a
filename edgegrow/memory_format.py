"""How images lie in memory: convolutions on CPUs are faster where a pixel's channels lie side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn

from edgegrow.tracer import is_torch_function

_AS_IT_LIES = ("view", "view_as", "as_strided")
"""What reads a map as it lies in memory: refuses some that lie in another order, or reads other values."""


def arrangement(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what arranges a network's input in memory so that it computes fast; values stay the same.

    Channels are last where the network is sure to take such maps: one that is traced, whose layers are
    PyTorch's. It must not call what depends on the order in memory, nor a function that is not PyTorch's own,
    which might.
    """
    sure = isinstance(model, fx.GraphModule) and all(_takes_channels_last(node) for node in model.graph.nodes)
    return _channels_last if sure else _as_it_is


def _takes_channels_last(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target not in _AS_IT_LIES
    if node.op == "call_function":
        named = getattr(node.target, "__name__", "")
        return node.target is getattr or (is_torch_function(node.target) and named not in _AS_IT_LIES)
    return True


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay out images ``(n, c, h, w)`` with channels last in memory; return anything else as it is."""
    if x.ndim != 4:
        return x
    _, c, h, w = x.shape
    if x.stride() == (c * h * w, 1, c * w, c):
        return x
    # Not by x.contiguous, which leaves images of one channel as they are: they count as laid out both ways,
    # and the layers after the first would be told nothing.
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x
