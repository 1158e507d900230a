"""The fixed-point arithmetic of TensorFlow Lite for Microcontrollers (TFLM), which is gemmlowp's.

A real multiplier is an int32 fraction of 2^31 and a power of two, and rounds twice, once to 32 bits and once
by the shift.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp, prod

import numpy as np

from edgegrow.deploy.elementwise import HardSwish, Logistic, Mul, Relu, Tanh
from edgegrow.deploy.foreign import Mean, Softmax
from edgegrow.deploy.operators import Add, Array, Operator, Weighted

ADD_SHIFT = 20
"""Bits by which `Add` widens its inputs."""


def fixed_point(real: float) -> tuple[int, int]:
    """Express a positive multiplier as ``fraction * 2**(shift - 31)``, as TFLM's QuantizeMultiplier does.

    Returns
    -------
    tuple of int
        ``(fraction, shift)``, the fraction in ``2**30 .. 2**31 - 1``; both 0 below ``2**-32``.
    """
    mantissa, shift = frexp(real)
    fraction = int(np.floor(mantissa * 2.0**31 + 0.5))
    if fraction == 2**31:
        fraction, shift = fraction // 2, shift + 1
    return (0, 0) if shift < -31 else (fraction, shift)


def multiply(x: Array, fraction: Array | int, shift: Array | int) -> Array:
    """MultiplyByQuantizedMultiplier with double rounding: half up to 32 bits, then half away from zero."""
    high = high_product(x << np.maximum(shift, 0), fraction)
    return rounding_shift(high, np.maximum(-np.asarray(shift), 0))


def high_product(a: Array, b: Array | int) -> Array:
    """Multiply int64 values that fit int32 to ``a * b / 2**31``, rounded half up."""
    return np.right_shift(a * b + 2**30, 31)


def rounding_shift(x: Array, bits: Array | int) -> Array:
    """Divide by ``2**bits``, rounded half away from zero."""
    mask = (1 << bits) - 1
    shifted: Array = (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))
    return shifted


def multipliers(op: Weighted) -> list[tuple[int, int]]:
    """Fixed-point multipliers from accumulator to output: one an output channel, or one of a linear layer."""
    step, out = op.inputs[0].scale, op.output.scale
    return [fixed_point(step * float(scale) / out) for scale in op.weight_scales]


def rescaling(op: Mul | Relu | Mean) -> tuple[int, int]:
    """Fixed-point multiplier from input (of `Mul`, the product of both) to output.

    The multiplier of `Mean` divides by the number of its elements too.
    """
    first, out = op.inputs[0].scale, op.output.scale
    if isinstance(op, Mul):
        return fixed_point(first * op.inputs[1].scale / out)
    fraction, shift = fixed_point(first / out)
    if isinstance(op, Relu):
        return fraction, shift
    room = min(op.count.bit_length() - 1, 32, 31 + shift)
    return (fraction << room) // op.count, shift - room


def clamp_limits(op: Operator) -> tuple[int, int]:
    """Least and greatest int8 output that the activation allows, if the operator has one."""
    zero_point, activation = op.output.zero_point, getattr(op, "activation", "none")
    low = -128 if activation == "none" else max(-128, zero_point)
    if activation != "relu6":
        return low, 127
    return low, min(127, zero_point + int(np.floor(np.float32(6) / np.float32(op.output.scale) + 0.5)))


def overflow(op: Operator) -> str | None:
    """Say where an operator's 32-bit arithmetic can overflow, which every runtime does in its own way.

    Returns
    -------
    str or None
        What to say after the operator's name.
    """
    source, out = op.inputs[0].scale, op.output.scale
    match op:
        case Weighted():
            greatest = op.weight.size // op.bias.size * 255 * 128 + int(
                np.abs(op.bias.astype(np.int64)).max()
            )
            if greatest >= 2**31:
                return "its sums can overflow 32 bits: give it fewer inputs"
            fits = _fit(greatest, (shift for _, shift in multipliers(op)))
        case Add():  # no runtime takes a multiplier of 1 or more here
            fits = 2 * max(tensor.scale for tensor in op.inputs) < 2**ADD_SHIFT * out
        case Mul() | Relu() | Mean():
            greatest = {Mul: 255**2, Relu: 255}.get(type(op), 255 * prod(op.inputs[0].shape[1:3]))
            fits = _fit(greatest, [rescaling(op)[1]])
        case Softmax():
            # Each exponential is at most 2^19 of the sum's steps; the runtimes sum them in int32.
            if op.output.shape[-1] >= 2**12:
                return "its sums can overflow 32 bits: give it fewer than 4096 inputs a row"
            fits = 2**-25 <= source * op.beta <= 16
        case Logistic() | Tanh():
            fits = 2**-25 <= source <= 8
        case HardSwish():
            fits = source < 512 and bool(np.float32(source) / np.float32(128) < np.float32(out))
        case _:
            return None
    return None if fits else "its scales differ too much for 32-bit arithmetic: quantize the model again"


def _fit(greatest: int, shifts: Iterable[int]) -> bool:
    return all(shift < 31 and greatest << max(shift, 0) < 2**31 for shift in shifts)
