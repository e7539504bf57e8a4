"""Carry chains are shortened to one LUT more than they have bits, and sum as before."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from test_netlist import compare

from heddle.boards import tools
from heddle.boards.cache import open_cache
from heddle.boards.carry_chains import shorten_carry_chains
from heddle.boards.synthesis import NETLIST, synthesize
from heddle.sim.netlist import netlist_verilog

WIDTHS = range(2, 14)


def arithmetic() -> str:
    """Return Verilog of sums, differences, comparisons and counters of many widths, some with constants."""
    rng = random.Random(5)
    lines, total = [], 0
    for n in WIDTHS:
        constant = rng.randrange(1, 1 << n)
        lines += [
            f"reg [{n}:0] sum{n}; reg [{n - 1}:0] minus{n}, count{n} = 0; reg less{n}, borrow{n}; wire carry{n};",
            f"wire [{n - 1}:0] a{n} = i[{n - 1}:0], b{n} = i[{n + 15}:16]; wire [{n - 1}:0] low{n};",
            f"assign {{carry{n}, low{n}}} = a{n} + b{n} + 1;",
            f"always @(posedge clk) begin sum{n} <= a{n} + b{n}; minus{n} <= a{n} - b{n};",
            f"count{n} <= rst ? 0 : count{n} + 1; less{n} <= $signed(a{n}) < $signed(b{n});",
            f"borrow{n} <= (a{n} - {constant}) >> {n - 1}; end",
        ]
        total += 3 * n + 1 + 3 + n
    outputs = ", ".join(f"sum{n}, minus{n}, count{n}, less{n}, borrow{n}, carry{n}, low{n}" for n in WIDTHS)
    head = f"module sample (input clk, input rst, input [31:0] i, output [{total - 1}:0] o);"
    return "\n".join([head, *lines, f"assign o = {{{outputs}}};", "endmodule", ""])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_shortened_chains_do_what_the_rtl_does(tmp_path: Path) -> None:
    rtl = tmp_path / "rtl.v"
    rtl.write_text(arithmetic())
    netlist = netlist_verilog(rtl, "sample", tmp_path / "netlist.v", module="netlist")
    assert compare(rtl, netlist, "iverilog", tmp_path) == "EQUAL"


def test_no_carry_in_is_constant_and_no_carry_out_unused() -> None:
    with open_cache() as cache:
        synthesis = synthesize({"sample.v": arithmetic()}, "sample", yosys=tools.find("yosys"), cache=cache)
        cells = json.loads((synthesis.folder / NETLIST).read_text())["modules"]["sample"]["cells"].values()
    carries = [cell["connections"] for cell in cells if cell["type"] == "CCU2C"]
    carries_in, carries_out = ({nets[pin][0] for nets in carries} for pin in ("CIN", "COUT"))
    assert not carries_in & {"0", "1"}
    assert "x" in carries_in & carries_out
    assert carries_out <= carries_in


def adder(bits: int, *, carry_in: str = "0") -> dict[str, Any]:
    """Return a chain as yosys makes it: bits even in number, the last carry a net without users."""
    cells = {}
    for index in range(0, bits, 2):
        nets: dict[str, list[Any]] = {"CIN": [100 + index if index else carry_in], "COUT": [102 + index]}
        for half in range(2):
            nets |= {f"A{half}": [200 + index + half], f"B{half}": [300 + index + half], f"C{half}": ["0"]}
            nets |= {f"D{half}": ["1"], f"S{half}": [400 + index + half]}
        cells[f"c{index}"] = {
            "type": "CCU2C",
            "parameters": {"INIT0": f"{0x96AA:016b}", "INIT1": f"{0x96AA:016b}", "INJECT1_0": "NO", "INJECT1_1": "NO"},
            "attributes": {},
            "port_directions": {},
            "connections": nets,
        }
    ports = {"s": {"bits": [400 + bit for bit in range(bits)]}}
    return {"cells": cells, "ports": ports}


@pytest.mark.parametrize("carry_in", ["0", "1"])
def test_an_even_chain_takes_one_lut_more_than_it_has_bits(carry_in: str) -> None:
    module = adder(8, carry_in=carry_in)
    shorten_carry_chains(module)
    kinds = [cell["type"] for cell in module["cells"].values()]
    assert (kinds.count("CCU2C"), kinds.count("LUT4")) == (4, 1)
    lowest = next(cell for cell in module["cells"].values() if cell["type"] == "LUT4")
    assert lowest["connections"] == {"A": [200], "B": [300], "C": ["0"], "D": ["1"], "Z": [400]}


def test_a_chain_with_a_carry_in_from_logic_is_left_alone() -> None:
    module = adder(8)
    module["cells"]["c0"]["connections"]["CIN"] = [500]
    before = json.dumps(module)
    shorten_carry_chains(module)
    module["cells"]["c6"]["connections"]["COUT"] = [108]  # without users, and so left open
    assert json.dumps(module) == before


def test_a_planted_wrong_start_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heddle.boards import carry_chains

    right = carry_chains._start

    def wrong(halves: Any, carry_in: int) -> Any:
        (start, *others), lut = right(halves, carry_in)
        return [start._replace(table=start.table ^ 0x8), *others], lut

    monkeypatch.setattr(carry_chains, "_start", wrong)
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))
    rtl = tmp_path / "rtl.v"
    rtl.write_text(arithmetic())
    netlist = netlist_verilog(rtl, "sample", tmp_path / "netlist.v", module="netlist")
    assert compare(rtl, netlist, "iverilog", tmp_path).startswith("DIFFERENT")
