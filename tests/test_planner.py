"""The planner: its bounds hold, its choice is the best of what it says it looked at, and its refusals help."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reference_data import network_path

import heddle
from heddle import boards, cli
from heddle.cli import options
from heddle.errors import CapacityError, InputError
from heddle.gen import planner
from heddle.gen.bounds import Bounds
from heddle.gen.clock import estimated_hz
from heddle.gen.design import assemble, compile_network
from heddle.gen.fitting import check_fit, default_array
from heddle.gen.ir import Network
from heddle.gen.mapping import map_network
from heddle.gen.objective import Objective
from heddle.gen.operations import lower
from heddle.gen.planner import Plan
from heddle.gen.scaling import fit_requantizers
from heddle.gen.search import MOST_FILLED
from heddle.gen.shapes import Space
from heddle.gen.worklist import prepare
from heddle.gen.worklist_space import worklist_bounds
from heddle.hdl.config import ArrayConfig

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
SMALL = "ecp5-25f"
SHAPES = [(1, 4, 1, 4, 1), (3, 8, 1, 8, 1), (4, 16, 1, 8, 4), (9, 8, 2, 8, 8), (5, 24, 3, 8, 2), (7, 16, 2, 16, 16)]
"""R, C, V, M and q."""


@pytest.fixture(scope="module")
def network() -> Network:
    return heddle.load(DIGITS)


@pytest.fixture(scope="module")
def plans(network: Network) -> dict[Objective, Plan]:
    return {objective: heddle.plan(network, SMALL, objective) for objective in Objective}


def arrays() -> list[ArrayConfig]:
    return [
        ArrayConfig(rows=r, cols=c, pixels=v, block=m, requantizers=q, stream_bytes=4, primitive="mult18x18d")
        for r, c, v, m, q in SHAPES
    ]


@pytest.mark.parametrize("array", arrays(), ids=str)
@pytest.mark.parametrize("key", ["digits", "ad", "ic", "kws", "vww"])
def test_no_mapping_takes_fewer_cycles_than_the_bound(key: str, array: ArrayConfig) -> None:
    network = heddle.load(DIGITS if key == "digits" else network_path(key))
    requantizers = fit_requantizers(lower(network).operations, primitive=array.primitive)
    bound = Bounds(network, requantizers).cycles(array)
    design = assemble(network, map_network(network, array), requantizers)
    assert 0.5 * design.cycles < bound <= design.cycles


def test_requantizers_fitted_once_are_those_of_every_array(network: Network) -> None:
    array = arrays()[2]
    requantizers = fit_requantizers(lower(network).operations, primitive=array.primitive)
    apart = assemble(network, map_network(network, array), requantizers)
    assert apart.program.images() == compile_network(network, array).program.images()


@pytest.mark.parametrize("objective", Objective)
def test_the_choice_fits_and_costs_least_of_all_that_may_be_chosen(
    plans: dict[Objective, Plan], objective: Objective
) -> None:
    plan = plans[objective]
    assert not plan.fitted.resources.shortfall(plan.board.device)
    open_to_choice = [candidate for candidate in plan.candidates if not candidate.refusal]
    assert plan.chosen == open_to_choice[0] == min(open_to_choice, key=lambda c: c.cost(objective))
    assert plan.chosen.cycles == plan.fitted.design.cycles
    prepared = prepare(plan.fitted.design.network, "mult18x18d")
    lists = worklist_bounds(prepared, plan.board.device, stream_bytes=1)
    assert plan.considered == len(list(Space.full(default_array(plan.board)))) + len(lists)


def test_each_objective_is_best_at_its_own(plans: dict[Objective, Plan]) -> None:
    for objective, plan in plans.items():
        for other in plans.values():
            assert plan.chosen.cost(objective) <= other.chosen.cost(objective)
    assert plans[Objective.AREA].chosen.share < plans[Objective.LATENCY].chosen.share


def test_latency_is_no_worse_than_the_boards_own_array(network: Network, plans: dict[Objective, Plan]) -> None:
    own, refusal = check_fit(compile_network(network, default_array(boards.get(SMALL))), boards.get(SMALL).device)
    assert refusal is None
    assert plans[Objective.LATENCY].chosen.seconds < own.design.cycles / estimated_hz(own.resources.luts)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["ad", "ic", "kws", "vww"])
def test_reference_networks_are_planned_no_worse_than_the_default(key: str) -> None:
    network = heddle.load(network_path(key))
    own = heddle.compile(network, "ulx3s-85f")
    plan = heddle.plan(network, "ulx3s-85f", "latency")
    assert plan.chosen.seconds <= own.cycles / estimated_hz(own.resources.luts)


def test_the_search_is_exhaustive_where_it_says_so(network: Network) -> None:
    board = boards.get(SMALL)
    space = Space.halves(replace(default_array(board), rows=8, cols=16, requantizers=4))
    plan = planner.plan(network, board, Objective.LATENCY, space=space)
    assert plan.complete
    costs = []
    for array in space:
        fitted, refusal = check_fit(compile_network(network, array), board.device)
        here = fitted.resources.share(board.device)
        if refusal is None and max(here[cell] for cell in fitted.resources.estimated) <= MOST_FILLED:
            costs.append(fitted.design.cycles / estimated_hz(fitted.resources.luts))
    assert plan.chosen.seconds == pytest.approx(min(costs))


def test_area_meets_the_time_that_is_asked_for(network: Network, plans: dict[Objective, Plan]) -> None:
    limit_ms = 4 * plans[Objective.LATENCY].chosen.seconds * 1e3
    plan = heddle.plan(network, SMALL, "area", max_ms=limit_ms)
    assert plan.chosen.seconds * 1e3 <= limit_ms
    assert plans[Objective.AREA].chosen.share < plan.chosen.share <= plans[Objective.LATENCY].chosen.share


def test_a_time_that_no_array_meets_is_refused_with_the_fastest(network: Network) -> None:
    with pytest.raises(
        CapacityError, match=r"no array that was found takes 1e-05 ms or less on LFE5U-25F: .* takes about 0\.0"
    ) as refusal:
        heddle.plan(network, SMALL, "area", max_ms=1e-5)
    assert "allow more time" in refusal.value.remedy


@pytest.mark.slow
def test_a_time_that_only_few_large_arrays_meet_is_met() -> None:
    """Smaller arrays come first, and all are too slow: none of that may hide those that are fast enough."""
    network = heddle.load(network_path("ad"))
    fastest = heddle.plan(network, "ulx3s-85f", "latency").chosen
    chosen = heddle.plan(network, "ulx3s-85f", "area", max_ms=1.1e3 * fastest.seconds).chosen
    assert chosen.seconds <= 1.1 * fastest.seconds
    assert chosen.share <= fastest.share


def test_where_nothing_fits_the_refusal_says_what_is_missing(network: Network) -> None:
    board = boards.get(SMALL)
    tiny = replace(board, device=replace(board.device, block_rams=8))
    with pytest.raises(CapacityError, match=r"no array fits .*it needs about \d+ DP16KD of 8"):
        planner.plan(network, tiny, Objective.LATENCY, space=Space.halves(default_array(board)))


def test_values_that_are_given_are_kept(network: Network) -> None:
    array = heddle.compile(network, SMALL, objective="latency", requantizers=1, stream_bytes=2, block=4).array
    assert isinstance(array, ArrayConfig)
    assert (array.requantizers, array.stream_bytes, array.block) == (1, 2, 4)


def test_an_array_and_an_objective_exclude_each_other(network: Network) -> None:
    with pytest.raises(InputError, match="both an array and an objective"):
        heddle.compile(network, SMALL, "3x8x1", objective="latency")
    with pytest.raises(InputError, match="'speed' is no objective"):
        heddle.plan(network, SMALL, "speed")
    with pytest.raises(InputError, match="without an objective"):
        heddle.compile(network, SMALL, max_ms=1)
    for value, fact in ((3, "3 requantizers do not divide"), (0, "requantizers is 0")):
        with pytest.raises(CapacityError, match=fact):
            heddle.plan(network, SMALL, requantizers=value)
    for value in (3, 0, -8):
        with pytest.raises(CapacityError, match=f"block is {value}"):
            heddle.plan(network, SMALL, block=value)
    with pytest.raises(InputError, match="max_ms is 0"):
        heddle.plan(network, SMALL, max_ms=0)


def test_a_chosen_array_is_named_in_notes_and_manifest(network: Network, plans: dict[Objective, Plan]) -> None:
    design = heddle.compile(network, SMALL, objective="latency")
    assert design.array == plans[Objective.LATENCY].fitted.design.array
    assert "chosen for latency" in design.notes[0]
    assert design.notes[0] in str(design.report())


def test_the_guessed_clock_goes_through_the_routed_medians() -> None:
    routed = []
    for path in sorted((ROOT / "bench" / "results").glob("*.json")):
        record = json.loads(path.read_text())
        if isinstance(record, dict) and (build := record.get("build")):
            routed.append((build["resources"]["TRELLIS_COMB"]["used"], build["fmax_mhz"]["median"] * 1e6))
    assert len(routed) >= 2
    for luts, hertz in routed:
        assert estimated_hz(luts) == pytest.approx(hertz, rel=0.1)
    assert estimated_hz(1000) > estimated_hz(2000)


def test_the_command_shows_the_choice_and_gives_it_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", str(DIGITS), "--board", SMALL, "--block", "8"]) == cli.DONE
    shown = capsys.readouterr().out
    assert "chosen       --array " in shown
    assert cli.main(["plan", str(DIGITS), "--board", SMALL, "--block", "8", "--json"]) == cli.DONE
    data = json.loads(capsys.readouterr().out)
    assert f"--array {data['chosen']['array']['shape']} --block 8" in shown
    assert data["candidates"][0] == data["chosen"]
    assert cli.main(["plan", str(DIGITS), "--board", SMALL, "--objective", "speed"]) == options.BAD_ARGUMENTS
