"""Activations with kinks, given the curvature of a smooth bend: splitting sees nothing but curvature.

A ReLU's second derivative is 0 almost everywhere; what a split gains lies in the kink. Values and slopes stay
exact, and the second derivative is that of a softplus in the place of each kink.

A maximum has kinks where its two greatest arguments are equal. Since ``max(a, b) = b + relu(a - b)``, the
same bend makes it ``log(exp(beta a) + exp(beta b)) / beta``; of more arguments likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgegrow.growth.tracing.operations import name_of

KINK_SHARPNESS = 3.0
"""``beta`` of the softplus whose curvature stands for that of a ReLU's kink (as the authors' code has it)."""

_FAR = 1e9
"""Distance below all others of what takes no part in a maximum."""


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


class _KinkedMaximum(torch.autograd.Function):
    """Maximum of ``(..., k)`` over the last axis: its second derivative is that of the surrogate."""

    @staticmethod
    def forward(ctx, z):  # type: ignore[no-untyped-def]
        values, places = z.max(dim=-1, keepdim=True)
        ctx.save_for_backward(z, places)
        return values.squeeze(-1)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z, places = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return torch.zeros_like(z).scatter_(-1, places, grad.unsqueeze(-1))
        return _MaximumSlope.apply(grad, z, places)


class _MaximumSlope(torch.autograd.Function):
    """The gradient of a maximum, differentiated as that of a logarithm of a sum of exponentials."""

    @staticmethod
    def forward(ctx, grad, z, places):  # type: ignore[no-untyped-def]
        # What a ReLU has clamped does not move: the kink between it and the rest is the ReLU's own.
        moving = (KINK_SHARPNESS * z).masked_fill_(z == 0, -_FAR)
        ctx.save_for_backward(grad, torch.softmax(moving, dim=-1), places)
        return torch.zeros_like(z).scatter_(-1, places, grad.unsqueeze(-1))

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        grad, shares, places = ctx.saved_tensors
        by_grad, by_z, _ = ctx.needs_input_grad
        weighted = shares * outer
        centred = weighted - shares * weighted.sum(-1, keepdim=True)
        return (
            outer.gather(-1, places).squeeze(-1) if by_grad else None,
            KINK_SHARPNESS * grad.unsqueeze(-1) * centred if by_z else None,
            None,
        )


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


def _max_pool(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor | None:
    """Maxima of windows of ``(n, c, length)`` or ``(n, c, h, w)``; ``None`` where they are dilated or cut."""
    rank = input.ndim - 2
    size, step, pad, apart = (
        [value] * rank if isinstance(value, int) else list(value) * (rank if len(value) == 1 else 1)
        for value in (kernel_size, kernel_size if stride in (None, [], ()) else stride, padding, dilation)
    )
    if apart != [1] * rank or ceil_mode or return_indices:
        return None
    # PyTorch lists the last axis first.
    windows = F.pad(input, [n for n in reversed(pad) for _ in (0, 1)], value=float("-inf"))
    for axis in range(rank):
        windows = windows.unfold(2 + axis, size[axis], step[axis])
    maxima: torch.Tensor = _KinkedMaximum.apply(windows.flatten(-rank))
    return maxima


_SMEARED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": _relu,
    "relu6": lambda z: _clamp(z, 6.0),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda z: z * _hardsigmoid(z),
}


def kinked(
    node: fx.Node, module: nn.Module | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> torch.Tensor | None:
    """Run a node that is an activation or a maximum with kinks, smeared; ``None`` for any other node.

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
    if name in ("maxpool1d", "maxpool2d"):
        if module is None:
            return _max_pool(*args, **kwargs)
        options = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        return _max_pool(args[0], *(getattr(module, option) for option in options))
    smeared = _SMEARED.get(name)
    return None if smeared is None else smeared(args[0] if args else kwargs["input"])


def _slope(input: torch.Tensor, negative_slope: float = 0.01, inplace: bool = False) -> float:
    return negative_slope
