"""Whether a float graph computes what its network does: tried before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgegrow.deploy.evaluate import evaluate
from edgegrow.deploy.lower import lower
from edgegrow.errors import UnsupportedError
from edgegrow.perturb import perturb

_SAMPLES = 2
_TOLERANCE = 1e-2
"""Of the outputs' scale: folding norms and summing in another order stay far below it."""


def check_agreement(module: nn.Module, input_shape: Sequence[int]) -> None:
    """Compare a network's outputs with those of its float graph.

    Its parameters are a little moved for it: a layer of zeros would hide what lies before it.

    Parameters
    ----------
    module : nn.Module
        What `edgegrow.deploy.lower.lower` takes; it is not changed.
    input_shape : sequence of int
        ``(c, h, w)``, ``(c, length)`` or ``(features,)`` of one sample.

    Raises
    ------
    UnsupportedError
        If they differ: something in the network is neither traced nor refused; or it cannot be lowered.
    """
    module = copy.deepcopy(module).eval().cpu().float()
    perturb(module)
    x = torch.randn(_SAMPLES, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(x).numpy()
    found = evaluate(lower(module, input_shape), x.numpy())
    error, scale = np.abs(found - expected).max(), np.abs(expected).max()
    if not error <= _TOLERANCE * scale:  # also where either is no number
        raise UnsupportedError(
            "network: what would be deployed computes something else (outputs of up to "
            f"{scale:.2g} differ by {error:.2g}): keep to layers of "
            "torch.nn as they are, without hooks for all modules"
        )
