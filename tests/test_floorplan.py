"""Sites for multipliers and block RAMs: every one is a place of its own, near what belongs together."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.boards import floorplan as module_under_test
from heddle.boards.annealing import Blocks
from heddle.boards.cache import Cache
from heddle.boards.device import DEVICES, UP5K
from heddle.boards.floorplan import assign_sites, make_floorplan, pays
from heddle.boards.sites import SITES
from heddle.boards.springs import MAX_PINS, Nets
from heddle.errors import ToolError

GRIDS = SITES["25k"]
Module = dict[str, Any]


def module_of(types: list[str], nets: list[tuple[int, list[int]]]) -> Module:
    """Return a module with a cell of each type; a net is its driver and its readers."""
    cells: dict[str, Any] = {
        f"cell{number}": {"type": kind, "attributes": {}, "port_directions": {}, "connections": {}}
        for number, kind in enumerate(types)
    }
    for net, (driver, readers) in enumerate(nets):
        for number, direction in [(driver, "output"), *((reader, "input") for reader in readers)]:
            cell = cells[f"cell{number}"]
            cell["port_directions"][f"{direction}{net}"] = direction
            # Beside the net, a constant.
            cell["connections"][f"{direction}{net}"] = [net + 2, "0"]
    return {"cells": cells, "ports": {}}


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """Make any cells and any nets between them."""
    kinds = st.sampled_from(["MULT18X18D", "DP16KD", "LUT4", "TRELLIS_FF"])
    types = draw(st.lists(kinds, min_size=1, max_size=28))
    cell = st.integers(0, len(types) - 1)
    nets = draw(st.lists(st.tuples(cell, st.lists(cell, max_size=6)), max_size=40))
    return module_of(types, nets)


@pytest.fixture
def few_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "MOVES", 50)


@settings(deadline=None, max_examples=60)
@given(modules())
def test_every_block_gets_a_site_of_its_own_and_nothing_else_changes(module: Module) -> None:
    before = copy.deepcopy(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_under_test, "MOVES", 20)
        assign_sites(module, GRIDS)
    taken = []
    for cell in module["cells"].values():
        bel = cell["attributes"].pop("BEL", None)
        assert (bel is not None) == (cell["type"] in GRIDS)
        if bel is not None:
            assert bel in {site.bel for row in GRIDS[cell["type"]] for site in row}
            taken.append(bel)
    assert len(set(taken)) == len(taken)
    assert module == before


@settings(deadline=None, max_examples=60)
@given(modules(), st.integers(0, 2**32 - 1))
def test_springs_between_blocks_have_the_energy_of_all_at_rest(module: Module, seed: int) -> None:
    """Against least squares over all other cells' positions, which knows nothing of Schur complements."""
    nets = Nets.of(module, GRIDS)
    random, n = np.random.default_rng(seed), len(nets.blocks)
    weights = random.uniform(0.1, 2, len(nets.drivers))
    if n < 2 or not len(weights):
        return
    springs, _ = nets.reduced(weights)
    pulls = np.repeat(weights / np.sqrt(nets.sizes), nets.sizes)
    ends = np.zeros((len(pulls), nets.cells))
    ends[range(len(pulls)), np.repeat(nets.drivers, nets.sizes)] += np.sqrt(pulls)
    ends[range(len(pulls)), nets.readers] -= np.sqrt(pulls)

    def energies() -> tuple[float, float]:
        at = random.uniform(0, 50, n)
        rest, *_ = np.linalg.lstsq(ends[:, n:], -ends[:, :n] @ at, rcond=None)
        whole = float(((ends[:, :n] @ at + ends[:, n:] @ rest) ** 2).sum())
        return (springs * (at[:, None] - at) ** 2).sum() / 2, whole

    # Springs are known up to a factor, for the largest is rounded to a constant: it is the same for all positions.
    (reduced, whole), (others_reduced, others_whole) = energies(), energies()
    if springs.any():
        assert reduced * others_whole == pytest.approx(others_reduced * whole, rel=1e-3)
    else:
        assert whole == pytest.approx(0, abs=1e-6)


def springs_of(seed: int, blocks: int) -> np.ndarray:
    weights = np.random.default_rng(seed).integers(0, 1000, (blocks, blocks)).astype(float)
    weights = np.triu(weights, 1)
    return weights + weights.T


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 28), st.integers(1, 56), st.floats(1e-3, 10))
def test_the_energy_that_moves_add_up_to_is_the_energy(seed: int, multipliers: int, rams: int, heat: float) -> None:
    """Exactly: weights and coordinates are integers."""
    types = ["MULT18X18D"] * multipliers + ["DP16KD"] * rams
    springs = springs_of(seed, len(types))
    board = Blocks(types, GRIDS, np.random.default_rng(seed))
    before = board.energy(springs)
    x, y = board.positions.T
    assert before == (springs * ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2)).sum() / 2
    risen = board.anneal(springs, moves=30, heat=heat)
    assert board.energy(springs) == before + risen


