"""The cycle model: exact, because nothing in the pipeline stalls but for the world outside.

:class:`Timing` is the one definition: the planner compares with it, the report prints it, and tests assert that
simulated cycles equal it. It assumes that the input stream always offers a beat and the output stream always takes one.
"""

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from heddle.hdl.array import Lane
from heddle.hdl.config import CoreConfig
from heddle.hdl.edges import Mover
from heddle.hdl.follow_timing import Pair, last_operation
from heddle.hdl.issue import Issuer
from heddle.hdl.output import OutputStage
from heddle.hdl.program import RecordFormat, SliceRecord, Unit
from heddle.hdl.scratchpad import Fetch, Scratchpad

TURNAROUND = 2
"""Cycles from the last operation of a slice to ``start`` of the next, gap left out."""
MOVE_TURNAROUND = 3
"""Cycles from ``done`` of a byte mover's slice, or ``start`` of a followed one, likewise."""

SLICE_CYCLES = 25
"""About what a slice costs beside :func:`reduction_cycles`, for choices made before the core is known."""


def reduction_cycles(groups: int, pixel: int, drain: int) -> int:
    """Cycles in which ``groups`` pixel groups of all tiles are reduced, ``pixel`` cycles each, ``drain`` to drain."""
    # Every pixel group but the first waits for the drain of the one before.
    return pixel + (groups - 1) * max(pixel, drain)


def block_ends(lasts: Sequence[int], tail: int, *, block: int) -> np.ndarray:
    """Where in a tensor's bytes each of its blocks ends; these loops visit them, a pixel's blocks innermost.

    >>> block_ends((1, 2), 0, block=4).tolist()
    [4, 5, 9, 10, 14, 15]
    """
    channels = lasts[0] * block + tail + 1
    pixel = np.minimum(block * np.arange(1, lasts[0] + 2), channels)
    return (np.arange(prod(last + 1 for last in lasts[1:]))[:, None] * channels + pixel).reshape(-1)


