r"""Kernels narrowed to three taps: what wide ones cost goes into channels.

Under a budget of few multiply-accumulates a kernel of five is paid for in channels: three taps leave room for
more of them. So all kernels above three are cut to their centres together, once. It is the one kind that does
not leave the function as it is: as taps ``w`` go, the loss changes by

    change = -sum(dL/dw w),

at first order: the Taylor criterion of pruning, with its sign (Molchanov, Mallya, Tyree, Frosio, Kautz,
"Importance Estimation for Neural Network Pruning", CVPR 2019, section 3.1). The change is made whole,
whatever the step. Trained taps are not small and batch norms do not know the new statistics, so that the loss
rises by more right after; what training makes of it decides, and the number ranks nothing: a network has one
such candidate. What the channels win that are bought for it, their own moves say.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch

from edgegrow.cost.layers import count_macs
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.moves.blocks import Restructuring
from edgegrow.growth.moves.calibration import evaluating
from edgegrow.growth.moves.kernels import find_trim, find_wide, narrow_kernels
from edgegrow.growth.moves.protocol import Context, outputs
from edgegrow.training import TRAIN_PASSES


@dataclass(frozen=True, eq=False, kw_only=True)
class Trimming(Restructuring):
    """All kernels above three to be narrowed. It adds no layers: it makes those there are cheaper.

    Attributes
    ----------
    change : float
        Of the loss, at first order.
    """

    change: float
    frees: ClassVar[bool] = True

    def made(self, network: NetworkTrace) -> NetworkTrace:
        """See `Restructuring`."""
        return narrow_kernels(network)

    def predicted(self, step: float) -> float:
        """See `Move`: the same at every step."""
        return self.change


def offer(context: Context) -> list[Trimming]:
    """Offer to narrow the network's kernels; nothing where none can be, as where they have been before."""
    trace = deepcopy(context.trace)
    trace.graph.requires_grad_(True)
    wide = find_wide(trace)
    if not wide:
        return []
    weights, change = [one.conv.weight for one in wide], 0.0
    with evaluating(trace.graph):
        for x, y in context.batches:
            loss = context.mean_loss(outputs(trace.graph, x), y)
            gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            for one, weight, gradient in zip(wide, weights, gradients, strict=True):
                effect = gradient * weight.detach()
                change -= (effect.sum() - one.centre(effect).sum()).item()
    context.macs += TRAIN_PASSES * context.samples * count_macs(trace.shapes(trace.widths()))
    return [
        Trimming(kind="trim", group=record.after, insertion=record, change=change)
        for record in find_trim(trace)
    ]
