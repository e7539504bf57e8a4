"""Functions of one int8 value become tables of 256 entries, each equal to TFLite Micro's integer kernel.

Operators for which TFLite Micro has no int8 kernel (NEG, EXP, SQRT, GELU, ...) have no integers to be equal to, and
are refused.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from heddle.gen import arithmetic, fixed_point
from heddle.gen.importers.operation import Operation, scalar
from heddle.gen.ir import Node, Table, Tensor

_VALUES = np.arange(arithmetic.INT8_MIN, arithmetic.INT8_MAX + 1, dtype=np.int64)
_INPUT_BITS = 4
"""Integer bits of the argument of LOGISTIC and TANH."""


def table(operation: Operation, entries: np.ndarray, position: int = 0) -> list[Node]:
    """Make the table from the activation at ``position`` to the output: ``entries`` in the order of the values."""
    source, target = operation.input(position), operation.output()
    operation.expect(target, source.hwc)
    node = Table(
        name=operation.name,
        op=operation.operator.op,
        inputs=(source.name,),
        output=target.name,
        table=entries.astype(np.int8),
    )
    return [node]


def requantize(operation: Operation) -> list[Node]:
    """QUANTIZE from int8 to int8: a change of scale and zero point."""
    source, target = operation.input(), operation.output()
    scaled = _scaled(operation, _VALUES - source.zero_point, source.scale / target.scale)
    return table(operation, arithmetic.clip_output(scaled, target.zero_point))


def _scaled(operation: Operation, steps: np.ndarray, real: float) -> np.ndarray:
    """Compute ``steps * real`` as TFLite rounds it; refuse where it would leave int32."""
    multiplier, shift = arithmetic.quantize_multiplier(real)
    if shift > 0 and (shift > 30 or int(np.abs(steps).max()) << shift >= 2**31):
        raise operation.refuse(f"scaling by {real} leaves int32", "convert the network again")
    return arithmetic.multiply(steps, multiplier, shift, "double")


def _relu(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    scaled = _scaled(operation, _VALUES - source.zero_point, source.scale / target.scale)
    return table(operation, arithmetic.clip_output(scaled, target.zero_point, act_min=target.zero_point))


def _relu6(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    # TFLite Micro clips without scaling, whatever the scales say.
    operation.expect_same_quantization(source, target)
    six = min(arithmetic.INT8_MAX, arithmetic.quantize_value(6.0, source.scale, source.zero_point))
    return table(operation, np.clip(_VALUES, source.zero_point, six))


def _leaky_relu(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    alpha = float(operation.operator.options.get("Alpha", 0.0))
    if not math.isfinite(alpha) or alpha < 0:
        raise operation.refuse(f"alpha is {alpha}", "use a finite alpha, 0 or more")
    steps, ratio = _VALUES - source.zero_point, source.scale / target.scale
    positive = _scaled(operation, steps, ratio)
    negative = _scaled(operation, steps, source.scale * alpha / target.scale)
    return table(operation, arithmetic.clip_output(np.where(steps >= 0, positive, negative), target.zero_point))


def _prelu(operation: Operation) -> list[Node]:
    operation.count(2, 2)
    source, target = operation.input(), operation.output()
    alpha, value = scalar(operation, 1)
    steps, ratio = _VALUES - source.zero_point, source.scale / target.scale
    positive = _scaled(operation, steps, ratio)
    negative = _scaled(operation, steps * (value - alpha.zero_point), source.scale * alpha.scale / target.scale)
    return table(operation, arithmetic.clip_output(np.where(steps >= 0, positive, negative), target.zero_point))


def _abs(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    magnitude = np.abs(_VALUES - source.zero_point)
    if source.scale != target.scale:
        magnitude = _scaled(operation, magnitude, source.scale / target.scale)
    return table(operation, arithmetic.clip_output(magnitude, target.zero_point))


def _elu(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    real = np.float32(source.scale) * (_VALUES - source.zero_point).astype(np.float32)
    # The C library's expf is the rounded exponential to within a hair, NumPy's own float32 is not.
    negative = np.exp(np.minimum(real, 0).astype(np.float64)).astype(np.float32) - np.float32(1)
    steps = np.where(real < 0, negative, real) * (np.float32(1) / np.float32(target.scale))
    if not np.abs(steps).max() < 2**31:
        raise operation.refuse("its values leave int32", "convert the network again")
    rounded = np.array([arithmetic.round_half_away(float(step)) for step in steps], np.int64)
    return table(operation, arithmetic.clip_output(rounded, target.zero_point))


def _rsqrt(operation: Operation) -> list[Node]:
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    if source.zero_point != arithmetic.INT8_MIN:
        raise operation.refuse(
            f"{source.name} can be negative (zero point {source.zero_point})", "quantize it with zero point -128"
        )
    multiplier, shift = arithmetic.quantize_multiplier(1 / (math.sqrt(source.scale) * target.scale))
    # TFLite keeps 20 fractional bits between its two scalings.
    if not -31 <= shift - 20 <= 0:
        raise operation.refuse("its scale leaves int32", "convert the network again")
    entries = []
    for steps in range(1, 256):
        inverse, exponent = fixed_point.inverse_square_root(steps)
        lifted = arithmetic.multiply(np.int64(1), inverse, exponent + 20, "double")
        entries.append(int(arithmetic.multiply(lifted, multiplier, shift - 20, "double")))
    # The value zero stands for the smallest positive one: the greatest result.
    scaled = np.array([arithmetic.INT8_MAX - target.zero_point, *entries], np.int64)
    return table(operation, arithmetic.clip_output(scaled, target.zero_point))


def _sigmoidal(
    operation: Operation, function: Callable[[np.ndarray, int], np.ndarray], scale: float, zero_point: int
) -> list[Node]:
    """LOGISTIC and TANH: TFLite fixes the output's ``scale``, a power of two, and ``zero_point``."""
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    if (target.scale, target.zero_point) != (scale, zero_point):
        raise operation.refuse(
            f"its output has scale {target.scale} and zero point {target.zero_point}",
            f"quantize it with scale 1/{round(1 / scale)} and zero point {zero_point}",
        )
    multiplier, left_shift = arithmetic.quantize_multiplier(source.scale * 2 ** (31 - _INPUT_BITS))
    if not 0 <= left_shift <= 30:
        raise operation.refuse(f"its input has the scale {source.scale}", "convert the network again")
    radius = fixed_point.input_radius(_INPUT_BITS, left_shift)
    steps = _VALUES - source.zero_point
    inside = np.abs(steps) < radius
    argument = arithmetic.multiply(np.where(inside, steps, 0), multiplier, left_shift, "double")
    exponent = 31 + round(math.log2(scale))
    result = fixed_point.divide_by_power_of_two(function(argument, _INPUT_BITS), exponent)
    limit = np.where(steps < 0, arithmetic.INT8_MIN, arithmetic.INT8_MAX)
    return table(operation, np.where(inside, arithmetic.clip_output(result, zero_point), limit))


