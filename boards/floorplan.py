"""Choose a site for every multiplier and block RAM before nextpnr places the rest.

nextpnr's placer works out where such a cell should be as if it could be anywhere, then takes the nearest free site, one
cell after the other; where most of the sites are taken, as they are by large arrays, cells end up half a die from what
they belong to. There are few of them and they are what holds a design in place, so here they come first
(``docs/decisions/0019-floorplan.md``):

1. Nets become springs between the hard blocks (:mod:`heddle.boards.springs`).
2. Simulated annealing exchanges hard blocks, and moves them to free sites (:mod:`heddle.boards.annealing`), until the
   springs' energy is low.
3. Energy grows with the square of a wire, its cost with its length: springs are weakened in proportion to their nets'
   lengths and both steps done again (iteratively reweighted least squares).

The result is a ``BEL`` attribute on each hard block, which nextpnr takes as given.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heddle.boards.annealing import Blocks
from heddle.boards.cache import Cache, digest, key_of
from heddle.boards.device import Device
from heddle.boards.sites import SITES, Grid
from heddle.boards.springs import Nets
from heddle.errors import ToolError

NETLIST = "netlist.json"
_SUMMARY = "summary.json"

_REVISION = 3
"""To be raised when other sites would be chosen: results in the cache are then made anew."""

REWEIGHTED = 2
"""Times that springs are weakened by their lengths."""

NEAR = 4.0
"""Length, in tiles, below which a shorter wire is hardly a better one."""

MOVES = 8000
"""Moves tried for each hard block, the first time."""

LEAST_BLOCKS = 100
"""Hard blocks from which on a plan is made unasked. A plan knows wires but no timing, and nextpnr places a few blocks
well enough by itself; ``python bench/floorplans.py`` compares."""


@dataclass(frozen=True, kw_only=True)
class Floorplan:
    """A netlist whose hard blocks have sites; it belongs to the cache.

    Parameters
    ----------
    seconds
        Wall time, when it was made.
    """

    netlist: Path
    seconds: float


def hard_blocks(needs: Mapping[str, int], device: Device) -> int:
    """Return how many of these cells, by type, a plan has sites for."""
    return sum(needs.get(kind, 0) for kind in SITES.get(device.size, ()))


def pays(needs: Mapping[str, int], device: Device) -> bool:
    """Whether a design that needs so many cells of each type gets a plan unasked."""
    return hard_blocks(needs, device) >= LEAST_BLOCKS


def make_floorplan(netlist: Path, device: Device, *, cache: Cache, progress: Callable[[str], None]) -> Floorplan | None:
    """Return a netlist (yosys' JSON) like ``netlist`` whose hard blocks have sites on ``device``.

    ``None`` where the die's sites are not known, or no cell needs one.

    Raises
    ------
    ToolError
        SciPy is not installed, or does not load.
    """
    grids = SITES.get(device.size)
    if grids is None:
        return None
    key = key_of("floorplan", digest(netlist), device.size, scipy_version(), np.__version__, _REVISION)
    folder = cache.find(key)
    if folder is None:
        start = time.monotonic()
        design = json.loads(netlist.read_text())
        (module,) = design["modules"].values()
        blocks = Counter(cell["type"] for cell in module["cells"].values() if cell["type"] in grids)
        if not blocks:
            return None
        progress(f"floorplan: sites for {', '.join(f'{count} {kind}' for kind, count in sorted(blocks.items()))}")
        wires = assign_sites(module, grids)
        work = cache.workspace()
        try:
            (work / NETLIST).write_text(json.dumps(design))
            seconds = round(time.monotonic() - start, 1)
            (work / _SUMMARY).write_text(json.dumps({"seconds": seconds}))
            folder = cache.store(key, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress(f"floorplan: done in {seconds:.0f} s, wires of {wires:,.0f} tiles at least")
    return Floorplan(netlist=folder / NETLIST, **json.loads((folder / _SUMMARY).read_text()))


def scipy_version() -> str:
    """Return SciPy's version: a plan is a function of it, too.

    Raises
    ------
    ToolError
        SciPy is not installed, or does not load.
    """
    try:
        import scipy.sparse
        import scipy.sparse.linalg
    except ImportError as error:
        raise ToolError(
            f"the Python package scipy is needed to place multipliers and block RAMs, and does not load ({error})",
            where="scipy",
            remedy="pip install 'heddle-fpga[build]'",
        ) from error
    return scipy.__version__


def assign_sites(module: dict[str, Any], grids: Mapping[str, Grid]) -> float:
    """Give each cell of ``module`` whose type is in ``grids`` a ``BEL`` attribute; return the wires' length, in tiles.

    The length is half the perimeter of each net's bounding box, summed, if all other cells could overlap.

    Raises
    ------
    ValueError
        If there are more cells of a type than sites.
    """
    nets = Nets.of(module, grids)
    types = [module["cells"][name]["type"] for name in nets.blocks]
    for kind, grid in grids.items():
        if types.count(kind) > sum(map(len, grid)):
            raise ValueError(f"{types.count(kind)} cells of type {kind} have {sum(map(len, grid))} sites")
    if not types:
        return 0.0
    blocks = Blocks(types, grids, np.random.default_rng(1))
    lengths = np.ones(len(nets.drivers))
    for turn in range(1 + REWEIGHTED):
        springs, at_rest = nets.reduced(1 / lengths)
        # Later turns correct what the first found: they begin with little heat.
        blocks.anneal(springs, moves=MOVES // (1 + turn), heat=0.5 if turn == 0 else 0.02)
        lengths = nets.lengths(at_rest(blocks.positions)) + NEAR
    for name, bel in zip(nets.blocks, blocks.bels, strict=True):
        module["cells"][name]["attributes"]["BEL"] = bel
    return float((lengths - NEAR).sum())
