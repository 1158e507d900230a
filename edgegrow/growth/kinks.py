"""Activations with kinks, given the curvature of a smooth bend: splitting sees nothing but curvature.

A ReLU's second derivative is 0 almost everywhere; what a split gains lies in the kink. Values and slopes stay
exact, and the second derivative is that of a softplus in the place of each kink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from edgegrow.growth.tracing.operations import name_of

KINK_SHARPNESS = 3.0
"""``beta`` of the softplus whose curvature stands for that of a ReLU's kink (as the authors' code has it)."""


class _KinkedSlope(torch.autograd.Function):
    """The gradient of ``clamp(z, 0, top)``, differentiated as if its kinks were softplus bends."""

    @staticmethod
    def forward(ctx, grad, z, top):  # type: ignore[no-untyped-def]
        curvature = _softplus_curvature(z)
        if top != float("inf"):
            curvature -= _softplus_curvature(z - top)
        # All products with one graph have this factor.
        ctx.save_for_backward(z, grad * curvature)
        ctx.top = top
        return _clamped_gradient(grad, z, top)

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        z, curved = ctx.saved_tensors
        by_grad, by_z, _ = ctx.needs_input_grad
        return (
            _clamped_gradient(outer, z, ctx.top) if by_grad else None,
            outer * curved if by_z else None,
            None,
        )


def _clamped_gradient(grad: torch.Tensor, z: torch.Tensor, top: float) -> torch.Tensor:
    """Gradient of ``clamp(z, 0, top)``: none where it is clamped."""
    if top == float("inf"):
        return torch.ops.aten.threshold_backward(grad, z, 0)
    return torch.ops.aten.hardtanh_backward(grad, z, 0.0, top)


class _KinkedClamp(torch.autograd.Function):
    """``clamp(z, 0, top)``: its values and gradient are exact, its second derivative is the surrogate's."""

    @staticmethod
    def forward(ctx, z, top):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z)
        ctx.top = top
        return z.clamp(0.0, top)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (z,) = ctx.saved_tensors
        if not torch.is_grad_enabled():  # it will not be differentiated again
            return _clamped_gradient(grad, z, ctx.top), None
        return _KinkedSlope.apply(grad, z, ctx.top), None


def _softplus_curvature(z: torch.Tensor) -> torch.Tensor:
    """Second derivative of ``softplus(beta z) / beta``: ``beta s (1 - s)``, ``s = sigmoid(beta z)``."""
    s = torch.sigmoid(KINK_SHARPNESS * z)
    return KINK_SHARPNESS * s * (1 - s)


def _clamp(z: torch.Tensor, top: float) -> torch.Tensor:
    smeared: torch.Tensor = _KinkedClamp.apply(z, top)
    return smeared


def _relu(z: torch.Tensor) -> torch.Tensor:
    return _clamp(z, float("inf"))


def _hardsigmoid(z: torch.Tensor) -> torch.Tensor:
    return _clamp(z + 3.0, 6.0) / 6.0


_SMEARED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": _relu,
    "relu6": lambda z: _clamp(z, 6.0),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda z: z * _hardsigmoid(z),
}


def kinked(
    node: fx.Node, module: nn.Module | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> torch.Tensor | None:
    """Run a node that is an activation with kinks, smeared; ``None`` for any other node.

    Parameters
    ----------
    node : fx.Node
        What to run.
    module : nn.Module or None
        The module it calls.
    args, kwargs
        Values of its arguments.
    """
    if node.op not in ("call_module", "call_function", "call_method"):
        return None
    name = name_of(node, module)
    if name == "leakyrelu":
        slope = module.negative_slope if module is not None else _slope(*args, **kwargs)
        return slope * args[0] + (1 - slope) * _relu(args[0])  # type: ignore[operator]
    if isinstance(module, nn.PReLU):
        z = args[0]
        slopes = module.weight.reshape(-1, *[1] * (z.ndim - 2))
        return slopes * z + (1 - slopes) * _relu(z)
    smeared = _SMEARED.get(name)
    return None if smeared is None else smeared(args[0] if args else kwargs["input"])


def _slope(input: torch.Tensor, negative_slope: float = 0.01, inplace: bool = False) -> float:
    return negative_slope
