"""Products of int8 in LUTs, in a DSP and two in a DSP are exact: model, RTL and synthesized netlist, exhaustively."""

import gc
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.gen.verilog import to_verilog
from heddle.hdl.products import PRODUCT_LATENCY, LutMultiplier, product
from heddle.sim.runner import BenchResult, Simulator, run

LANES = 16
PRIMITIVES = ("generic", "mult18x18d", "lut")
INT8 = np.arange(-128, 128, dtype=np.int32)


class ProductLanes(wiring.Component):
    """Independent products side by side, on one port for each primitive, ``lut_generic`` the twin of ``lut``."""

    a: Signal
    b: Signal

    outputs = (*PRIMITIVES, "lut_generic")

    def __init__(self) -> None:
        super().__init__({"a": In(8 * LANES), "b": In(8 * LANES), **{name: Out(16 * LANES) for name in self.outputs}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in self.outputs:
            for index in range(LANES):
                lane = product(name) if name in PRIMITIVES else LutMultiplier(primitive="generic")
                m.submodules[f"{name}_{index}"] = lane
                m.d.comb += [
                    lane.a.eq(self.a.word_select(index, 8)),
                    lane.b.eq(self.b.word_select(index, 8)),
                    getattr(self, name).word_select(index, 16).eq(lane.p),
                ]
        return m


def simulate(path: Path, simulator: Simulator, *, fault: tuple[str, str] = ("", "")) -> BenchResult:
    """Multiply every pair of operands."""
    verilog = to_verilog(ProductLanes(), "lanes")
    assert fault[0] in verilog
    a, b = (operand.ravel().tolist() for operand in np.meshgrid(INT8, INT8))
    return run(
        top="lanes",
        verilog=verilog.replace(*fault),
        bench="heddle.sim.bench_multiplier",
        build_dir=path,
        simulator=simulator,
        parameters={
            **{"a": a, "b": b, "a_bits": 8, "b_bits": 8, "lanes": LANES},
            **{"outputs": ProductLanes.outputs, "latency": PRODUCT_LATENCY},
        },
    )


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_every_product_of_every_primitive_is_exact(tmp_path: Path, simulator: Simulator) -> None:
    result = simulate(tmp_path, simulator)
    assert result.passed, result.text


def test_a_planted_wrong_table_is_caught_and_named(tmp_path: Path) -> None:
    result = simulate(tmp_path, "icarus", fault=("16'h8777", "16'h7888"))
    assert "lut: " in result.text
    assert "expected" in result.text


def test_the_model_of_the_rows_equals_multiplication() -> None:
    a, b = np.meshgrid(INT8, INT8)
    assert np.array_equal(LutMultiplier.compute(a, b), a * b)


# Amaranth complains of every component that is not elaborated, refused ones too, when they are collected.
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_unknown_primitives_are_refused() -> None:
    with pytest.raises(ValueError, match="primitive must be"):
        LutMultiplier(primitive="mult18x18d")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="primitive must be"):
        product("dsp48")  # pyright: ignore[reportArgumentType]
    gc.collect()
