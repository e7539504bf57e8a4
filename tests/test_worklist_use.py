"""A work-list core as a user meets it: by name, by objective, in the report, and on the command line."""

import json

import pytest
from digits import FOLDER, digit_samples, only
from pruned_files import DIGITS, by_magnitude

import heddle
from heddle import boards, cli
from heddle.boards.build import count
from heddle.errors import CapacityError, InputError, UnsupportedError
from heddle.gen import planner
from heddle.gen.api import CompiledDesign
from heddle.gen.choice import layer_choices
from heddle.gen.fitting import parse_array
from heddle.gen.ir import Network
from heddle.gen.objective import Objective
from heddle.gen.resources import TOLERANCE
from heddle.gen.worklist import WorklistDesign
from heddle.gen.worklist_space import worklist_shapes
from heddle.hdl.worklist_config import WorklistShape

BOARD = "ulx3s-85f"


@pytest.fixture(scope="module")
def network() -> Network:
    return heddle.load(DIGITS)


@pytest.fixture(scope="module")
def design(network: Network) -> CompiledDesign:
    return heddle.compile(network, BOARD, "worklist-2x8")


@pytest.fixture(scope="module")
def pruned() -> Network:
    return by_magnitude(DIGITS, 0.75)


def test_a_core_is_named_as_it_is_written() -> None:
    shape = parse_array("worklist-4x32", boards.get(BOARD))
    assert shape == WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
    assert parse_array(str(shape), boards.get(BOARD)) == shape


@pytest.mark.parametrize(
    ("name", "board", "options", "error", "words"),
    [
        ("worklist-0x4", BOARD, {}, CapacityError, "lanes is 0; choose lanes in 1..16"),
        ("worklist-17x4", BOARD, {}, CapacityError, "lanes is 17"),
        ("worklist-4x33", BOARD, {}, CapacityError, "pixels is 33; choose one of 2, 4, 8"),
        ("worklist-4x32x2", BOARD, {}, InputError, "is not a shape; give .* or lanes x pixels: worklist-4x32"),
        ("worklist-", BOARD, {}, InputError, "is not a shape"),
        (
            "worklist-4x32",
            "icebreaker",
            {},
            CapacityError,
            "icebreaker: .* use an array, or a board with an ECP5",
        ),
        ("worklist-4x32", "tang-nano-20k", {}, CapacityError, "tang-nano-20k: .* use an array"),
        (
            "worklist-4x32",
            "ulx3s-12f",
            {},
            CapacityError,
            r"128 MULT18X18D of 28 .* choose a board with LFE5U-85F",
        ),
        ("worklist-2x8", BOARD, {"requantizers": 2}, InputError, "has no requantizers to choose"),
        ("worklist-2x8", BOARD, {"block": 4}, InputError, "has no block to choose"),
    ],
)
def test_a_core_that_cannot_be_is_refused(network: Network, name, board, options, error, words) -> None:
    with pytest.raises(error, match=words):
        heddle.compile(network, board, name, **options)


def test_a_width_of_streams_is_the_core_s(network: Network) -> None:
    assert heddle.compile(network, BOARD, "worklist-2x8", stream_bytes=2).array.stream_bytes == 2


def test_what_it_predicts_and_says_of_itself(design: CompiledDesign, network: Network) -> None:
    x = digit_samples(3)
    assert (only(design.predict(x)) == only(network.predict(x))).all()
    text = str(design.report())
    assert "array worklist-2x8 with 8 requantizers" in text
    assert f"block RAMs   {design.resources.block_rams} of 208" in text
    assert {layer.kind for layer in design.layers} == {"move", "worklist"}


def test_what_its_zeros_give(pruned: Network, design: CompiledDesign) -> None:
    sparse = heddle.compile(pruned, BOARD, "worklist-2x8").design
    assert isinstance(sparse, WorklistDesign)
    assert isinstance(design.design, WorklistDesign)
    whole, less = ({c.name: c for c in layer_choices(d)} for d in (design.design, sparse))
    assert whole.keys() == less.keys()
    cycles = {layer.name: layer.cycles for layer in sparse.layers}
    for name, choice in less.items():
        assert choice.kind == "worklist"
        assert choice.cycles["worklist"] == cycles[name]
        assert choice.of_ideal is not None
        assert 0 < choice.of_ideal <= 1
        assert choice.density < whole[name].density
    # Three quarters of the weights are zero, in a layer of which little else is to be done.
    assert less["conv_2d_2"].speedup > 2.5
    assert sparse.cycles < design.cycles / 1.9


