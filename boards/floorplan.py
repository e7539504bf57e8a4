"""Choose a site for every multiplier and block RAM before nextpnr places the rest.

nextpnr's placer works out where such a cell should be as if it could be anywhere, then takes the nearest free site, one
cell after the other; where most of the sites are taken, as they are by large arrays, cells end up half a die from what
they belong to. There are few of them and they are what holds a design in place, so here they come first
(``docs/decisions/0019-floorplan.md``):

1. Every net is springs from its driver to its readers. All other cells would come to rest where the springs balance;
   eliminating them (the Schur complement of the springs' Laplacian matrix, also called Kron reduction) leaves springs
   between the hard blocks only, of the same energy.
2. Simulated annealing exchanges hard blocks, and moves them to free sites, until that energy is low.
3. Energy grows with the square of a wire, its cost with its length: springs are weakened in proportion to their nets'
   lengths and both steps done again (iteratively reweighted least squares).

The result is a ``BEL`` attribute on each hard block, which nextpnr takes as given. It is a function of the netlist and
the die: weights are rounded to integers, so that sums are exact in whatever order a machine takes them.
"""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heddle.boards.cache import Cache, digest, key_of
from heddle.boards.device import Device
from heddle.boards.sites import SITES, Grid
from heddle.errors import ToolError

NETLIST = "netlist.json"
_SUMMARY = "summary.json"

_REVISION = 1
"""To be raised when other sites would be chosen: results in the cache are then made anew."""

MAX_PINS = 60
"""Nets with more pins (clocks, enables, what goes to all lanes) are everywhere, whatever is placed where."""

REWEIGHTED = 2
"""Times that springs are weakened by their lengths."""

NEAR = 4.0
"""Length, in tiles, below which a shorter wire is hardly a better one."""

MOVES = 8000
"""Moves tried for each hard block, the first time."""

_UNITS = 2**20
"""What the largest weight is rounded to."""

_COLD = 1e-3
"""The last temperature, as a share of the first."""

