"""Verilog to bitstream: figures, refusals, the cache, and nothing half-written."""

import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_tools import fake_tools

from heddle import boards
from heddle.boards import route, tools
from heddle.boards.build import build
from heddle.boards.cache import Cache, key_of, open_cache
from heddle.boards.family import ECP5
from heddle.boards.floorplan import Floorplan
from heddle.boards.harness import TOP, Harness, read_ports
from heddle.boards.pll import fastest_pll
from heddle.boards.process import Job, run_all
from heddle.boards.route import describe_critical_path
from heddle.boards.synthesis import Synthesis, check_capacity, check_log, lift_memory_images, synthesize
from heddle.boards.tools import Installed
from heddle.errors import CapacityError, InputError, ToolError

DESIGN = """
module counter (input clk, input rst, input [7:0] step, output reg [15:0] o);
  reg [15:0] table_ [255:0];
  initial begin
    CONTENT
  end
  reg [15:0] word;
  (* keep *) reg [15:0] sum;
  always @(posedge clk) begin
    word <= table_[sum[7:0]];
    o <= word;
    if (rst) sum <= 0; else sum <= sum + step * step;
  end
endmodule
"""
CONTENT = "\n    ".join(f"table_[{k}] = 16'h{k * 257 & 0xFFFF:04x};" for k in range(256))
PYTHON = Installed(command=(sys.executable, "-c"), version="0", source="test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def design(tmp_path: Path) -> Path:
    path = tmp_path / "counter.v"
    path.write_text(DESIGN.replace("CONTENT", CONTENT))
    return path


def test_board_gets_a_bitstream_at_a_clock_its_timing_allows(design: Path, cache: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "first"
    result = build(design, "counter", boards.get("ulx3s-12f"), out, seeds=2, floorplan=True, progress=said.append)
    assert result.clock_hz is not None
    assert result.clock_hz <= result.fmax_hz[result.best_seed] == max(result.fmax_hz.values())
    used = {usage.cell: usage.used for usage in result.resources}
    assert (used["DP16KD"], used["MULT18X18D"]) == (1, 1)
    assert used["TRELLIS_FF"] >= result.harness_flipflops + 16
    # The part answers with the IDCODE that the bitstream asks for.
    assert bytes.fromhex("21111043") in result.files["bitstream"].read_bytes()
    data = json.loads((out / "build.json").read_text())
    assert data["fmax_mhz"]["seeds"] == [round(hz / 1e6, 2) for hz in result.fmax_hz.values()]
    assert data["resources"]["MULT18X18D"] == {"used": 1, "available": 28, "percent": 3.6}
    assert "ns from" in result.critical_path
    assert sum("seed" in line for line in said) == 2
    # Both hard blocks are where the floorplan has put them.
    assert any(line.startswith("floorplan: sites for 1 DP16KD, 1 MULT18X18D") for line in said)
    assert "floorplan" in result.seconds
    (bel,) = {
        bel for path in cache.glob("*/*/netlist.json") for bel in re.findall(r"X\d+/Y\d+/EBR\d", path.read_text())
    }
    x, y, _ = re.findall(r"\d+", bel)
    config = result.files["config"].read_text()
    assert f"R{y}C{x}:" in config, re.findall(r"\.tile \S*", config)
    assert "scipy" in result.tool_versions

    # The same again: nothing runs, and every byte is the same.
    again, repeated = tmp_path / "second", list[str]()
    build(design, "counter", boards.get("ulx3s-12f"), again, seeds=2, floorplan=True, progress=repeated.append)
    assert "place and route: 2 of 2 seeds taken from the cache" in repeated
    assert contents(again) == contents(out)
    assert not list(cache.glob("work-*"))


def test_retuned_design_is_what_nextpnr_writes_for_those_dividers(cache: Path, tmp_path: Path) -> None:
    board, text = boards.get("ulx3s-12f"), "module m (input clk, input i, output o); assign o = i; endmodule"
    plls = [fastest_pll(25e6, hertz) for hertz in (100e6, 137.6e6)]
    configs = []
    with open_cache() as store:
        for pll in plls:
            harness = Harness(top="m", ports=read_ports(text, "m"), pll=pll)
            sources = {"design.v": text, "harness.v": harness.verilog}
            netlist = synthesize(sources, TOP, yosys=tools.find("yosys"), cache=store).netlist
            (routed,) = route.place_and_route(
                netlist,
                board,
                seeds=[1],
                target_hz=2e8,
                nextpnr=tools.find("nextpnr-ecp5"),
                cache=store,
                parallel=1,
                progress=lambda line: None,
            )
            configs.append((routed.folder / ECP5.routed_file).read_text())
    assert configs[0] != configs[1]
    assert plls[1].retune(configs[0]) == configs[1]


def test_a_design_is_timed_as_the_part_is(design: Path, tmp_path: Path) -> None:
    grades = [build(design, "counter", boards.get(f"ecp5-25f-cabga381-{g}"), tmp_path / g, jobs=1) for g in "678"]
    slow, middle, fast = (result.median_hz for result in grades)
    assert slow < middle < fast
    assert [result.part[-10] for result in grades] == ["6", "7", "8"]


def test_bare_part_gets_figures_and_a_bitstream_that_says_it_has_no_pins(design: Path, tmp_path: Path) -> None:
    result = build(design, "counter", boards.get("ecp5-25f"), tmp_path / "out", jobs=1)
    assert result.clock_hz is None
    assert result.files["bitstream"].name == "counter.unpinned.bit"
    assert result.part == "LFE5U-25F-6-CABGA381"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_design_too_large_is_refused_after_synthesis_in_words(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "module big (input clk, input rst, input [17:0] a, output [17:0] o);",
            "  reg [17:0] p [0:30]; integer k;",
            "  always @(posedge clk) begin p[0] <= a * a;",
            *(f"    p[{k}] <= p[{k - 1}] * (a ^ {k});" for k in range(1, 30)),
            "  end",
            "  assign o = p[29];",
            "endmodule",
        ]
    )
    design = tmp_path / "big.v"
    design.write_text(text)
    said: list[str] = []
    with pytest.raises(CapacityError) as refusal:
        build(design, "big", boards.get("ecp5-12f"), tmp_path / "out", progress=said.append)
    assert refusal.value.where == "big"
    assert refusal.value.fact == "does not fit LFE5U-12F: it needs 30 MULT18X18D of 28 (2 too many)"
    assert "LFE5U-45F" in refusal.value.remedy
    assert not (tmp_path / "out").exists()
    assert not any("place" in line for line in said)


def test_distributed_memory_and_carries_count_as_look_up_tables() -> None:
    cells = {"LUT4": 10, "CCU2C": 5, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7}
    synthesis = Synthesis(folder=Path(), cells=cells, seconds=0)
    assert synthesis.needs == {"TRELLIS_COMB": 32, "TRELLIS_FF": 7, "MULT18X18D": 0, "DP16KD": 0}
    check_capacity(synthesis, boards.get("ecp5-12f").device, design="small")
    huge = Synthesis(folder=Path(), cells={"LUT4": 10**6}, seconds=0)
    with pytest.raises(CapacityError) as refusal:
        check_capacity(huge, boards.get("ecp5-85f").device, design="huge")
    assert refusal.value.remedy == "use a smaller array or network"


@pytest.mark.parametrize(
    "moment", ["synthesis (", "synthesis:", "floorplan: sites", "floorplan: done", "seed 1 done", "bitstream"]
)
def test_interrupted_build_leaves_nothing(moment: str, design: Path, cache: Path, tmp_path: Path) -> None:
    def progress(line: str) -> None:
        if moment in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(design, "counter", boards.get("ulx3s-12f"), tmp_path / "out", floorplan=True, progress=progress)
    assert not (tmp_path / "out").exists()
    assert not list(cache.glob("work-*"))


@pytest.mark.parametrize(("wanted", "large", "planned"), [(None, 0, 0), (None, 1, 1), (True, 0, 1), (False, 1, 0)])
def test_large_designs_get_a_floorplan_and_whoever_asks(
    wanted: bool | None, large: bool, planned: int, design: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make_floorplan(netlist: Path, *_: object, **__: object) -> Floorplan:
        made.append(netlist)
        return Floorplan(netlist=netlist, seconds=0)

    fake_tools(monkeypatch, tmp_path)
    monkeypatch.setattr(f"{build.__module__}.make_floorplan", make_floorplan)
    monkeypatch.setattr(f"{build.__module__}.pays", lambda needs, device: large)
    result = build(design, "counter", boards.get("ulx3s-12f"), tmp_path / "out", floorplan=wanted)
    assert len(made) == planned
    assert ("scipy" in result.tool_versions) == bool(planned)


def test_floorplan_without_a_table_of_sites_is_refused(design: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of the sites of GW2AR-18"):
        build(design, "counter", boards.get("tang-nano-20k"), tmp_path / "out", floorplan=True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("assign o = a; assign o = b;", "conflicting drivers"),
        ("wire x = a & ~x; assign o = x;", "logic loop"),
        ("assign o = missing(a);", "missing"),
    ],
)
def test_circuit_that_yosys_would_guess_is_refused(body: str, words: str, cache: Path, tmp_path: Path) -> None:
    design = tmp_path / "bad.v"
    design.write_text(f"module bad (input clk, input a, input b, output o); {body} endmodule")
    with pytest.raises(ToolError, match=words) as refusal:
        build(design, "bad", boards.get("ecp5-12f"), tmp_path / "out")
    assert refusal.value.where == "yosys"
    assert not (tmp_path / "out").exists()
    assert not list(cache.glob("work-*"))


def test_driver_conflict_of_the_optimizer_is_refused_too() -> None:
    warning = (
        "Warning: Driver-driver conflict for \\x between cell $1.Q and constant 1'0 in t: Resolved using constant."
    )
    with pytest.raises(ToolError, match="Driver-driver conflict"):
        check_log(f"...\n{warning}\n...", 0)
    check_log("Warning: wire is unused\n", 0)


@pytest.mark.parametrize("arguments", [{"seeds": 0}, {"frequency_hz": 0.0}, {"frequency_hz": -1.0}])
def test_senseless_options_are_refused(arguments: dict, design: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        build(design, "counter", boards.get("ecp5-12f"), tmp_path / "out", **arguments)


@pytest.mark.parametrize(
    ("name", "text"), [("absent.v", None), ("binary.v", b"\xff\xfe\x00"), ("other.v", b"module a;")]
)
def test_file_without_the_module_is_refused(name: str, text: bytes | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError):
        build(tmp_path / name, "counter", boards.get("ecp5-12f"), tmp_path / "out")


def test_memory_contents_out_of_order_stay_where_they_are() -> None:
    text = "  m[0] = 8'h00;\n  m[2] = 8'h01;\n"
    assert lift_memory_images("a.v", text) == {"a.v": text}
    two = "  m[0] = 8'h00;\n  m[1] = 8'h01;\n  \\n$ [0] = 4'h1;\n  \\n$ [1] = 4'h2;\n"
    lifted = lift_memory_images("a.v", two)
    assert lifted["a.v.1.hex"] == "1\n2\n"
    assert re.findall(r"readmemh\(.*\)", lifted["a.v"]) == ['readmemh("a.v.0.hex", m)', 'readmemh("a.v.1.hex", \\n$ )']


def test_critical_path_is_told_in_words() -> None:
    def hop(kind: str, delay: float, start: str, end: str, net: str = "") -> dict:
        return {
            "type": kind,
            "delay": delay,
            "net": net,
            "from": {"cell": start, "port": "Q"},
            "to": {"cell": end, "port": "D"},
        }

    path = [hop("clk-to-q", 0.5, "a", "a"), hop("routing", 1, "a", "l", "n1"), hop("logic", 0.25, "l", "l")]
    path += [hop("routing", 2, "l", "b", "n2"), hop("setup", 0, "b", "b")]
    outside = {"from": "<async>", "to": "posedge clk", "path": [hop("routing", 99, "pin", "b")]}
    report = {"critical_paths": [outside, {"from": "posedge clk", "to": "posedge clk", "path": path}]}
    assert describe_critical_path(report) == (
        "3.75 ns from a.Q to b.D through 1 level of logic: 0.75 ns in cells, 3.00 ns in wires, "
        "the slowest being n2 with 2.00 ns"
    )
    assert describe_critical_path({"critical_paths": [outside]}) == "no path between registers"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Unable to place cell 'x', no BELs remaining to implement cell type", CapacityError),
        ("Routing failed", ToolError),
    ],
)
def test_failure_of_every_seed_is_told_in_words(message: str, error: type[Exception], tmp_path: Path) -> None:
    netlist = tmp_path / "netlist.json"
    netlist.write_text("{}")
    failing = Installed(
        command=(sys.executable, "-c", f"print('ERROR: ' + {message!r}); raise SystemExit(1)"), version="0", source=""
    )
    with pytest.raises(error, match=re.escape(message)):
        route.place_and_route(
            netlist,
            boards.get("ulx3s-12f"),
            seeds=(1, 2),
            target_hz=1e8,
            nextpnr=failing,
            cache=Cache(root=tmp_path / "cache"),
            parallel=2,
            progress=lambda line: None,
        )
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_killed_builds_left_is_removed_and_what_others_work_in_is_not(tmp_path: Path) -> None:
    store = Cache(root=tmp_path)
    left, used = store.workspace(), store.workspace()
    for folder in (left, used):
        (folder / "netlist.json").touch()
    for path in (left, used, left / "netlist.json"):
        os.utime(path, (0, 0))
    store.workspace()
    assert not left.exists()
    assert used.exists()


def test_interrupt_ends_every_tool_and_leaves_nothing(tmp_path: Path) -> None:
    def job(number: int, script: str) -> Job:
        return Job(tool=PYTHON, arguments=(script,), folder=tmp_path, log=f"{number}.log")

    def interrupt(index: int, outcome: object) -> None:
        raise KeyboardInterrupt

    late = tmp_path / "late"
    jobs = [job(0, "pass"), job(1, f"import time, pathlib; time.sleep(20); pathlib.Path({str(late)!r}).touch()")]
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, parallel=2, finished=interrupt)
    assert time.monotonic() - start < 10
    time.sleep(0.1)
    assert not late.exists()


