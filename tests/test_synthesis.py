"""Synthesis where yosys fails: another way where its mapper stumbles, its reason where the Verilog is wrong."""

import sys
from pathlib import Path

import pytest

from heddle.boards import synthesis, tools
from heddle.boards.cache import Cache, open_cache
from heddle.boards.synthesis import LOG, synthesize
from heddle.boards.tools import Installed
from heddle.errors import ToolError

SOURCES = {"design.v": "module top(input a, b, c, output y); assign y = a & b | c; endmodule\n"}


def stumbling(error: str) -> Installed:
    """Yosys as far as a test needs it: what maps by ``abc9`` ends with ``error``, in the log and not on the output."""
    program = f"""
import json, sys
log, script = sys.argv[2], open(sys.argv[4]).read()
mapped = "abc -lut" in script
open(log, "w").write("done" if mapped else {error!r})
print("Running ABC command")
if not mapped:
    sys.exit(1)
json.dump({{"modules": {{"top": {{"cells": {{}}, "netnames": {{}}, "ports": {{}}}}}}}}, open("netlist.json", "w"))
"""
    return Installed(command=(sys.executable, "-c", program), version="0", source="test")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))
    with open_cache() as store:
        return store


def test_where_abc9_fails_by_an_error_of_its_own_abc_maps(cache: Cache) -> None:
    made = synthesize(SOURCES, "top", yosys=stumbling("ERROR: Assert `x == y' failed in rtlil.cc:1.\n"), cache=cache)
    assert made.cells == {}
    assert (made.folder / LOG).read_text() == "done"


def test_an_error_of_the_verilog_is_told_as_yosys_logs_it(cache: Cache) -> None:
    with pytest.raises(ToolError, match="Module `x' not found"):
        synthesize(SOURCES, "top", yosys=stumbling("ERROR: Module `x' not found\n"), cache=cache)


def test_both_ways_make_the_same_of_a_small_design(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    yosys = tools.find("yosys")
    first = synthesize(SOURCES, "top", yosys=yosys, cache=cache)
    scripts = synthesis._scripts
    monkeypatch.setattr(synthesis, "_scripts", lambda top, family: scripts(top, family)[::-1])
    second = synthesize(SOURCES, "top", yosys=yosys, cache=cache)
    assert first.folder != second.folder
    assert first.cells == second.cells == {"LUT4": 1}