def test_written_files_know_the_core(design: CompiledDesign, tmp_path) -> None:
    design.write(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["array"] == {
        "lanes": 2, "pixels": 8, "stream_bytes": 8, "primitive": "mult18x18d", "macs_per_cycle": 16
    }  # fmt: skip
    assert manifest["layers"][1]["selection"]["kind"] == "worklist"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "worklist-2x8 with 8 requantizers" in page
    assert "module heddle_digits" in (tmp_path / "out" / "heddle_digits.v").read_text()


def test_the_bounds_are_bounds(pruned: Network) -> None:
    device = boards.get("ulx3s-25f").device
    shapes = worklist_shapes(pruned, device, dsps=2, stream_bytes=1)
    assert [bound for bound, _ in shapes] == sorted(bound for bound, _ in shapes)
    assert len(shapes) > 5
    for bound, shape in shapes[:3]:
        design = heddle.compile(pruned, "ulx3s-85f", shape).design
        assert 0.3 * design.cycles < bound <= design.cycles


def test_a_plan_weighs_both_kinds_of_core(pruned: Network) -> None:
    board = boards.get("ulx3s-25f")
    plan = planner.plan(pruned, board, Objective.LATENCY, lists=True)
    kinds = {type(candidate.array) for candidate in plan.candidates}
    assert WorklistShape in kinds or "cannot be better than the choice" in plan.passed
    assert plan.chosen.seconds == min(c.seconds for c in plan.candidates if not c.refusal)
    without = planner.plan(pruned, board, Objective.LATENCY)
    assert {type(candidate.array) for candidate in without.candidates}.isdisjoint({WorklistShape})
    assert plan.chosen.seconds <= without.chosen.seconds


def test_a_network_that_no_such_core_runs_is_left_to_the_array(monkeypatch, pruned: Network) -> None:
    def refuses(network, shape):
        raise UnsupportedError("cannot", where="layer", remedy="use the array core")

    monkeypatch.setattr(planner, "compile_worklist", refuses)
    monkeypatch.setattr(planner, "estimated_hz", lambda luts: 1e8 if luts else 1e12)
    plan = planner.plan(pruned, boards.get("ulx3s-25f"), Objective.LATENCY, lists=True)
    assert plan.passed["are work-list cores, which cannot run the network"] > 1
    assert not isinstance(plan.chosen.array, WorklistShape)


def test_the_command_takes_it_by_name(tmp_path, capsys) -> None:
    out = tmp_path / "out"
    command = ["generate", str(DIGITS), "--board", BOARD, "--array", "worklist-2x8", "-o", str(out), "--json"]
    assert cli.main(command) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["array"] == "worklist-2x8"
    assert data["requantizers"] == 8


@pytest.mark.slow
def test_the_command_simulates_it(capsys) -> None:
    command = ["simulate", str(DIGITS), "--board", BOARD, "--array", "worklist-2x8", "--samples", "2", "--json"]
    assert cli.main([*command, "--inputs", str(FOLDER / "samples.npz")]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["mismatches"] == 0
    assert data["cycles"] == data["predicted_cycles"]


@pytest.mark.slow
def test_what_it_takes_is_known_before_synthesis(pruned: Network, tmp_path) -> None:
    compiled = heddle.compile(pruned, BOARD, "worklist-2x8")
    compiled.write(tmp_path / "out")
    sites = count(tmp_path / "out" / f"{compiled.name}.v", compiled.name, compiled.board)
    need = compiled.resources
    assert {cell: sites[cell] for cell in need.exact} == need.exact
    for cell, estimate in need.estimated.items():
        assert 1 / TOLERANCE < sites[cell] / estimate < TOLERANCE, cell
