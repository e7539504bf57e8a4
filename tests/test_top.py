"""A board's top, from its pins: with and without a PLL it answers after configuration, and after a press of reset."""

from pathlib import Path

import pytest

from heddle import boards
from heddle.boards.build import build
from heddle.boards.pll import fastest_pll
from heddle.boards.top import TOP, Link, Top
from heddle.errors import InputError
from heddle.gen.shell import ShellSource
from heddle.hdl.shell import POWER_ON_SECONDS
from heddle.hdl.uart import LEAST_CLOCKS, SerialRate
from heddle.link.protocol import REPLY, Counters, Decoder, Frame, Identity, Kind, Packet
from heddle.sim.runner import run

CLOCK_HZ = 25e6
LOCK_NS = 2000
RATE = SerialRate(clock_hz=CLOCK_HZ, baud=CLOCK_HZ / LEAST_CLOCKS)
IDENTITY = Identity(
    network=bytes(range(32)),
    design=bytes(range(32, 64)),
    inputs=(Packet(height=2, width=2, channels=1),),
    outputs=(Packet(height=1, width=1, channels=1),),
)
# What is not reset stays unknown, and so does what it answers.
ACCELERATOR = """
module summing (input clk, input rst, input [7:0] s_axis_tdata, input s_axis_tvalid, input s_axis_tlast,
    output s_axis_tready, output [7:0] m_axis_tdata, output m_axis_tvalid, output m_axis_tlast, input m_axis_tready);
  reg [7:0] sum;
  reg full;
  assign s_axis_tready = ~full, m_axis_tvalid = full, m_axis_tlast = 1'b1, m_axis_tdata = sum;
  always @(posedge clk)
    if (rst) begin sum <= 0; full <= 0; end
    else if (full) begin if (m_axis_tready) begin sum <= 0; full <= 0; end end
    else if (s_axis_tvalid) begin sum <= sum + s_axis_tdata; full <= s_axis_tlast; end
endmodule
"""
# As far as a top needs it: a clock that is none before LOCK, and then has nothing to do with the oscillator's phase.
PLL = f"""
`timescale 1ns/1ps
module EHXPLLL #(
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOP_CPHASE = 0, CLKOP_ENABLE = "", FEEDBK_PATH = ""
) (
    input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
    output reg CLKOP, output reg LOCK
);
  real half = 0.5e9 / {CLOCK_HZ:.0f} * CLKI_DIV / CLKFB_DIV;
  initial begin LOCK = 0; CLKOP = 1'bx; #{LOCK_NS} CLKOP = 0; LOCK = 1; forever #(half) CLKOP = ~CLKOP; end
endmodule
"""


@pytest.mark.parametrize(("with_pll", "inverted"), [(False, True), (True, False)])
def test_a_board_answers_after_its_configuration_and_after_a_press_of_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_pll: bool, inverted: bool
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    source = ShellSource(top="summing", identity=IDENTITY, width_bytes=1, one_clock=not with_pll)
    pll = fastest_pll(CLOCK_HZ, 60e6) if with_pll else None
    top = Top(link_module=source.module, pll=pll, reset_inverted=inverted)
    infer = Frame(kind=Kind.INFER, sequence=1, payload=bytes((1, 2, 3, 40)))
    asked = [infer, Frame(kind=Kind.COUNTERS, sequence=2)]
    result = run(
        top=TOP,
        verilog="\n".join((PLL if with_pll else "", ACCELERATOR, source.verilog(RATE), top.verilog)),
        bench="bench_top",
        build_dir=tmp_path,
        simulator="icarus",
        parameters={
            "bit_ns": 1e9 / RATE.baud,
            "pressed": int(not inverted),
            "pll": with_pll,
            "chunks": [list(frame.encode()) for frame in asked],
        },
    )
    assert result.passed, result.text
    for answers in (result.data["before"], result.data["after"]):
        frames = [frame for answer in answers for frame in Decoder(limit=1000).feed(answer)]
        assert [(f.kind, f.sequence) for f in frames] == [(f.kind | REPLY, f.sequence) for f in asked]
        assert frames[0].payload == bytes((46,))
        # A reset begins to count anew.
        assert Counters.unpack(frames[1].payload).inferences == 1
    if with_pll:
        assert result.data["locked"] == 1
    else:
        assert POWER_ON_SECONDS <= result.data["reset_ns"] * 1e-9 < 4 * POWER_ON_SECONDS


def test_only_a_top_with_a_pll_waits_for_one() -> None:
    pll = fastest_pll(CLOCK_HZ, 60e6)
    with_pll, without = (Top(link_module="shell", pll=p, reset_inverted=True).verilog for p in (pll, None))
    assert "EHXPLLL" in with_pll
    assert ".rst(~rst | ~locked)" in with_pll
    assert "EHXPLLL" not in without
    assert ".rst(~rst)," in without


def test_a_line_that_is_too_fast_for_the_accelerators_clock_is_refused(tmp_path: Path) -> None:
    link = Link(module="shell", verilog=lambda rate: "", baud=1_000_000, facts={})
    link.check_clock(0.7e6)
    with pytest.raises(InputError, match=r"at 0.69 MHz the host link cannot take 1,000,000 baud; ask for 985,714 or"):
        link.check_clock(0.69e6)
    design = tmp_path / "design.v"
    design.write_text("module design (input clk); endmodule")
    with pytest.raises(InputError, match="or for another frequency"):
        build(design, "design", boards.get("ulx3s-25f"), tmp_path / "out", frequency_hz=0.5e6, link=link)
