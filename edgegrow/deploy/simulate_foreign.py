"""Run the operators of foreign files in numpy, bit for bit as TensorFlow Lite for Microcontrollers does."""

from __future__ import annotations

import numpy as np

from edgegrow.deploy.exponentials import exponential, radius, reciprocal
from edgegrow.deploy.fixed_point import (
    clamp_limits,
    fixed_point,
    high_product,
    multiply,
    rescaling,
    rounding_shift,
)
from edgegrow.deploy.foreign import Mean, Pad, Softmax
from edgegrow.deploy.operators import Array, Operator

_SOFTMAX_BITS = 5  # integer bits of the exponents
_SUM_BITS = 12  # integer bits of the sum of exponentials


def run_foreign(op: Operator, inputs: list[Array]) -> Array:
    """Compute an operator's output of int8 inputs ``(n, ...)``, which stand for `op.inputs`."""
    x = inputs[0]
    match op:
        case Pad(pads=pads):
            return np.pad(x, ((0, 0), *pads[1:]), constant_values=op.output.zero_point)
        case Softmax():
            return _softmax(op, x)
        case Mean():
            sums = x.sum(axis=(1, 2), dtype=np.int64, keepdims=op.keep_dims)
            scaled = multiply(sums - op.count * op.inputs[0].zero_point, *rescaling(op))
            return (scaled + op.output.zero_point).clip(*clamp_limits(op)).astype(np.int8)
    raise AssertionError(op)


def softmax_powers(op: Softmax) -> Array:
    """Compute the exponentials of 0 to 255 steps below the greatest: int64 ``(256,)``, over ``2**31``.

    What is so far below that it would overflow the exponent's bits gets 0, and so does its share.
    """
    fraction, shift = fixed_point(op.beta * op.inputs[0].scale * 2 ** (31 - _SOFTMAX_BITS))
    below = -np.arange(256)
    counted = below >= -radius(_SOFTMAX_BITS, shift)
    exponents = high_product(np.where(counted, below, 0) << shift, fraction)
    return np.where(counted, exponential(exponents, _SOFTMAX_BITS), 0)


def _softmax(op: Softmax, x: Array) -> Array:
    below = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    powers = softmax_powers(op)[below]
    sums = rounding_shift(powers, _SUM_BITS).sum(axis=-1, keepdims=True)
    # Leading zeros, exact for 32 bits. Below 4, TFLM shifts by more bits than it has: undefined there.
    headroom = 32 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    inverse = reciprocal((sums << headroom) - 2**31)
    shares = rounding_shift(high_product(powers, inverse), _SUM_BITS - headroom + 31 - 8)
    return (shares - 128).clip(-128, 127).astype(np.int8)
