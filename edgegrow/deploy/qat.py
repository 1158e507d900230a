"""The network of quantization-aware training: a float graph that computes as the device will, and learns.

Every forward pass quantizes the present weights as `edgegrow.deploy.quantize` does, and rounds and clamps
every activation as the device will; so the loss is the deployed network's. Backward, rounding counts as the
identity (Bengio et al., arXiv:1308.3432), and what is clamped has no gradient (Jacob et al.,
arXiv:1712.05877, section 3).

The ranges of activations stay what calibration found. On networks whose quantization was bad, ranges that
were calibrated again every epoch, or learnt, did no better (docs/results/qat.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from edgegrow.deploy.evaluate import compute, evaluate
from edgegrow.deploy.fixed_point import clamp_limits
from edgegrow.deploy.graph import Array, FloatGraph, Graph, Operator, Tensor, Weighted
from edgegrow.deploy.quantize import quantize_within


class FakeQuantized(nn.Module):
    """A float graph whose weights and biases are parameters, and whose every value is one that int8 can hold.

    Operators that share a weight or bias, being one module called twice, share its parameter; not where
    norms of their own are folded in (`edgegrow.deploy.operators.Weighted.stored_as`).

    Parameters
    ----------
    float_graph : FloatGraph
        Where the parameters start; it is not changed.
    ranges : mapping
        Name of every activation to ``(low, high)``, as `edgegrow.deploy.calibrate.calibrate` finds them.
    """

    def __init__(self, float_graph: FloatGraph, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.start = float_graph
        self.values = nn.ParameterList()
        self.places: dict[str, tuple[int, int]] = {}
        """Output of an operator -> where in `values` its weight and its bias are."""
        known: dict[tuple[object, ...], int] = {}
        for op in float_graph.operators:
            if isinstance(op, Weighted):
                weight, bias = (self._place(op, array, known) for array in (op.weight, op.bias))
                self.places[op.output.name] = weight, bias

    def _place(self, op: Weighted, array: Array, known: dict[tuple[object, ...], int]) -> int:
        key = op.stored_as, array.ndim, array.tobytes()
        if key not in known:
            known[key] = len(self.values)
            self.values.append(nn.Parameter(torch.tensor(array, dtype=torch.float32)))
        return known[key]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of samples ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``."""
        graph = self.graph()
        x = x.movedim(1, -1)
        x = x[:, None] if x.ndim == 3 else x
        values = {graph.input.name: _rounded(x, graph.input)}
        for op in graph.operators:
            values[op.output.name] = self.run(op, [values[tensor.name] for tensor in op.inputs])
        return values[graph.output.name].flatten(1)

    def run(self, op: Operator, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute an operator of `graph` from real values that its int8 inputs stand for, ``(n, h, w, c)``.

        What comes out are such values too. It differs from the device's by one step here and there: the
        device rounds twice.
        """
        y = compute(op, inputs, *self._dequantized(op))
        return _rounded(y, op.output, *clamp_limits(op))

    def _dequantized(self, op: Operator) -> Iterator[torch.Tensor]:
        """Yield what the device's weight and bias stand for; their gradients are the parameters'."""
        if isinstance(op, Weighted):
            scales = op.weight_scales.astype(np.float64)
            weight = op.weight * scales.reshape(op.along_channels)
            bias = op.bias * (op.inputs[0].scale * scales)
            for place, array in zip(self.places[op.output.name], (weight, bias), strict=True):
                parameter = self.values[place]
                # An exact zero, whose gradient is one.
                yield torch.from_numpy(array.astype(np.float32)) + (parameter - parameter.detach())

    def float_graph(self) -> FloatGraph:
        """Return the float graph with the present parameters."""
        operators = []
        for op in self.start.operators:
            if isinstance(op, Weighted):
                weight, bias = (self.values[i].detach().numpy().copy() for i in self.places[op.output.name])
                op = replace(op, weight=weight, bias=bias)
            operators.append(op)
        return replace(self.start, operators=tuple(operators))

    def graph(self) -> Graph:
        """Return the quantized graph with the present parameters: what is deployed.

        Raises
        ------
        InputError
            If a parameter is not finite, or a layer's sums do not fit 32 bits.
        """
        return quantize_within(self.float_graph(), self.ranges)


def check_trainable(float_graph: FloatGraph) -> None:
    """Refuse a graph that cannot be trained, before anything is.

    Raises
    ------
    UnsupportedError
        At the first operator that has no float form; names it.
    """
    _, *rest = float_graph.input.shape
    channels = rest.pop()
    size = rest[1:] if rest[:1] == [1] else rest  # either way `(1, channels, *size)` is its layout
    evaluate(float_graph, np.zeros((1, channels, *size), np.float32))


def _rounded(x: torch.Tensor, tensor: Tensor, low: int = -128, high: int = 127) -> torch.Tensor:
    """Round to the steps of a tensor and clamp to ``low .. high``; the gradient passes where not clamped."""
    y: torch.Tensor = torch.fake_quantize_per_tensor_affine(x, tensor.scale, tensor.zero_point, low, high)
    return y
