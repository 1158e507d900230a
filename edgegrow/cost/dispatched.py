"""Multiply-accumulates that PyTorch does, counted where it dispatches: a check of our own counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchedMacs(TorchDispatchMode):
    """Counts convolutions, their gradients and matrix products while it is entered.

    Attributes
    ----------
    macs : int
        What has been counted so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = getattr(func, "overloadpacket", None)
        if kind is torch.ops.aten.convolution:
            self.macs += result.numel() * args[1][0].numel()
        elif kind is torch.ops.aten.convolution_backward:
            self.macs += args[0].numel() * args[2][0].numel() * sum(args[-1][:2])
        elif kind in (torch.ops.aten.mm, torch.ops.aten.addmm):
            a, b = args[-2:]
            self.macs += a.shape[0] * a.shape[1] * b.shape[1]
        return result