_CHUNK = 2**16
"""Moves whose random numbers are drawn at once."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Floorplan:
    """A netlist whose hard blocks have sites; it belongs to the cache.

    Parameters
    ----------
    blocks
        How many hard blocks there are, by type.
    wires
        What :func:`assign_sites` returns.
    seconds
        Wall time, when it was made.
    """

    netlist: Path
    blocks: Mapping[str, int]
    wires: float
    seconds: float


def floorplan(netlist: Path, device: Device, *, cache: Cache, progress: Callable[[str], None]) -> Floorplan | None:
    """Return a netlist (yosys' JSON) like ``netlist`` whose hard blocks have sites on ``device``.

    ``None`` where the die's sites are not known, or no cell needs one.

    Raises
    ------
    ToolError
        SciPy is not installed.
    """
    grids = SITES.get(device.size)
    if grids is None:
        return None
    key = key_of("floorplan", digest(netlist), device.size, _REVISION)
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
            (work / _SUMMARY).write_text(json.dumps({"blocks": blocks, "wires": round(wires), "seconds": seconds}))
            folder = cache.store(key, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress(f"floorplan: done in {seconds:.0f} s")
    return Floorplan(netlist=folder / NETLIST, **json.loads((folder / _SUMMARY).read_text()))


def assign_sites(module: dict[str, Any], grids: Mapping[str, Grid], *, seed: int = 1) -> float:
    """Give each cell of ``module`` whose type is in ``grids`` a ``BEL`` attribute; return the wires' length, in tiles.

    The length is half the perimeter of each net's bounding box, summed, if all other cells could overlap.

    Raises
    ------
    ValueError
        If there are more cells of a type than sites.
    """
    nets = _Nets.of(module, grids)
    types = [module["cells"][name]["type"] for name in nets.blocks]
    for kind, grid in grids.items():
        if types.count(kind) > sum(map(len, grid)):
            raise ValueError(f"{types.count(kind)} cells of type {kind} have {sum(map(len, grid))} sites")
    if not types:
        return 0.0
    board = _Board(types, grids, np.random.default_rng(seed))
    lengths = np.full(len(nets.drivers), 1.0)
    for turn in range(1 + REWEIGHTED):
        springs, rest = nets.reduced(1 / lengths)
        # Later turns correct what the first found: they begin with little heat.
        board.anneal(springs, moves=MOVES // (1 + turn), heat=0.5 if turn == 0 else 0.02)
        lengths = nets.lengths(np.vstack([board.positions, rest @ board.positions])) + NEAR
    for name, bel in zip(nets.blocks, board.bels, strict=True):
        module["cells"][name]["attributes"]["BEL"] = bel
    return float(lengths.sum() - NEAR * len(lengths))


@dataclass(frozen=True, kw_only=True)
class _Nets:
    """Who drives and who reads each net. Cells are numbered, hard blocks first.

    Parameters
    ----------
    blocks
        Names of the hard blocks.
    cells
        Number of cells.
    drivers
        The driver of each net.
    readers, starts
        The readers of all nets, one net after the other, and where each net's begin.
    """

    blocks: list[str]
    cells: int
    drivers: Integers
    readers: Integers
    starts: Integers

    @classmethod
    def of(cls, module: Mapping[str, Any], grids: Mapping[str, Grid]) -> "_Nets":
        cells = module["cells"]
        blocks = [name for name, cell in cells.items() if cell["type"] in grids]
        others = [name for name, cell in cells.items() if cell["type"] not in grids]
        numbers = {name: number for number, name in enumerate([*blocks, *others])}
        driver: dict[int, int] = {}
        readers: dict[int, set[int]] = {}
        for name, number in numbers.items():
            directions = cells[name]["port_directions"]
            for port, bits in cells[name]["connections"].items():
                for bit in bits:
                    if isinstance(bit, str):
                        continue
                    if directions[port] == "output":
                        driver[bit] = number
                    else:
                        readers.setdefault(bit, set()).add(number)
        pins = {bit: sorted(found - {driver[bit]}) for bit, found in readers.items() if bit in driver}
        pins = {bit: found for bit, found in pins.items() if 0 < len(found) < MAX_PINS}
        sizes = [len(found) for found in pins.values()]
        return cls(
            blocks=blocks,
            cells=len(numbers),
            drivers=np.array([driver[bit] for bit in pins], np.int64),
            readers=np.array([number for found in pins.values() for number in found], np.int64),
            starts=np.cumsum([0, *sizes], dtype=np.int64)[:-1],
        )

    @property
    def sizes(self) -> Integers:
        """Number of readers of each net."""
        return np.diff(self.starts, append=len(self.readers))

    def reduced(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the springs between hard blocks that all others amount to, and where the others come to rest.

        ``weights`` has one for each net. The springs are a symmetric matrix of integers with a zero diagonal; the
        second matrix times the blocks' positions is the others' positions.
        """
        try:
            from scipy.sparse import coo_matrix, diags_array, eye_array
            from scipy.sparse.linalg import splu
        except ModuleNotFoundError:
            raise ToolError(
                "the Python package scipy is not installed, and is needed to place multipliers and block RAMs",
                where="scipy",
                remedy="pip install scipy",
            ) from None
        # A net pulls as hard as its weight, however many share it: by the square root, half way to one pull a reader.
        pulls = np.repeat(weights / np.sqrt(self.sizes), self.sizes)
        ends = (np.repeat(self.drivers, self.sizes), self.readers)
        half = coo_matrix((pulls, ends), shape=(self.cells, self.cells)).tocsr()
        adjacency = half + half.T
        laplacian = (diags_array(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency).tocsc()
        n = len(self.blocks)
        # What hangs on no block would float: a spring too weak to matter holds it.
        inner = (laplacian[n:, n:] + 1e-9 * float(pulls.max(initial=1.0)) * eye_array(self.cells - n)).tocsc()
        outer = laplacian[n:, :n].toarray()
        symmetric = {"SymmetricMode": True}
        rest = -splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric).solve(outer)
        springs = -(laplacian[:n, :n].toarray() + outer.T @ rest)
        np.fill_diagonal(springs, 0)
        largest = float(springs.max(initial=0.0)) or 1.0
        return np.rint((springs + springs.T) / 2 * (_UNITS / largest)), rest

    def lengths(self, positions: Floats) -> Floats:
        """Return half the perimeter of each net's bounding box, for the cells' ``positions`` (n x 2)."""
        at, driver = positions[self.readers], positions[self.drivers]
        high = np.maximum(np.maximum.reduceat(at, self.starts), driver)
        low = np.minimum(np.minimum.reduceat(at, self.starts), driver)
        return (high - low).sum(axis=1)


class _Board:
    """Hard blocks on their sites."""

    def __init__(self, types: list[str], grids: Mapping[str, Grid], random: np.random.Generator) -> None:
        self._grids = [grids[kind] for kind in types]
        self._random = random
        self._taken = {id(grid): [[-1] * len(row) for row in grid] for grid in grids.values()}
        self._at: list[tuple[int, int]] = [(0, 0)] * len(types)
        for kind, grid in grids.items():
            sites = [(row, column) for row in range(len(grid)) for column in range(len(grid[row]))]
            order = random.permutation(len(sites))
            for block, index in zip([b for b, k in enumerate(types) if k == kind], order, strict=False):
                self._put(block, sites[index])

    def _put(self, block: int, site: tuple[int, int]) -> None:
        self._at[block] = site
        self._taken[id(self._grids[block])][site[0]][site[1]] = block

    @property
    def bels(self) -> list[str]:
        """What nextpnr calls each block's site."""
        return [grid[row][column].bel for grid, (row, column) in zip(self._grids, self._at, strict=True)]

    @property
    def positions(self) -> Floats:
        """Where each block is, in tiles (n x 2)."""
        sites = [grid[row][column] for grid, (row, column) in zip(self._grids, self._at, strict=True)]
        return np.array([(site.x, site.y) for site in sites], np.float64).reshape(-1, 2)

    def energy(self, springs: Floats) -> float:
        """Return the springs' energy: the sum of weight times squared distance over all pairs of blocks."""
        positions = self.positions
        squares = (positions * positions).sum(axis=1)
        return float(springs.sum(axis=1) @ squares - (positions * (springs @ positions)).sum())

    def anneal(self, springs: Floats, *, moves: int, heat: float) -> float:
        """Lower the springs' energy by exchanges, and return by how much it has risen.

        ``moves`` are tried for each block. The temperature falls from ``heat`` times a block's mean energy to a
        thousandth of that, and with it how far a block may go.
        """
        n = len(self._at)
        mean = self.energy(springs) / n
        if mean <= 0:
            return 0.0
        # What all springs pull at each block; it follows every move.
        pulls = springs @ self.positions
        pull_x, pull_y = pulls.T.copy()
        stiffness = springs.sum(axis=1).tolist()
        risen = 0.0
        total = moves * n
        hot, fall = heat * mean, math.log(_COLD)
        for first in range(0, total, _CHUNK):
            size = min(_CHUNK, total - first)
            blocks = self._random.integers(0, n, size).tolist()
            rows, columns, chances = self._random.random((3, size)).tolist()
            for move in range(size):
                done = (first + move) / total
                reach = 1 - 0.95 * done
                i = blocks[move]
                grid, (row, column) = self._grids[i], self._at[i]
                down = round((2 * rows[move] - 1) * max(1, reach * (len(grid) - 1)))
                right = round((2 * columns[move] - 1) * max(2, reach * (len(grid[row]) - 1)))
                site = (row + down, column + right)
                if (down or right) and 0 <= site[0] < len(grid) and 0 <= site[1] < len(grid[row]):
                    threshold = -hot * math.exp(fall * done) * math.log(1 - chances[move])
                    risen += self._try(i, site, springs, stiffness, pull_x, pull_y, threshold)
        return risen

    def _try(
        self,
        i: int,
        site: tuple[int, int],
        springs: Floats,
        stiffness: list[float],
        pull_x: Floats,
        pull_y: Floats,
        threshold: float,
    ) -> float:
        """Move block ``i`` to ``site``, and what is there to where it was, if energy rises by ``threshold`` at most.

        Return by how much it has risen.
        """
        grid, (row, column) = self._grids[i], self._at[i]
        old, new = grid[row][column], grid[site[0]][site[1]]
        taken = self._taken[id(grid)]
        j = taken[site[0]][site[1]]
        dx, dy = new.x - old.x, new.y - old.y
        squares = new.x * new.x - old.x * old.x + new.y * new.y - old.y * old.y
        change = stiffness[i] * squares - 2 * (dx * pull_x.item(i) + dy * pull_y.item(i))
        if j >= 0:
            # The spring between the two was counted as if the other stayed: it is as long as before.
            change -= stiffness[j] * squares - 2 * (dx * pull_x.item(j) + dy * pull_y.item(j))
            change += 2 * springs.item(i, j) * (dx * dx + dy * dy)
        if change > threshold:
            return 0.0
        pulls = springs[i] if j < 0 else springs[i] - springs[j]
        pull_x += dx * pulls
        pull_y += dy * pulls
        taken[row][column] = -1
        if j >= 0:
            self._put(j, (row, column))
        self._put(i, site)
        return change
