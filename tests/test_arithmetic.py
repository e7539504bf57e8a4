"""The arithmetic against its definition in exact rationals, and its monotony."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.gen import arithmetic, fixed_point
from heddle.gen.ir import Add, AveragePool, Linear, Mean, Rounding, Tensor, Window

INT32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIERS = st.integers(2**30, 2**31 - 1)


def nearest(value: Fraction, *, away: bool) -> int:
    """Round to the nearest integer, ties away from zero or up."""
    if away and value < 0:
        return -nearest(-value, away=True)
    return math.floor(value + Fraction(1, 2))


@given(x=INT32, multiplier=MULTIPLIERS, shift=st.integers(-31, 0))
def test_double_rounding_rounds_at_bit_31_up_and_at_the_shift_away_from_zero(x, multiplier, shift) -> None:
    high = nearest(Fraction(x * multiplier, 2**31), away=False)
    expected = nearest(Fraction(high, 2**-shift), away=True)
    assert arithmetic.multiply(np.int64(x), multiplier, shift, "double") == expected


@given(x=INT32, multiplier=MULTIPLIERS, shift=st.integers(-31, 0))
def test_single_rounding_rounds_once_up(x, multiplier, shift) -> None:
    expected = nearest(Fraction(x * multiplier, 2 ** (31 - shift)), away=False)
    assert arithmetic.multiply(np.int64(x), multiplier, shift, "single") == expected


@given(x=INT32, multiplier=MULTIPLIERS, e=st.integers(1, 31))
def test_double_rounding_is_one_addition_and_one_shift(x, multiplier, e) -> None:
    t = 31 + e
    closed = (x * multiplier + 2 ** (t - 1) + (-(2**30) if x < 0 else 2**30)) >> t
    assert arithmetic.multiply(np.int64(x), multiplier, -e, "double") == closed


@given(x=st.integers(-(2**20), 2**20), multiplier=MULTIPLIERS, shift=st.integers(1, 10))
def test_left_shift_happens_before_the_rounding(x, multiplier, shift) -> None:
    for rounding in ("double", "single"):
        expected = nearest(Fraction((x << shift) * multiplier, 2**31), away=False)
        assert arithmetic.multiply(np.int64(x), multiplier, shift, rounding) == expected


@given(real=st.floats(2.0**-31, 2.0**20, allow_nan=False))
def test_quantized_multiplier_is_the_nearest_of_31_bits(real) -> None:
    multiplier, shift = arithmetic.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= Fraction(1, 2**31)


@pytest.mark.parametrize(
    ("real", "expected"), [(0.0, (0, 0)), (2.0**-40, (0, 0)), (1.0, (2**30, 1)), (1 - 2.0**-40, (2**30, 1))]
)
def test_multiplier_at_the_ends_of_its_range(real, expected) -> None:
    assert arithmetic.quantize_multiplier(real) == expected


@pytest.mark.parametrize(("x", "expected"), [(0.5, 1), (-0.5, -1), (1.4999, 1), (0.49999999999999994, 0), (-2.5, -3)])
def test_rounding_is_that_of_c(x, expected) -> None:
    assert arithmetic.round_half_away(x) == expected


TENSORS = {
    "x": Tensor(name="x", shape=(1, 4), scale=0.1, zero_point=-7),
    "y": Tensor(name="y", shape=(1, 4), scale=0.05, zero_point=20),
    "z": Tensor(name="z", shape=(1, 4), scale=0.2, zero_point=-3),
}


def linear(multiplier: int, shift: int, *, rounding: Rounding = "double", act_min=-128) -> Linear:
    return Linear(
        name="n", op="CONV_2D", inputs=("x",), output="z",
        window=Window(kernel=(1, 1)), weight=np.ones((1, 1, 1, 4), np.int8), bias=np.zeros(1, np.int32),
        multiplier=np.array([multiplier]), shift=np.array([shift]), rounding=rounding, act_min=act_min,
    )  # fmt: skip


@pytest.mark.parametrize("rounding", ["double", "single"])
@pytest.mark.parametrize("shift", [-12, -5, -1, 0, 1])
def test_linear_output_is_monotone_and_clipped(rounding, shift) -> None:
    acc = np.arange(-(2**14), 2**14)[:, None]
    node = linear(1518500250, shift, rounding=rounding, act_min=-100)
    y = arithmetic.linear_output(node, TENSORS, acc).astype(int)
    assert (np.diff(y, axis=0) >= 0).all()
    assert y.min() >= -100
    assert y[len(y) // 2] == TENSORS["z"].zero_point


@pytest.mark.parametrize("count", [1, 2, 3, 9, 125])
def test_average_output_is_monotone_and_rounds_ties_away_from_zero(count) -> None:
    node = AveragePool(name="n", op="AVERAGE_POOL_2D", inputs=("x",), output="x", window=Window(kernel=(1, count)))
    total = np.arange(-128 * count, 127 * count + 1)
    y = arithmetic.average_output(node, total, count)
    assert (np.diff(y.astype(int)) >= 0).all()
    assert y.tolist() == [nearest(Fraction(int(t), count), away=True) for t in total]


def test_mean_output_is_monotone() -> None:
    multiplier, shift = arithmetic.mean_multiplier(0.1, 0.03, 35)
    node = Mean(name="n", op="MEAN", inputs=("x",), output="z", multiplier=multiplier, shift=shift)
    y = arithmetic.mean_output(node, TENSORS, np.arange(-255 * 35, 255 * 35))
    assert (np.diff(y.astype(int)) >= 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_add_terms_index_stored_values_and_add_output_is_monotone(sign) -> None:
    node = Add(
        name="n", op="ADD", inputs=("x", "y"), output="z", left_shift=20,
        multipliers=(2**30, 2**30), shifts=(0, -1), output_multiplier=2**30, output_shift=-18, sign=sign,
    )  # fmt: skip
    first, second = arithmetic.add_terms(node, TENSORS)
    assert first.shape == second.shape == (256,)
    assert first[128 - 7] == 0
    assert second[128 + 20] == 0
    assert np.sign(second[255]) == sign
    y = arithmetic.add_output(node, TENSORS, np.arange(-(2**29), 2**29, 2**12))
    assert (np.diff(y.astype(int)) >= 0).all()


def test_linear_range_is_reached_and_never_left() -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-128, 128, (5, 1, 1, 6)).astype(np.int8)
    node = Linear(
        name="n", op="CONV_2D", inputs=("x",), output="z", window=Window(kernel=(1, 1)), weight=weight,
        bias=rng.integers(-999, 999, 5).astype(np.int32), multiplier=np.full(5, 2**30), shift=np.zeros(5, np.int64),
    )  # fmt: skip
    low, high = arithmetic.linear_range(node, -7)
    w = weight.reshape(5, 6).astype(int)
    extreme = np.where(w > 0, 127, -128)
    assert (high == node.bias + (w * (extreme + 7)).sum(axis=1)).all()
    assert (low == node.bias + (w * (-1 - extreme + 7)).sum(axis=1)).all()
    assert arithmetic.fits_int32(low, high, np.zeros(5, int))
    assert not arithmetic.fits_int32(low, high, np.full(5, 24))


def test_exponential_is_accurate_over_its_range() -> None:
    raw = -np.unique(np.geomspace(1, 2**31 - 1, 5000).astype(np.int64))
    got = fixed_point.exp_on_negative_values(raw, 5) / 2**31
    assert np.abs(got - np.exp(raw / 2**26)).max() < 4e-7
    assert fixed_point.exp_on_negative_values(np.int64(0), 5) == fixed_point.INT32_MAX


def test_sigmoids_are_accurate_and_symmetric() -> None:
    raw = np.linspace(-(2**31) + 1, 2**31 - 1, 4001).astype(np.int64)
    real = raw / 2**27
    assert np.abs(fixed_point.logistic(raw, 4) / 2**31 - 1 / (1 + np.exp(-real))).max() < 1e-7
    tanh = fixed_point.tanh(raw, 4)
    assert np.abs(tanh / 2**31 - np.tanh(real)).max() < 1e-6
    assert (tanh == -tanh[::-1]).all()


def test_reciprocal_and_inverse_square_root_are_accurate() -> None:
    x = np.unique(np.geomspace(1 << 19, 2**31 - 1, 500).astype(np.int64))
    scale, bits = fixed_point.reciprocal(x, 12)
    assert np.abs((scale / 2**31) * 2.0**-bits * (x / 2**19) - 1).max() < 1e-6
    for value in (1, 2, 3, 17, 255, 2**20 + 1):
        multiplier, shift = fixed_point.inverse_square_root(value)
        assert multiplier * 2.0 ** (shift - 31) == pytest.approx(value**-0.5, rel=2e-6)
