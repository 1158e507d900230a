"""How runtimes round: each computes the same sums in integers, and brings them to int8 in its own way.

TensorFlow Lite for Microcontrollers has gemmlowp's fixed point. XNNPACK, which LiteRT runs, and ONNX Runtime
multiply by a float32 and round half to even; they differ in sums and averages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import frexp

import numpy as np

from edgegrow.deploy.fixed_point import ADD_SHIFT, clamp_limits, fixed_point, multipliers, multiply
from edgegrow.deploy.operators import Add, Array, AveragePool2D, Operator, Weighted


@dataclass(frozen=True)
class Rounding:
    """A runtime's ways from wide integers to int8.

    Attributes
    ----------
    name : str
        The runtime's.
    rescale : callable
        From accumulators without their bias, channels last, and their operator to int8.
    add : callable
        From the int8 inputs of an `Add` to its output.
    average : callable
        From sums of windows ``(n, h, w, c)``, numbers of their elements, and their operator to int8.
    """

    name: str
    rescale: Callable[[Array, Weighted], Array]
    add: Callable[[Add, Sequence[Array]], Array]
    average: Callable[[Array, Array, AveragePool2D], Array]


def _clamped(values: Array, op: Operator) -> Array:
    clamped: Array = values.clip(*clamp_limits(op)).astype(np.int8)
    return clamped


def _rescale_in_fixed_point(sums: Array, op: Weighted) -> Array:
    fraction, shift = np.array(multipliers(op), np.int64).T
    scaled = multiply(sums.astype(np.int64) + op.bias, fraction, shift) + op.output.zero_point
    return _clamped(scaled, op)


def _rescale_in_floats(sums: Array, op: Weighted) -> Array:
    scales = np.float32(op.inputs[0].scale) * op.weight_scales.astype(np.float32)
    scaled = (sums.astype(np.int64) + op.bias).astype(np.float32) * (scales / np.float32(op.output.scale))
    return _clamped(np.rint(scaled) + op.output.zero_point, op)


def _add_in_fixed_point(op: Add, inputs: Sequence[Array]) -> Array:
    twice = 2 * max(tensor.scale for tensor in op.inputs)
    total: Array = np.zeros(1, np.int64)
    for tensor, x in zip(op.inputs, inputs, strict=True):
        shifted = (x.astype(np.int64) - tensor.zero_point) << ADD_SHIFT
        total = total + multiply(shifted, *fixed_point(tensor.scale / twice))
    fraction, shift = fixed_point(twice / (2**ADD_SHIFT * op.output.scale))
    return _clamped(multiply(total, fraction, shift) + op.output.zero_point, op)


def _add_as_xnnpack(op: Add, inputs: Sequence[Array]) -> Array:
    """Add products with multipliers of 21 bits, and shift them back, rounded half up."""
    ratios = [np.float32(tensor.scale) / np.float32(op.output.scale) for tensor in op.inputs]
    shift = 21 - frexp(max(ratios))[1]
    total: Array = np.array(2 ** (shift - 1), np.int64)
    for tensor, x, ratio in zip(op.inputs, inputs, ratios, strict=True):
        total = total + (x.astype(np.int64) - tensor.zero_point) * round(float(ratio) * 2**shift)
    return _clamped((total >> shift) + op.output.zero_point, op)


def _add_in_floats(op: Add, inputs: Sequence[Array]) -> Array:
    total: Array = np.zeros(1, np.float32)
    for tensor, x in zip(op.inputs, inputs, strict=True):
        total = total + (x.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
    return _clamped(np.rint(total / np.float32(op.output.scale)) + op.output.zero_point, op)


def _average_in_integers(sums: Array, counts: Array, op: AveragePool2D) -> Array:
    half = np.where(sums > 0, counts // 2, -(counts // 2))
    # C's division; float64 is exact enough.
    return _clamped(np.trunc((sums + half) / counts), op)


def _average_in_floats(sums: Array, counts: Array, op: AveragePool2D) -> Array:
    return _clamped(np.rint(sums / counts), op)


TFLM = Rounding("TensorFlow Lite Micro", _rescale_in_fixed_point, _add_in_fixed_point, _average_in_integers)
"""Bit for bit what firmware computes, and LiteRT's own kernels."""

XNNPACK = Rounding("XNNPACK", _rescale_in_floats, _add_as_xnnpack, _average_in_integers)
"""LiteRT's with its default delegate, which leaves averages to it."""

ONNX_RUNTIME = Rounding("ONNX Runtime", _rescale_in_floats, _add_in_floats, _average_in_floats)
