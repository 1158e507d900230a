"""Exponentials and reciprocals in fixed point, as gemmlowp computes them: polynomials and Newton's method.

A value with ``i`` integer bits is an integer over ``2**(31 - i)``; a fraction has none.
"""

from __future__ import annotations

from math import floor

import numpy as np

from edgegrow.deploy.fixed_point import high_product, rounding_shift
from edgegrow.deploy.operators import Array

ONE = 2**31 - 1
"""The greatest fraction, which stands for 1."""


def radius(integer_bits: int, shift: int) -> int:
    """Greatest input that does not overflow `integer_bits` when scaled."""
    return floor((2**integer_bits - 1) * 2 ** (31 - integer_bits) / 2**shift)


def exponential(x: Array, integer_bits: int) -> Array:
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
    return np.where(x == 0, ONE, result)


def reciprocal(x: Array) -> Array:
    """Fractions ``1 / (1 + x)`` of fractions `x`."""
    return np.minimum(_newton(x) << 1, ONE)


def complement(x: Array) -> Array:
    """Fractions ``(1 - x) / (1 + x)`` of fractions `x`."""
    return np.minimum((_newton(x) - 2**29) << 2, ONE)


def _newton(x: Array) -> Array:
    """Values ``2 / (1 + x)`` with two integer bits, of fractions `x`, by three steps of Newton's method."""
    half_denominator = (x + ONE + 1) >> 1
    one = 2**29
    y = 1515870810 + high_product(half_denominator, -1010580540)  # 48/17 - 32/17 d
    for _ in range(3):
        error = one - high_product(half_denominator, y)
        y = y + (high_product(y, error) << 2)
    return y
