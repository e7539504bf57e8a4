"""The requantizer in hardware equals its software model, with every pipeline shape, on both simulators."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heddle.gen.verilog import to_verilog
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams
from heddle.sim.runner import BenchResult, Simulator, run

NARROW = RequantizeConfig(
    acc_bits=24,
    bias_bits=16,
    x_bits=18,
    multiplier_bits=17,
    offset_bits=20,
    offset_zeros=6,
    shift_min=24,
    shift_max=24,
    split_sign=False,
    primitive="mult18x18d",
)
SHAPES = {
    "one DSP, no shifter": NARROW,
    "sign split, shifter of one stage": replace(NARROW, split_sign=True, shift_min=22, offset_zeros=0, offset_bits=26),
    "no saturation, bias wider than the sum": replace(NARROW, acc_bits=12, bias_bits=17, x_bits=18),
    "two DSPs and a limb in logic": replace(
        NARROW, x_bits=20, multiplier_bits=24, split_sign=True, shift_min=28, shift_max=34
    ),
    "gemmlowp's own parameters": RequantizeConfig(
        acc_bits=32,
        bias_bits=32,
        x_bits=33,
        multiplier_bits=31,
        offset_bits=62,
        shift_min=20,
        shift_max=62,
        split_sign=True,
        primitive="mult18x18d",
    ),
}


def random_params(config: RequantizeConfig, count: int, rng: np.random.Generator) -> RequantizeParams:
    def integers(bits: int, *, negative: bool = True) -> np.ndarray:
        """Of all magnitudes, the ends of the range among them."""
        bits -= negative
        values = [int(rng.integers(0, 1 << 62)) >> int(rng.integers(62 - bits, 63)) for _ in range(count)]
        values[:2] = [0, (1 << bits) - 1]
        return np.array([~v if negative and rng.random() < 0.5 else v for v in values], object)

    offset = integers(config.offset_bits) * 2**config.offset_zeros
    return RequantizeParams(
        bias=integers(config.bias_bits),
        multiplier=integers(config.multiplier_bits, negative=False),
        offset=offset,
        offset_negative=integers(config.offset_bits) * 2**config.offset_zeros if config.split_sign else offset,
        shift=rng.integers(config.shift_min, config.shift_max + 1, count),
    )


def layers(config: RequantizeConfig, count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    limit = 1 << (config.acc_bits - 1)
    made = []
    for zero_point, low, high in [(0, -128, 127), (-128, -128, 127), (127, -100, 127), (5, 5, 90)]:
        params = random_params(config, count, rng)
        acc = rng.integers(-limit, limit, count) >> rng.integers(0, config.acc_bits, count)
        acc[:4] = [-limit, limit - 1, 0, -1]
        constants = {"zero_point": zero_point, "low": low, "high": high}
        expected = config.compute(acc, params, **constants)
        made.append({**constants, "acc": acc.tolist(), "params": params.pack(config), "expected": expected.tolist()})
    return made


def simulate(path: Path, config: RequantizeConfig, *, simulator: Simulator = "icarus", **edit: Any) -> BenchResult:
    return run(
        top="requantize",
        verilog=to_verilog(config.create(), "requantize"),
        bench="heddle.sim.bench_requantize",
        build_dir=path,
        simulator=simulator,
        parameters={"latency": config.latency, "layers": layers(config, 300, seed=3), **edit},
    )


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("primitive", ["generic", "mult18x18d"])
def test_hardware_equals_model(tmp_path: Path, config: RequantizeConfig, primitive: str) -> None:
    result = simulate(tmp_path, replace(config, primitive=primitive))
    assert result.passed, result.text


def test_hardware_equals_model_on_verilator(tmp_path: Path) -> None:
    result = simulate(tmp_path, SHAPES["two DSPs and a limb in logic"], simulator="verilator")
    assert result.passed, result.text


def test_planted_wrong_rounding_is_caught_and_named(tmp_path: Path) -> None:
    config = replace(NARROW, offset_zeros=0, offset_bits=26)
    one, half = np.array([1]), np.array([1 << 23])
    up = RequantizeParams(bias=0 * one, multiplier=1 << 16 * one, offset=half, offset_negative=half, shift=24 * one)
    acc = np.arange(-400, 400)
    down = replace(up, offset=half - 1, offset_negative=half - 1)
    constants = {"zero_point": 0, "low": -128, "high": 127}
    layer = {
        **constants,
        "acc": acc.tolist(),
        "params": down.pack(config) * len(acc),
        "expected": config.compute(acc[:, None], up, **constants)[:, 0].tolist(),
    }
    result = simulate(tmp_path, config, layers=[layer])
    assert "layer 0, item 16: acc -384 gives -2 instead of -1" in result.text


def test_model_is_exact_where_int64_would_overflow() -> None:
    config = SHAPES["gemmlowp's own parameters"]
    rng = np.random.default_rng(9)
    params = random_params(config, 500, rng)
    acc = rng.integers(-(2**31), 2**31, 500)
    for channel in range(500):
        total = int(acc[channel]) + int(params.bias[channel])
        offset = int((params.offset_negative if total < 0 else params.offset)[channel])
        real = (total * int(params.multiplier[channel]) + offset) >> int(params.shift[channel])
        expected = min(max(real + 7, -128), 127)
        got = config.compute(acc[channel : channel + 1], params.rows(channel, 1), zero_point=7, low=-128, high=127)
        assert got.tolist() == [expected]


def test_parameter_that_does_not_fit_is_refused_by_name() -> None:
    good = {"bias": 0, "multiplier": 1, "offset": 64, "offset_negative": 64, "shift": 24}
    for name, value in {"multiplier": 1 << 17, "offset": 65, "bias": -(1 << 15) - 1, "shift": 25}.items():
        bad = {**good, name: value, **({"offset_negative": value} if name == "offset" else {})}
        with pytest.raises(ValueError, match=name):
            RequantizeParams(**{key: np.array([v]) for key, v in bad.items()}).pack(NARROW)
    with pytest.raises(ValueError, match="offset_negative must equal offset without split_sign"):
        RequantizeParams(**{key: np.array([v]) for key, v in {**good, "offset_negative": 0}.items()}).pack(NARROW)


def test_accumulator_that_does_not_fit_is_refused() -> None:
    params = RequantizeParams(
        **{key: np.array([0]) for key in ("bias", "multiplier", "offset", "offset_negative")}, shift=np.array([24])
    )
    with pytest.raises(ValueError, match="acc must fit 24 bits"):
        NARROW.compute(np.array([1 << 23]), params, zero_point=0, low=-128, high=127)


@pytest.mark.parametrize("edit", [{"x_bits": 30}, {"shift_max": 3}, {"multiplier_bits": 0}, {"acc_bits": 1}])
def test_impossible_widths_are_refused_by_name(edit: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(edit))):
        RequantizeConfig(**{**asdict(NARROW), **edit})
