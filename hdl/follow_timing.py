"""Cycles of a load and of the slice that follows it, by stepping through them.

Each waits for the other: the slice for its rows, the load for a bank that the slice's results take. So there is no
closed form. Names are those of the registers in :mod:`heddle.hdl.gearbox`, :mod:`heddle.hdl.follow` and
:mod:`heddle.hdl.issue`; cycles are counted from the load's ``start``.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from heddle.hdl.gearbox import MOST_CHUNKS
from heddle.hdl.program import SliceRecord, strides


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A load, the slice that follows it, and what of the core's cycles depends on them.

    Parameters
    ----------
    load, record
        The two slices.
    start, first_operation
        Of the second; and from there to its first operation, where it need not wait.
    strobe_cycles
        From the last operation of a pixel group to the strobe of its first block.
    block_cycles
        From one block of a group to the next.
    pixels
        In a pixel group.
    block, beat
        Bytes.
    banks
        Of the feature-map memory.
    full_bytes
        Level from which on the gearbox takes no beat.
    """

    load: SliceRecord
    record: SliceRecord
    start: int
    first_operation: int
    strobe_cycles: int
    block_cycles: int
    pixels: int
    block: int
    beat: int
    banks: int
    full_bytes: int


@lru_cache(maxsize=64)
def last_operation(pair: Pair) -> int:
    """Return the cycle of the second slice's last operation, both streams never pausing."""
    load, rows = _Load(pair), _Rows(pair)
    cycle = 1
    while rows.end is None:
        follows, complete = load.follows, load.rows
        load.step(rows.writes.get(cycle))
        rows.step(cycle, follows=follows, complete=complete)
        cycle += 1
    return rows.end


class _Load:
    """Mover, gearbox and the two blocks that wait for their banks. Steps through cycles from 1 on."""

    def __init__(self, pair: Pair) -> None:
        lasts, record = pair.load.dst_lasts, pair.load
        steps = strides(record.dst_jumps, lasts)
        blocks, cols, rows = (last + 1 for last in lasts[:3])
        self.sizes = [pair.block] * (blocks - 1) + [record.dst_tail + 1]
        self.banks = [
            (record.dst_base + y * steps[2] + x * steps[1] + k * steps[0]) % pair.banks
            for y, x, k in product(range(rows), range(cols), range(blocks))
        ]
        self.row_blocks = cols * blocks
        self.beats = -(-rows * cols * (pair.block * (blocks - 1) + record.dst_tail + 1) // pair.beat)
        self.pair = pair
        # What the issuer sees: registers.
        self.follows, self.rows = True, 0
        self._full, self._count, self._level = False, 0, 0
        # Blocks that were taken from the buffer, on their way to the queue, in it, in the mover's register, and given.
        self._taken, self._valid, self._queued, self._offered, self._given = 0, [False] * 3, 0, False, 0
        self._under_way, self._room = 0, True
        self._head: int | None = None
        self._spare: int | None = None

    def step(self, written: int | None) -> None:
        """Go through a cycle in which the output stage writes a block to bank ``written``, if any."""
        head, waiting, valid, level = self._head, self._spare is not None, self._valid, self._level
        active = self._given < len(self.banks)
        self.follows = active or head is not None
        if not self.follows:
            return
        came = None
        if active:
            self._level += self._count
            self._count = 0
            if self.beats and not self._full:
                self.beats, self._count = self.beats - 1, self.pair.beat
            self._full = level >= self.pair.full_bytes
            stays = self._offered and waiting
            leaves = self._queued > 0 and not stays
            size = self.sizes[self._taken % len(self.sizes)]
            take = self._taken < len(self.banks) and level >= size and self._room
            if take:
                self._taken, self._level = self._taken + 1, self._level - size
            self._room = self._under_way <= MOST_CHUNKS - 2
            self._under_way += take - leaves
            self._queued += valid[-1] - leaves
            self._valid = [take, *valid[:-1]]
            if not stays:
                if self._offered:
                    came, self._given = self._given, self._given + 1
                self._offered = leaves
        if head is None or self.banks[head] != written:
            if head is not None and (head + 1) % self.row_blocks == 0:
                self.rows += 1
            self._head, self._spare = (self._spare, None) if waiting else (came, None)
        elif came is not None:
            self._spare = came


class _Rows:
    """The issuer: while the load goes on, each row waits until what it reads is complete."""

    def __init__(self, pair: Pair) -> None:
        record = pair.record
        self.pair = pair
        self.end: int | None = None
        self.writes: dict[int, int] = {}
        """The bank that the output stage writes to, by cycle."""
        self._steps = strides(record.dst_jumps, record.dst_lasts)
        self._groups_left = prod(last + 1 for last in record.src_lasts)
        self._period = max(record.words_per_tile, record.drain_last + 1)
        self._waits, self._ready, self._needed = False, False, 0
        self._row = 0
        self._row_end: int | None = None

    def step(self, cycle: int, *, follows: bool, complete: int) -> None:
        """Go through a cycle in which the load shows these values."""
        ready = not follows or complete >= self._needed
        if cycle == self.pair.start:
            self._needed, ready = self.pair.record.lead, False
            self._waits = follows
            if not follows:
                self._begin_row(cycle + self.pair.first_operation - 1)
        elif self._waits and self._ready:
            self._needed += self.pair.record.row_step
            self._waits = False
            self._begin_row(cycle)
        elif cycle == self._row_end:
            self._waits = follows
            if not follows:
                self.end = cycle + self._groups_left * self._period
        self._ready = ready

    def _begin_row(self, cycle: int) -> None:
        """Issue a row's groups from the next cycle on."""
        pair, record = self.pair, self.pair.record
        groups = record.src_lasts[0] + 1
        end = cycle + record.words_per_tile
        if self._row_end is not None:
            end = max(end, self._row_end + record.drain_last + 1)
        first = record.dst_base + self._row * self._steps[2]
        blocks, cols = record.dst_lasts[0] + 1, record.dst_lasts[1] + 1
        for group in range(groups):
            written = end + group * self._period + pair.strobe_cycles
            pixels = range(group * pair.pixels, min((group + 1) * pair.pixels, cols))
            for x, block in product(pixels, range(blocks)):
                self.writes[written] = (first + x * self._steps[1] + block * self._steps[0]) % pair.banks
                written += pair.block_cycles
        self._row_end = end + (groups - 1) * self._period
        self._row += 1
        self._groups_left -= groups