def beat_ends(size: int, *, width: int) -> np.ndarray:
    """Where each beat of a packet of ``size`` bytes ends."""
    return np.minimum(width * np.arange(1, -(-size // width) + 1), size)


def regroup_cycles(source: np.ndarray, dest: np.ndarray) -> int:
    """Cycles in which chunks that end at ``source`` become chunks that end at ``dest``, one a cycle on either side.

    A chunk leaves as soon as its last byte has arrived and its predecessor has left: the last one leaves as many cycles
    after the arrival of any chunk as there are chunks left to give, and it leaves when the latest of these says.

    >>> regroup_cycles(np.array([8, 16, 24]), np.array([3, 6, 9, 12, 15, 18, 21, 24]))
    8
    >>> regroup_cycles(np.array([3, 6, 9, 12, 15, 18, 21, 24]), np.array([8, 16, 24]))
    8
    """
    arrival = np.searchsorted(source, dest)
    return int((arrival + np.arange(len(dest), 0, -1)).max())


class Timing:
    """Cycles of slices on one core."""

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        array = config.array
        self.record_words = RecordFormat(config.field_bits, config.address_bits, array.rows).words
        self.fetch_cycles = Fetch.latency_of(Scratchpad.latency_of(array.rows))

        self._columns_cycles = array.rows - 1 + Lane.LATENCY - Lane.LEAD

    @property
    def least_cycles(self) -> int:
        """From ``start`` of a slice to ``start`` of the next, at least: its record arrives meanwhile."""
        return self.record_words + 5

    def program_cycles(self, records: Sequence[SliceRecord]) -> list[int]:
        """Cycles of each slice of an inference, from its ``start`` to ``start`` of the next."""
        cycles: list[int] = []
        for index, record in enumerate(records):
            if record.followed:
                # The sequencer goes on at once.
                free = MOVE_TURNAROUND
            elif index and records[index - 1].followed:
                free = self._follow_cycles(records[index - 1], record, start=cycles[-1]) + TURNAROUND
            else:
                free = self.free(record)
            cycles.append(max(free + records[(index + 1) % len(records)].gap, self.least_cycles))
        return cycles

    def inference_cycles(self, records: Sequence[SliceRecord]) -> int:
        """From the cycle that accepts the first input beat to the cycle that offers the last output beat, inclusive."""
        # The first beat is accepted a cycle after the first start; the last is taken in the cycle of `done`.
        return sum(self.program_cycles(records)[:-1]) + self.run_cycles(records[-1])

    def free(self, record: SliceRecord) -> int:
        """Cycles from ``start`` of the slice to the earliest ``start`` of the next, gap left out, neither followed."""
        if record.unit in (Unit.ARRAY, Unit.VECTOR):
            return self.last_operation(record) + TURNAROUND
        return self.run_cycles(record) + MOVE_TURNAROUND

    def run_cycles(self, record: SliceRecord) -> int:
        """Cycles from ``start`` to ``done`` of a byte mover's slice."""
        if record.unit == Unit.LOAD:
            # The first beat is accepted a cycle after `start`.
            return 1 + self._move_cycles(record)
        return Issuer.LATENCY + self.fetch_cycles + self._move_cycles(record)

    @property
    def first_operation(self) -> int:
        """From ``start`` of a slice to its first operation."""
        return Issuer.LATENCY - 1

    def last_operation(self, record: SliceRecord) -> int:
        """From ``start`` of the slice to its last operation."""
        return self.first_operation + self.issue_cycles(record) - 1

    @property
    def read_cycles(self) -> int:
        """From an operation to the cycle in which the feature-map memory takes its addresses."""
        return 1 + Fetch.read_cycles(self.config.array.rows)

    def done_cycles(self, record: SliceRecord) -> int:
        """From the last operation of a pixel group to ``done`` of the array or the vector unit."""
        return 1 + self.fetch_cycles + (self._columns_cycles if record.unit == Unit.ARRAY else 0)

    @property
    def output_cycles(self) -> int:
        """From ``done`` to the first block of results."""
        return OutputStage.latency_of(self.config)

    @property
    def capture_cycles(self) -> int:
        """From a slice's first ``done`` to the next slice's at least: every stage has taken its part of the record."""
        return self.output_cycles - 1

    @property
    def strobe_cycles(self) -> int:
        """From a block of results to the cycle of its strobe at the feature-map memory."""
        return 1

    @property
    def write_cycles(self) -> int:
        """From a block of results to the cycle in which a bank takes it."""
        return self.strobe_cycles + Scratchpad.WRITE_CYCLES

    def results(self, record: SliceRecord) -> int:
        """Cycles that the longest drain of a pixel group takes."""
        return self.group_pixels(record) * (record.subs_last + 1)

    def longest_gap(self, records: Iterable[SliceRecord]) -> int:
        """Bound of every ``gap``: from a slice's last operation until the last of its results is written."""
        waits = [self.done_cycles(r) + self.results(r) for r in records if r.unit in (Unit.ARRAY, Unit.VECTOR)]
        return max(waits, default=0) + self.output_cycles + self.write_cycles + 1

    def group_pixels(self, record: SliceRecord) -> int:
        """Pixels in a group: V in a narrow slice of the array, else one."""
        return self.config.array.pixels if record.unit == Unit.ARRAY and not record.wide else 1

    def groups(self, record: SliceRecord) -> int:
        """Pixel groups of all tiles."""
        return prod(last + 1 for last in record.src_lasts)

    def group_end(self, record: SliceRecord, group: int) -> int:
        """Return the cycle of the group's last operation, counted from the slice's first operation."""
        return reduction_cycles(group + 1, record.words_per_tile, record.drain_last + 1) - 1

    def issue_cycles(self, record: SliceRecord) -> int:
        """Cycles in which the issuer works on the slice: multiply cycles, and bubbles the requantizers need."""
        return self.group_end(record, self.groups(record) - 1) + 1

    def bubble_cycles(self, record: SliceRecord) -> int:
        """Of :meth:`issue_cycles`, those spent waiting for the requantizers."""
        return self.issue_cycles(record) - self.groups(record) * record.words_per_tile

    def _follow_cycles(self, load: SliceRecord, record: SliceRecord, *, start: int) -> int:
        """From ``start`` of the slice that follows ``load``, ``start`` cycles behind it, to its last operation."""
        array = self.config.array
        buffer = Mover.buffer(width_bytes=array.stream_bytes, block=array.block, pipeline_cycles=1 + self.fetch_cycles)
        pair = Pair(
            load=load,
            record=record,
            start=start,
            first_operation=self.first_operation,
            strobe_cycles=self.done_cycles(record) + self.output_cycles + self.strobe_cycles,
            block_cycles=array.block // array.requantizers,
            pixels=self.group_pixels(record),
            block=array.block,
            beat=array.stream_bytes,
            banks=array.rows,
            full_bytes=buffer.full_rows * buffer.width,
        )
        return last_operation(pair) - start

    def _move_cycles(self, record: SliceRecord) -> int:
        """From the arrival of the first beat or block to the departure of the last block or beat."""
        array = self.config.array
        source = block_ends(record.src_lasts, record.src_tail, block=array.block)
        dest = block_ends(record.dst_lasts, record.dst_tail, block=array.block)
        if record.unit == Unit.LOAD:
            source = beat_ends(dest[-1], width=array.stream_bytes)
        elif record.unit == Unit.STORE:
            dest = beat_ends(source[-1], width=array.stream_bytes)
        latency = Mover.BEAT_LATENCY if record.unit == Unit.STORE else Mover.BLOCK_LATENCY
        return latency + regroup_cycles(source, dest) - 1
