"""How one list of steps reduces the taps of several tiles, and the weight words that meet them.

Each lane takes the blocks of its own bank, so the assignment is forced and only the order is free: blocks that need the
same number of inner cycles go together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heddle.gen.kinds import Accumulate
from heddle.gen.placement import Layout, window_offsets
from heddle.gen.tiling import Tiles, tilings
from heddle.hdl.config import ArrayConfig
from heddle.hdl.timing import SLICE_CYCLES, reduction_cycles


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
    """The steps of every tile of ``tiles``.

    Parameters
    ----------
    offsets
        Linear offset of each tap's block from the window's origin.
    order
        For each step the tap of each lane.
    inner
        Cycles of each step: at most two different numbers, the larger first.
    indexed
        Weights select their channel by an index of their own, so that zeros take no cycles.
    """

    op: Accumulate
    array: ArrayConfig
    tiles: Tiles
    offsets: list[int]
    order: list[list[int | None]]
    inner: list[int]
    indexed: bool

    @property
    def words(self) -> int:
        """Weight words in each lane."""
        return len(self.tiles.channels) * sum(self.inner)

    @property
    def drain(self) -> int:
        """Fewest cycles between two pixel groups, which the requantizers need."""
        return self.array.pixels * self.tiles.blocks * (self.array.block // self.array.requantizers)

    def cycles(self, op: Accumulate) -> int:
        """Cycles of the slice for the rows and columns of ``op``, but for constants that are all the same."""
        rows, cols = (end - begin for begin, end in (op.rows, op.cols))
        groups = rows * -(-cols // self.array.pixels) * len(self.tiles.channels)
        return reduction_cycles(groups, sum(self.inner), self.drain) + SLICE_CYCLES

    @cached_property
    def weights(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight words int8 ``(R, words, C)`` in reading order, and their selection indices, uint8 of that shape."""
        m, taps = self.array.block, self.tiles.taps
        shape = (self.array.rows, len(self.tiles.channels), sum(self.inner), self.array.cols)
        weights = np.zeros(shape, np.int8)
        indices = np.zeros(shape, np.uint8) if self.indexed else None
        lane, start, length = np.zeros((3, len(taps)), np.int64)
        at = 0
        for lanes, inner in zip(self.order, self.inner, strict=True):
            for r, k in enumerate(lanes):
                if k is not None:
                    lane[k], start[k], length[k] = r, at, min(inner, m)
            at += inner
        stored = np.arange(m) < length[:, None]
        lanes_of, words_of = (
            np.broadcast_to(lane[:, None], stored.shape)[stored],
            (start[:, None] + np.arange(m))[stored],
        )
        if indices is not None:
            # Columns without a channel: zeros may select anything.
            indices[lanes_of, :, words_of] = np.broadcast_to(np.arange(m), stored.shape)[stored][:, None, None]
        ky, kx, block = np.array(taps, np.int64).T
        for t, channels in enumerate(self.tiles.channels):
            read = (self.tiles.shift + t * self.tiles.stride + block)[:, None] * m + np.arange(m)
            for c in np.flatnonzero(channels >= 0):
                place = read - self.op.bases(channels[c])
                present = (place >= 0) & (place < self.op.weight.shape[3])
                values = np.where(present, self.op.weight[channels[c]][ky[:, None], kx[:, None], place * present], 0)
                if indices is not None:
                    # Non-zeros first, in order of channel; the rest are zeros.
                    ranked = np.argsort(values == 0, axis=1, kind="stable")
                    indices[lanes_of, t, words_of, c] = ranked[stored]
                    values = np.take_along_axis(values, ranked, axis=1)
                weights[lanes_of, t, words_of, c] = values[stored]
        flat = (self.array.rows, self.words, self.array.cols)
        return weights.reshape(flat), None if indices is None else indices.reshape(flat)


def reductions(ops: Sequence[Accumulate], array: ArrayConfig, source: Layout) -> list[Reduction]:
    """Return the reductions that compute ``ops`` in the fewest cycles, in order of channels.

    The operations differ in their rows, columns and biases only.
    """
    op = ops[0]
    plans = [[_reduction(op, array, source, tiles) for tiles in tiling] for tiling in tilings(op, array, source)]
    return min(plans, key=lambda plan: sum(reduction.cycles(each) for reduction in plan for each in ops))


def _reduction(op: Accumulate, array: ArrayConfig, source: Layout, tiles: Tiles) -> Reduction:
    """Return the faster of dense and indexed words."""
    blocks = sorted({block for _, _, block in tiles.weights})
    place = {block: i for i, block in enumerate(blocks)}
    table = window_offsets(op.window, source, blocks)
    offsets = [int(table[ky, kx, place[block]]) for ky, kx, block in tiles.weights]
    # Channels that each tap's block has; a block that is another one in each tile counts as whole.
    last = np.array([block for _, _, block in tiles.weights]) + tiles.shift
    m = array.block
    present = np.clip(source.channels - last * m, 1, m) if tiles.stride == 0 else np.full(len(last), m)
    plans = []
    for indexed, needed in ((False, present), (True, np.array(list(tiles.weights.values())))):
        order, inner = _steps_of(offsets, np.maximum(needed, array.pixels), array.rows)
        plans.append(
            Reduction(op=op, array=array, tiles=tiles, offsets=offsets, order=order, inner=inner, indexed=indexed)
        )
    return min(plans, key=lambda plan: (max(sum(plan.inner), plan.drain), plan.indexed))


def _steps_of(offsets: list[int], needed: np.ndarray, banks: int) -> tuple[list[list[int | None]], list[int]]:
    """For each step the tap of each lane, and its inner cycles: at most two different numbers, the larger first."""
    queues: list[list[int]] = [[] for _ in range(banks)]
    for k in np.argsort(-needed, kind="stable").tolist():
        queues[offsets[k] % banks].append(k)
    count = max(len(queue) for queue in queues)
    order = [[queue[s] if s < len(queue) else None for queue in queues] for s in range(count)]
    inner = [max(int(needed[k]) for k in lanes if k is not None) for lanes in order]
    # The hardware knows two lengths: steps before and from a split.
    totals = [inner[0] * s + (inner[s] if s < count else 0) * (count - s) for s in range(count + 1)]
    split = min(range(1, count + 1), key=lambda s: totals[s])
    return order, [inner[0]] * split + [inner[split]] * (count - split) if split < count else [inner[0]] * count
