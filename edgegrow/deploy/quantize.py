"""Int8 parameters for a float graph, from the ranges that calibration samples span.

Ranges are minima and maxima: a moving average clips, and costs a tenth of the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgegrow.deploy.calibrate import Range, calibrate, join_ranges, shared_quantization
from edgegrow.deploy.graph import (
    Add,
    Array,
    FloatGraph,
    FullyConnected,
    Graph,
    HardSwish,
    Logistic,
    Mul,
    Operator,
    Tanh,
    Tensor,
    Weighted,
)
from edgegrow.errors import InputError

# A channel 65536 times weaker than its layer's strongest is below every output step; without a floor its
# scale would be 0 where all its weights are, and the runtimes' multipliers would leave their range.
_WEAKEST_CHANNEL = 2.0**-16

# Step of a tensor that is 0 in all of the calibration: any would do; this one leaves the next biases precise.
_DEAD_STEP = 2.0**-10
# TFLM wants the int32 to hold 6 / step where ReLU6 is fused, ...
_FINEST_RELU6 = 2.0**-28
# ... and the steps that a sigmoid or a hyperbolic tangent reads, in its fixed point.
_FINEST_EXPONENT = 2.0**-24
# Steps that depend on each other are raised in turn; those of trained networks never are twice.
_MOST_PASSES = 8


def quantize(float_graph: FloatGraph, calibration: Array) -> Graph:
    """Choose scales and round weights; see `edgegrow.deploy.calibrate.calibrate` and `quantize_within`."""
    return quantize_within(float_graph, calibrate(float_graph, calibration))


def quantize_within(float_graph: FloatGraph, ranges: Mapping[str, Range]) -> Graph:
    """Choose scales that suit the ranges of activations, and round weights.

    Activations are asymmetric int8 whose range contains 0; weights are symmetric int8 within -127..127, one
    scale an output channel (one for all in `FullyConnected`, which older kernels need); biases are int32.

    Parameters
    ----------
    float_graph : FloatGraph
    ranges : mapping
        Name of every tensor to ``(low, high)``, which contains 0, as `edgegrow.deploy.calibrate.calibrate`
        finds them.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        If a weight is not finite, or a layer's sums do not fit 32 bits.
    """
    steps = _Steps.of(float_graph, ranges)
    for _ in range(_MOST_PASSES):
        operators, tensors = _quantize_operators(float_graph, steps)
        if not steps.outdated:
            break
    return Graph(tensors[float_graph.input.name], tensors[float_graph.output.name], tuple(operators))


@dataclass
class _Steps:
    """The steps of tensors, coarse enough for all operators that make or read them.

    Attributes
    ----------
    source : dict
        As `shared_quantization` gives it.
    spans : dict
        Ranges, of the tensors that others share theirs with.
    fixed : dict
        Scales and zero points of those for which a runtime assumes them.
    finest : dict
        Of each, the least step.
    given : set
        Those whose steps have been given to an operator in this pass.
    outdated : bool
        Whether one of them has been raised since.
    """

    source: dict[str, str]
    spans: dict[str, Range]
    fixed: dict[str, tuple[float, int]]
    finest: dict[str, float]
    given: set[str]
    outdated: bool

    @classmethod
    def of(cls, graph: FloatGraph, ranges: Mapping[str, Range]) -> _Steps:
        source = shared_quantization(graph)
        fixed = [(source[op.output.name], op.fixed_quantization) for op in graph.operators]
        return cls(
            source,
            join_ranges(graph, source, ranges),
            {name: assumed for name, assumed in fixed if assumed},
            dict.fromkeys(source.values(), 0.0),
            set(),
            False,
        )

    def start_pass(self) -> None:
        self.given, self.outdated = set(), False

    def raise_to(self, tensor: Tensor, step: float) -> None:
        name = self.source[tensor.name]
        if step > self.finest[name]:
            before = self._step(name)
            self.finest[name] = step
            self.outdated |= name in self.given and self._step(name) != before

    def give(self, tensor: Tensor) -> Tensor:
        """Tensor with its scale and zero point."""
        name = self.source[tensor.name]
        self.given.add(name)
        if name in self.fixed:
            scale, zero_point = self.fixed[name]
            return replace(tensor, scale=scale, zero_point=zero_point)
        scale = self._step(name)
        zero_point = round(-128 - self.spans[name][0] / scale)
        return replace(tensor, scale=scale, zero_point=min(max(zero_point, -128), 127))

    def _step(self, name: str) -> float:
        low, high = self.spans[name]
        return float(np.float32(max((high - low) / 255 or _DEAD_STEP, self.finest[name])))


def _quantize_operators(graph: FloatGraph, steps: _Steps) -> tuple[list[Operator], dict[str, Tensor]]:
    """Quantize with the steps that there are, and raise those that are too fine."""
    steps.start_pass()
    for op in graph.operators:
        if isinstance(op, Logistic | Tanh):
            steps.raise_to(op.inputs[0], _FINEST_EXPONENT)
    tensors = {graph.input.name: steps.give(graph.input)}
    operators: list[Operator] = []
    for op in graph.operators:
        op = replace(op, inputs=tuple(tensors[tensor.name] for tensor in op.inputs))
        if isinstance(op, Weighted):
            op = _quantize_weights(op)
        steps.raise_to(op.output, _finest(op))
        op = replace(op, output=steps.give(op.output))
        tensors[op.output.name] = op.output
        operators.append(op)
    return operators, tensors


def _finest(op: Operator) -> float:
    """Least step of an operator's output, given its quantized inputs."""
    first = op.inputs[0].scale
    finest = _FINEST_RELU6 if getattr(op, "activation", "none") == "relu6" else 0.0
    match op:
        case Weighted():
            # A finer output than the accumulator's own step would carry nothing. As fine a one, by rounding a
            # hair finer, would have a multiplier of 1 or more, which a slower kernel computes.
            return max(finest, first * float(op.weight_scales.max()) * (1 + 1e-6))
        case Add():
            return max(finest, max(tensor.scale for tensor in op.inputs) * 2.0**-7)  # XNNPACK's limit is 2^-8
        case Mul():
            return max(finest, first * op.inputs[1].scale * 2.0**-7)  # the same
        case HardSwish():
            return first * 2.0**-6  # TFLM's limit is 2^-7
    return finest


