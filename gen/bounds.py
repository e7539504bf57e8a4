"""What a network takes on an array before it is mapped: the least cycles, and the block RAMs to expect.

A slice spends, for each pixel group of a tile, at least the lane-cycles of its blocks over the lanes, and at least the
drain of its results. What that leaves out is how unevenly blocks lie in banks, and what passes between slices. The
blocks of a tile depend on M and on the columns only, so bounds for all R and q come from one tiling. What reads an
input alone may do so with columns folded into channels: each fold is a way of its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from heddle.errors import CapacityError
from heddle.gen.folding import folds
from heddle.gen.ir import Network, Tensor
from heddle.gen.kinds import Accumulate, Elementwise, Move, Operation
from heddle.gen.memories import MemoryUse
from heddle.gen.operations import lower
from heddle.gen.placement import Layout
from heddle.gen.scaling import Requantizers
from heddle.gen.tiling import Tiles, tilings
from heddle.hdl.config import ArrayConfig

SPARSE = 0.75
"""Share of non-zero weights below which slices are likely to be indexed."""
OUT_OF_REACH = 10**12
"""Cycles of a network on an array that takes more weights than any board holds."""


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """All ways to compute all accumulations with certain columns and planes: arrays over runs of tiles.

    Parameters
    ----------
    groups, tiles, load, results
        Pixel groups of all tiles of the run; its tiles; lane-cycles of a group; blocks that a group writes.
    ways, operations
        Where the runs of each way begin, and where the ways of each operation do.
    wide
        Of each way.
    """

    groups: np.ndarray
    tiles: np.ndarray
    load: np.ndarray
    results: np.ndarray
    ways: np.ndarray
    operations: np.ndarray
    wide: np.ndarray

    def cycles(self, rows: int, drain: int) -> np.ndarray:
        """Least cycles of each way; a block of results takes ``drain``."""
        return np.add.reduceat(self.groups * np.maximum(-(-self.load // rows), self.results * drain), self.ways)

    def words(self, rows: int) -> np.ndarray:
        """Weight words of each way."""
        return np.add.reduceat(self.tiles * -(-self.load // rows), self.ways)


class Bounds:
    """Least cycles, and expected block RAMs, of ``network`` on arrays; ``requantizers`` are its operations'."""

    def __init__(self, network: Network, requantizers: Requantizers) -> None:
        self._tensors, self._requantizers = network.tensors, requantizers
        self._operations = lower(network).operations
        self._alike: dict[tuple[str, tuple[int, int, int]], list[Accumulate]] = {}
        for op in self._operations:
            if isinstance(op, Accumulate):
                self._alike.setdefault((op.layer, op.dest_at), []).append(op)
        self._variants: dict[int, list[list[tuple[Tensor, Accumulate]]]] = {}
        self._tilings: dict[tuple[int, int], list[list[_Tiling]] | None] = {}
        self._ways: dict[tuple[int, int, int], _Ways | None] = {}
        self._others: dict[tuple[int, int, int], int] = {}
        self._bank_blocks: dict[int, int] = {}

    @cached_property
    def alike(self) -> bool:
        """Whether a core is likely to have no indices: there is little to skip, and groups are single channels."""
        sums = [op for op in self._operations if isinstance(op, Accumulate)]
        stored = sum(int(np.count_nonzero(op.weight)) for op in sums)
        single = all(op.groups in (1, len(op.bias)) and (op.groups == 1 or op.weight.shape[3] == 1) for op in sums)
        return single and stored >= SPARSE * sum(op.weight.size for op in sums)

    def cycles(self, array: ArrayConfig) -> int:
        """Return how many cycles an inference takes at least: no mapping takes fewer."""
        ways = self._ways_of(array)
        if ways is None:
            return OUT_OF_REACH
        key = (array.block, array.requantizers, array.stream_bytes)
        if key not in self._others:
            self._others[key] = sum(self._other_cycles(op, array) for op in self._operations)
        sums = np.zeros(0, np.int64)
        if len(ways.operations):
            sums = np.minimum.reduceat(ways.cycles(array.rows, array.block // array.requantizers), ways.operations)
        return self._others[key] + int(sums.sum()) - self._hidden(array, sums)

    def _hidden(self, array: ArrayConfig, sums: np.ndarray) -> int:
        """Return the cycles in which the first operation may follow the last load: of both only the longer counts."""
        first = next((i for i, op in enumerate(self._operations) if not _loads(op)), len(self._operations))
        if not 0 < first < len(self._operations):
            return 0
        load, op = self._other_cycles(self._operations[first - 1], array), self._operations[first]
        if isinstance(op, Accumulate):
            return min(load, int(sums[list(self._alike).index((op.layer, op.dest_at))]))
        return min(load, self._other_cycles(op, array))

    def block_rams(self, array: ArrayConfig) -> int:
        """Return about how many block RAMs a core has: without indices and tables, maps and words spread evenly."""
        ways = self._ways_of(array)
        block, unit = 8 * array.block, self._requantizers.config.params_layout.size
        narrow, wide = self._words(array, ways) if ways is not None and len(ways.operations) else (0, 0)
        columns = max((min(array.cols, len(ops[0].bias)) for ops in self._alike.values()), default=0)
        results = sum(-(-len(ops[0].bias) // array.block) * array.block for ops in self._alike.values())
        # How many bits an entry of a lane in the step table has follows from the layers; these are the least.
        step = (self._bank_words(array) - 1).bit_length() + 3
        memories = [
            (block, self._bank_words(array), array.rows),
            (8 * columns, narrow + wide, array.rows),
            (8 * columns, wide, array.rows * (array.pixels - 1)),
            (array.rows * step, 1, 1),
            (array.requantizers * unit, -(-results // array.requantizers), 1),
        ]
        return sum(
            MemoryUse(name="", width=width, depth=depth, stored=(width,) * copies).block_rams
            for width, depth, copies in memories
            if depth
        )

    def _words(self, array: ArrayConfig, ways: _Ways) -> tuple[int, int]:
        """Return the weight words of narrow and of wide slices, each operation taking its fastest way."""
        cycles, words = ways.cycles(array.rows, array.block // array.requantizers), ways.words(array.rows)
        totals = [0, 0]
        ends = [*ways.operations[1:], len(cycles)]
        for start, end in zip(ways.operations, ends, strict=True):
            best = start + int(np.argmin(cycles[start:end]))
            totals[bool(ways.wide[best])] += int(words[best])
        return totals[0], totals[1]

    def _bank_words(self, array: ArrayConfig) -> int:
        """Words of a bank that holds what one operation reads and writes."""
        if array.block not in self._bank_blocks:
            maps = [{name for name in (*op.sources, op.dest) if name} for op in self._operations]
            self._bank_blocks[array.block] = max(
                (sum(self._layout(name, array.block).size for name in names) for names in maps), default=1
            )
        return -(-self._bank_blocks[array.block] // array.rows)

    def _other_cycles(self, op: Operation, array: ArrayConfig) -> int:
        """Least cycles of an operation that is no accumulation."""
        match op:
            case Elementwise():
                taps = 1 if op.second is not None else op.window.kernel[0] * op.window.kernel[1]
                return self._layout(op.dest, array.block).size * max(taps, array.block // array.requantizers)
            case Move():
                chunks = [self._least_size(name, array.block) for name in (op.source, op.dest) if name]
                if op.source is None or op.dest is None:
                    chunks.append(-(-self._tensors[op.source or op.dest or ""].size // array.stream_bytes))
                return max(chunks)
            case _:
                return 0

    def _least_size(self, name: str, block: int) -> int:
        """Return the blocks of a tensor, or of it folded, whichever are fewer."""
        sizes = [self._layout(name, block).size]
        for variants in self._variants_of(block):
            sizes += [self._layout(tensor, block).size for tensor, op in variants if op.source == name]
        return min(sizes)

    def _layout(self, tensor: str | Tensor, block: int) -> Layout:
        height, width, channels = (self._tensors[tensor] if isinstance(tensor, str) else tensor).hwc
        blocks = -(-channels // block)
        return Layout(
            height=height, width=width, channels=channels, blocks=blocks, pixel_pitch=blocks, row_pitch=width * blocks
        )

    def _ways_of(self, array: ArrayConfig) -> _Ways | None:
        """Return the ways to compute the accumulations, ``None`` where one takes more than any board holds."""
        key = (array.block, array.cols, array.pixels)
        if key not in self._ways:
            planes = [(array.cols, array.pixels, False)]
            planes += [(array.cols * array.pixels, 1, True)] if array.pixels > 1 else []
            found = [(self._tilings_of(columns, array.block), pixels, wide) for columns, pixels, wide in planes]
            self._ways[key] = None
            if all(tilings is not None for tilings, _, _ in found):
                self._ways[key] = _ways(
                    [
                        [(tiling, pixels, wide) for tilings, pixels, wide in found for tiling in (tilings or [])[index]]
                        for index in range(len(self._alike))
                    ]
                )
        return self._ways[key]

    def _tilings_of(self, columns: int, block: int) -> "list[list[_Tiling]] | None":
        """Return the tilings of each accumulation, ``None`` where one has too many weights."""
        if (columns, block) not in self._tilings:
            try:
                self._tilings[columns, block] = [
                    [
                        _Tiling(ops=ops if op is ops[0] else [op], runs=runs)
                        for tensor, op in variants
                        for runs in tilings(op, columns, block, self._layout(tensor, block))
                    ]
                    for ops, variants in zip(self._alike.values(), self._variants_of(block), strict=True)
                ]
            except CapacityError:
                self._tilings[columns, block] = None
        return self._tilings[columns, block]

    def _variants_of(self, block: int) -> list[list[tuple[Tensor, Accumulate]]]:
        """Return each accumulation with what it reads: as they are, then with columns folded."""
        if block not in self._variants:
            inputs = {op.dest for op in self._operations if isinstance(op, Move) and op.source is None}
            readers = Counter(name for op in self._operations for name in op.sources)
            self._variants[block] = []
            for ops in self._alike.values():
                op, source = ops[0], self._tensors[ops[0].source]
                variants = [(source, op)]
                if op.source in inputs and readers[op.source] == 1:
                    variants += folds(op, source, self._tensors[op.dest], block=block)
                self._variants[block].append(variants)
        return self._variants[block]


@dataclass(frozen=True, kw_only=True)
class _Tiling:
    """Runs of tiles that compute operations which are alike."""

    ops: Sequence[Accumulate]
    runs: Sequence[Tiles]


def _loads(op: Operation) -> bool:
    return isinstance(op, Move) and op.source is None


def _ways(choices: Sequence[Sequence[tuple[_Tiling, int, bool]]]) -> _Ways:
    """Lay ``choices`` out: for each operation ways of runs of tiles, the pixels of a group, whether they are wide."""
    rows: list[tuple[int, int, int, int]] = []
    for ways in choices:
        for tiling, pixels, _ in ways:
            groups = sum((op.rows[1] - op.rows[0]) * -(-(op.cols[1] - op.cols[0]) // pixels) for op in tiling.ops)
            # Each of a group's pixels reads its block in a cycle of its own.
            rows += [
                (
                    groups * len(run.channels),
                    len(run.channels),
                    sum(max(count, pixels) for count in run.weights.values()),
                    run.blocks * pixels,
                )
                for run in tiling.runs
            ]
    flat = [way for ways in choices for way in ways]
    groups, tiles, load, results = np.array(rows, np.int64).reshape(-1, 4).T
    return _Ways(
        groups=groups,
        tiles=tiles,
        load=load,
        results=results,
        ways=_starts([len(tiling.runs) for tiling, _, _ in flat]),
        operations=_starts([len(ways) for ways in choices]),
        wide=np.array([wide for _, _, wide in flat], bool),
    )


def _starts(lengths: Sequence[int]) -> np.ndarray:
    """Return where each of parts of these lengths begins."""
    return np.array(list(accumulate(lengths, initial=0))[:-1], np.int64)
