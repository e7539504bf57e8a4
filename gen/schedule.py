"""From an operation to slices: the loops over tiles, rows and pixels, and the steps of each.

A slice covers a range of output-channel tiles that share one list of steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from heddle.gen.kinds import Accumulate, Elementwise, Move, Operation
from heddle.gen.limits import MAX_RESULTS, MAX_SLICES, MAX_STEPS, MAX_WEIGHT_BYTES, check_limit
from heddle.gen.placement import Layout, paired
from heddle.gen.reduction import Reduction, ReductionStep, reductions
from heddle.gen.tiling import SHORTER
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import Selection, SliceRecord, Unit


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
        int8 and uint8 ``(R, tiles * words, columns)``: weight words in the order they are read, of V * C columns where
        the slice is wide and C otherwise; ``indices`` is ``None`` where dense.
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
    """Plans slices of ``operations`` for one array over placed feature maps; without ``indexed``, none by indices."""

    def __init__(
        self,
        array: ArrayConfig,
        layouts: dict[str, Layout],
        operations: Iterable[Operation],
        *,
        indexed: bool = True,
    ) -> None:
        self.array, self.layouts = array, layouts
        self._kinds = [kind for kind in Selection if indexed or kind is not Selection.INDEXED]
        # Those of one layer that begin at one channel of the result differ in their rows, columns and biases only.
        self._alike: dict[tuple[str, tuple[int, int, int]], list[Accumulate]] = {}
        for op in operations:
            if isinstance(op, Accumulate):
                self._alike.setdefault((op.layer, op.dest_at), []).append(op)
        self._chosen: dict[tuple[str, tuple[int, int, int]], list[Reduction]] = {}
        self._words = self._slices = self._results = 0

    def plan(self, op: Operation) -> Iterator[PlannedSlice]:
        """Yield the slices of ``op`` in execution order.

        Raises
        ------
        CapacityError
            With the operations before it, it takes more than :mod:`heddle.gen.limits` allows.
        """
        for planned in self._plan(op):
            self._slices += 1
            check_limit(self._slices, MAX_SLICES, "slices", layer=op.layer, remedy="use fewer and simpler layers")
            yield planned

    def cycles(self) -> int:
        """Cycles of all sums of products, but for constants that are all the same.

        Raises
        ------
        CapacityError
            The weights are more than :mod:`heddle.gen.limits` allows.
        """
        return sum(
            reduction.cycles(op)
            for alike in self._alike.values()
            for reduction, op in product(self._reductions(alike[0]), alike)
        )

    def uses_indices(self) -> bool:
        """Whether any sum of products is best computed so; raises as :meth:`cycles` does."""
        return any(
            reduction.mode.selection is Selection.INDEXED
            for alike in self._alike.values()
            for reduction in self._reductions(alike[0])
        )

    def _plan(self, op: Operation) -> Iterator[PlannedSlice]:
        match op:
            case Accumulate():
                self._results += len(op.bias)
                check_limit(self._results, MAX_RESULTS, "scaled channels", layer=op.layer, remedy="use fewer channels")
                for reduction in self._reductions(op):
                    yield self._accumulate(op, reduction)
            case Elementwise():
                yield self._elementwise(op)
            case Move():
                yield self._move(op)

    # --- sums of products ---------------------------------------------------------------------------------------

    def _accumulate(self, op: Accumulate, reduction: Reduction) -> PlannedSlice:
        source, dest, array = self.layouts[op.source], self.layouts[op.dest].with_columns(op.columns), self.array
        tiles, pixels = reduction.tiles, reduction.pixels
        inner = [step.inner for step in reduction.steps]
        rows, cols = op.rows[1] - op.rows[0], op.cols[1] - op.cols[0]
        groups = -(-cols // pixels)
        window = op.window
        subs = tiles.blocks * (array.block // array.requantizers)
        row_start = op.rows[0] * window.stride[0] - window.padding.top
        col_start = op.cols[0] * window.stride[1] - window.padding.left
        row_step, pixel_step = window.stride[0], window.stride[1]
        src_lasts = (groups - 1, rows - 1, len(tiles.channels) - 1)
        src_strides = (
            source.offset(0, pixels * pixel_step), source.offset(row_step, 0), tiles.stride,
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
            col_step=pixels * pixel_step,
            pixel_step=pixel_step,
            height=source.height,
            width=source.width,
            step_last=len(inner) - 1,
            step_split=split,
            inner_first=inner[0] - 1,
            inner_rest=inner[-1] - 1,
            selection=reduction.mode.selection,
            wide=int(reduction.mode.wide),
            spread=reduction.mode.spread,
            subs_last=subs - 1,
            drain_last=reduction.drain - 1,
            spare_pixels=groups * pixels - cols,
            pad_value=op.pad_value,
            zero_point=op.zero_point,
            low=op.low,
            high=op.high,
            dst_base=dest.base + dest.offset(op.dest_at[0] + op.rows[0], op.dest_at[1] + op.cols[0], tiles.first_block),
            dst_jumps=jumps(dst_strides, dst_lasts),
            dst_lasts=dst_lasts,
            byte_enable=tiles.byte_enable,
        )
        drained = tiles.channels[:, : tiles.blocks * array.block].reshape(-1)
        # Columns that are computed at once have the same parameters.
        channels = np.where(drained < 0, -1, drained % (len(op.bias) // op.columns))
        weights, indices = reduction.weights
        return PlannedSlice(
            record=record, steps=self._steps(reduction), weights=weights, indices=indices, channels=channels
        )

    def _reductions(self, op: Accumulate) -> list[Reduction]:
        """Choose how to compute ``op``, once for all operations that are alike."""
        key = (op.layer, op.dest_at)
        if key not in self._chosen:
            chosen = reductions(self._alike[key], self.array, self.layouts[op.source], kinds=self._kinds)
            self._words += sum(reduction.words for reduction in chosen)
            room = MAX_WEIGHT_BYTES // (self.array.rows * self.array.cols)
            check_limit(self._words, room, "weight words per lane", layer=op.layer, remedy=SHORTER)
            self._chosen[key] = chosen
        return self._chosen[key]

    def _steps(self, reduction: Reduction) -> tuple[Step, ...]:
        dilation, taps, banks = reduction.op.window.dilation, reduction.tiles.taps, self.array.rows

        def read(step: ReductionStep, lane: int) -> LaneStep | None:
            tap = step.taps[lane] if lane < len(step.taps) else None
            if tap is None:
                return None
            return LaneStep(
                row_offset=(reduction.offsets[tap] - step.bank - lane) // banks,
                dy=taps[tap][0] * dilation[0],
                dx=taps[tap][1] * dilation[1],
            )

        return tuple(
            Step(common=step.bank, lanes=tuple(read(step, lane) for lane in range(banks))) for step in reduction.steps
        )

    # --- element-wise work and moves ----------------------------------------------------------------------------

    def _first_lane(self, offset: int = 0, dy: int = 0, dx: int = 0) -> Step:
        """Return a step in which only lane 0 reads, ``offset`` blocks from the origin."""
        idle = (None,) * (self.array.rows - 1)
        return Step(common=offset, lanes=(LaneStep(row_offset=0, dy=dy, dx=dx), *idle))

    def _pair(self, apart: int) -> tuple[Step, ...]:
        """Return one step in which lane 0 reads a block, and lane 1 the one ``apart`` blocks behind it."""
        idle = (None,) * (self.array.rows - 2)
        second = LaneStep(row_offset=(apart - 1) // self.array.rows, dy=0, dx=0)
        return (Step(lanes=(LaneStep(row_offset=0, dy=0, dx=0), second, *idle)),)

    def _elementwise(self, op: Elementwise) -> PlannedSlice:
        source, dest, array = self.layouts[op.sources[0]], self.layouts[op.dest], self.array
        window = op.window
        if op.second is None:
            count = window.kernel[0] * window.kernel[1]
            check_limit(count, MAX_STEPS, "steps", layer=op.layer, remedy="use a smaller window")
            steps = tuple(
                self._first_lane(source.offset(dy, dx), dy, dx)
                for dy in range(0, window.kernel[0] * window.dilation[0], window.dilation[0])
                for dx in range(0, window.kernel[1] * window.dilation[1], window.dilation[1])
            )
        else:
            apart = self.layouts[op.sources[1]].base - source.base
            steps = self._pair(apart) if paired(apart, array.rows) else (self._first_lane(), self._first_lane(apart))
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
            paired=int(op.second is not None and len(steps) == 1),
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
