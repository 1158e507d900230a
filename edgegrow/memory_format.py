"""How images lie in memory while a network trains: convolutions on CPUs are faster with channels last."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgegrow.tracer import is_torch_function

_VIEWS = ("view", "view_as")


def takes_channels_last(model: nn.Module) -> bool:
    """Whether a network is sure to take maps whose channels are last in memory.

    ``view`` refuses some such maps, and a function that is not PyTorch's own may call it; what a network that
    is not traced does is not known. The layers of a traced one are PyTorch's.
    """
    return isinstance(model, fx.GraphModule) and all(_takes(node) for node in model.graph.nodes)


def _takes(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target not in _VIEWS
    return node.op != "call_function" or node.target is getattr or is_torch_function(node.target)


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay out images ``(n, c, h, w)`` with channels last in memory; return anything else as it is."""
    if x.ndim != 4:
        return x
    # Not by x.contiguous, which leaves images of one channel as they are: they count as laid out both ways,
    # and the layers after the first would be told nothing.
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
