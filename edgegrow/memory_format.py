"""How images lie in memory: convolutions on CPUs are faster where a pixel's channels lie side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import fx, nn

from edgegrow.tracer import is_torch_function

_AS_IT_LIES = ("view", "as_strided", "stride", "is_contiguous", "dim_order", "resize_", "set_")
"""How names begin of what reads a map as it lies in memory: it refuses some orders, or gives other values."""


def arrangement(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what arranges a network's input in memory so that it computes fast; values stay the same.

    Channels are last where the network is sure to take such maps: one that is traced, whose layers are
    PyTorch's. It must not call what depends on the order in memory, nor a function that is not PyTorch's own,
    which might. For any other, channels are first, as PyTorch has them.

    Not looked for is an operation in place after one that copies in one order and not in the other, such as
    ``flatten``: networks where that tells cannot be lowered.
    """
    sure = isinstance(model, fx.GraphModule) and all(_takes_channels_last(node) for node in model.graph.nodes)
    return partial(_laid_out, memory_format=torch.channels_last if sure else torch.contiguous_format)


def _takes_channels_last(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", str(node.target))
    if node.op == "call_method":  # of a tensor, or of a scripted module
        return hasattr(torch.Tensor, name) and not name.startswith(_AS_IT_LIES)
    if node.op == "call_function":
        known = node.target is getattr or is_torch_function(node.target)
        return known and not name.startswith(_AS_IT_LIES)
    return True


def _laid_out(x: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    """Lay out images ``(n, c, h, w)`` in memory; return anything else as it is."""
    if x.ndim != 4:
        return x
    _, c, h, w = x.shape
    last = memory_format == torch.channels_last
    if x.stride() == ((c * h * w, 1, c * w, c) if last else (c * h * w, h * w, w, 1)):
        return x
    # Not by x.contiguous, which leaves images of one channel as they are: they count as laid out both ways,
    # and layers go by strides that tell nothing.
    return torch.empty_like(x, memory_format=memory_format).copy_(x)
