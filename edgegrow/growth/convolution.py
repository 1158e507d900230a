"""Convolutions and batch norms that are cheap to differentiate twice.

A convolution is bilinear: its two gradients are of its own kind, and so are theirs. PyTorch's second
derivative computes the gradient of a weight by a convolution whose kernel is a whole map, group after group;
here it is the gradient that training computes. A batch norm in evaluation is a factor and a shift of every
channel, which the filters before it can take.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import fx, nn

from edgegrow.growth.tracing.operations import CONVS


class _Geometry(NamedTuple):
    """How a kernel moves over a map."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def _convolve(
    x: torch.Tensor, weight: torch.Tensor, geometry: _Geometry, bias: torch.Tensor | None = None
) -> torch.Tensor:
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution(
        x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
    )


def _gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: _Geometry, of_input: bool
) -> torch.Tensor:
    """Gradient of ``<grad, x * weight>`` by ``x`` or by ``weight``; of that tensor only the shape is read."""
    stride, padding, dilation, groups = geometry
    wanted = [of_input, not of_input, False]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0] * len(stride), groups, wanted
    )
    return found[0] if of_input else found[1]


class _Convolution(torch.autograd.Function):
    """``x * weight + bias``; the bias is a constant."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return _convolve(x, weight, geometry, bias)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        by_x, by_weight = ctx.needs_input_grad[:2]
        return (
            _InputGradient.apply(grad, x, weight, ctx.geometry) if by_x else None,
            _WeightGradient.apply(grad, x, weight, ctx.geometry) if by_weight else None,
            None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    """Bilinear in ``grad`` and ``weight``."""

    @staticmethod
    def forward(ctx, grad, x, weight, geometry):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        return _gradient(grad, x, weight, geometry, of_input=True)

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        grad, _, weight = ctx.saved_tensors
        by_grad, _, by_weight = ctx.needs_input_grad[:3]
        return (
            _convolve(outer, weight, ctx.geometry) if by_grad else None,
            None,
            _gradient(grad, outer, weight, ctx.geometry, of_input=False) if by_weight else None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """Bilinear in ``grad`` and ``x``."""

    @staticmethod
    def forward(ctx, grad, x, weight, geometry):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(grad, x)
        ctx.geometry = geometry
        return _gradient(grad, x, weight, geometry, of_input=False)

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        grad, x = ctx.saved_tensors
        by_grad, by_x = ctx.needs_input_grad[:2]
        return (
            _convolve(x, outer, ctx.geometry) if by_grad else None,
            _gradient(grad, x, outer, ctx.geometry, of_input=True) if by_x else None,
            None,
            None,
        )


def foldable_norms(graph: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Batch norms that alone read a convolution which can take them, ``{convolution: norm}``."""
    modules = dict(graph.named_modules())
    found = {}
    for node in graph.graph.nodes:
        if node.op != "call_module" or not _is_affine(modules[node.target]):
            continue
        (read,) = node.all_input_nodes
        if read.op == "call_module" and _is_bilinear(modules[read.target]) and len(read.users) == 1:
            found[read] = node
    return found


def twice_differentiable(
    module: nn.Module | None, x: torch.Tensor, norm: nn.Module | None = None
) -> torch.Tensor | None:
    """Run a convolution or a batch norm in evaluation, cheap to differentiate twice; ``None`` for any other.

    Derivatives are exact by ``x`` and by the convolution's weight; its bias and the norm are constants.

    Parameters
    ----------
    module : nn.Module or None
        What to run.
    x : torch.Tensor
        ``(n, c, ...)``.
    norm : nn.Module, optional
        The batch norm after a convolution, as `foldable_norms` finds it: it is run too.
    """
    if module is not None and _is_affine(module):
        factor, shift = (t.reshape(-1, *[1] * (x.ndim - 2)) for t in _affine(module))
        return x * factor + shift
    if module is None or not _is_bilinear(module):
        return None
    conv: Any = module
    weight, bias = conv.weight, None if conv.bias is None else conv.bias.detach()
    if norm is not None:
        factor, shift = _affine(norm)
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        bias = shift if bias is None else factor * bias + shift
    geometry = _Geometry(list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups)
    result: torch.Tensor = _Convolution.apply(x, weight, bias, geometry)
    return result


def _is_bilinear(module: nn.Module) -> bool:
    if not isinstance(module, CONVS):
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_affine(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None


def _affine(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and shift ``(c,)`` of a batch norm in evaluation."""
    factor = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.detach()
    shift = -factor * norm.running_mean
    return factor, shift if norm.bias is None else shift + norm.bias.detach()
