"""Norms of the filters that a batch norm follows: they decide how fast these learn, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.surgery import Momenta, momenta_of


def filter_norms(trace: NetworkTrace) -> dict[str, float]:
    """Mean norm of a filter of every layer that a batch norm directly follows, ``{layer path: norm}``."""
    norms = {}
    for layer in trace.layers:
        if layer.norm:
            weight: nn.Parameter = trace.module(layer.shape.name).weight  # type: ignore[assignment]
            norms[layer.shape.name] = weight.detach().flatten(1).norm(dim=1).mean().item()
    return norms


@torch.no_grad()
def rescale_filters(trace: NetworkTrace, norms: Mapping[str, float], state: Momenta | None = None) -> None:
    """Give filters that a batch norm follows a norm of ``norms``; the network's function stays as it is.

    Under batch norm the effective learning rate of a filter is ``lr / ||w||**2``, and trained filters are
    some three times longer than fresh ones: inherited as they are, they learn nine times more slowly, and it
    is this that makes a grown network lose to one trained from scratch.

    Parameters
    ----------
    trace : NetworkTrace
        The network; changed in place.
    norms : mapping
        ``{layer path: norm}``, as `filter_norms` gave at initialisation.
    state : mapping, optional
        The optimiser's ``state``; momentum is scaled as the gradient is, by the inverse.
    """
    state = {} if state is None else state
    for layer in trace.layers:
        name = layer.shape.name
        if not layer.norm or name not in norms:
            continue
        module, norm = trace.module(layer.shape.name), trace.module(layer.norm)
        weight: nn.Parameter = module.weight  # type: ignore[assignment]
        lengths = weight.flatten(1).norm(dim=1)
        scale = torch.where(lengths > 0, norms[name] / lengths.clamp_min(1e-12), torch.ones_like(lengths))
        shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
        weight.mul_(shaped)
        for own, key in list(momenta_of(state, weight)):
            own[key] = own[key] / shaped
        if isinstance(module.bias, nn.Parameter):
            module.bias.mul_(scale)
            for own, key in list(momenta_of(state, module.bias)):
                own[key] = own[key] / scale
        eps: float = norm.eps  # type: ignore[assignment]
        norm.running_mean *= scale  # type: ignore[operator]
        # (var + eps) scales exactly, so that the function does, down to variances that eps outweighs.
        norm.running_var = ((norm.running_var + eps) * scale**2 - eps).clamp_min(0.0)  # type: ignore[operator]
