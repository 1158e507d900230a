"""Whether a float graph computes what its network does: tried before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.graph import FloatGraph
from edgegrow.errors import UnsupportedError

_SAMPLES = 2
_TOLERANCE = 1e-2
"""Of the outputs' scale: folding norms and summing in another order stay far below it."""


def check_agreement(module: nn.Module, graph: FloatGraph, input_shape: Sequence[int]) -> None:
    """Compare a network's outputs with those of its float graph.

    Parameters
    ----------
    module : nn.Module
        What `edgegrow.deploy.lower.lower` made the graph of; it is not changed.
    graph : FloatGraph
    input_shape : sequence of int
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample.

    Raises
    ------
    UnsupportedError
        If they differ: something in the network is neither traced nor refused.
    """
    x = torch.randn(_SAMPLES, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = copy.deepcopy(module).eval().cpu().float()(x).numpy()
    error, scale = np.abs(evaluate(graph, x.numpy()) - expected).max(), np.abs(expected).max()
    if error > _TOLERANCE * scale:
        raise UnsupportedError(
            "network: what would be deployed computes something else (outputs of up to "
            f"{scale:.2g} differ by {error:.2g}): keep to layers of "
            "torch.nn as they are, without hooks for all modules"
        )
