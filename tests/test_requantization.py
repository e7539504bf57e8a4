"""The requantizer's parameters are exact over the whole reachable range, and cheap."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import UnsupportedError
from heddle.gen import requantization
from heddle.gen.requantization import LayerFit, RequantizationPlan, fit, plan
from heddle.hdl.requantize import RequantizeParams

ACC_BITS = 33
"""Wide enough for every range here, whatever the bias."""

Step = Callable[[np.ndarray], np.ndarray]


def gemmlowp(real: np.ndarray, zero_point: int, low: int = -128, high: int = 127) -> Step:
    """TFLM's ``MultiplyByQuantizedMultiplier`` and clip, written from gemmlowp's C rather than from Heddle."""
    mantissa, exponent = np.frexp(real)
    multiplier = np.rint(mantissa * 2**31).astype(np.int64)
    exponent = exponent + (multiplier == 2**31)
    multiplier = np.where(multiplier == 2**31, 2**30, multiplier)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)

    def step(acc: np.ndarray) -> np.ndarray:
        product = (acc << left) * multiplier
        nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
        doubled = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))  # C's division truncates
        mask = (np.int64(1) << right) - 1
        threshold = (mask >> 1) + (doubled < 0)
        return np.clip((doubled >> right) + ((doubled & mask) > threshold) + zero_point, low, high)

    return step


def average(count: np.ndarray) -> Step:
    """TFLM's AVERAGE_POOL: ties away from zero."""
    return lambda acc: np.clip(
        np.where(acc > 0, (acc + count // 2) // count, -((-acc + count // 2) // count)), -128, 127
    )


def assert_exact_everywhere(found: RequantizationPlan, layers: list[tuple[LayerFit, Step]]) -> None:
    """Compare every reachable accumulator of every channel: exhaustively, without knowing where the steps are."""
    for (layer, step), params in zip(layers, found.params, strict=True):
        first, last = layer.staircase.first, layer.staircase.last
        for start in range(0, int((last - first).max()) + 1, 1 << 16):
            acc = np.minimum(first + np.arange(start, start + (1 << 16))[:, None], last)
            constants = {"zero_point": layer.zero_point, "low": layer.low, "high": layer.high}
            assert (found.config.compute(acc - layer.bias, params, **constants) == step(acc)).all(), layer.name


def random_layer(
    rng: np.random.Generator, channels: int, *, octaves: tuple[float, float], reach: int
) -> tuple[LayerFit, Step]:
    zero_point = int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))
    low, high = (zero_point, 127) if rng.random() < 0.3 and zero_point < 127 else (-128, 127)
    step = gemmlowp(np.exp2(rng.uniform(*octaves, channels)), zero_point, low, high)
    last = rng.integers(1, reach, channels)
    first = -rng.integers(0, reach, channels)
    bias = rng.integers(-(2**15), 2**15, channels)
    layer = fit(step, first, last, name="conv", zero_point=zero_point, low=low, high=high, bias=bias)
    return layer, step


def single(step: Step, first: int, last: int, *, zero_point: int = 0) -> RequantizationPlan:
    layer = fit(step, np.array([first]), np.array([last]), name="layer", zero_point=zero_point)
    found = plan([layer], acc_bits=ACC_BITS)
    assert_exact_everywhere(found, [(layer, step)])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_random_layers_are_exact_on_every_reachable_accumulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [random_layer(rng, 24, octaves=(-11, -3), reach=2**17) for _ in range(5)]
    assert_exact_everywhere(plan([layer for layer, _ in layers], acc_bits=ACC_BITS), layers)


def test_wide_ranges_are_exact_on_every_reachable_accumulator() -> None:
    rng = np.random.default_rng(20)
    layers = [random_layer(rng, 4, octaves=(-13, -11), reach=2**20)]
    assert_exact_everywhere(plan([layer for layer, _ in layers], acc_bits=ACC_BITS), layers)


@pytest.mark.parametrize("exponent", range(-12, 2))
def test_powers_of_two_round_their_ties_as_gemmlowp_does(exponent: int) -> None:
    step = gemmlowp(np.array([2.0**exponent]), 3)
    single(step, -(2**15), 2**15, zero_point=3)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 9, 25, 49, 64, 1000])
