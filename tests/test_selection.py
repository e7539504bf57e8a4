"""Selectors of ECP5's cells equal an index into a block, for every block size, in RTL and after synthesis."""

import random
import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, Value
from hdl_trace import Trace, follow

from heddle.boards import tools
from heddle.boards.cache import open_cache
from heddle.boards.synthesis import synthesize
from heddle.gen.verilog import to_verilog
from heddle.hdl import selection
from heddle.hdl.element import PlaneSelector, Selector
from heddle.hdl.multiplier import Primitive

SIZES = (2, 4, 8, 16)


def selector_trace(block: int, *, seed: int) -> Trace:
    """Every activation of some blocks, in any order, those of extreme values too."""
    rng = random.Random(seed)
    trace = Trace("block", "select")
    for number in range(6):
        values = [rng.choice([-128, 127, 0, -1, rng.randrange(-128, 128)]) for _ in range(block)]
        for index in rng.sample(range(block), block):
            packed = sum((value & 255) << 8 * i for i, value in enumerate(values))
            place = f"block {number}, activation {index}"
            trace.expect(trace.now + Selector.LATENCY, "activation", values[index] & 255, place, width=8)
            trace.cycle(block=packed, select=index)
    trace.idle(Selector.LATENCY)
    return trace


def plane_trace(block: int, *, seed: int) -> Trace:
    """The activations of all columns, whether each has its own channel or all have the same."""
    rng = random.Random(seed)
    trace = Trace("block", "select", "diagonal")
    for number in range(12 * block):
        values, select, diagonal = rng.randbytes(block), rng.randrange(block), rng.randrange(2)
        for k in range(block):
            trace.expect(
                trace.now + PlaneSelector.LATENCY, "activations", values[k if diagonal else select],
                f"block {number}, column {k}", low=8 * k, width=8,
            )  # fmt: skip
        trace.cycle(block=int.from_bytes(values, "little"), select=select, diagonal=diagonal)
    trace.idle(PlaneSelector.LATENCY)
    return trace


@pytest.mark.parametrize("primitive", ["generic", "mult18x18d"])
@pytest.mark.parametrize("block", SIZES)
def test_plane_selector_gives_each_column_its_own_or_the_one_that_is_named(
    tmp_path: Path, block: int, primitive: Primitive
) -> None:
    result = follow(PlaneSelector(block=block, primitive=primitive), plane_trace(block, seed=block), tmp_path)
    assert result.passed, result.text


@pytest.mark.parametrize("primitive", ["generic", "mult18x18d"])
@pytest.mark.parametrize("block", SIZES)
def test_selector_gives_the_activation_that_is_named(tmp_path: Path, block: int, primitive: Primitive) -> None:
    result = follow(Selector(block=block, primitive=primitive), selector_trace(block, seed=block), tmp_path)
    assert result.passed, result.text


def test_planted_swapped_choice_is_caught_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = selection._choice

    def swapped(m: Module, name: str, level: int, first: Value, second: Value, choose: Value) -> Signal:
        return choice(m, name, level, *((second, first) if level == 2 else (first, second)), choose)

    monkeypatch.setattr(selection, "_choice", swapped)
    result = follow(Selector(block=8, primitive="mult18x18d"), selector_trace(8, seed=8), tmp_path)
    assert re.search(r"block \d, activation \d: activation is", result.text)


@pytest.mark.slow
def test_synthesis_takes_the_luts_that_are_promised(tmp_path: Path) -> None:
    source = tmp_path / "selector.v"
    source.write_text(to_verilog(Selector(block=8, primitive="mult18x18d"), "selector"))
    cells = synthesized(source, "selector")
    assert cells["LUT4"] == 8 * selection.select_luts(8)
    assert (cells["PFUMX"], cells["L6MUX21"], cells["TRELLIS_FF"]) == (16, 8, 8)


def synthesized(source: Path, top: str) -> dict[str, int]:
    """Cells of a netlist by type."""
    with open_cache() as cache:
        return dict(synthesize({"design.v": source.read_text()}, top, yosys=tools.find("yosys"), cache=cache).cells)
