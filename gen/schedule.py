"""From an operation to slices: which block goes to which lane in which step, and the weights that meet it there.

A slice covers a range of output-channel tiles that share one list of steps. Each lane takes the blocks of its own bank,
so the assignment is forced and only the order is free: blocks that need the same number of inner cycles go together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heddle.gen.kinds import Accumulate, Elementwise, Move, Operation
from heddle.gen.placement import Layout, window_offsets
from heddle.gen.tiling import Tiles, tile
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import SliceRecord, Unit


@dataclass(frozen=True, kw_only=True)
class LaneStep:
    """What one lane reads in one step: the row offset of its block, and the tap's place in the window."""

    row_offset: int
    dy: int
    dx: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a reduction: a position added for all lanes (a linear offset), and each lane's read or ``None``."""

    common: int = 0
    lanes: tuple[LaneStep | None, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedSlice:
    """A slice before its tables have addresses.

    Parameters
    ----------
    record
        Complete but for the bases of weights, parameters, steps and tables, and ``final``.
    steps
        The step list of one pixel.
    weights, indices
        int8 and uint8 ``(R, tiles * words, C)``: weight words in the order they are read; ``indices`` is ``None`` where
        dense.
    channels
        Channel of the operation behind each drained result: int64 ``(tiles * results,)``, -1 for padding.
    tables
        Two-operand tables of the vector unit, or ``None``.
    """

    record: SliceRecord
    steps: tuple[Step, ...] = ()
    weights: np.ndarray | None = None
    indices: np.ndarray | None = None
    channels: np.ndarray | None = None
    tables: tuple[np.ndarray, np.ndarray | None] | None = None


def jumps(strides: Sequence[int], lasts: Sequence[int]) -> tuple[int, ...]:
    """Offsets that :class:`heddle.hdl.addressing.LoopNest` adds: each stride less what the levels below have moved."""
    moved, result = 0, []
    for stride, last in zip(strides, lasts, strict=True):
        result.append(stride - moved)
        moved += stride * last
    return tuple(result)


class Scheduler:
    """Plans slices for one array over placed feature maps."""

    def __init__(self, array: ArrayConfig, layouts: dict[str, Layout]) -> None:
        self.array, self.layouts = array, layouts

    def plan(self, op: Operation) -> Iterator[PlannedSlice]:
        """Yield the slices of ``op`` in execution order."""
        match op:
            case Accumulate():
                for tiles in tile(op, self.array, source_blocks=self.layouts[op.source].blocks):
                    yield self._accumulate(op, tiles)
            case Elementwise():
                yield self._elementwise(op)
            case Move():
                yield self._move(op)

    # --- sums of products ---------------------------------------------------------------------------------------

    def _accumulate(self, op: Accumulate, tiles: Tiles) -> PlannedSlice:
        source, dest, array = self.layouts[op.source], self.layouts[op.dest], self.array
        dense, dense_inner = self._dense(op, tiles, source)
        steps, inner, weights, indices = self._order(op, tiles, source, dense, dense_inner)
        rows, cols = op.rows[1] - op.rows[0], op.cols[1] - op.cols[0]
        groups = -(-cols // array.pixels)
        window = op.window
        subs = tiles.blocks * (array.block // array.requantizers)
        row_start = op.rows[0] * window.stride[0] - window.padding.top
        col_start = op.cols[0] * window.stride[1] - window.padding.left
        row_step, pixel_step = window.stride[0], window.stride[1]
        src_lasts = (groups - 1, rows - 1, len(tiles.channels) - 1)
        src_strides = (
            source.offset(0, array.pixels * pixel_step), source.offset(row_step, 0), tiles.stride,
        )  # fmt: skip
        dst_lasts = (tiles.blocks - 1, cols - 1, rows - 1, len(tiles.channels) - 1)
        dst_strides = (1, dest.pixel_pitch, dest.row_pitch, tiles.blocks)
        split = next((s for s in range(len(inner)) if inner[s] != inner[0]), len(inner))
        record = SliceRecord(
            unit=Unit.ARRAY,
            src_base=source.base + source.offset(row_start, col_start, tiles.shift),
            src_jumps=jumps(src_strides, src_lasts),
            src_lasts=src_lasts,
            pixel_stride=source.offset(0, pixel_step),
            row_start=row_start,
            row_step=row_step,
            col_start=col_start,
            col_step=array.pixels * pixel_step,
            pixel_step=pixel_step,
            height=source.height,
            width=source.width,
            step_last=len(steps) - 1,
            step_split=split,
            inner_first=inner[0] - 1,
            inner_rest=inner[-1] - 1,
            indexed=int(indices is not None),
            subs_last=subs - 1,
            drain_last=array.pixels * subs - 1,
            spare_pixels=groups * array.pixels - cols,
            pad_value=op.pad_value,
            zero_point=op.zero_point,
            low=op.low,
            high=op.high,
            dst_base=dest.base + dest.offset(op.dest_at[0] + op.rows[0], op.dest_at[1] + op.cols[0], tiles.first_block),
            dst_jumps=jumps(dst_strides, dst_lasts),
            dst_lasts=dst_lasts,
            byte_enable=tiles.byte_enable,
        )
        drained = tiles.channels[:, : tiles.blocks * array.block]
        return PlannedSlice(record=record, steps=steps, weights=weights, indices=indices, channels=drained.reshape(-1))

    def _dense(self, op: Accumulate, tiles: Tiles, source: Layout) -> tuple[np.ndarray, np.ndarray]:
        """Weights by tap: int8 ``(tiles, taps, C, M)``, and the channels each tap's block has: ``(taps,)``."""
        m = self.array.block
        per_group, group_in = len(op.bias) // op.groups, op.weight.shape[3]
        cin = op.groups * group_in
        result = np.zeros((*tiles.channels.shape[:1], len(tiles.taps), self.array.cols, m), np.int8)
        for t, channels in enumerate(tiles.channels):
            shift = tiles.shift + t * tiles.stride
            for c, channel in enumerate(channels):
                if channel < 0:
                    continue
                base = channel // per_group * group_in
                # The channel's weights, laid over the blocks of the whole input.
                wide = np.zeros((*op.weight.shape[1:3], (source.blocks + 1) * m), np.int8)
                wide[:, :, base : base + group_in] = op.weight[channel]
                for k, (ky, kx, block) in enumerate(tiles.taps):
                    start = (shift + block) * m
                    result[t, k, c] = wide[ky, kx, start : start + m]
        last = np.array([block for _, _, block in tiles.taps]) + tiles.shift + (len(tiles.channels) - 1) * tiles.stride
        present = np.clip(cin - last * m, 1, m) if tiles.stride == 0 else np.full(len(last), m)
        return result, present

    def _order(
        self, op: Accumulate, tiles: Tiles, source: Layout, dense: np.ndarray, present: np.ndarray
    ) -> tuple[tuple[Step, ...], list[int], np.ndarray, np.ndarray | None]:
        """Return steps, inner cycles of each, and weight words; by index where that takes fewer cycles than dense."""
        counts = (dense != 0).sum(axis=3).max(axis=(0, 2))
        drain = self.array.pixels * tiles.blocks * (self.array.block // self.array.requantizers)
        plans = []
        for indexed, needed in ((False, present), (True, np.maximum(counts, 1))):
            order, inner = self._steps_of(op, tiles, source, np.maximum(needed, self.array.pixels))
            plans.append((max(sum(inner), drain), indexed, order, inner))
        _, indexed, order, inner = min(plans, key=lambda plan: plan[:2])
        weights, indices = self._words(dense, order, inner, indexed)
        offsets = self._offsets(op, tiles, source)
        steps = tuple(self._step(op, tiles, offsets, lanes) for lanes in order)
        return steps, inner, weights, indices

    def _steps_of(
        self, op: Accumulate, tiles: Tiles, source: Layout, needed: np.ndarray
    ) -> tuple[list[list[int | None]], list[int]]:
        """For each step the tap of each lane, and its inner cycles: at most two different numbers, the larger first."""
        banks = self.array.rows
        offsets = self._offsets(op, tiles, source)
        queues: list[list[int]] = [[] for _ in range(banks)]
        for k in sorted(range(len(offsets)), key=lambda k: (-needed[k], k)):
            queues[offsets[k] % banks].append(k)
        count = max(len(queue) for queue in queues)
        order = [[queue[s] if s < len(queue) else None for queue in queues] for s in range(count)]
        inner = [max(int(needed[k]) for k in lanes if k is not None) for lanes in order]
        # The hardware knows two lengths: steps before and from a split.
        totals = [inner[0] * s + (inner[s] if s < count else 0) * (count - s) for s in range(count + 1)]
        split = min(range(1, count + 1), key=lambda s: totals[s])
        return order, [inner[0]] * split + [inner[split]] * (count - split) if split < count else [inner[0]] * count

    def _offsets(self, op: Accumulate, tiles: Tiles, source: Layout) -> list[int]:
        """Linear offset of each tap's block from the window's origin."""
        blocks = sorted({block for _, _, block in tiles.taps})
        table = window_offsets(op.window, source, blocks)
        place = {block: i for i, block in enumerate(blocks)}
        return [int(table[ky, kx, place[block]]) for ky, kx, block in tiles.taps]

    def _words(
        self, dense: np.ndarray, order: list[list[int | None]], inner: list[int], indexed: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight words ``(R, tiles * words, C)`` in reading order, and their selection indices."""
        tiles, _, cols, m = dense.shape
        total = sum(inner)
        weights = np.zeros((self.array.rows, tiles, total, cols), np.int8)
        indices = np.zeros((self.array.rows, tiles, total, cols), np.uint8)
        if indexed:
            # Non-zeros first, in order of channel; the rest are zeros that select anything.
            ranked = np.argsort(dense == 0, axis=3, kind="stable")
            dense = np.take_along_axis(dense, ranked, axis=3)
        else:
            ranked = np.broadcast_to(np.arange(m), dense.shape)
        start = 0
        for lanes, length in zip(order, inner, strict=True):
            take = min(length, m)
            for r, k in enumerate(lanes):
                if k is not None:
                    weights[r, :, start : start + take] = dense[:, k, :, :take].transpose(0, 2, 1)
                    indices[r, :, start : start + take] = ranked[:, k, :, :take].transpose(0, 2, 1)
            start += length
        shape = (self.array.rows, tiles * total, cols)
        return weights.reshape(shape), indices.reshape(shape) if indexed else None

    def _step(self, op: Accumulate, tiles: Tiles, offsets: Sequence[int], lanes: Sequence[int | None]) -> Step:
        dilation = op.window.dilation
        return Step(
            lanes=tuple(
                None
                if k is None
                else LaneStep(
                    row_offset=(offsets[k] - r) // self.array.rows,
                    dy=tiles.taps[k][0] * dilation[0],
                    dx=tiles.taps[k][1] * dilation[1],
                )
                for r, k in enumerate(lanes)
            )
        )

    # --- element-wise work and moves ----------------------------------------------------------------------------

    def _first_lane(self, offset: int = 0, dy: int = 0, dx: int = 0) -> Step:
        """Return a step in which only lane 0 reads, ``offset`` blocks from the origin."""
        idle = (None,) * (self.array.rows - 1)
        return Step(common=offset, lanes=(LaneStep(row_offset=0, dy=dy, dx=dx), *idle))

    def _elementwise(self, op: Elementwise) -> PlannedSlice:
        source, dest, array = self.layouts[op.sources[0]], self.layouts[op.dest], self.array
        window = op.window
        if op.second is None:
            steps = tuple(
                self._first_lane(source.offset(dy, dx), dy, dx)
                for dy in range(0, window.kernel[0] * window.dilation[0], window.dilation[0])
                for dx in range(0, window.kernel[1] * window.dilation[1], window.dilation[1])
            )
        else:
            steps = (self._first_lane(), self._first_lane(self.layouts[op.sources[1]].base - source.base))
        subs = array.block // array.requantizers
        row_start, col_start = -window.padding.top, -window.padding.left
        lasts = (dest.width - 1, dest.height - 1, dest.blocks - 1)
        strides = (source.offset(0, window.stride[1]), source.offset(window.stride[0], 0), 1)
        record = SliceRecord(
            unit=Unit.VECTOR,
            src_base=source.base + source.offset(row_start, col_start),
            src_jumps=jumps(strides, lasts),
            src_lasts=lasts,
            row_start=row_start,
            row_step=window.stride[0],
            col_start=col_start,
            col_step=window.stride[1],
            height=source.height,
            width=source.width,
            step_last=len(steps) - 1,
            step_split=len(steps),
            param_hold=1,
            subs_last=subs - 1,
            drain_last=subs - 1,
            pad_value=-128,
            zero_point=op.zero_point,
            low=op.low,
            high=op.high,
            dst_base=dest.base,
            dst_jumps=jumps((1, dest.pixel_pitch, dest.row_pitch, 1), (0, *lasts)),
            dst_lasts=(0, *lasts),
            byte_enable=(1 << array.block) - 1,
            operands=int(op.second is not None),
        )
        return PlannedSlice(
            record=record, steps=steps, tables=(op.first, op.second), channels=np.zeros(array.block, np.int64)
        )

    def _move(self, op: Move) -> PlannedSlice:
        m = self.array.block
        unit = Unit.LOAD if op.source is None else Unit.STORE if op.dest is None else Unit.RESHAPE
        fields: dict[str, Any] = {}
        steps: tuple[Step, ...] = ()
        if op.source is not None:
            source = self.layouts[op.source]
            lasts = (source.blocks - 1, source.width - 1, source.height - 1)
            steps = (self._first_lane(),)
            fields |= {
                "src_base": source.base,
                "src_jumps": jumps((1, source.pixel_pitch, source.row_pitch), lasts),
                "src_lasts": lasts,
                "height": 1,
                "width": 1,
                "step_split": 1,
                "src_tail": (source.channels - 1) % m,
            }
        if op.dest is not None:
            dest = self.layouts[op.dest]
            lasts = (dest.blocks - 1, dest.width - 1, dest.height - 1, 0)
            fields |= {
                "dst_base": dest.base,
                "dst_jumps": jumps((1, dest.pixel_pitch, dest.row_pitch, 0), lasts),
                "dst_lasts": lasts,
                "dst_tail": (dest.channels - 1) % m,
                "byte_enable": (1 << m) - 1,
            }
        return PlannedSlice(record=SliceRecord(unit=unit, **fields), steps=steps)