def test_tools_run_at_most_so_many_at_once_and_report_in_order(tmp_path: Path) -> None:
    jobs = [
        Job(tool=PYTHON, arguments=(f"print({k}); raise SystemExit({k % 2})",), folder=tmp_path, log=f"{k}.log")
        for k in range(4)
    ]
    seen: list[int] = []
    outcomes = run_all(jobs, parallel=2, finished=lambda index, outcome: seen.append(index))
    assert [(o.text.strip(), o.status) for o in outcomes] == [("0", 0), ("1", 1), ("2", 0), ("3", 1)]
    assert sorted(seen) == [0, 1, 2, 3]
    assert threading.active_count() == 1


def test_cache_keeps_the_first_of_two_results_and_can_be_switched_off(tmp_path: Path) -> None:
    with open_cache({"HEDDLE_CACHE": str(tmp_path / "kept")}) as cache:
        key = key_of("x", {"b": 1, "a": 2})
        assert key == key_of("x", {"a": 2, "b": 1})
        for text in ("first", "second"):
            work = cache.workspace()
            (work / "result").write_text(text)
            assert (cache.store(key, work) / "result").read_text() == "first"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [key[:2]]
    with open_cache({"HEDDLE_CACHE": "off"}) as cache:
        root = cache.root
        cache.workspace()
    assert not root.exists()
    with open_cache({"XDG_CACHE_HOME": str(tmp_path)}) as cache:
        assert cache.root == tmp_path / "heddle"
