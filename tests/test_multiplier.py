"""The multiplier primitive equals integer multiplication, with every primitive, on both simulators."""

import gc
import random
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.gen.verilog import to_verilog
from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier, Primitive, multiplier_dsps, multiplier_latency
from heddle.sim.runner import BenchResult, Simulator, run

LANES = 16
PRIMITIVES: tuple[Primitive, ...] = ("generic", "mult18x18d", "sb_mac16")


class MultiplierLanes(wiring.Component):
    """Independent multipliers side by side: a port for each primitive, the quicker ones as late as the slowest."""

    a: Signal
    b: Signal

    def __init__(self, a_bits: int, b_bits: int) -> None:
        self.bits = a_bits, b_bits
        outputs = {primitive: Out((a_bits + b_bits) * LANES) for primitive in PRIMITIVES}
        super().__init__({"a": In(a_bits * LANES), "b": In(b_bits * LANES), **outputs})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for primitive in PRIMITIVES:
            for index in range(LANES):
                m.submodules[f"{primitive}_{index}"] = lane = Multiplier(*self.bits, primitive=primitive)
                m.d.comb += [
                    lane.a.eq(self.a.word_select(index, lane.a_bits)),
                    lane.b.eq(self.b.word_select(index, lane.b_bits)),
                    getattr(self, primitive)
                    .word_select(index, lane.a_bits + lane.b_bits)
                    .eq(delay(m, lane.p, slowest(*self.bits) - lane.latency, name=f"{primitive}_{index}_p")),
                ]
        return m


def slowest(a_bits: int, b_bits: int) -> int:
    return max(multiplier_latency(a_bits, b_bits, primitive) for primitive in PRIMITIVES)


def simulate(
    path: Path, a: list[int], b: list[int], bits: tuple[int, int], simulator: Simulator, *, fault=("", ""), **edit
) -> BenchResult:
    parameters = {"a": a, "b": b, "a_bits": bits[0], "b_bits": bits[1], "lanes": LANES, "outputs": PRIMITIVES}
    return run(
        top="lanes",
        verilog=to_verilog(MultiplierLanes(*bits), "lanes").replace(*fault),
        bench="heddle.sim.bench_multiplier",
        build_dir=path,
        simulator=simulator,
        parameters={**parameters, "latency": slowest(*bits), **edit},
    )


def corners_and_random(bits: int, count: int, rng: random.Random) -> list[int]:
    top = 1 << (bits - 1)
    limb = [x for x in ((1 << 17) - 1, 1 << 17, -(1 << 17), -(1 << 17) - 1) if -top <= x < top]
    corners = [-top, -top + 1, -1, 0, 1, top - 1, *limb]
    return [rng.choice(corners) if rng.random() < 0.5 else rng.randrange(-top, top) for _ in range(count)]


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_8x8_products_are_exact_exhaustively(tmp_path: Path, simulator: Simulator) -> None:
    pairs = [(a, b) for a in range(-128, 128) for b in range(-128, 128)]
    a, b = (list(operand) for operand in zip(*pairs, strict=True))
    result = simulate(tmp_path, a, b, (8, 8), simulator)
    assert result.passed, result.text


@pytest.mark.parametrize("bits", [(18, 18), (18, 8), (19, 18), (20, 25), (21, 38), (18, 4), (33, 23), (53, 18)])
def test_corners_and_random_products_are_exact(tmp_path: Path, bits: tuple[int, int]) -> None:
    rng = random.Random(sum(bits))
    a, b = (corners_and_random(width, 2048, rng) for width in bits)
    result = simulate(tmp_path, a, b, bits, "icarus")
    assert result.passed, result.text


def test_products_of_four_dsps_are_exact_on_verilator(tmp_path: Path) -> None:
    rng = random.Random(7)
    a, b = (corners_and_random(32, 4096, rng) for _ in range(2))
    result = simulate(tmp_path, a, b, (32, 32), "verilator")
    assert result.passed, result.text


def test_planted_latency_error_is_caught_and_named(tmp_path: Path) -> None:
    result = simulate(tmp_path, [3] * LANES, [5] * LANES, (8, 8), "icarus", latency=1)
    assert "generic: 3 * 5: expected 15, got 0" in result.text


def test_planted_unsigned_operand_is_caught_and_named(tmp_path: Path) -> None:
    result = simulate(tmp_path, [-3], [5], (18, 18), "icarus", fault=(".SIGNEDA(1'h1)", ".SIGNEDA(1'h0)"))
    assert "mult18x18d: -3 * 5: expected -15" in result.text


def test_narrow_limbs_take_no_dsp() -> None:
    assert [multiplier_dsps(*bits) for bits in ((21, 18), (21, 25), (22, 25), (36, 36), (18, 4))] == [1, 2, 4, 4, 0]


def test_dsps_follow_from_the_operand_widths() -> None:
    assert [multiplier_dsps(*bits) for bits in ((18, 18), (32, 18), (32, 23), (53, 53))] == [1, 2, 4, 9]


# Amaranth complains of every component that is not elaborated, refused ones too, when they are collected.
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_unusable_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="a_bits must be at least 2, not 1"):
        Multiplier(1, 8)
    with pytest.raises(ValueError, match="primitive must be"):
        Multiplier(8, 8, primitive="dsp48")  # pyright: ignore[reportArgumentType]
    gc.collect()
