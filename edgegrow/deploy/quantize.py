"""Int8 parameters for a float graph, from the ranges that calibration samples span.

Ranges are minima and maxima: a moving average clips, and costs a tenth of the accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgegrow.deploy.evaluate import activations
from edgegrow.deploy.graph import (
    Add,
    Array,
    FloatGraph,
    FullyConnected,
    Graph,
    Pool,
    Tensor,
    Weighted,
)
from edgegrow.errors import InputError

# A channel 65536 times weaker than its layer's strongest is below every output step; without a floor its
# scale would be 0 where all its weights are, and the runtimes' multipliers would leave their range.
_WEAKEST_CHANNEL = 2.0**-16
# XNNPACK adds only tensors whose steps are within 2^-10 of the sum's, whose range is at most twice as wide.
_WEAKEST_SUMMAND = 2.0**-8

# Step of a tensor that is 0 in all of the calibration: any would do; this one leaves the next biases precise.
_DEAD_STEP = 2.0**-10
# TFLM wants the int32 to hold 6 / step where ReLU6 is fused.
_FINEST_RELU6 = 2.0**-28


def quantize(float_graph: FloatGraph, calibration: Array) -> Graph:
    """Choose scales and round weights; see `calibrate` and `quantize_within`."""
    return quantize_within(float_graph, calibrate(float_graph, calibration))


def quantize_within(float_graph: FloatGraph, ranges: Mapping[str, tuple[float, float]]) -> Graph:
    """Choose scales that suit the ranges of activations, and round weights.

    Activations are asymmetric int8 whose range contains 0; weights are symmetric int8 within -127..127, one
    scale an output channel (one for all in `FullyConnected`, which older kernels need); biases are int32.

    Parameters
    ----------
    float_graph : FloatGraph
    ranges : mapping
        Name of every tensor to ``(low, high)``, which contains 0, as `calibrate` finds them.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        If a weight is not finite, or a layer's sums do not fit 32 bits.
    """
    low, high = ranges[float_graph.input.name]
    network_input = _quantized(float_graph.input, low, high, 0.0)
    tensors = {network_input.name: network_input}
    operators = []
    for op in float_graph.operators:
        op = replace(op, inputs=tuple(tensors[tensor.name] for tensor in op.inputs))
        step = op.inputs[0].scale
        if isinstance(op, Pool):
            output = replace(op.output, scale=step, zero_point=op.inputs[0].zero_point)
        else:
            if isinstance(op, Weighted):
                op = _quantize_weights(op)
                # A finer output than the accumulator's own step would carry nothing.
                finest = step * float(op.weight_scales.max())
            else:
                finest = max(tensor.scale for tensor in op.inputs) * 2.0**-7  # XNNPACK's limit is 2^-8
            if getattr(op, "activation", "none") == "relu6":
                finest = max(finest, _FINEST_RELU6)
            output = _quantized(op.output, *ranges[op.output.name], finest)
        tensors[output.name] = output
        operators.append(replace(op, output=output))
    return Graph(network_input, tensors[float_graph.output.name], tuple(operators))


def calibrate(graph: FloatGraph, calibration: Array) -> dict[str, tuple[float, float]]:
    """Find minimum and maximum of every tensor, by name, with the weaker of two summands widened.

    Parameters
    ----------
    graph : FloatGraph
    calibration : ndarray
        A few hundred representative samples, ``(n, c, h, w)``, ``(n, c, length)`` or ``(n, features)``.

    Raises
    ------
    InputError
        If there are no samples, they have another shape than the graph's input, or a value on the way is not
        finite.
    """
    if len(calibration) == 0:
        raise InputError("calibration: there are no samples: give it some of the training data")
    ranges = dict.fromkeys((tensor.name for tensor in graph.tensors), (0.0, 0.0))
    for values in activations(graph, calibration):
        for name, value in values.items():
            low, high = float(value.min()), float(value.max())  # NaN where there is one
            if not np.isfinite(high - low):
                raise InputError(
                    f"calibration: {name} has values that are not finite: check the data and the training"
                )
            ranges[name] = min(low, ranges[name][0]), max(high, ranges[name][1])
    source = {tensor.name: tensor.name for tensor in graph.tensors}
    for op in graph.operators:
        if isinstance(op, Pool):
            source[op.output.name] = source[op.inputs[0].name]
    readers = Counter(
        source[tensor.name] for op in graph.operators if not isinstance(op, Pool) for tensor in op.inputs
    )
    for op in reversed(graph.operators):
        if isinstance(op, Add):
            summands = [source[tensor.name] for tensor in op.inputs]
            weakest = _WEAKEST_SUMMAND * max(ranges[name][1] - ranges[name][0] for name in summands)
            for name in summands:
                low, high = ranges[name]
                if readers[name] == 1:  # another reader may need its finer steps
                    ranges[name] = low, max(high, low + weakest)
    return ranges


def _quantized(tensor: Tensor, low: float, high: float, finest: float) -> Tensor:
    """Give a tensor the scale and zero point of a range around 0, the step at least `finest`."""
    scale = float(np.float32(max((high - low) / 255 or _DEAD_STEP, finest)))
    zero_point = round(-128 - low / scale)
    return replace(tensor, scale=scale, zero_point=min(max(zero_point, -128), 127))


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