def chain(blocks: int, between: int, memories: int = 0) -> Module:
    """Return multipliers in a chain, ``between`` flip-flops from each to the next, and their block RAMs, if any."""
    types = ["MULT18X18D"] * blocks + ["DP16KD"] * memories
    nets = [(blocks + i, [i]) for i in range(memories) for _ in range(8)]
    for i in range(blocks - 1):
        at = i
        for _ in range(between):
            types.append("TRELLIS_FF")
            nets.append((at, [len(types) - 1]))
            at = len(types) - 1
        nets.append((at, [i + 1]))
    return module_of(types, nets)


def columns(module: Module) -> list[int]:
    """Return where blocks are, from the left."""
    return [int(cell["attributes"]["BEL"].split("/")[0][1:]) for cell in module["cells"].values() if cell["attributes"]]


def test_a_chain_holds_together() -> None:
    module = chain(28, 3)
    assign_sites(module, GRIDS)
    # At random, one of the chain's links is 22 columns long, and the longest nearly the die's width.
    assert np.abs(np.diff(columns(module))).max() <= 9


def test_a_memory_is_beside_its_multiplier() -> None:
    module = chain(28, 3, memories=28)
    assign_sites(module, GRIDS)
    x = np.array(columns(module))
    # Two rows of block RAMs with 28 sites each: every one finds a site near its multiplier.
    assert np.abs(x[:28] - x[28:]).max() <= 4


def test_the_length_that_is_returned_is_that_of_the_boxes() -> None:
    module = chain(5, 0, memories=5)
    length = assign_sites(module, GRIDS)
    at = [
        tuple(int(part[1:]) for part in cell["attributes"]["BEL"].split("/")[:2]) for cell in module["cells"].values()
    ]
    pairs = [(5 + i, i) for i in range(5) for _ in range(8)] + [(i, i + 1) for i in range(4)]
    assert length == pytest.approx(sum(abs(at[a][0] - at[b][0]) + abs(at[a][1] - at[b][1]) for a, b in pairs))


@pytest.mark.usefixtures("few_moves")
def test_the_same_netlist_gets_the_same_sites() -> None:
    one, two = chain(9, 2, 3), chain(9, 2, 3)
    assign_sites(one, GRIDS)
    assign_sites(two, GRIDS)
    assert one == two


def test_more_blocks_than_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="29 cells of type MULT18X18D have 28 sites"):
        assign_sites(module_of(["MULT18X18D"] * 29, []), GRIDS)


def test_nets_of_many_pins_do_not_pull() -> None:
    many = [(0, list(range(1, 1 + MAX_PINS))), (0, [1, 2])]
    nets = Nets.of(module_of(["DP16KD"] * 2 + ["LUT4"] * 80, many), GRIDS)
    assert nets.sizes.tolist() == [2]


@pytest.fixture
def planned(tmp_path: Path) -> Callable[[Module, Any], tuple[Any, list[str]]]:
    def plan(module: Module, device: Any) -> tuple[Any, list[str]]:
        netlist, said = tmp_path / "given.json", list[str]()
        netlist.write_text(json.dumps({"modules": {"top": module}}))
        return make_floorplan(netlist, device, cache=Cache(root=tmp_path / "cache"), progress=said.append), said

    return plan


@pytest.mark.usefixtures("few_moves")
def test_a_plan_is_kept(planned: Callable[[Module, Any], tuple[Any, list[str]]], tmp_path: Path) -> None:
    module = chain(9, 1, memories=4)
    plan, said = planned(module, DEVICES[0])
    assert "4 DP16KD, 9 MULT18X18D" in said[0]
    assert said[1].startswith("floorplan: done in")
    (kept,) = json.loads(plan.netlist.read_text())["modules"].values()
    assert sum("BEL" in cell["attributes"] for cell in kept["cells"].values()) == 13
    assert planned(module, DEVICES[0]) == (plan, [])
    # Another die has other sites.
    other, said = planned(module, DEVICES[-1])
    assert said
    assert other.netlist != plan.netlist
    assert not list((tmp_path / "cache").glob("work-*"))


def test_nothing_to_plan(planned: Callable[[Module, Any], tuple[Any, list[str]]]) -> None:
    assert planned(module_of(["LUT4"], []), DEVICES[0]) == (None, [])
    assert planned(chain(3, 0), UP5K) == (None, [])


def test_large_designs_get_a_plan_unasked() -> None:
    few, many = {"MULT18X18D": 28, "DP16KD": 56, "TRELLIS_FF": 20_000}, {"MULT18X18D": 50, "DP16KD": 50}
    assert [pays(needs, DEVICES[-1]) for needs in (few, many)] == [False, True]
    assert not pays({"ICESTORM_DSP": 8, "ICESTORM_RAM": 1000, "MULT18X18D": 1000}, UP5K)


@pytest.mark.parametrize("broken", ["scipy", "scipy.sparse"])
def test_without_scipy_the_remedy_is_named(
    broken: str, planned: Callable[[Module, Any], tuple[Any, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, broken, None)
    with pytest.raises(ToolError, match="scipy is needed") as refused:
        planned(chain(3, 0), DEVICES[0])
    assert "heddle-fpga[build]" in str(refused.value)
