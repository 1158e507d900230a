"""Statistics of batch norms that have not seen any data yet: those of new channels and new layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from edgegrow.growth.moves.protocol import outputs


@contextmanager
def evaluating(graph: fx.GraphModule) -> Iterator[None]:
    """Put a network into evaluation mode for a while."""
    training = graph.training
    graph.eval()
    try:
        yield
    finally:
        graph.train(training)


@torch.no_grad()
def calibrate(graph: fx.GraphModule, x: Any, channels: Mapping[str, torch.Tensor]) -> None:
    """Set running means and variances of some channels to what they are on some samples.

    One pass in evaluation mode: each norm is set just before it acts, so that those behind it see its effect.

    Parameters
    ----------
    graph : fx.GraphModule
        The network; only the statistics change.
    x : torch.Tensor or tuple
        Samples, as of a `Batch`.
    channels : mapping
        ``{path of a batch norm: channels (m,)}``; norms without running statistics are passed over.
    """

    def set_statistics(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        chosen = wanted[norm]
        values = inputs[0][:, chosen].transpose(0, 1).flatten(1)
        norm.running_mean[chosen] = values.mean(1)  # type: ignore[operator]
        norm.running_var[chosen] = values.var(1, unbiased=False)  # type: ignore[operator]

    modules = {graph.get_submodule(name): chosen for name, chosen in channels.items()}
    wanted = {m: c for m, c in modules.items() if getattr(m, "running_mean", None) is not None}
    handles = [module.register_forward_pre_hook(set_statistics) for module in wanted]
    try:
        with evaluating(graph):
            outputs(graph, x)
    finally:
        for handle in handles:
            handle.remove()