def test_average_pool_divides_exactly(count: int) -> None:
    single(average(np.array([count])), -128 * count, 127 * count)


def test_one_sided_rounding_needs_one_offset() -> None:
    relu = single(gemmlowp(np.array([0.0043]), -128), -(2**17), 2**17, zero_point=-128)
    linear = single(gemmlowp(np.array([0.0043]), 5), -(2**17), 2**17, zero_point=5)
    assert (relu.config.split_sign, linear.config.split_sign) == (False, True)


def test_saturated_and_constant_channels_need_no_multiplier() -> None:
    step = gemmlowp(np.array([0.01, 0.01, 1e-9, 0.5]), -128)
    first, last = np.array([50_000, -50_000, -1000, 77]), np.array([90_000, -1, 1000, 77])
    layer = fit(step, first, last, name="dead", zero_point=-128)
    found = plan([layer], acc_bits=ACC_BITS)
    assert_exact_everywhere(found, [(layer, step)])
    assert found.params[0].multiplier.tolist() == [0, 0, 0, 0]


def test_distant_steps_and_great_constants_keep_the_multiplier_narrow() -> None:
    """Channels without weights have biases up to 2**30; pruned ones steps far from zero."""
    step = gemmlowp(np.array([2.0**-22.7, 0.004, 0.01]), -128)
    first, last = np.array([25_000_000, -(2**17), 2**30]), np.array([27_000_000, 2**17, 2**30 + 5])
    layer = fit(step, first, last, name="depthwise", zero_point=-128, bias=np.array([26_000_000, 17, 2**30]))
    found = plan([layer], acc_bits=22)
    assert_exact_everywhere(found, [(layer, step)])
    assert found.config.bias_bits <= 22
    assert found.config.x_bits <= 21


def test_channel_with_a_single_step_is_exact() -> None:
    single(lambda acc: np.where(acc > 41_233, 1, 0), -(2**17), 2**17)
    single(lambda acc: np.where(acc >= 0, 100, -100), -(2**10), 2**10)


def test_unreachable_levels_cost_nothing() -> None:
    step = gemmlowp(np.array([0.00317]), 0)
    assert single(step, -300, 400).config.multiplier_bits < single(step, -(2**17), 2**17).config.multiplier_bits


@given(
    real=st.floats(1e-5, 4),
    first=st.integers(-(2**16), 2**16),
    count=st.integers(0, 2**14),
    zero=st.integers(-128, 127),
)
@settings(max_examples=60, deadline=None)
def test_any_scale_and_range_is_exact(real: float, first: int, count: int, zero: int) -> None:
    single(gemmlowp(np.array([real]), zero), first, first + count, zero_point=zero)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_monotone_function_is_exact_or_refused(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(-500, 500), min_size=0, max_size=12))
    step = lambda acc: (acc[..., None] >= np.sort(np.array(steps, np.int64))).sum(axis=-1) if steps else 0 * acc  # noqa: E731
    layer = {"name": "layer", "low": 0, "high": 12}
    try:
        fitted = fit(step, np.array([-600]), np.array([600]), **layer)
    except UnsupportedError:
        return
    assert_exact_everywhere(plan([fitted], acc_bits=ACC_BITS), [(fitted, step)])


def test_function_that_no_line_follows_is_refused_with_remedy() -> None:
    step = lambda acc: (acc > 0) * 1 + (acc > 100) + (acc > 101)  # noqa: E731
    with pytest.raises(
        UnsupportedError, match="layer: no multiplier of 30 bits scales output channel 0 exactly; quantize"
    ):
        fit(step, np.array([-600]), np.array([600]), name="layer", low=0, high=3)


