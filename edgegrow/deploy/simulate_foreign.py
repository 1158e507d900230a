"""Run the operators of foreign files in numpy, bit for bit as TensorFlow Lite for Microcontrollers does.

Exponentials and reciprocals are gemmlowp's: polynomials and Newton's method in fixed point. A value with
``i`` integer bits is an integer over ``2**(31 - i)``.
"""

from __future__ import annotations

from math import floor

import numpy as np

from edgegrow.deploy.fixed_point import (
    clamp_limits,
    fixed_point,
    high_product,
    multiply,
    rescaling,
    rounding_shift,
)
from edgegrow.deploy.foreign import (
    Concatenation,
    HardSwish,
    Logistic,
    Mean,
    Mul,
    Pad,
    Relu,
    Reshape,
    Softmax,
)
from edgegrow.deploy.operators import Array, Operator

_ONE = 2**31 - 1  # the greatest fraction stands for 1
_SOFTMAX_BITS = 5  # integer bits of the exponents
_SUM_BITS = 12  # integer bits of the sum of exponentials
_LOGISTIC_BITS = 4
_EVERY_INT8 = np.arange(-128, 128)


def run_foreign(op: Operator, inputs: list[Array]) -> Array:
    """Compute an operator's output of int8 inputs ``(n, ...)``, which stand for `op.inputs`."""
    x = inputs[0]
    out = op.output
    match op:
        case Reshape():
            return x.reshape(len(x), *out.shape[1:])
        case Pad(pads=pads):
            return np.pad(x, ((0, 0), *pads[1:]), constant_values=out.zero_point)
        case Concatenation(axis=axis):
            return np.concatenate(inputs, axis)
        case Softmax():
            return _softmax(op, x)
        case Logistic():
            return _logistic(op)[x.astype(np.int64) + 128]
        case HardSwish():
            return _hard_swish(op)[x.astype(np.int64) + 128]
        case Relu():
            scaled = multiply(x.astype(np.int64) - op.inputs[0].zero_point, *rescaling(op))
        case Mul():
            first, second = (
                q.astype(np.int64) - tensor.zero_point for q, tensor in zip(inputs, op.inputs, strict=True)
            )
            scaled = multiply(first * second, *rescaling(op))
        case Mean():
            sums = x.sum(axis=(1, 2), dtype=np.int64, keepdims=op.keep_dims)
            scaled = multiply(sums - op.count * op.inputs[0].zero_point, *rescaling(op))
        case _:
            raise AssertionError(op)
    return (scaled + out.zero_point).clip(*clamp_limits(op)).astype(np.int8)


def softmax_powers(op: Softmax) -> Array:
    """Compute the exponentials of 0 to 255 steps below the greatest: int64 ``(256,)``, over ``2**31``.

    What is so far below that it would overflow the exponent's bits gets 0, and so does its share.
    """
    fraction, shift = fixed_point(op.beta * op.inputs[0].scale * 2 ** (31 - _SOFTMAX_BITS))
    below = -np.arange(256)
    counted = below >= -_radius(_SOFTMAX_BITS, shift)
    exponents = high_product(np.where(counted, below, 0) << shift, fraction)
    return np.where(counted, _exp(exponents, _SOFTMAX_BITS), 0)


def _softmax(op: Softmax, x: Array) -> Array:
    below = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    powers = softmax_powers(op)[below]
    sums = rounding_shift(powers, _SUM_BITS).sum(axis=-1, keepdims=True)
    # Leading zeros, exact for 32 bits. Below 4, TFLM shifts by more bits than it has: undefined there.
    headroom = 32 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    reciprocal = _one_over_one_plus((sums << headroom) - 2**31)
    shares = rounding_shift(high_product(powers, reciprocal), _SUM_BITS - headroom + 31 - 8)
    return (shares - 128).clip(-128, 127).astype(np.int8)


