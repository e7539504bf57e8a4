"""The one definition of each piece of arithmetic: scales to integers, accumulators to activations.

``golden`` executes networks with these functions, and the hardware compiler proves its cheaper forms against them.
All are vectorised over int64 arrays. The reference is TensorFlow Lite Micro: gemmlowp's double rounding, ties of the
high multiply up, ties of the shift away from zero. Each ``*_output`` is a monotone function of its accumulator.
"""

import math
from collections.abc import Mapping

import numpy as np

from heddle.gen.fixed_point import INT32_MAX, INT32_MIN, Integers, divide_by_power_of_two, high_multiply
from heddle.gen.ir import Add, AveragePool, Linear, Mean, Rounding, Tensor

INT8_MIN, INT8_MAX = -128, 127
ADD_LEFT_SHIFT = 20
"""Bits by which TFLite lifts the inputs of an int8 ADD before scaling them."""


def round_half_away(x: float) -> int:
    """C's ``round``: to the nearest integer, ties away from zero.

    >>> round_half_away(2.5), round_half_away(-2.5), round_half_away(0.49999999999999994)
    (3, -3, 0)
    """
    whole = math.floor(abs(x))
    return int(math.copysign(whole + (abs(x) - whole >= 0.5), x))


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``(multiplier, shift)`` with ``real ~ multiplier * 2**(shift - 31)``, as TFLite's ``QuantizeMultiplier``.

    ``multiplier`` is in [2**30, 2**31), or 0 where ``real`` is 0 or below 2**-32.

    >>> quantize_multiplier(0.75)
    (1610612736, 0)
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def multiply(x: Integers, multiplier: Integers, shift: Integers, rounding: Rounding) -> np.ndarray:
    """``x * multiplier * 2**(shift - 31)`` rounded to int64, as TFLite's ``MultiplyByQuantizedMultiplier``.

    Parameters
    ----------
    x
        Integers such that ``x * 2**max(shift, 0)`` fits int32.
    multiplier, shift
        Broadcast against ``x``; ``shift`` in [-31, 30].
    rounding
        ``"double"``: rounds at bit 31 (ties up), then at the shift (ties away from zero). ``"single"``: once, ties up.
    """
    x = np.asarray(x, np.int64)
    shift = np.asarray(shift, np.int64)
    if rounding == "single":
        return (x * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)
    return divide_by_power_of_two(high_multiply(x << np.maximum(shift, 0), multiplier), np.maximum(-shift, 0))


def clip_output(real: np.ndarray, zero_point: int, act_min: int = INT8_MIN, act_max: int = INT8_MAX) -> np.ndarray:
    """Move ``real`` by the output's zero point and clip it: int64 to int8."""
    return np.clip(real + zero_point, act_min, act_max).astype(np.int8)


def linear_output(node: Linear, tensors: Mapping[str, Tensor], acc: np.ndarray) -> np.ndarray:
    """Activations of a :class:`Linear`: ``acc = bias + sum(weight * (ifmap - zp_in))``, ``(..., cout)``, to int8."""
    scaled = multiply(acc, node.multiplier, node.shift, node.rounding)
    return clip_output(scaled, tensors[node.output].zero_point, node.act_min, node.act_max)


def average_output(node: AveragePool, total: Integers, count: Integers) -> np.ndarray:
    """Mean of ``count`` stored values that sum to ``total``, ties away from zero, to int8.

    The zero point takes no part: input and output share it.
    """
    total = np.asarray(total, np.int64)
    magnitude = (np.abs(total) + np.asarray(count, np.int64) // 2) // count
    return clip_output(np.where(total < 0, -magnitude, magnitude), 0, node.act_min, node.act_max)


def mean_output(node: Mean, tensors: Mapping[str, Tensor], acc: np.ndarray) -> np.ndarray:
    """Activations of a :class:`Mean`: ``acc = sum(ifmap - zp_in)`` over rows and columns, to int8."""
    scaled = multiply(acc, node.multiplier, node.shift, "double")
    return clip_output(scaled, tensors[node.output].zero_point)


def mean_multiplier(input_scale: float, output_scale: float, count: int) -> tuple[int, int]:
    """``(multiplier, shift)`` of a mean over ``count`` elements: the division folded in, truncated as TFLite does."""
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    # Keeps bits that the division would drop; the clamps are TFLite's, against overflow.
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


def add_terms(node: Add, tensors: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate what each input value contributes to the sum: two int64 tables ``(256,)`` indexed by ``q + 128``.

    The sign of a subtraction is in the second.
    """
    values = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
    first, second = (
        multiply((values - tensors[name].zero_point) << node.left_shift, multiplier, shift, "double")
        for name, multiplier, shift in zip(node.inputs, node.multipliers, node.shifts, strict=True)
    )
    return first, node.sign * second


def add_output(node: Add, tensors: Mapping[str, Tensor], total: np.ndarray) -> np.ndarray:
    """Activations of an :class:`Add` from the sum of its two :func:`add_terms`, to int8."""
    scaled = multiply(total, node.output_multiplier, node.output_shift, "double")
    return clip_output(scaled, tensors[node.output].zero_point, node.act_min, node.act_max)


def quantize_value(value: float, scale: float, zero_point: int) -> int:
    """Return ``zero_point + round(value / scale)``, unclipped, computed in float32 as TFLite does."""
    return zero_point + round_half_away(float(np.float32(value) / np.float32(scale)))


def linear_range(node: Linear, input_zero_point: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest accumulator of each output channel, over all int8 inputs and positions: two int64 ``(cout,)``.

    Padding substitutes the zero point, which lies within the range of inputs.
    """
    weight = node.weight.reshape(len(node.bias), -1).astype(np.int64)
    low, high = weight * (INT8_MIN - input_zero_point), weight * (INT8_MAX - input_zero_point)
    local = np.zeros((1, 1, len(node.bias)), np.int64) if node.local_bias is None else node.local_bias
    least, greatest = (node.bias.astype(np.int64) + extreme(axis=(0, 1)) for extreme in (local.min, local.max))
    return least + np.minimum(low, high).sum(axis=1), greatest + np.maximum(low, high).sum(axis=1)


def fits_int32(low: np.ndarray, high: np.ndarray, shift: np.ndarray) -> bool:
    """Whether accumulators between ``low`` and ``high`` stay int32, also after a left ``shift``: then all is exact."""
    lift = np.maximum(shift, 0)
    return bool((low << lift).min() >= INT32_MIN and (high << lift).max() <= INT32_MAX)
