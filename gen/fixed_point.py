"""Fixed-point functions of gemmlowp, as TensorFlow Lite's integer kernels use them, on int64 arrays.

A value in Q*n* format is an int32 with ``n`` integer bits: it stands for ``raw * 2**(n - 31)``. Source:
``fixedpoint.h`` of gemmlowp (Apache-2.0), restated on whole arrays; every function accepts and returns raw values
of any shape, as int64, and equals gemmlowp for every int32.
"""

import math

import numpy as np

Integers = np.ndarray | np.integer | int
"""One integer or an array of them."""

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)

# exp(-2**k) in Q0 for k = -2, -1, ..., 4: what one set bit of the remainder multiplies the result by.
_EXP_OF_BIT = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
_EXP_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883
# Newton-Raphson's first guess of 1/d for d in [1/2, 1], in Q2: 48/17 - 32/17 * d.
_GUESS_OFFSET, _GUESS_SLOPE = 1515870810, -1010580540
_HALF_SQRT_2 = 1518500250


def high_multiply(a: Integers, b: Integers) -> np.ndarray:
    """``round(a * b / 2**31)``, ties up: the product of two Q values (saturates only at two minima)."""
    return np.minimum((np.asarray(a, np.int64) * b + (1 << 30)) >> 31, INT32_MAX)


def divide_by_power_of_two(x: Integers, exponent: Integers) -> np.ndarray:
    """``round(x / 2**exponent)``, ties away from zero; ``exponent`` >= 0."""
    x = np.asarray(x, np.int64)
    half = (np.int64(1) << exponent) >> 1
    # A negative tie must round down; without a shift there is no tie.
    return (x + half - ((x < 0) & (half > 0))) >> exponent


def saturating_shift(x: Integers, exponent: int) -> np.ndarray:
    """``x * 2**exponent`` clipped to int32; ``exponent`` >= 0."""
    return np.clip(np.asarray(x, np.int64) << exponent, INT32_MIN, INT32_MAX)


def exp_on_negative_values(a: Integers, integer_bits: int) -> np.ndarray:
    """Q0 of ``exp(a)`` for ``a <= 0`` in Q ``integer_bits`` (5 at most)."""
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(saturating_shift(modulo, integer_bits))
    remainder = modulo - a
    for exponent, factor in _EXP_OF_BIT.items():
        if exponent < integer_bits:
            bit = (remainder >> (fraction_bits + exponent)) & 1
            result = np.where(bit == 1, high_multiply(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_near_zero(a: np.ndarray) -> np.ndarray:
    """Q0 of ``exp(a)`` for ``a`` in [-1/4, 0) in Q0: a Taylor series about -1/8."""
    x = a + (1 << 28)
    x2 = high_multiply(x, x)
    x3 = high_multiply(x2, x)
    x4 = high_multiply(x2, x2)
    tail = high_multiply(divide_by_power_of_two(x4, 2) + x3, _ONE_THIRD) + x2
    return _EXP_MINUS_EIGHTH + high_multiply(x + divide_by_power_of_two(tail, 1), _EXP_MINUS_EIGHTH)


def _inverse_of_half_sum(a: np.ndarray) -> np.ndarray:
    """Q2 of ``2 / (1 + a)`` for ``a`` in [0, 1] in Q0: three Newton-Raphson steps."""
    half = (np.asarray(a, np.int64) + INT32_MAX + 1) // 2
    x = _GUESS_OFFSET + high_multiply(half, _GUESS_SLOPE)
    for _ in range(3):
        error = (1 << 29) - high_multiply(half, x)
        x = x + saturating_shift(high_multiply(x, error), 2)
    return x


def one_over_one_plus(a: np.ndarray) -> np.ndarray:
    """Q0 of ``1 / (1 + a)`` for ``a`` in [0, 1] in Q0."""
    return saturating_shift(_inverse_of_half_sum(a), 1)


def logistic(a: Integers, integer_bits: int) -> np.ndarray:
    """Q0 of ``1 / (1 + exp(-a))`` for ``a`` in Q ``integer_bits``."""
    a = np.asarray(a, np.int64)
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, INT32_MAX - positive))


def tanh(a: Integers, integer_bits: int) -> np.ndarray:
    """Q0 of ``tanh(a)`` for ``a`` in Q ``integer_bits``."""
    a = np.asarray(a, np.int64)
    # Doubling the argument is reading the same bits with one more integer bit.
    decay = exp_on_negative_values(-np.abs(a), integer_bits + 1)
    magnitude = saturating_shift(_inverse_of_half_sum(decay) - (1 << 29), 2)
    return np.where(a == 0, 0, np.where(a < 0, -magnitude, magnitude))


def reciprocal(x: Integers, integer_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """``(scale, bits)`` with ``1 / x == scale * 2**-bits``, ``scale`` in Q0, for ``x > 0`` in Q ``integer_bits``."""
    x = np.asarray(x, np.int64)
    headroom = 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
    return one_over_one_plus((x << headroom) - (1 << 31)), integer_bits - headroom


def inverse_square_root(x: int) -> tuple[int, int]:
    """``(multiplier, shift)`` with ``1 / sqrt(x) == multiplier * 2**(shift - 31)``, for ``1 <= x < 2**29``."""
    if x == 1:
        return INT32_MAX, 0
    pairs = (31 - x.bit_length()) // 2 - 1
    value = np.int64(x << (2 * pairs) >> 1)
    half = divide_by_power_of_two(value, 1)
    # Newton-Raphson in Q3: y = 3/2 * y - x/2 * y**3.
    y = np.int64(1 << 28)
    for _ in range(5):
        cube = saturating_shift(high_multiply(high_multiply(y, y), y), 6)
        y = saturating_shift(high_multiply(y, 3 << 27) - high_multiply(half, cube), 3)
    multiplier, right_shift = int(high_multiply(y, _HALF_SQRT_2)), 11 - pairs
    return (multiplier << max(0, -right_shift), -max(0, right_shift))


def input_radius(integer_bits: int, left_shift: int) -> int:
    """Largest difference whose rescaled value still fits Q ``integer_bits``, in quantized steps."""
    return math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**left_shift)
