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


def cell(kind: str, connections: dict[str, Any], **parameters: str) -> dict[str, Any]:
    outputs = ("DOA0", "DOA1", "Q", "Z")
    directions = {pin: "output" if pin in outputs else "input" for pin in connections}
    return copy.deepcopy(
        {"type": kind, "connections": connections, "parameters": parameters, "port_directions": directions}
    )


def ram(**outputs: list[int]) -> dict[str, Any]:
    """Return a block RAM of 9 bits and two ports, with the outputs given."""
    pins: dict[str, Any] = {f"{pin}{side}": ["0"] for pin in ("RST", "WE", "OCE") for side in "AB"}
    pins |= {"CLKA": [2], "CLKB": [2], "CEA": ["1"], "CEB": ["1"]}
    modes = {"DATA_WIDTH_A": "01001", "DATA_WIDTH_B": "01001", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}
    return cell("DP16KD", {**pins, **outputs}, **modes, CLKAMUX="CLKA", CLKBMUX="CLKB")


def register(data: int, output: int, **pins: Any) -> dict[str, Any]:
    enable = "CE" if "CE" in pins else "1 "
    return cell(
        "TRELLIS_FF", {"CLK": [2], "DI": [data], "LSR": ["0"], "Q": [output], **pins}, CEMUX=enable, REGSET="RESET"
    )


def lut(table: int, output: int, *inputs: int) -> dict[str, Any]:
    pins = {pin: [net] for pin, net in zip("ABCD", inputs, strict=False)}
    return cell("LUT4", {**pins, "Z": [output]}, INIT=f"{table:016b}")


def module_with(outputs: list[int], **cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": cells, "ports": {"o": {"direction": "output", "bits": outputs}}}


CHOICE = 0xCACA
"""A LUT's table: B where C is 1, else A."""


def two_rams(changes: dict[str, Any]) -> dict[str, Any]:
    """Return two block RAMs, a LUT that takes bit 20's word where bit 22 is 0, else bit 21's, and a register."""
    module = module_with(
        [24], first=ram(DOA0=[20]), second=ram(DOA0=[21]), choice=lut(CHOICE, 23, 20, 21, 22), ff=register(23, 24)
    )
    for path, value in changes.items():
        name, part, key = path.split("__")
        module["cells"][name][part][key] = value
        module["cells"][name]["port_directions"].setdefault(key, "input")
    return module


def registered(module: dict[str, Any]) -> set[int]:
    """Return the nets that go into registers."""
    return {cell["connections"]["DI"][0] for cell in module["cells"].values() if cell["type"] == "TRELLIS_FF"}


def test_the_register_becomes_one_of_each_word_and_of_what_selects() -> None:
    module = two_rams({})
    assert retime_deep_memories(module) == 1
    assert registered(module) == {20, 21, 22}
    assert module["cells"]["choice"]["connections"]["Z"] == [24]
    assert absorb_output_registers(module) == 2
    assert registered(module) == {22}


def test_a_common_enable_goes_with_the_registers() -> None:
    enabled = {f"{name}__connections__CEA": [9] for name in ("first", "second")}
    module = two_rams(enabled)
    module["cells"]["ff"] = register(23, 24, CE=[9])
    assert retime_deep_memories(module) == 1
    assert absorb_output_registers(module) == 2
    module = two_rams({"first__connections__CEA": [9]})
    module["cells"]["ff"] = register(23, 24, CE=[9])
    assert retime_deep_memories(module) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"ff__connections__LSR": [9]},
        {"ff__parameters__REGSET": "SET"},
        {"ff__connections__CLK": [9]},
        {"second__connections__CLKA": [9]},
        {"second__connections__RSTA": [9]},
        {"second__parameters__CLKAMUX": "INV"},
        {"second__parameters__REGMODE_A": "OUTREG"},
        # The choice is one where all words are zero.
        {"choice__parameters__INIT": f"{0x3535:016b}"},
        # A word has another reader.
        {"ff__connections__CE": [20]},
        # The choice has another reader, before and behind the register in the order of cells.
        {"second__connections__WEA": [23]},
        {"ff__connections__M": [23]},
        # One word only: a mask, no choice.
        {"choice__connections__B": [9]},
    ],
)
def test_what_would_not_be_the_same_stays(changes: dict[str, Any]) -> None:
    module = two_rams(changes)
    before = copy.deepcopy(module)
    assert retime_deep_memories(module) == 0
    assert module == before


def test_a_choice_that_nobody_reads_stays() -> None:
    module = two_rams({})
    del module["cells"]["ff"]
    assert retime_deep_memories(module) == 0


def test_all_bits_of_all_ports_move_or_none() -> None:
    """The second bit of the first block RAM goes elsewhere: then its other bit stays, and what is chosen with that."""
    module = two_rams({})
    module["cells"] |= {
        "first": ram(DOA0=[20], DOA1=[30]),
        "elsewhere": lut(1, 35, 30),
        "second": ram(DOA0=[21], DOA1=[32]),
        "third": ram(DOA0=[31]),
        "other": lut(CHOICE, 33, 32, 31, 22),
        "other_ff": register(33, 34),
    }
    module["ports"]["o"]["bits"] += [34, 35]
    assert retime_deep_memories(module) == 0


def test_what_selects_for_several_bits_is_registered_once() -> None:
    module = two_rams({})
    module["cells"] |= {
        "first": ram(DOA0=[20], DOA1=[30]),
        "second": ram(DOA0=[21], DOA1=[31]),
        "other": lut(CHOICE, 33, 30, 31, 22),
        "other_ff": register(33, 34),
    }
    module["ports"]["o"]["bits"] += [34]
    assert retime_deep_memories(module) == 2
    assert registered(module) == {20, 21, 22, 30, 31}
    assert absorb_output_registers(module) == 4
    assert registered(module) == {22}


def test_no_register_comes_between_a_lut_and_the_multiplexer_wired_to_it() -> None:
    """A LUT without words, in the same slice as one with: it is part of the choice, and its inputs are registered."""
    module = two_rams({})
    module["cells"] |= {
        "choice": lut(CHOICE, 40, 20, 21, 22),
        # Zero at zero, and no word in it.
        "beside": lut(0x8888, 41, 25, 26),
        "slice": cell("PFUMX", {"ALUT": [40], "BLUT": [41], "C0": [27], "Z": [23]}),
    }
    assert retime_deep_memories(module) == 1
    assert registered(module) == {20, 21, 22, 25, 26, 27}
    assert module["cells"]["slice"]["connections"]["ALUT"] == [40]
    assert module["cells"]["slice"]["connections"]["BLUT"] == [41]


@pytest.mark.parametrize(("kind", "when_one", "otherwise"), [("PFUMX", "ALUT", "BLUT"), ("L6MUX21", "D1", "D0")])
def test_which_input_a_slices_multiplexer_starts_with(kind: str, when_one: str, otherwise: str) -> None:
    """What selects starts at zero: the input taken then decides, and it starts at one or at zero."""
    select = {"PFUMX": "C0", "L6MUX21": "SD"}[kind]
    for one, moved in ((when_one, 1), (otherwise, 0)):
        pins = {when_one: [40], otherwise: [40], one: [41], select: [27], "Z": [23]}
        module = two_rams({})
        module["cells"] |= {
            "choice": lut(CHOICE, 40, 20, 21, 22),
            # One at zero.
            "beside": lut(0x7777, 41, 25, 26),
            "slice": cell(kind, pins),
        }
        assert retime_deep_memories(module) == moved