def _quantize_weights(op: Weighted) -> Weighted:
    per_tensor = isinstance(op, FullyConnected)
    axes = tuple(axis for axis in range(op.weight.ndim) if per_tensor or axis != op.channel_axis)
    if not (np.isfinite(op.weight).all() and np.isfinite(op.bias).all()):
        raise InputError(f"operator {op.name}: it has weights that are not finite: check the training")
    strongest = np.abs(op.weight).max(axes, keepdims=True).astype(np.float64)
    scales = np.maximum(strongest, (strongest.max() or 1.0) * _WEAKEST_CHANNEL) / 127
    # The sum of products needs its part of the 32 bits; a bias that does not fit the rest coarsens the
    # weights.
    room = 2**31 - 1 - op.weight.size // op.bias.size * 255 * 128
    if room < 2**24:
        raise InputError(f"operator {op.name}: its sums can overflow 32 bits: give it fewer inputs")
    step = op.inputs[0].scale
    bias = np.abs(op.bias.astype(np.float64)).reshape(op.along_channels)
    needed = bias.max(keepdims=True) if per_tensor else bias
    scales = np.maximum(scales, needed * (1 + 1e-6) / (room * step)).astype(np.float32)
    return replace(
        op,
        weight=np.rint(op.weight / scales.astype(np.float64)).clip(-127, 127).astype(np.int8),
        bias=np.rint(op.bias / (step * scales.astype(np.float64).ravel())).astype(np.int32),
        weight_scales=scales.ravel(),
    )
