"""A netlist as springs: how hard each hard block is pulled at, when all other cells give way.

Every net is springs from its driver to its readers. Cells that are no hard blocks come to rest where the springs
balance; eliminating them (the Schur complement of the springs' Laplacian matrix, also called Kron reduction) leaves
springs between the hard blocks only, of the same energy.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PINS = 60
"""Nets with more pins (clocks, enables, what goes to all lanes) are everywhere, whatever is placed where."""

_UNITS = 2**20
"""What the largest weight is rounded to."""

_COLUMNS = 32
"""Columns that are solved for at once."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Nets:
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
    def of(cls, module: Mapping[str, Any], hard: Collection[str]) -> "Nets":
        """Return the nets of ``module`` (of yosys' JSON); cells whose type is in ``hard`` are hard blocks."""
        cells = module["cells"]
        blocks = [name for name, cell in cells.items() if cell["type"] in hard]
        others = [name for name, cell in cells.items() if cell["type"] not in hard]
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

    def reduced(self, weights: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        """Return the springs between hard blocks that all others amount to, and what tells where all come to rest.

        ``weights`` has one for each net. The springs are a symmetric matrix of integers with a zero diagonal; the
        function returns all cells' positions (n x 2) for those of the blocks.
        """
        from scipy.sparse import coo_array, diags_array, eye_array
        from scipy.sparse.linalg import splu

        # A net pulls as hard as its weight, however many share it: by the square root, half way to one pull a reader.
        pulls = np.repeat(weights / np.sqrt(self.sizes), self.sizes)
        ends = (np.repeat(self.drivers, self.sizes), self.readers)
        half = coo_array((pulls, ends), shape=(self.cells, self.cells)).tocsr()
        adjacency = half + half.T
        laplacian = (diags_array(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency).tocsc()
        n = len(self.blocks)
        # What hangs on no block would float: a spring too weak to matter holds it.
        inner = (laplacian[n:, n:] + 1e-9 * float(pulls.max(initial=1.0)) * eye_array(self.cells - n)).tocsc()
        outer = laplacian[n:, :n].tocsc()
        symmetric = {"SymmetricMode": True}
        factor = splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)
        springs = -laplacian[:n, :n].toarray()
        # A few columns at a time: all of them, for every cell, would be half a gigabyte on the largest part.
        for first in range(0, n, _COLUMNS):
            columns = slice(first, first + _COLUMNS)
            springs[:, columns] += outer.T @ factor.solve(outer[:, columns].toarray())
        np.fill_diagonal(springs, 0)
        largest = float(springs.max(initial=0.0)) or 1.0
        springs = np.rint((springs + springs.T) / 2 * (_UNITS / largest))
        return springs, lambda positions: np.vstack([positions, factor.solve(-(outer @ positions))])

    def lengths(self, positions: Floats) -> Floats:
        """Return half the perimeter of each net's bounding box, for the cells' ``positions`` (n x 2)."""
        at, driver = positions[self.readers], positions[self.drivers]
        high = np.maximum(np.maximum.reduceat(at, self.starts), driver)
        low = np.minimum(np.minimum.reduceat(at, self.starts), driver)
        return (high - low).sum(axis=1)
