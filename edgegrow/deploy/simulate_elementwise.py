"""Run the operators on single elements in numpy, bit for bit as TensorFlow Lite for Microcontrollers does."""

from __future__ import annotations

import numpy as np

from edgegrow.deploy.elementwise import HardSwish, Logistic, Mul, Relu, Tanh
from edgegrow.deploy.exponentials import ONE, complement, exponential, radius, reciprocal
from edgegrow.deploy.fixed_point import clamp_limits, fixed_point, multiply, rescaling, rounding_shift
from edgegrow.deploy.operators import Array, Operator

_INTEGER_BITS = 4  # of what the sigmoid and the hyperbolic tangent read
_EVERY_INT8 = np.arange(-128, 128)


def multiply_tensors(op: Mul, inputs: list[Array]) -> Array:
    """Compute products int8 of inputs ``(n, ...)``, which stand for `op.inputs`."""
    first, second = (
        q.astype(np.int64) - tensor.zero_point for q, tensor in zip(inputs, op.inputs, strict=True)
    )
    scaled = multiply(first * second, *rescaling(op)) + op.output.zero_point
    return scaled.clip(*clamp_limits(op)).astype(np.int8)


def lookup_table(op: Operator) -> Array:
    """Compute outputs int8 ``(256,)`` for every int8 input, from -128 on.

    Parameters
    ----------
    op : Operator
        One of `edgegrow.deploy.elementwise.FUNCTIONS`.
    """
    match op:
        case Relu():
            x = _EVERY_INT8 - op.inputs[0].zero_point
            scaled = multiply(x, *rescaling(op)) + op.output.zero_point
            return scaled.clip(*clamp_limits(op)).astype(np.int8)
        case Logistic():
            return _logistic(op)
        case Tanh():
            return _tanh(op)
        case HardSwish():
            return _hard_swish(op)
    raise AssertionError(op)


def _logistic(op: Logistic) -> Array:
    exponents, outside = _exponents(op)
    positive = reciprocal(exponential(-np.abs(exponents), _INTEGER_BITS))
    sigmoid = np.where(exponents > 0, positive, ONE - positive)
    sigmoid = np.where(exponents == 0, 2**30, sigmoid)
    shares = (rounding_shift(sigmoid, 31 - 8) - 128).clip(-128, 127)
    return np.where(outside == 0, shares, np.where(outside > 0, 127, -128)).astype(np.int8)


def _tanh(op: Tanh) -> Array:
    exponents, outside = _exponents(op)
    # tanh(x) is (1 - e) / (1 + e) for e = exp(-2 x): the doubled exponent has one integer bit more.
    size = complement(exponential(-np.abs(exponents), _INTEGER_BITS + 1))
    shares = rounding_shift(np.sign(exponents) * size, 31 - 7).clip(-128, 127)
    return np.where(outside == 0, shares, np.where(outside > 0, 127, -128)).astype(np.int8)


def _exponents(op: Logistic | Tanh) -> tuple[Array, Array]:
    """Every input in fixed point; and 1 or -1 where it is beyond what that holds, 0 elsewhere."""
    fraction, shift = fixed_point(op.inputs[0].scale * 2 ** (31 - _INTEGER_BITS))
    x = _EVERY_INT8 - op.inputs[0].zero_point
    inside = np.abs(x) < radius(_INTEGER_BITS, shift)
    return multiply(np.where(inside, x, 0), fraction, shift), np.where(inside, 0, np.sign(x))


def _hard_swish(op: HardSwish) -> Array:
    # The arithmetic has 16 bits.
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
