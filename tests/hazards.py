"""When each block of a program is read and written, operation by operation, and the first that comes at a wrong time.

An oracle for :mod:`heddle.gen.timeline`: no shortcuts, every operation of every slice, from the records alone. What a
byte mover reads counts at the earliest possible cycle and what it writes from the earliest to the latest, for the
streams may pause. A slice that follows a load waits for its rows in hardware: what it reads of the load is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, product

from heddle.gen.images import Program
from heddle.gen.schedule import Step
from heddle.hdl.program import SliceRecord, Unit, strides
from heddle.hdl.timing import Timing


@dataclass(frozen=True, kw_only=True)
class Access:
    """Block ``block`` is read or written by slice ``index`` in one of the cycles ``first`` to ``last``."""

    block: int
    index: int
    first: int
    last: int


def first_hazard(program: Program) -> str | None:
    """Return the first block that is read before it is written, or written before it is read; ``None`` if none is."""
    timing = Timing(program.config)
    starts = [0, *accumulate(timing.program_cycles(program.records))]
    written: dict[int, Access] = {}
    read: dict[int, int] = {}
    for index, record in enumerate(program.records):
        follows = index > 0 and program.records[index - 1].followed
        begin, end = starts[index], starts[index + 1]
        reads = list(_reads(program.steps, timing, record, index, begin))
        for access in reads:
            before = written.get(access.block)
            if before is not None and access.first <= before.last and not (follows and before.index == index - 1):
                return f"slice {index} reads block {access.block} in cycle {access.first}, written in {before.last}"
        for access in _writes(timing, record, index, begin, end):
            if access.first <= read.get(access.block, -1):
                return (
                    f"slice {index} writes block {access.block} in cycle {access.first}, read in {read[access.block]}"
                )
            if access.block in written and access.first <= written[access.block].last:
                return f"slice {index} writes block {access.block} in cycle {access.first}, before slice {index - 1}"
            written[access.block] = access
        for access in reads:
            read[access.block] = max(read.get(access.block, -1), access.last)
    return None


def _loops(record_lasts: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the indices of a nest, innermost first, in its order."""
    for outer in product(*(range(last + 1) for last in reversed(record_lasts))):
        yield outer[::-1]


def _reads(steps: tuple[Step, ...], timing: Timing, record: SliceRecord, index: int, start: int) -> Iterator[Access]:
    if record.unit == Unit.LOAD:
        return
    rows, array = timing.config.array.rows, timing.config.array
    narrow = record.unit == Unit.ARRAY and not record.wide
    stride = strides(record.src_jumps, record.src_lasts)
    for group, loops in enumerate(_loops(record.src_lasts)):
        col, row, _ = loops
        operation = start + timing.first_operation + (timing.group_end(record, group - 1) + 1 if group else 0)
        origin = record.src_base + sum(i * s for i, s in zip(loops, stride, strict=True))
        y, x = record.row_start + row * record.row_step, record.col_start + col * record.col_step
        for step in range(record.step_last + 1):
            entry = steps[record.step_base + step]
            for (lane, tap), v in product(enumerate(entry.lanes), range(array.pixels if narrow else 1)):
                inside = tap is not None and (
                    record.unit in (Unit.STORE, Unit.RESHAPE)
                    or (0 <= y + tap.dy < record.height and 0 <= x + v * record.pixel_step + tap.dx < record.width)
                )
                if tap is not None and inside:
                    block = origin + v * record.pixel_stride + entry.common + lane + rows * tap.row_offset
                    first = operation + v + timing.read_cycles
                    yield Access(block=block, index=index, first=first, last=first)
            operation += record.inner(step)


def _writes(timing: Timing, record: SliceRecord, index: int, start: int, end: int) -> Iterator[Access]:
    if record.unit == Unit.STORE:
        return
    stride = strides(record.dst_jumps, record.dst_lasts)
    if record.unit in (Unit.LOAD, Unit.RESHAPE):
        for loops in _loops(record.dst_lasts):
            block = record.dst_base + sum(i * s for i, s in zip(loops, stride, strict=True))
            yield Access(block=block, index=index, first=start, last=end)
        return
    array = timing.config.array
    per_block = array.block // array.requantizers
    pixels = timing.group_pixels(record)
    blocks, cols = record.dst_lasts[0] + 1, record.dst_lasts[1] + 1
    for group, (col, row, tile) in enumerate(_loops(record.src_lasts)):
        done = start + timing.first_operation + timing.group_end(record, group) + timing.done_cycles(record)
        at = done + timing.output_cycles + timing.write_cycles
        for pixel in range(min(pixels, cols - col * pixels)):
            for block in range(blocks):
                loops = (block, col * pixels + pixel, row, tile)
                where = record.dst_base + sum(i * s for i, s in zip(loops, stride, strict=True))
                yield Access(block=where, index=index, first=at, last=at)
                at += per_block
