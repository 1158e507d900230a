"""Moving weights a little, to try what is followed through a network: zeros would hide what is behind."""

from __future__ import annotations

import torch
from torch import nn

_SHARE = 0.1
"""Of a parameter's own scale: deep networks' outputs stay finite."""


@torch.no_grad()
def perturb(module: nn.Module) -> None:
    """Move every parameter by a tenth of its root mean square, the same way each time; zeros by more.

    A weight of zeros is drawn as an initialisation would, by its inputs; a vector of zeros, as the scales
    of a norm that begins closed, is moved by a tenth.
    """
    rng = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if not parameter.is_floating_point() or not parameter.numel():
            continue
        scale = _SHARE * float(parameter.detach().double().square().mean().sqrt())
        if not scale:
            scale = _SHARE if parameter.ndim < 2 else (len(parameter) / parameter.numel()) ** 0.5
        parameter.add_(scale * torch.randn(parameter.shape, generator=rng).to(parameter))
