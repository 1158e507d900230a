"""How images lie in memory: convolutions on CPUs are faster where a pixel's channels lie side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn

from edgegrow.tracer import is_torch_function

_VIEWS = ("view", "view_as")


def arrangement(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what arranges a network's input in memory so that it computes fast; values stay the same.

    Channels are last where the network is sure to take such maps. ``view`` refuses some, and a function that
    is not PyTorch's own may call it; what a network that is not traced does is not known. The layers of a
    traced one are PyTorch's.
    """
    sure = isinstance(model, fx.GraphModule) and all(_takes_channels_last(node) for node in model.graph.nodes)
    return _channels_last if sure else _as_it_is


def _takes_channels_last(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target not in _VIEWS
    return node.op != "call_function" or node.target is getattr or is_torch_function(node.target)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay out images ``(n, c, h, w)`` with channels last in memory; return anything else as it is."""
    if x.ndim != 4:
        return x
    # Not by x.contiguous, which leaves images of one channel as they are: they count as laid out both ways,
    # and the layers after the first would be told nothing.
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x