def _logistic(op: Logistic) -> Array:
    """Compute outputs int8 ``(256,)`` of every int8 input."""
    fraction, shift = fixed_point(op.inputs[0].scale * 2 ** (31 - _LOGISTIC_BITS))
    x = _EVERY_INT8 - op.inputs[0].zero_point
    radius = _radius(_LOGISTIC_BITS, shift)
    inside = np.abs(x) < radius
    exponents = multiply(np.where(inside, x, 0), fraction, shift)
    positive = _one_over_one_plus(_exp(-np.abs(exponents), _LOGISTIC_BITS))
    sigmoid = np.where(exponents > 0, positive, _ONE - positive)
    sigmoid = np.where(exponents == 0, 2**30, sigmoid)
    shares = (rounding_shift(sigmoid, 31 - 8) - 128).clip(-128, 127)
    return np.where(inside, shares, np.where(x > 0, 127, -128)).astype(np.int8)


def _hard_swish(op: HardSwish) -> Array:
    """Compute outputs int8 ``(256,)`` of every int8 input; the arithmetic has 16 bits."""
    hires = np.float32(op.inputs[0].scale) * np.float32(1 / 128)
    out_fraction, out_shift = _fixed_point16(hires / np.float32(op.output.scale))
    relu_fraction, relu_shift = _fixed_point16(hires / (np.float32(3) / np.float32(32768)))
    x = (_EVERY_INT8 - op.inputs[0].zero_point) << 7
    # A ReLU6 of x + 3 over 6, in -2^15 .. 2^15 - 1 for x in -3 .. 3, saturated in two steps.
    gate = _saturated(x << max(relu_shift - 1, 0))
    gate = _saturated((gate * relu_fraction + 2**14) >> 15)
    gate = _saturated(gate << 1) if relu_shift > 0 else rounding_shift(gate, -relu_shift)
    gate = (gate + 2**15) >> 1
    scaled = gate * _saturated((x * out_fraction + 2**14) >> 15)
    truncated = np.sign(scaled) * (np.abs(scaled) >> 15)
    return (rounding_shift(truncated, -out_shift) + op.output.zero_point).clip(-128, 127).astype(np.int8)


def _fixed_point16(real: np.float32) -> tuple[int, int]:
    """Express a positive multiplier as ``fraction * 2**(shift - 15)``."""
    fraction, shift = fixed_point(float(real))
    return min((fraction + 2**15) >> 16, 2**15 - 1), shift


def _saturated(x: Array) -> Array:
    return x.clip(-(2**15), 2**15 - 1)


def _radius(integer_bits: int, shift: int) -> int:
    """Greatest input that does not overflow `integer_bits` when scaled."""
    return floor((2**integer_bits - 1) * 2 ** (31 - integer_bits) / 2**shift)


def _exp(x: Array, integer_bits: int) -> Array:
    """Exponentials, fractions of ``2**31``, of values up to 0 with `integer_bits`."""
    quarter = 2 ** (31 - integer_bits - 2)
    # e^x of the remainder in -1/4 .. 0 by a polynomial around -1/8, ...
    remainder = (x & (quarter - 1)) - quarter
    t = (remainder << integer_bits) + 2**28
    t2 = high_product(t, t)
    t3, t4 = high_product(t2, t), high_product(t2, t2)
    third = 715827883
    tail = rounding_shift(high_product(rounding_shift(t4, 2) + t3, third) + t2, 1)
    centre = 1895147668  # e^(-1/8)
    result = centre + high_product(t + tail, centre)
    # ... times e^(-2^k) for every bit of the rest.
    rest = remainder - x
    for k in range(-2, integer_bits):
        factor = floor(np.exp(-(2.0**k)) * 2**31 + 0.5)
        bit = 1 << (31 - integer_bits + k)
        result = np.where(rest & bit, high_product(result, factor), result)
    return np.where(x == 0, _ONE, result)


def _one_over_one_plus(x: Array) -> Array:
    """Fractions ``1 / (1 + x)`` of fractions `x` of ``2**31``, by three steps of Newton's method."""
    half_denominator = (x + _ONE + 1) >> 1
    one = 2**29  # two integer bits from here on
    y = 1515870810 + high_product(half_denominator, -1010580540)  # 48/17 - 32/17 d
    for _ in range(3):
        error = one - high_product(half_denominator, y)
        y = y + (high_product(y, error) << 2)
    return np.minimum(y << 1, _ONE)
