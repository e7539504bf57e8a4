"""A work-list core as a user meets it: by name, by objective, in the report, and on the command line."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from digits import FOLDER, digit_samples, only
from pruned_files import DIGITS, by_magnitude, write
from random_networks import Builder

import heddle
from heddle import boards, cli
from heddle.boards.build import count
from heddle.errors import CapacityError, InputError
from heddle.gen import planner
from heddle.gen.api import CompiledDesign
from heddle.gen.choice import layer_choices
from heddle.gen.clock import estimated_hz
from heddle.gen.fitting import default_array, parse_array
from heddle.gen.ir import Linear, Network, Node
from heddle.gen.objective import Objective
from heddle.gen.plan_view import plan_lines
from heddle.gen.resources import TOLERANCE
from heddle.gen.shapes import Space
from heddle.gen.worklist import WorklistDesign, prepare
from heddle.gen.worklist_space import worklist_bounds
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import LIMITS, PIXELS, TURNS, WorklistShape

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
            r"100 MULT18X18D of 28 .* choose a board with LFE5U-85F",
        ),
        (
            "worklist-2x8",
            BOARD,
            {"requantizers": 3},
            CapacityError,
            "3 requantizers for 8 pixels; choose one of 8, 4, 2, 1",
        ),
        ("worklist-2x8", BOARD, {"requantizers": 0}, CapacityError, "0 requantizers for 8 pixels"),
        ("worklist-2x8", BOARD, {"requantizers": 16}, CapacityError, "16 requantizers for 8 pixels"),
        ("worklist-2x64", BOARD, {"requantizers": 4}, CapacityError, "choose one of 64, 32, 16, 8"),
        ("worklist-2x8", BOARD, {"block": 4}, InputError, "has no block to choose"),
    ],
)
def test_a_core_that_cannot_be_is_refused(network: Network, name, board, options, error, words) -> None:
    with pytest.raises(error, match=words):
        heddle.compile(network, board, name, **options)


def test_a_width_of_streams_is_the_core_s(network: Network) -> None:
    assert heddle.compile(network, BOARD, "worklist-2x8", stream_bytes=2).array.stream_bytes == 2


def test_requantizers_are_chosen_by_their_number(network: Network) -> None:
    shapes = [heddle.compile(network, BOARD, "worklist-2x8", requantizers=count).array for count in (8, 4, 1)]
    assert [shape.requantizers for shape in shapes] == [8, 4, 1]
    assert len(set(shapes)) == 3


def test_on_a_board_it_is_made_of_the_board_s_multipliers(network: Network, design: CompiledDesign) -> None:
    bare = heddle.compile(network, BOARD, WorklistShape(lanes=2, pixels=8, stream_bytes=8))
    assert bare.array == design.array
    assert bare.resources == design.resources


def test_what_it_predicts_and_says_of_itself(design: CompiledDesign, network: Network) -> None:
    x = digit_samples(3)
    assert (only(design.predict(x)) == only(network.predict(x))).all()
    text = str(design.report())
    assert "array worklist-2x8 with 4 requantizers" in text
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
        "lanes": 2, "pixels": 8, "turns": 2, "requantizers": 4, "stream_bytes": 8, "primitive": "mult18x18d",
        "macs_per_cycle": 16,
    }  # fmt: skip
    assert manifest["layers"][1]["selection"]["kind"] == "worklist"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "worklist-2x8 with 4 requantizers" in page
    assert "module heddle_digits" in (tmp_path / "out" / "heddle_digits.v").read_text()


def test_without_zeros_there_is_nothing_to_gain(tmp_path) -> None:
    b = Builder(5)
    x = b.activation((1, 16, 16, 2))
    y = b.conv_2d(x, cout=32, kernel=(1, 1))
    network = heddle.load(write(tmp_path, b.finish([x], [y])))
    (choice,) = layer_choices(heddle.compile(network, BOARD, "worklist-4x32").design)
    # Its results, not its products, are what the drains wait for.
    assert choice.density > 0.9
    assert choice.speedup == 1


def every_core(network: Network, board: str) -> dict[WorklistShape, tuple[int, float]]:
    """Compile every core that fits; return its cycles and about how long an inference takes."""
    found = {}
    for pixels in PIXELS:
        for lanes in range(1, LIMITS["lanes"] + 1):
            shape = parse_array(f"worklist-{lanes}x{pixels}", boards.get(board))
            assert isinstance(shape, WorklistShape)
            # Of each shape one number of requantizers, of all shapes every one.
            shape = replace(shape, turns=min(pixels, TURNS[lanes % len(TURNS)]))
            with contextlib.suppress(CapacityError):
                design = heddle.compile(network, board, shape)
                found[shape] = design.cycles, design.cycles / estimated_hz(design.resources.luts)
    return found


@pytest.mark.slow
def test_the_bounds_are_bounds_and_no_core_that_fits_is_left_out(pruned: Network) -> None:
    prepared = prepare(pruned, "mult18x18d")
    fitting = every_core(pruned, "ulx3s-25f")
    bounds = {bound.shape: bound for bound in worklist_bounds(prepared, boards.get("ulx3s-25f").device, stream_bytes=1)}
    assert fitting.keys() <= bounds.keys()
    assert len(fitting) > 5
    for shape, (cycles, seconds) in fitting.items():
        assert 0.2 * cycles < bounds[shape].cycles <= cycles
        assert bounds[shape].cycles / estimated_hz(bounds[shape].luts) <= seconds


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.AREA])
def test_a_plan_weighs_both_kinds_of_core(objective: Objective, pruned: Network) -> None:
    board = boards.get("ulx3s-25f")
    plan = planner.plan(pruned, board, objective, lists=True)
    without = planner.plan(pruned, board, objective)
    assert {type(candidate.array) for candidate in without.candidates} == {ArrayConfig}
    assert {type(candidate.array) for candidate in plan.candidates} == {ArrayConfig, WorklistShape}
    assert plan.chosen.cost(objective) == min(c.cost(objective) for c in plan.candidates if not c.refusal)
    assert any(not c.refusal for c in plan.candidates if isinstance(c.array, WorklistShape))
    assert plan.considered > without.considered


def test_where_weights_are_few_a_core_of_lists_is_chosen(tmp_path) -> None:
    network, board = thin(tmp_path), boards.get(BOARD)
    space = Space.halves(default_array(board))
    plan = planner.plan(network, board, Objective.LATENCY, space=space, lists=True)
    assert isinstance(plan.chosen.array, WorklistShape)
    assert plan.chosen.seconds < planner.plan(network, board, Objective.LATENCY, space=space).chosen.seconds
    assert plan.fitted.design.cycles == plan.chosen.cycles
    (line, *_) = plan_lines(plan)
    shape = plan.chosen.array
    assert line.endswith(f"--array {shape} --requantizers {shape.requantizers} --stream-bytes 8")
    only = planner.plan(network, board, Objective.LATENCY, space=space, lists=True, list_requantizers=4)
    assert {c.array.requantizers for c in only.candidates if isinstance(c.array, WorklistShape)} == {4}
    limit = 1.2 * plan.chosen.seconds
    least = planner.plan(network, board, Objective.AREA, space=space, max_seconds=limit, lists=True)
    assert least.chosen.seconds <= limit
    assert len({candidate.array for candidate in least.candidates}) == len(least.candidates)


def thin(tmp_path) -> Network:
    """Return wide convolutions of which one weight in ten is left, in no pattern, and a small output."""
    b = Builder(7)
    x = b.activation((1, 16, 16, 16))
    y = b.conv_2d(b.conv_2d(x, cout=64, kernel=(3, 3)), cout=64, kernel=(3, 3))
    y = b.conv_2d(y, cout=4, kernel=(16, 16), padding="VALID")
    network, rng = heddle.load(write(tmp_path, b.finish([x], [y]))), np.random.default_rng(7)

    def mask(node: Node) -> Node:
        if not isinstance(node, Linear):
            return node
        return replace(node, weight=np.where(rng.random(node.weight.shape) < 0.1, node.weight, 0).astype(np.int8))

    return replace(network, nodes=tuple(map(mask, network.nodes)))


def test_a_network_that_no_such_core_runs_is_left_to_the_array(tmp_path) -> None:
    b = Builder(7)
    x = b.activation((1, 8, 8, 8))
    y = b.pool_2d("MAX_POOL_2D", b.conv_2d(x, cout=8, kernel=(3, 3)), kernel=(2, 2), stride=(2, 2), padding="VALID")
    network = heddle.load(write(tmp_path, b.finish([x], [y])))
    plan = planner.plan(network, boards.get("ulx3s-25f"), Objective.LATENCY, lists=True)
    assert isinstance(plan.chosen.array, ArrayConfig)
    assert any(reason.startswith("work-list cores, since max_pool_2d_1: ") for reason in plan.passed)


def test_the_command_takes_it_by_name(tmp_path, capsys) -> None:
    out = tmp_path / "out"
    command = ["generate", str(DIGITS), "--board", BOARD, "--array", "worklist-2x8", "-o", str(out), "--json"]
    assert cli.main(command) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["array"] == "worklist-2x8"
    assert data["requantizers"] == 4


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
