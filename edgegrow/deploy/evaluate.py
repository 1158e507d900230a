"""Run the float graph, in PyTorch: what calibration sees, and what quantization is judged against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from edgegrow.deploy.graph import (
    Add,
    Array,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FloatGraph,
    FullyConnected,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mul,
    Operator,
    Pads,
    Relu,
    Reshape,
    Tanh,
    UpsampleNearest2D,
    Weighted,
    channels_last,
)
from edgegrow.errors import UnsupportedError

_BATCH = 64  # samples at a time: their maps stay in the cache


def activations(graph: FloatGraph, x: Array) -> Iterator[dict[str, torch.Tensor]]:
    """Compute every tensor of the graph, some samples at a time.

    Parameters
    ----------
    graph : FloatGraph
    x : ndarray
        Samples ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``.

    Yields
    ------
    dict
        Tensor name to float32 values ``(batch, h, w, c)`` or ``(batch, features)``.

    Raises
    ------
    InputError
        If the samples' shape is another than the graph's.
    """
    samples = torch.from_numpy(np.ascontiguousarray(channels_last(x, graph.input.shape), np.float32))
    for batch in samples.split(_BATCH):
        values = {graph.input.name: batch}
        with torch.no_grad():
            for op in graph.operators:
                inputs = [values[tensor.name] for tensor in op.inputs]
                values[op.output.name] = compute(op, inputs, *parameters(op))
        yield values


def evaluate(graph: FloatGraph, x: Array) -> Array:
    """Logits ``(n, classes)``, float32, of samples as `activations` takes them."""
    outputs = [values[graph.output.name].flatten(1) for values in activations(graph, x)]
    return torch.cat(outputs).numpy()


def parameters(op: Operator) -> tuple[torch.Tensor, ...]:
    """Weight and bias of an operator, nothing for one without; they share the graph's memory."""
    return (torch.from_numpy(op.weight), torch.from_numpy(op.bias)) if isinstance(op, Weighted) else ()


def compute(
    op: Operator,
    inputs: Sequence[torch.Tensor],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute one operator in float; gradients flow to its inputs, weight and bias.

    Parameters
    ----------
    op : Operator
    inputs : sequence of Tensor
        Values ``(n, h, w, c)`` or ``(n, features)`` of its inputs.
    weight, bias : Tensor, optional
        Of an operator that has them, in its layout; they take the place of its own.

    Raises
    ------
    UnsupportedError
        If it is an operator that no float graph has.
    """
    x = inputs[0]
    match op:
        case Conv2D() | DepthwiseConv2D():
            assert weight is not None
            depthwise = isinstance(op, DepthwiseConv2D)
            y = F.conv2d(
                _padded(x, op.window.pads(x.shape[1:3]), 0.0),
                weight.permute(3, 0, 1, 2) if depthwise else weight.permute(0, 3, 1, 2),
                bias,
                op.window.stride,
                groups=x.shape[3] if depthwise else 1,
            ).permute(0, 2, 3, 1)
        case FullyConnected():
            assert weight is not None
            y = F.linear(x.flatten(1), weight, bias)
        case Add():
            y = x + inputs[1]
        case MaxPool2D(window=window):
            padded = _padded(x, window.pads(x.shape[1:3]), -torch.inf)
            y = F.max_pool2d(padded, window.size, window.stride).permute(0, 2, 3, 1)
        case AveragePool2D(window=window):
            pads = window.pads(x.shape[1:3])
            sums = F.avg_pool2d(_padded(x, pads, 0.0), window.size, window.stride)
            share = F.avg_pool2d(_padded(torch.ones_like(x[:1]), pads, 0.0), window.size, window.stride)
            y = (sums / share).permute(0, 2, 3, 1)
        case Mul():
            y = x * inputs[1]
        case Relu():
            y = x
        case Logistic():
            y = x.sigmoid()
        case Tanh():
            y = x.tanh()
        case HardSwish():
            y = F.hardswish(x)
        case Concatenation(axis=axis):
            y = torch.cat(list(inputs), axis)
        case Reshape():
            y = x.reshape(len(x), *op.output.shape[1:])
        case UpsampleNearest2D(factor=(vertical, horizontal)):
            y = x.repeat_interleave(vertical, dim=1).repeat_interleave(horizontal, dim=2)
        case _:
            raise UnsupportedError(
                f"operator {op.name}: {type(op).__name__} has no float form: read it from files alone"
            )
    match getattr(op, "activation", "none"):
        case "relu":
            return y.relu()
        case "relu6":
            return y.clamp(0, 6)
        case "unit":
            return y.clamp(0, 1)
    return y


def _padded(x: torch.Tensor, pads: Pads, value: float) -> torch.Tensor:
    """NCHW view of an NHWC map, with `value` around it."""
    (top, bottom), (left, right) = pads
    return F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=value)
