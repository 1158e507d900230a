"""fvcore's count of multiply-accumulates: an independent check of our own.

It traces the network, which is too slow for a growth loop, and counts what `edgegrow.cost.layers` counts.
"""

from __future__ import annotations

import logging
from copy import deepcopy

import torch
from torch import nn

_COUNTED = {"conv", "linear", "addmm", "matmul"}


def fvcore_macs(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one inference by fvcore: convolutions and linear layers only.

    Parameters
    ----------
    module : nn.Module
        Any network; it is left as it is.
    input_shape : tuple of int
        Shape of one sample, without the batch.
    """
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    copy = deepcopy(module).eval()  # it gets hooks, and keeps them where counting fails
    analysis = FlopCountAnalysis(copy, torch.zeros(1, *input_shape))
    counts = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return int(sum(count for operator, count in counts.items() if operator in _COUNTED))
