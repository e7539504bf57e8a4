"""What the host computes, exactly, at the edges of a network: quantization, softmax, arg-max.

Arrays carry a leading sample axis. Softmax follows TFLite's integer kernel (gemmlowp fixed point).
"""

import numpy as np

from heddle.gen import fixed_point
from heddle.gen.arithmetic import multiply, quantize_multiplier
from heddle.gen.ir import ArgMax, Dequantize, HostNode, Quantize, Softmax, Tensor

SOFTMAX_SCALE, SOFTMAX_ZERO_POINT = 1 / 256, -128
"""Quantization of every int8 softmax output, as TFLite demands."""
_DIFFERENCE_BITS, _SUM_BITS = 5, 12
SOFTMAX_MIN_STEP = 2.0 ** (_DIFFERENCE_BITS - 31)
"""``beta * scale`` must be larger: a step would be nothing in fixed point."""
_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}


def execute(node: HostNode, x: np.ndarray, source: Tensor, target: Tensor) -> np.ndarray:
    """Run ``node`` on ``x``: samples of ``source``'s type to samples of ``target``'s, of the shape the node gives.

    Raises
    ------
    TypeError
        ``node`` is of a kind that has no meaning here.
    """
    match node:
        case Quantize():
            return _quantize(x, source, target)
        case Dequantize():
            # One product of a 24-bit and a 9-bit number, rounded once: float32 as TFLite gets it by way of a double.
            return (np.float64(source.scale) * (x.astype(np.int64) - source.zero_point)).astype(np.float32)
        case Softmax():
            return softmax(x, source.scale, node.beta)
        case ArgMax():
            return np.argmax(x, axis=-1).astype(target.dtype)
    raise TypeError(f"node must be a known HostNode, not {type(node).__name__}")


def _quantize(x: np.ndarray, source: Tensor, target: Tensor) -> np.ndarray:
    low, high = _RANGE[target.dtype]
    if source.dtype == "float32":
        quotient = (x.astype(np.float32) / np.float32(target.scale)).astype(np.float64)
        # Clipped before it becomes an integer: infinity and large values saturate.
        magnitude = np.floor(np.minimum(np.abs(quotient), 2.0**31) + 0.5)
        steps = np.copysign(magnitude, quotient).astype(np.int64)
    else:
        multiplier, shift = quantize_multiplier(source.scale / target.scale)
        steps = multiply(x.astype(np.int64) - source.zero_point, multiplier, shift, "double")
    return np.clip(steps + target.zero_point, low, high).astype(target.dtype)


def softmax_multiplier(scale: float, beta: float) -> tuple[int, int]:
    """``(multiplier, left shift)`` that turn steps of ``scale`` into ``beta * x`` in Q5."""
    return quantize_multiplier(min(beta * scale / SOFTMAX_MIN_STEP, 2.0**31 - 1))


def softmax(x: np.ndarray, scale: float, beta: float) -> np.ndarray:
    """Softmax over the last axis: int8 with ``scale`` to int8 with :data:`SOFTMAX_SCALE`."""
    x = x.astype(np.int64)
    multiplier, left_shift = softmax_multiplier(scale, beta)
    difference = x - x.max(axis=-1, keepdims=True)
    # Smaller differences would overflow Q5; their exponential counts as zero.
    counted = difference >= -fixed_point.input_radius(_DIFFERENCE_BITS, left_shift)
    rescaled = fixed_point.high_multiply(np.where(counted, difference, 0) << left_shift, multiplier)
    exponential = fixed_point.exp_on_negative_values(rescaled, _DIFFERENCE_BITS)
    terms = np.where(counted, fixed_point.divide_by_power_of_two(exponential, _SUM_BITS), 0)
    inverse, bits = fixed_point.reciprocal(terms.sum(axis=-1, keepdims=True), _SUM_BITS)
    share = fixed_point.divide_by_power_of_two(fixed_point.high_multiply(exponential, inverse), bits + 31 - 8)
    return np.where(counted, np.clip(share - 128, -128, 127), -128).astype(np.int8)
