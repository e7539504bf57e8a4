"""Products of int8 in LUTs, in a DSP and two in a DSP are exact: model, RTL and synthesized netlist, exhaustively."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.boards import tools
from heddle.gen.verilog import to_verilog
from heddle.hdl.products import PRODUCT_LATENCY, LutMultiplier, PairMultiplier, product
from heddle.sim.netlist import model_verilog, netlist_verilog
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


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_every_product_of_every_primitive_is_exact(tmp_path: Path, simulator: Simulator) -> None:
    result = simulate(tmp_path, simulator)
    assert result.passed, result.text


@pytest.mark.slow
def test_a_planted_wrong_table_is_caught_and_named(tmp_path: Path) -> None:
    result = simulate(tmp_path, "icarus", fault=("16'h8777", "16'h7888"))
    assert "lut: " in result.text
    assert "expected" in result.text


def test_the_model_of_the_rows_equals_multiplication() -> None:
    a, b = np.meshgrid(INT8, INT8)
    assert np.array_equal(LutMultiplier.compute(a, b), a * b)


def test_the_model_of_the_packed_pair_equals_multiplication_for_all_16_million_triples() -> None:
    x1, x0 = np.meshgrid(INT8, INT8)
    for y in INT8:
        p1, p0 = PairMultiplier.compute(np.full_like(x1, y), x1, x0)
        assert np.array_equal(p1, y * x1)
        assert np.array_equal(p0, y * x0)


def prove(folder: Path, design: str, *, names: tuple[str, ...], products: dict[str, str], latency: int) -> str:
    """Return ``EXACT``, or the first wrong product, of module ``products`` fed with all values of its int8 operands.

    ``products`` gives the expected value of each output, in Verilog. Simulated by Verilator without Python: some
    million cycles a second.
    """
    tool = tools.find("verilator")
    bits = 8 * len(names)
    slices = {name: f"[{8 * index + 7}:{8 * index}]" for index, name in enumerate(names)}
    wrong = " || ".join(f"{name} !== expected_{name}" for name in products)
    bench = "\n".join(
        [
            "/* verilator lint_off WIDTH */ module bench; reg clk = 0; integer count;",
            f"wire [{bits - 1}:0] now = count, then = count - {latency};",
            *(f"wire signed [7:0] {name} = then{cut};" for name, cut in slices.items()),
            *(f"wire signed [15:0] {name}, expected_{name} = {formula};" for name, formula in products.items()),
            "products products (.clk(clk), .rst(1'b0), ",
            ", ".join(
                [f".{name}(now{cut})" for name, cut in slices.items()] + [f".{name}({name})" for name in products]
            ),
            "); initial begin",
            f"  for (count = 0; count < {(1 << bits) + latency}; count = count + 1) begin",
            f"    #1; if (count >= {latency} && ({wrong})) begin",
            f'      $display("WRONG for {" ".join(f"{name}=%0d" for name in names)}", {", ".join(names)}); $finish;',
            "    end clk = 1; #1 clk = 0;",
            '  end $display("EXACT"); $finish;',
            "end endmodule",
        ]
    )
    (folder / "design.v").write_text(design)
    (folder / "bench.v").write_text(bench)
    flags = ["-CFLAGS", "-O1 -std=c++20 -fcoroutines", "-MAKEFLAGS"]
    flags += ["CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread"]
    command = [*tool.command, "--binary", "-Wno-fatal", "-Wno-lint", "--top-module", "bench", "-Mdir", ".", *flags]
    environment = {**os.environ, **tool.environment}
    done = subprocess.run(
        [*command, "-o", "bench", "design.v", "bench.v"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    output = subprocess.run(["./bench"], cwd=folder, capture_output=True, text=True, check=True).stdout
    return next(line for line in output.splitlines() if line.startswith(("EXACT", "WRONG")))


LUT = {"names": ("a", "b"), "products": {"p": "a * b"}, "latency": PRODUCT_LATENCY}
PAIR = {"names": ("y", "x1", "x0"), "products": {"p1": "y * x1", "p0": "y * x0"}, "latency": PairMultiplier.latency}


@pytest.fixture(scope="module")
def netlists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Synthesize both anew: the user's cache may hold what an older Heddle made."""
    folder = tmp_path_factory.mktemp("netlists")
    texts = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", str(folder / "cache"))
        for name, component in (("lut", LutMultiplier()), ("pair", PairMultiplier())):
            rtl = folder / f"{name}.v"
            rtl.write_text(to_verilog(component, "products"))
            texts[name] = netlist_verilog(rtl, "products", folder / f"{name}_netlist.v").read_text()
        yield texts


def pair_rtl() -> str:
    return "\n".join([to_verilog(PairMultiplier(), "products"), model_verilog("MULT18X18D"), model_verilog("CCU2C")])


@pytest.mark.slow
@pytest.mark.parametrize("primitive", ["generic", "mult18x18d"])
def test_the_pair_is_exact_for_all_16_million_triples(tmp_path: Path, primitive: str) -> None:
    generic = to_verilog(PairMultiplier(primitive="generic"), "products")
    assert prove(tmp_path, generic if primitive == "generic" else pair_rtl(), **PAIR) == "EXACT"


@pytest.mark.slow
def test_a_planted_error_in_the_low_product_of_the_pair_is_caught(tmp_path: Path) -> None:
    text = pair_rtl()
    damaged = text.replace("16'h7888", "16'h7880", 1)
    assert damaged != text
    assert prove(tmp_path, damaged, **PAIR).startswith("WRONG for y=")


@pytest.mark.slow
def test_the_netlist_of_the_product_in_luts_is_exact(netlists: dict[str, str], tmp_path: Path) -> None:
    assert "MULT18X18D" not in netlists["lut"]
    assert prove(tmp_path, netlists["lut"], **LUT) == "EXACT"


@pytest.mark.slow
def test_the_netlist_of_the_pair_is_exact_and_has_one_dsp(netlists: dict[str, str], tmp_path: Path) -> None:
    assert netlists["pair"].count("MULT18X18D #(") + netlists["pair"].count("MULT18X18D \\") == 2  # and its model
    assert prove(tmp_path, netlists["pair"], **PAIR) == "EXACT"


# Amaranth complains of every component that is not elaborated, refused ones too, when they are collected.
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_unknown_primitives_are_refused() -> None:
    with pytest.raises(ValueError, match="primitive must be"):
        LutMultiplier(primitive="mult18x18d")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="primitive must be"):
        PairMultiplier(primitive="lut")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="primitive must be"):
        product("dsp48")  # pyright: ignore[reportArgumentType]
    gc.collect()
