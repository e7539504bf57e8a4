"""The recorded counts of whole designs against the estimates of today: no synthesis, so drift is seen at once.

``python bench/estimates.py`` makes the record anew.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from reference_data import NETWORKS, network_path

import heddle
from heddle import boards
from heddle.boards import tools
from heddle.boards.cache import open_cache
from heddle.boards.family import ECP5, GOWIN, ICE40, Family
from heddle.boards.synthesis import synthesize
from heddle.gen.area import product_area
from heddle.gen.design import compile_network
from heddle.gen.fitting import check_fit
from heddle.gen.memories import MemoryUse
from heddle.gen.resources import TOLERANCE
from heddle.gen.selectors import Selections, selections
from heddle.hdl.config import ArrayConfig

ROOT = Path(__file__).parents[1]
RECORD: list[dict[str, Any]] = json.loads((ROOT / "bench" / "results" / "estimates.json").read_text())
EXACT = ("MULT18X18D", "DP16KD")


def path_of(record: dict[str, Any]) -> Path:
    keys = [key for key, stem in NETWORKS.items() if record["network"] == f"{stem}.tflite"]
    return network_path(keys[0]) if keys else ROOT / "examples" / "digits" / record["network"]


def test_the_record_has_eight_designs_of_several_shapes() -> None:
    assert len({record["name"] for record in RECORD}) >= 8
    assert len({record["network"] for record in RECORD}) == 5
    assert {4, 8, 16} <= {record["block"] for record in RECORD}
    assert any(record["lut_products"] for record in RECORD)


@pytest.mark.parametrize("record", RECORD, ids=lambda record: record["name"])
def test_todays_estimate_is_near_the_recorded_count(record: dict[str, Any]) -> None:
    rows, cols, pixels = map(int, record["array"].split("x"))
    names = ("block", "requantizers", "stream_bytes")
    array = ArrayConfig(
        rows=rows, cols=cols, pixels=pixels, primitive="mult18x18d", **{name: record[name] for name in names}
    )
    board = boards.get(record["board"])
    fitted, refusal = check_fit(compile_network(heddle.load(path_of(record)), array), board.device)
    assert refusal is None
    assert {cell: record["counted"][cell] for cell in EXACT} == fitted.resources.exact
    for cell, estimate in fitted.resources.estimated.items():
        assert estimate == pytest.approx(record["counted"][cell], rel=TOLERANCE - 1), cell


def test_the_parts_of_an_estimate_are_all_of_it() -> None:
    design = heddle.compile(heddle.load(ROOT / "examples" / "digits" / "digits.tflite"), board="ecp5-25f")
    parts = design.resources.parts
    assert round(sum(area.luts for area in parts.values())) == design.resources.luts
    assert round(sum(area.flipflops for area in parts.values())) == design.resources.flipflops


def test_columns_without_indices_share_a_selector() -> None:
    array = ArrayConfig(rows=1, cols=8)
    assert selections(array, [[[]]]) == Selections.least(array)
    # A column has a selector of its own wherever there are indices, whatever these are; but constant bits are wires.
    assert selections(array, [[[0o33335555] * 2]]).distinct == 8
    assert selections(array, [[[0o33335555] * 2]]).bits == 5


def test_a_memory_deeper_than_its_block_rams_needs_multiplexers() -> None:
    assert MemoryUse(name="weights", width=64, depth=512, stored=(64,)).split == ()
    assert MemoryUse(name="weights", width=64, depth=1150, stored=(64,)).split == ((64, 3),)
    # As many block RAMs either way: then the deeper ones, without multiplexers.
    assert MemoryUse(name="maps", width=64, depth=1024, stored=(64,)).split == ()


def test_a_product_in_luts_is_as_large_as_its_docstring_says() -> None:
    area = product_area("lut")
    assert (area.luts, area.flipflops) == (79, 80)


def memory_verilog(use: MemoryUse) -> str:
    """Return a module with such a memory, whose contents differ in every bit where it is only read."""
    (bits,), address = use.stored, (use.depth - 1).bit_length() - 1
    ports, write = "", ""
    if use.byte_writes:
        ports = f", input [{address}:0] to, input [{bits // 8 - 1}:0] en, input [{bits - 1}:0] d"
        write = f"for (i = 0; i < {bits // 8}; i = i + 1) if (en[i]) m[to][8 * i +: 8] <= d[8 * i +: 8];"
    elif use.written:
        ports, write = f", input [{address}:0] to, input en, input [{bits - 1}:0] d", "if (en) m[to] <= d;"
    else:
        rng = random.Random(1)
        words = "".join(f"m[{word}] = {bits}'d{rng.getrandbits(bits)};\n" for word in range(use.depth))
        write = f"end initial begin\n{words}"
    return f"""
        module memory (input clk, input [{address}:0] from, output reg [{bits - 1}:0] q{ports});
        (* ram_style = "block", no_rw_check = 1 *) reg [{bits - 1}:0] m [0:{use.depth - 1}];
        integer i;
        always @(posedge clk) begin q <= m[from]; {write} end
        endmodule
    """


KINDS: dict[str, dict[str, bool]] = {"read": {}, "written": {"written": True}, "bytes": {"byte_writes": True}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "bits", "depth", "kind"),
    [
        (ECP5, 26, 7264, "read"),
        (ECP5, 40, 700, "written"),
        (ECP5, 24, 1537, "bytes"),
        (ICE40, 13, 3088, "read"),
        (ICE40, 40, 700, "written"),
        (ICE40, 24, 1537, "bytes"),
        (ICE40, 16, 1100, "bytes"),
        (GOWIN, 13, 3088, "read"),
        (GOWIN, 24, 1537, "bytes"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_memory_takes_the_block_rams_that_synthesis_gives_it(family: Family, bits, depth, kind) -> None:
    use = MemoryUse(name="m", width=bits, depth=depth, stored=(bits,), family=family, **KINDS[kind])
    with open_cache() as cache:
        made = synthesize({"m.v": memory_verilog(use)}, "memory", yosys=tools.find("yosys"), cache=cache, family=family)
    assert made.needs[family.block_rams] == use.block_rams