def _logistic(operation: Operation) -> list[Node]:
    return _sigmoidal(operation, fixed_point.logistic, 1 / 256, -128)


def _tanh(operation: Operation) -> list[Node]:
    return _sigmoidal(operation, fixed_point.tanh, 1 / 128, 0)


def _hard_swish(operation: Operation) -> list[Node]:
    """``x * clip(x + 3, 0, 6) / 6`` in 16-bit fixed point."""
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    lifted = np.float32(source.scale) * np.float32(1 / 128)
    scale, scale_shift = _multiplier_16(float(lifted / np.float32(target.scale)))
    gate_scale, gate_shift = _multiplier_16(float(lifted / np.float32(3 / 32768)))
    if not (-15 <= scale_shift < 0 and -15 <= gate_shift <= 31):
        raise operation.refuse(
            f"scales {source.scale} and {target.scale} leave its 16 bits", "convert the network again"
        )
    steps = (_VALUES - source.zero_point) << 7
    gate = steps
    if gate_shift > 0:
        gate = _saturate_16(gate << (gate_shift - 1))
    gate = _high_multiply_16(gate, gate_scale)
    gate = _saturate_16(gate << 1) if gate_shift > 0 else fixed_point.divide_by_power_of_two(gate, -gate_shift)
    # From [-1, 1] to [0, 1].
    gate = (gate + (1 << 15)) >> 1
    product = gate * _high_multiply_16(steps, scale)
    truncated = np.sign(product) * (np.abs(product) >> 15)
    result = fixed_point.divide_by_power_of_two(truncated, -scale_shift)
    return table(operation, arithmetic.clip_output(result, target.zero_point))


def _multiplier_16(real: float) -> tuple[int, int]:
    """Return the upper half of a Q31 multiplier, rounded, and its shift."""
    multiplier, shift = arithmetic.quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 2**15 - 1), shift


def _high_multiply_16(a: np.ndarray, b: int) -> np.ndarray:
    return (a * b + (1 << 14)) >> 15


def _saturate_16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _with_scalar(operation: Operation, compute: Callable[[Operation, Tensor, Tensor, int], np.ndarray]) -> list[Node]:
    """Make the table of an operator of two operands, one of which is a constant scalar."""
    operation.count(2, 2)
    constant = next((position for position in (0, 1) if operation.is_constant(position)), None)
    if constant is None:
        raise operation.refuse(
            f"{operation.operator.op} of two activations is not supported", "use it with a scalar constant"
        )
    tensor, value = scalar(operation, constant)
    entries = compute(operation, operation.input(1 - constant), tensor, value)
    return table(operation, entries, position=1 - constant)


def _mul(operation: Operation) -> list[Node]:
    def product(operation: Operation, source: Tensor, factor: Tensor, value: int) -> np.ndarray:
        target = operation.output()
        steps = (_VALUES - source.zero_point) * (value - factor.zero_point)
        scaled = _scaled(operation, steps, source.scale * factor.scale / target.scale)
        return arithmetic.clip_output(scaled, target.zero_point, *operation.activation_range(target))

    return _with_scalar(operation, product)


def _extremum(operation: Operation) -> list[Node]:
    def extremum(operation: Operation, source: Tensor, limit: Tensor, value: int) -> np.ndarray:
        # TFLite compares the stored values, whatever the scales say.
        operation.expect_same_quantization(source, limit)
        operation.expect_same_quantization(source, operation.output())
        return (np.maximum if operation.operator.op == "MAXIMUM" else np.minimum)(_VALUES, value)

    return _with_scalar(operation, extremum)


LOWERINGS: Mapping[str, Callable[[Operation], list[Node]]] = {
    "ABS": _abs,
    "ELU": _elu,
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _logistic,
    "MAXIMUM": _extremum,
    "MINIMUM": _extremum,
    "MUL": _mul,
    "PRELU": _prelu,
    "RELU": _relu,
    "RELU6": _relu6,
    "RSQRT": _rsqrt,
    "TANH": _tanh,
}
"""The unary operators, and those that are unary with one constant operand."""