def test_channel_without_line_takes_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.gen.staircase.MAX_MULTIPLIER", 15)
    real, bias = np.array([0.0043, 0.25]), np.array([7, -7])
    step = gemmlowp(real, 0)
    mantissa, exponent = np.frexp(real)
    shift = 31 - exponent
    half = np.int64(1) << (shift - 1)
    # For a right shift of 1 or more, gemmlowp is one rounding with an offset that depends on the sign (DESIGN 3).
    own = RequantizeParams(
        bias=bias,
        multiplier=(mantissa * 2**31).round().astype(np.int64),
        offset=half + (1 << 30),
        offset_negative=half - (1 << 30),
        shift=shift,
    )
    layer = fit(step, np.array([-(2**17)] * 2), np.array([2**17] * 2), name="conv", bias=bias, fallback=own)
    found = plan([layer], acc_bits=ACC_BITS)
    assert_exact_everywhere(found, [(layer, step)])
    assert found.params[0].multiplier[0] == own.multiplier[0]
    assert found.params[0].multiplier[1] < 16
    with pytest.raises(UnsupportedError, match="conv: no multiplier"):
        fit(step, np.array([-(2**17)] * 2), np.array([2**17] * 2), name="conv")


def test_planted_wrong_rounding_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    step = gemmlowp(np.array([0.0043, 0.02]), 0)
    layer = fit(step, np.array([-(2**17)] * 2), np.array([2**17] * 2), name="conv_7")
    proper = requantization._Choice.params

    def rounds_down(self: requantization._Choice, zeros: int) -> RequantizeParams:
        params = proper(self, zeros)
        params.offset[1] -= 1 << (params.shift[1] - 1)
        return params

    monkeypatch.setattr(requantization._Choice, "params", rounds_down)
    with pytest.raises(ValueError, match="conv_7: parameters of channel 1 must equal its step function"):
        plan([layer], acc_bits=ACC_BITS)
    monkeypatch.setattr(requantization, "_prove", lambda *_: None)
    with pytest.raises(AssertionError, match="conv_7"):
        assert_exact_everywhere(plan([layer], acc_bits=ACC_BITS), [(layer, step)])


def test_range_beyond_int32_is_refused() -> None:
    with pytest.raises(ValueError, match="accumulators must be a range within int32"):
        fit(gemmlowp(np.array([0.1]), 0), np.array([0]), np.array([2**31]), name="conv")


def test_256_channels_take_a_moment() -> None:
    rng = np.random.default_rng(4)
    began = time.process_time()
    layer, _ = random_layer(rng, 256, octaves=(-11, -6), reach=2**20)
    plan([layer], acc_bits=ACC_BITS)
    # A loaded machine's processor takes longer for the same.
    assert time.process_time() - began < 6


@pytest.mark.parametrize("value", [-128, 0, 127])
def test_layer_whose_range_is_one_value_is_that_constant(value: int) -> None:
    first, last = np.array([-500, 3]), np.array([700, 3])
    layer = fit(
        lambda acc: np.full(acc.shape, value, np.int8),
        first,
        last,
        name="constant",
        zero_point=-3,
        low=value,
        high=value,
    )
    found = plan([layer], acc_bits=ACC_BITS)
    accumulators = np.linspace(first, last, 50).astype(np.int64)
    got = found.config.compute(accumulators, found.params[0], zero_point=-3, low=value, high=value)
    assert (got == value).all()


def test_sums_that_never_occur_make_the_multiplier_shorter() -> None:
    points = np.unique((np.arange(256)[:, None] * 4001 + np.arange(256)[None, :] * 2777) - 900_000)
    step = gemmlowp(np.array([2.0**-13 * 1.37]), 4)
    ends = points[:1], points[-1:]
    everywhere = plan([fit(step, *ends, name="all", zero_point=4)], acc_bits=ACC_BITS)
    sparse = plan([fit(step, *ends, name="some", zero_point=4, points=points)], acc_bits=ACC_BITS)
    got = sparse.config.compute(points[:, None], sparse.params[0], zero_point=4, low=-128, high=127)
    assert (got == step(points[:, None])).all()
    assert sparse.config.multiplier_bits <= everywhere.config.multiplier_bits


def test_table_with_gaps_needs_no_multiplier_but_one() -> None:
    points = np.array([-128, -77, -5, 3, 90])
    layer = fit(lambda acc: acc, points[:1], points[-1:], name="table", points=points)
    found = plan([layer], acc_bits=ACC_BITS)
    got = found.config.compute(points[:, None], found.params[0], zero_point=0, low=-128, high=127)
    assert got[:, 0].tolist() == points.tolist()
