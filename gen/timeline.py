"""When each slice may start: as soon as nothing that it reads is still under way.

The issuer is free when a slice's last operation has left it, long before the results are written. The next slice starts
then, and follows the one before through the pipeline. How much later it must start is known, since nothing in the
pipeline stalls: :func:`with_gaps` finds a safe wait for each record, at most a few cycles above the least. Byte movers
wait for the world outside, so the slice after one waits for its end. A slice that follows a load waits in hardware; it
counts here as if it began when the load ends: seen from its end, none of its rows is later than that.

Times are cycles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from heddle.gen.schedule import Step
from heddle.hdl.program import SliceRecord, Unit, strides
from heddle.hdl.timing import TURNAROUND, Timing


def with_gaps(records: Sequence[SliceRecord], steps: Sequence[Step], timing: Timing) -> tuple[SliceRecord, ...]:
    """Return ``records``, complete otherwise, each with a ``gap`` that is safe: the least but for a few cycles."""
    flight = _Flight(timing=timing, steps=steps)
    return tuple(flight.add(record) for record in records)


@dataclass(kw_only=True)
class _Flight:
    """What is under way at a slice's start.

    Parameters
    ----------
    start
        Of the slice added last.
    free
        From when on the next slice can start, without its gap.
    ready
        For blocks still to be written, from when on a read sees them.
    written
        From when on all of them are.
    captured
        When the output stage takes the record of the last slice on the array or the vector unit.
    drained
        From when on that stage can begin with another pixel group.
    """

    timing: Timing
    steps: Sequence[Step]
    start: int = 0
    free: int = 0
    ready: dict[int, int] = field(default_factory=dict)
    written: int = 0
    captured: int = -(10**9)
    drained: int = 0

    def add(self, record: SliceRecord) -> SliceRecord:
        """Start ``record`` as early as is safe, and return it with its gap."""
        timing, computes = self.timing, record.unit in (Unit.ARRAY, Unit.VECTOR)
        # The output stage takes what it needs of a record from the sequencer, which must not have moved on.
        safe = self.captured + 1
        if record.unit in (Unit.LOAD, Unit.RESHAPE):
            safe = max(safe, self.written)
        else:
            safe = max(safe, self._all_read_is_written(record))
        if record.unit == Unit.STORE:
            # Whatever follows finds everything written.
            safe = max(safe, self.written - timing.run_cycles(record) - TURNAROUND)
        first_done = (
            timing.first_operation + timing.group_end(record, 0) + timing.done_cycles(record) if computes else 0
        )
        if computes:
            # The stage must be done with the slice before, and the destination must have taken its record.
            safe = max(safe, max(self.drained, self.captured + timing.capture_cycles) - first_done)
        gap = max(0, safe - self.free)
        self.start = max(self.free + gap, self.start + timing.least_cycles) if self.free else 0
        self.free = timing.free(record) + self.start
        if computes:
            self.captured = self.start + first_done
            last_done = self.start + timing.last_operation(record) + timing.done_cycles(record)
            self.drained = last_done + timing.results(record)
            self._writes(record)
        return replace(record, gap=gap)

    def _all_read_is_written(self, record: SliceRecord) -> int:
        """Return the earliest start at which every read of ``record`` sees what was written before."""
        if not self.ready:
            return 0
        first_read = self.timing.first_operation + self.timing.read_cycles
        horizon = max(self.ready.values()) - self.free - first_read
        safe = 0
        for cycle, address in self._reads(record, horizon):
            safe = max(safe, self.ready.get(address, 0) - first_read - cycle)
        return safe

    def _reads(self, record: SliceRecord, horizon: int) -> Iterator[tuple[int, int]]:
        """Yield the blocks read by the operations of the first ``horizon`` cycles, each with its operation's cycle."""
        timing, array = self.timing, self.timing.config.array
        stride = strides(record.src_jumps, record.src_lasts)
        pixels = array.pixels if record.unit == Unit.ARRAY and not record.wide else 1
        inners = [record.inner(step) for step in range(record.step_last + 1)]
        for group in range(timing.groups(record)):
            begin = timing.group_end(record, group - 1) + 1 if group else 0
            if begin > horizon:
                return
            col, row, tile = _indices(group, record.src_lasts)
            origin = record.src_base + col * stride[0] + row * stride[1] + tile * stride[2]
            y, x = record.row_start + row * record.row_step, record.col_start + col * record.col_step
            for step, inner in enumerate(inners):
                entry = self.steps[record.step_base + step]
                for lane, read in enumerate(entry.lanes):
                    if read is None:
                        continue
                    for v in range(pixels):
                        tap_y, tap_x = y + read.dy, x + v * record.pixel_step + read.dx
                        if 0 <= tap_y < record.height and 0 <= tap_x < record.width:
                            at = origin + v * record.pixel_stride + entry.common + lane + array.rows * read.row_offset
                            yield begin + v, at
                begin += inner

    def _writes(self, record: SliceRecord) -> None:
        """Note which blocks ``record`` writes late enough for another slice to come too early."""
        timing, array = self.timing, self.timing.config.array
        earliest_read = self.free + timing.first_operation + timing.read_cycles
        self.ready = {at: when for at, when in self.ready.items() if when > earliest_read}
        stride = strides(record.dst_jumps, record.dst_lasts)
        narrow = record.unit == Unit.ARRAY and not record.wide
        pixels = array.pixels if narrow else 1
        blocks, cols = record.dst_lasts[0] + 1, record.dst_lasts[1] + 1
        per_block = array.block // array.requantizers
        for group in reversed(range(timing.groups(record))):
            done = self.start + timing.first_operation + timing.group_end(record, group) + timing.done_cycles(record)
            # And the cycle of the write itself.
            begin = done + timing.output_cycles + timing.write_cycles + 1
            if begin + (pixels * blocks - 1) * per_block <= earliest_read:
                break
            group_col, row, tile = _indices(group, record.src_lasts)
            for v in range(min(pixels, cols - group_col * pixels)):
                for block in range(blocks):
                    at = record.dst_base + block * stride[0] + (group_col * pixels + v) * stride[1]
                    self.ready[at + row * stride[2] + tile * stride[3]] = begin + (v * blocks + block) * per_block
        self.written = max(self.written, *self.ready.values(), 0)


def _indices(group: int, lasts: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of the loops, innermost first, in the ``group``-th iteration."""
    indices = []
    for last in lasts:
        group, index = divmod(group, last + 1)
        indices.append(index)
    return tuple(indices)
