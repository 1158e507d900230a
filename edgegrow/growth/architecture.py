"""What growth has found, without its weights: widths of channel groups, blocks inserted, kernels narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgegrow.errors import InputError
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves.replaying import replay
from edgegrow.growth.surgery import resize

Records = Sequence[Mapping[str, str]]
"""What has restructured it, in order, as `edgegrow.growth.moves.insertion.Insertion.to_json` gives it."""


@dataclass(frozen=True)
class Architecture:
    """A grown network's shape, relative to the seed network that it grew from.

    Attributes
    ----------
    widths : mapping
        ``{group name: channels}``.
    insertions : sequence of mapping
        Records of inserted blocks, and of narrowed kernels, in order.
    """

    widths: Mapping[str, int]
    insertions: Records = ()

    def build(self, seed: NetworkTrace) -> NetworkTrace:
        """Give a freshly built seed network this architecture, in place; its weights are of no account.

        Raises
        ------
        InputError
            If it is the architecture of another network.
        """
        trace = replay(seed, self.insertions)
        if set(trace.widths()) != set(self.widths):
            raise InputError("checkpoint: the net has other channel groups now: its code has changed")
        resize(trace, self.widths)
        return trace


def initialise(trace: NetworkTrace, seed: int) -> None:
    """Give a network fresh weights: each layer's own initialisation in PyTorch, drawn from the seed.

    Parameters that no ``reset_parameters`` of their module draws anew stay as they are. What a
    parametrization computes, such as a weight norm, is drawn and given to it.

    Parameters
    ----------
    trace : NetworkTrace
        Of any widths; changed in place. Its architecture stays as it is.
    seed : int
        The global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in trace.graph.modules():
            if not callable(reset := getattr(module, "reset_parameters", None)):
                continue
            with torch.no_grad(), parametrize.cached():
                reset()  # in place, which changes the cached tensors of parametrizations alone
                drawn = {name: getattr(module, name).clone() for name in _parametrized(module)}
            for name, tensor in drawn.items():
                setattr(module, name, tensor)


def _parametrized(module: nn.Module) -> list[str]:
    """Name the parameters of a module that parametrizations compute."""
    if not parametrize.is_parametrized(module):
        return []
    return [name for name, _ in module.get_submodule("parametrizations").named_children()]
