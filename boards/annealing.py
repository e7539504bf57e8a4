"""Hard blocks on their sites, exchanged until what pulls at them is weak: simulated annealing.

A quadratic assignment problem: the energy is the sum of weight times squared distance over all pairs of blocks. A
move's change of energy is a few multiplications, since what pulls at each block is known and follows every move.
Weights and coordinates are integers, so that energies are exact, in whatever order a machine adds.
"""

import math
from collections.abc import Mapping

import numpy as np

from heddle.boards.sites import Grid
from heddle.boards.springs import Floats

_COLD = 1e-3
"""The last temperature, as a share of the first."""

_CHUNK = 2**16
"""Moves whose random numbers are drawn at once."""


class Blocks:
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
                down = round((2 * rows[move] - 1) * min(len(grid) - 1, max(1, reach * (len(grid) - 1))))
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
