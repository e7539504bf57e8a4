"""How one list of steps reduces the taps of several tiles, and the weight words that meet them.

Each lane takes the blocks of its own bank, so the assignment is forced and only the order is free: blocks that need the
same number of inner cycles go together. Where lanes share blocks, a step takes blocks of fewer banks, and any of its
first lane's.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from heddle.gen.kinds import Accumulate
from heddle.gen.placement import Layout, window_offsets
from heddle.gen.tiling import Tiles, is_diagonal, tilings
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import Selection
from heddle.hdl.scratchpad import SPREAD_BITS
from heddle.hdl.timing import SLICE_CYCLES, reduction_cycles


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a slice uses the array.

    Parameters
    ----------
    wide
        The planes are output channels, not pixels.
    spread
        Base-two logarithm of how many lanes share a block.
    selection
        Which channels the weights meet: where not dense, zeros take no cycles.
    """

    wide: bool = False
    spread: int = 0
    selection: Selection = Selection.DENSE


@dataclass(frozen=True, kw_only=True)
class ReductionStep:
    """One step: the bank of the first lane relative to the window's origin, the tap of each lane that reads, cycles."""

    bank: int
    taps: tuple[int | None, ...]
    inner: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
    """The steps of every tile of ``tiles``.

    Parameters
    ----------
    offsets
        Linear offset of each tap's block from the window's origin.
    steps
        In order; their ``inner`` are at most two different numbers, the larger first.
    """

    op: Accumulate
    array: ArrayConfig
    mode: Mode
    tiles: Tiles
    offsets: list[int]
    steps: list[ReductionStep]

    @property
    def cycles_per_pixel(self) -> int:
        """Multiply cycles of a pixel group."""
        return sum(step.inner for step in self.steps)

    @property
    def words(self) -> int:
        """Weight words in each lane."""
        return len(self.tiles.channels) * self.cycles_per_pixel

    @property
    def pixels(self) -> int:
        """Pixels of a group."""
        return 1 if self.mode.wide else self.array.pixels

    @property
    def drain(self) -> int:
        """Fewest cycles between two pixel groups, which the requantizers need."""
        return self.pixels * self.tiles.blocks * (self.array.block // self.array.requantizers)

    def cycles(self, op: Accumulate) -> int:
        """Cycles of the slice for the rows and columns of ``op``, but for constants that are all the same."""
        rows, cols = (end - begin for begin, end in (op.rows, op.cols))
        groups = rows * -(-cols // self.pixels) * len(self.tiles.channels)
        return reduction_cycles(groups, self.cycles_per_pixel, self.drain) + SLICE_CYCLES

    @cached_property
    def weights(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight words int8 ``(R, words, columns)`` in reading order, and their selection indices, uint8 likewise."""
        m, taps, share = self.array.block, self.tiles.taps, 1 << self.mode.spread
        columns = self.tiles.channels.shape[1]
        shape = (self.array.rows, len(self.tiles.channels), self.cycles_per_pixel, columns)
        weights = np.zeros(shape, np.int8)
        indices = np.zeros(shape, np.uint8) if self.mode.selection is Selection.INDEXED else None
        lane, start, length = np.zeros((3, len(taps)), np.int64)
        at = 0
        for step in self.steps:
            for r, k in enumerate(step.taps):
                if k is not None:
                    lane[k], start[k], length[k] = r * share, at, min(step.inner * share, m)
            at += step.inner
        # Entry n of a tap, a channel where dense, is the business of the n-th of the lanes that share its block.
        entry = np.arange(m)
        stored = entry < length[:, None]
        lanes_of = (lane[:, None] + entry % share)[stored]
        words_of = (start[:, None] + entry // share)[stored]
        if indices is not None:
            # Columns without a channel: zeros may select anything.
            indices[lanes_of, :, words_of] = np.broadcast_to(entry, stored.shape)[stored][:, None, None]
        ky, kx, block = np.array(taps, np.int64).T
        for t, of_columns in enumerate(self.tiles.channels):
            used = np.flatnonzero(of_columns >= 0)
            channels = of_columns[used][:, None, None]
            read = (self.tiles.shift + t * self.tiles.stride + block)[:, None] * m + entry
            # Of each column, tap and entry.
            place = read - self.op.bases(channels)
            present = (place >= 0) & (place < self.op.weight.shape[3])
            values = np.where(present, self.op.weight[channels, ky[:, None], kx[:, None], place * present], 0)
            if self.mode.selection is Selection.DIAGONAL:
                own = np.take_along_axis(values, (used % m)[:, None, None], axis=2)
                values = np.where(entry == 0, own, 0)
            elif indices is not None:
                # Non-zeros first, in order of channel; the rest are zeros.
                ranked = np.argsort(values == 0, axis=2, kind="stable")
                indices[lanes_of[:, None], t, words_of[:, None], used] = ranked[:, stored].T
                values = np.take_along_axis(values, ranked, axis=2)
            weights[lanes_of[:, None], t, words_of[:, None], used] = values[:, stored].T
        flat = (self.array.rows, self.words, columns)
        return weights.reshape(flat), None if indices is None else indices.reshape(flat)


def reductions(
    ops: Sequence[Accumulate], array: ArrayConfig, source: Layout, *, kinds: Collection[Selection] = tuple(Selection)
) -> list[Reduction]:
    """Return the reductions that compute ``ops`` in the fewest cycles, in order of channels.

    The operations differ in their rows, columns and biases only. Of ``kinds``, the dense one among them, those that
    ``ops`` allow.
    """
    op = ops[0]
    plans = [
        [_reduction(op, array, wide, source, tiles, kinds) for tiles in tiling]
        for wide in ((False, True) if array.pixels > 1 else (False,))
        for tiling in tilings(op, array.cols * (array.pixels if wide else 1), array.block, source)
    ]
    return min(plans, key=lambda plan: sum(reduction.cycles(each) for reduction in plan for each in ops))


def _reduction(
    op: Accumulate, array: ArrayConfig, wide: bool, source: Layout, tiles: Tiles, kinds: Collection[Selection]
) -> Reduction:
    """Return the fastest of all ways to select and to share blocks; of equals the one that takes least hardware."""
    blocks = sorted({block for _, _, block in tiles.weights})
    place = {block: i for i, block in enumerate(blocks)}
    table = window_offsets(op.window, source, blocks)
    offsets = [int(table[ky, kx, place[block]]) for ky, kx, block in tiles.weights]
    # Channels that each tap's block has; a block that is another one in each tile counts as whole.
    last = np.array([block for _, _, block in tiles.weights]) + tiles.shift
    m = array.block
    present = np.clip(source.channels - last * m, 1, m) if tiles.stride == 0 else np.full(len(last), m)
    allowed = [
        kind for kind in Selection if kind in kinds and (kind is not Selection.DIAGONAL or is_diagonal(op, tiles, m))
    ]
    best: tuple[tuple[int, Selection, int], Reduction] | None = None
    for selection, spread in product(allowed, _spreads(array)):
        if selection is Selection.DIAGONAL and spread:
            # There is one weight for a block: nothing to share.
            continue
        mode = Mode(wide=wide, spread=spread, selection=selection)
        needed = present if selection is Selection.DENSE else np.array(list(tiles.weights.values()))
        # A lane reads one block a cycle: each pixel of a group takes one.
        least = 1 if wide else array.pixels
        needed = np.maximum((needed + (1 << spread) - 1) >> spread, least)
        plan = Reduction(op=op, array=array, mode=mode, tiles=tiles, offsets=offsets, steps=[])
        # Were every lane busy in every cycle: most ways are out before their steps are known.
        if best is not None and _rank(plan, -(-int(needed.sum()) // (array.rows >> spread))) >= best[0]:
            continue
        plan = replace(plan, steps=_steps_of(offsets, needed, array.rows, spread))
        rank = _rank(plan, plan.cycles_per_pixel)
        if best is None or rank < best[0]:
            best = rank, plan
    assert best is not None, "dense is always possible"
    return best[1]


def _rank(plan: Reduction, cycles: int) -> tuple[int, Selection, int]:
    """Return what the best plan has the least of, at ``cycles`` for a pixel group."""
    return max(cycles, plan.drain), plan.mode.selection, cycles


def _spreads(array: ArrayConfig) -> Iterator[int]:
    """Yield the logarithms of how many lanes can share a block: no more than there are channels, or lanes."""
    for spread in range(1 << SPREAD_BITS):
        if 1 << spread <= min(array.block, array.rows):
            yield spread


def _fullest_window(queues: list[list[int]], lanes: int) -> tuple[int, list[int]]:
    """Return as many banks as lanes read, from the first that leaves the fewest blocks in the fullest ones."""
    banks = len(queues)
    if lanes == banks:
        return 0, list(range(banks))
    longest = max(map(len, queues))
    windows = ((start, [(start + r) % banks for r in range(lanes)]) for start in range(banks))
    return max(
        windows,
        key=lambda w: (sum(len(queues[b]) == longest for b in w[1]), sum(bool(queues[b]) for b in w[1]), -w[0]),
    )


def _steps_of(offsets: list[int], needed: np.ndarray, banks: int, spread: int) -> list[ReductionStep]:
    """Return the steps, of at most two different lengths, the longer first: ``needed`` cycles for each tap's block."""
    lanes = banks >> spread
    queues: list[list[int]] = [[] for _ in range(banks)]
    for k in np.argsort(-needed, kind="stable").tolist():
        queues[offsets[k] % banks].append(k)
    chosen: list[tuple[int, list[int | None]]] = []
    while any(queues):
        start, window = _fullest_window(queues, lanes)
        chosen.append((start, [queues[b].pop(0) if queues[b] else None for b in window]))
    lengths = [max(int(needed[k]) for k in taps if k is not None) for _, taps in chosen]
    order = sorted(range(len(chosen)), key=lambda s: -lengths[s])
    lengths = [lengths[s] for s in order]
    # The hardware knows two lengths: steps before and from a split.
    count = len(chosen)
    totals = [lengths[0] * s + (lengths[s] if s < count else 0) * (count - s) for s in range(count + 1)]
    split = min(range(1, count + 1), key=lambda s: totals[s])
    inner = [lengths[0]] * split + [lengths[split]] * (count - split) if split < count else [lengths[0]] * count
    return [
        ReductionStep(bank=chosen[s][0], taps=tuple(chosen[s][1]), inner=cycles)
        for s, cycles in zip(order, inner, strict=True)
    ]
