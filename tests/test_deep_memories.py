"""Registers behind memories deeper than a block RAM: they move into the block RAMs, and nothing else changes."""

import copy
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_netlist import compare

from heddle.boards import deep_memories
from heddle.boards.deep_memories import retime_deep_memories
from heddle.boards.output_registers import absorb_output_registers
from heddle.sim.netlist import netlist_verilog


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesize anew: the user's cache may hold what an older Heddle made."""
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))


def deep(bits: int, depth: int, *, enable: bool = False) -> str:
    """Return Verilog of a read-only memory with a register behind it, read at random."""
    rng = random.Random(bits + depth)
    words = "".join(f"memory[{k}] = {bits}'h{rng.getrandbits(bits):x};\n" for k in range(depth))
    take = "if (enable) " if enable else ""
    return f"""module sample (input clk, input rst, input [10:0] address, input enable, output reg [{bits - 1}:0] o);
        (* ram_style = "block" *) reg [{bits - 1}:0] memory [{depth - 1}:0];
        reg [{bits - 1}:0] word;
        initial begin {words} end
        initial o = 0;
        always @(posedge clk) begin
            {take}word <= memory[address % {depth}];
            {take}o <= word;
        end
    endmodule"""


def netlists(text: str, folder: Path) -> tuple[Path, Path]:
    """Return RTL and its netlist as Verilog."""
    folder.mkdir(exist_ok=True)
    rtl = folder / "rtl.v"
    rtl.write_text(text)
    return rtl, netlist_verilog(rtl, "sample", folder / "netlist.v", module="netlist")


@pytest.mark.parametrize(("bits", "depth", "enable"), [(36, 1100, False), (40, 1100, True)])
def test_a_deep_memorys_register_is_in_its_block_rams(bits: int, depth: int, enable: bool, tmp_path: Path) -> None:
    rtl, netlist = netlists(deep(bits, depth, enable=enable), tmp_path)
    text = netlist.read_text()
    rams = len(re.findall(r"^ *DP16KD #\(", text, re.MULTILINE))
    assert rams > 1
    assert text.count('.REGMODE_B("OUTREG")') == rams
    assert compare(rtl, netlist, "iverilog", tmp_path) == "EQUAL"


def test_a_register_forgotten_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What selects must be late, too."""
    right = deep_memories._Retiming._move
    monkeypatch.setattr(deep_memories._Retiming, "_move", lambda self, choice: right(self, replace(choice, selects=())))
    rtl, netlist = netlists(deep(36, 1100), tmp_path)
    assert compare(rtl, netlist, "iverilog", tmp_path).startswith("DIFFERENT")


def two_rams(**changes: Any) -> dict[str, Any]:
    """Return two block RAMs, a LUT that takes bit 20's word where bit 22 is 0, else bit 21's, and a register."""
    ram: dict[str, Any] = {f"{pin}{side}": ["0"] for pin in ("RST", "WE", "OCE") for side in "AB"}
    ram |= {"CLKA": [2], "CLKB": [2], "CEA": ["1"], "CEB": ["1"]}
    parameters = {"DATA_WIDTH_A": "01001", "DATA_WIDTH_B": "01001", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}
    parameters |= {"CLKAMUX": "CLKA", "CLKBMUX": "CLKB"}

    def cell(kind: str, connections: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
        outputs = ("DOA0", "Q", "Z")
        directions = {pin: "output" if pin in outputs else "input" for pin in connections}
        return copy.deepcopy(
            {"type": kind, "connections": connections, "parameters": parameters, "port_directions": directions}
        )

    register = {"CLK": [2], "DI": [23], "LSR": ["0"], "Q": [24]}
    settings = {"CEMUX": "1 ", "REGSET": "RESET"}
    cells = {
        "first": cell("DP16KD", {**ram, "DOA0": [20]}, parameters),
        "second": cell("DP16KD", {**ram, "DOA0": [21]}, parameters),
        "choice": cell("LUT4", {"A": [20], "B": [21], "C": [22], "D": ["0"], "Z": [23]}, {"INIT": f"{0xCACA:016b}"}),
        "ff": cell("TRELLIS_FF", register, settings),
    }
    for path, value in changes.items():
        name, part, key = path.split("__")
        cells[name][part][key] = value
        cells[name]["port_directions"].setdefault(key, "input")
    return {"cells": cells, "ports": {"o": {"direction": "output", "bits": [24]}}}


def test_the_register_becomes_one_of_each_word_and_of_what_selects() -> None:
    module = two_rams()
    assert retime_deep_memories(module) == 1
    registers = {cell["connections"]["DI"][0] for cell in module["cells"].values() if cell["type"] == "TRELLIS_FF"}
    assert registers == {20, 21, 22}
    assert module["cells"]["choice"]["connections"]["Z"] == [24]
    assert absorb_output_registers(module) == 2
    assert sum(cell["type"] == "TRELLIS_FF" for cell in module["cells"].values()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"ff__connections__LSR": [9]},
        {"ff__parameters__REGSET": "SET"},
        {"ff__connections__CLK": [9]},
        {"second__connections__CLKA": [9]},
        {"second__parameters__REGMODE_A": "OUTREG"},
        # The choice is one where all words are zero.
        {"choice__parameters__INIT": f"{0x3535:016b}"},
        # A word has another reader.
        {"ff__connections__CE": [20]},
        # The choice has another reader.
        {"second__connections__WEA": [23]},
    ],
)
def test_what_would_not_be_the_same_stays(changes: dict[str, Any]) -> None:
    module = two_rams(**changes)
    before = copy.deepcopy(module)
    assert retime_deep_memories(module) == 0
    assert module == before
