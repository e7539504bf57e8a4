"""Issuer and sequencer, cycle by cycle: every operation of random slices in its place, every slice at its time."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
from hdl_trace import Trace, follow

from heddle.gen.schedule import jumps
from heddle.hdl.addressing import split
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.issue import Issuer, Sequencer
from heddle.hdl.program import RecordFormat, Selection, SliceRecord, Unit, field_bits, strides
from heddle.hdl.requantize import RequantizeConfig
from heddle.hdl.timing import Timing

REQUANTIZE = RequantizeConfig(
    acc_bits=24, bias_bits=16, x_bits=18, multiplier_bits=17, offset_bits=20, shift_min=20, shift_max=20,
    split_sign=False,
)  # fmt: skip
BANK_WORDS, WEIGHT_WORDS, STEP_WORDS = 32, 512, 64


def core_config(array: ArrayConfig, records: list[SliceRecord]) -> CoreConfig:
    return CoreConfig(
        array=array, requantize=REQUANTIZE, bank_words=BANK_WORDS, weight_words=WEIGHT_WORDS, wide_words=0,
        index_words=0, wide_index_words=0, diagonal=False, step_words=STEP_WORDS, param_words=1, program_words=1,
        table_words=0, table_bits=1, second_operand=False, paired=False, spread=True, followed_bytes=0, maximum=False,
        grain=1, byte_writes=False, acc_bits=24, step_bits=2, field_bits=field_bits(records, block=array.block),
    )  # fmt: skip


def record_format(config: CoreConfig) -> RecordFormat:
    return RecordFormat(config.field_bits, config.address_bits, config.array.rows)


def as_port(layout: RecordFormat, record: SliceRecord) -> int:
    bits = sum(word << 32 * i for i, word in enumerate(layout.pack(record)))
    return bits & ((1 << layout.layout.size) - 1)


def random_record(array: ArrayConfig, rng: random.Random) -> SliceRecord:
    """A slice of the array: any loops, any steps of at least V cycles each."""
    lasts = tuple(rng.choice([0, 1, rng.randrange(4)]) for _ in range(3))
    strides = [rng.randrange(-20, 40) for _ in range(3)]
    steps = rng.randrange(1, 4)
    cycles = sorted((rng.randrange(array.pixels, array.block + 1) for _ in range(2)), reverse=True)
    return SliceRecord(
        unit=Unit.ARRAY,
        src_base=rng.randrange(BANK_WORDS * array.rows),
        src_jumps=jumps(strides, lasts),
        src_lasts=lasts,
        pixel_stride=rng.randrange(-9, 9),
        row_start=-rng.randrange(3),
        row_step=rng.randrange(1, 3),
        col_start=-rng.randrange(3),
        col_step=rng.randrange(1, 6),
        pixel_step=rng.randrange(1, 3),
        step_base=rng.randrange(STEP_WORDS - steps),
        step_last=steps - 1,
        step_split=rng.randrange(1, steps + 1),
        inner_first=cycles[0] - 1,
        inner_rest=cycles[1] - 1,
        weight_base=rng.randrange(64),
        selection=rng.randrange(3),
        wide=rng.randrange(2),
        spread=rng.randrange(4),
        drain_last=rng.choice([0, 1, rng.randrange(20)]),
        spare_pixels=rng.randrange(array.pixels),
    )


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One cycle of the array's work: where it is in the slice's loops, and its weight word."""

    tile: int
    row: int
    col: int
    step: int
    inner: int
    word: int
    last: bool

    def __str__(self) -> str:
        return f"tile {self.tile}, row {self.row}, column {self.col}, step {self.step}, cycle {self.inner}"


def operations(record: SliceRecord) -> Iterator[Operation]:
    """Return the operations of a slice in order."""
    cols, rows, tiles = (range(last + 1) for last in record.src_lasts)
    for tile, row, col in product(tiles, rows, cols):
        word = record.weight_base + tile * record.words_per_tile
        for step in range(record.step_last + 1):
            for inner in range(record.inner(step)):
                last = step == record.step_last and inner == record.inner(step) - 1
                yield Operation(tile=tile, row=row, col=col, step=step, inner=inner, word=word, last=last)
                word += 1


class IssuerTrace:
    """What the issuer must send for slices that run one after another."""

    def __init__(self, issuer: Issuer, array: ArrayConfig, rng: random.Random) -> None:
        self.issuer, self.array, self.rng = issuer, array, rng
        self.trace = Trace("start", "record", "hold", "follows", "ready")
        self.issued: set[int] = set()

    def slice(self, number: int, record: SliceRecord, *, stall: float, follows: int = 0) -> int:
        """Write the slice; return its cycles from ``start`` to its last operation.

        It follows a load until its row of that number, counted over all tiles: each one before comes when it is ready.
        """
        trace = self.trace
        trace.hold(record=as_port(self.issuer.format, record), follows=int(follows > 0))
        begin, drained = trace.now, 0
        trace.cycle(start=1)
        for _ in range(Issuer.LATENCY - 2):
            trace.cycle(hold=self.rng.randrange(2))
        for operation in operations(record):
            if not (operation.col or operation.step or operation.inner):
                row = operation.tile * (record.src_lasts[1] + 1) + operation.row
                if row < follows:
                    self._wait()
                # With the row's end, ``follows`` says whether the next one waits.
                trace.hold(follows=int(row + 1 < follows))
            while (hold := self.rng.random() < stall) or (operation.last and trace.now < drained):
                trace.cycle(hold=int(hold))
            self._expect(record, operation, f"slice {number}, {operation}")
            self.issued.add(trace.now)
            trace.expect(trace.now, "ended", int(self._ends(record, operation)), f"slice {number}", width=1)
            if operation.last:
                drained = trace.now + record.drain_last + 1
            trace.cycle()
        cycles = trace.now - 1 - begin
        trace.idle(self.array.pixels + 4)
        return cycles

    def _wait(self) -> None:
        """Let a row wait, and begin with the cycle after the one in which it is ready."""
        trace = self.trace
        for ready in (*([0] * self.rng.randrange(4)), 1):
            trace.expect(trace.now, "waits", 1, "a row waits", width=1)
            trace.cycle(ready=ready, follows=self.rng.randrange(2))

    @staticmethod
    def _ends(record: SliceRecord, op: Operation) -> bool:
        return op.last and (op.col, op.row, op.tile) == record.src_lasts

    def _expect(self, record: SliceRecord, op: Operation, place: str) -> None:
        """What the operation that begins now sends a cycle later; a load's planes follow one each cycle."""
        trace, issuer = self.trace, self.issuer
        ends = [index == last for index, last in zip((op.col, op.row, op.tile), record.src_lasts, strict=True)]
        control = {
            "enable": 1, "load": op.inner == 0, "first": op.step == op.inner == 0, "last": op.last,
    "tile_end": ends[0] and ends[1], "opens": not (op.col or op.row or op.tile),
            "indexed": record.selection == Selection.INDEXED, "diagonal": record.selection == Selection.DIAGONAL,
            "wide": record.wide, "spread": record.spread, "inner": op.inner, "word": op.word,
            "spare": record.spare_pixels if ends[0] else 0,
        }  # fmt: skip
        values = {"tail": (int(ends[0]), 1), "final": (int(all(ends)), 1)}
        values["control"] = (issuer.control_layout.const({**control}).as_bits(), issuer.control_layout.size)
        for port, (value, width) in values.items():
            trace.expect(trace.now + 1, port, value, place, width=width)
        if op.inner:
            return
        stride = strides(record.src_jumps, record.src_lasts)
        origin = record.src_base + op.col * stride[0] + op.row * stride[1] + op.tile * stride[2]
        bits = len(issuer.y)
        for v in range(self.array.pixels):
            position = split(
                origin + v * record.pixel_stride, address_bits=issuer.config.address_bits, banks=self.array.rows
            )
            here = {
                "origin": (issuer.position.const({**position}).as_bits(), issuer.position.size),
                "y": ((record.row_start + op.row * record.row_step) & ((1 << bits) - 1), bits),
                "x": ((record.col_start + op.col * record.col_step + v * record.pixel_step) & ((1 << bits) - 1), bits),
                "step": (record.step_base + op.step, len(issuer.step)),
            }
            for port, (value, width) in here.items():
                trace.expect(trace.now + 1 + v, port, value, f"{place}, plane {v}", width=width)

    def finish(self) -> Trace:
        """Nothing is issued, enabled or loaded in any other cycle."""
        for cycle in range(self.trace.now - 1):
            self.trace.expect(cycle, "issued", int(cycle in self.issued), "an operation begins", width=1)
            if cycle not in self.issued:
                self.trace.expect(cycle + 1, "control", 0, "no operation", width=2)
        return self.trace


def issuer_of(array: ArrayConfig, records: list[SliceRecord]) -> Issuer:
    config = core_config(array, records)
    return Issuer(config, record_format(config))


ARRAYS = {
    "one plane": ArrayConfig(rows=3, cols=4, pixels=1, block=4),
    "three planes": ArrayConfig(rows=4, cols=4, pixels=3, block=4),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_issuer_sends_every_operation_in_its_cycle(tmp_path: Path, array: ArrayConfig) -> None:
    rng = random.Random(1)
    records = [random_record(array, rng) for _ in range(14)]
    issuer = issuer_of(array, records)
    timing = Timing(issuer.config)
    expected = IssuerTrace(issuer, array, rng)
    for number, record in enumerate(records):
        stall = 0.2 if number % 2 else 0.0
        cycles = expected.slice(number, record, stall=stall)
        assert stall or cycles == timing.last_operation(record)
    result = follow(issuer, expected.finish(), tmp_path)
    assert result.passed, result.text


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_a_slice_that_follows_a_load_waits_before_each_row(tmp_path: Path, array: ArrayConfig) -> None:
    rng = random.Random(2)
    records = [random_record(array, rng) for _ in range(14)]
    issuer = issuer_of(array, records)
    expected = IssuerTrace(issuer, array, rng)
    for number, record in enumerate(records):
        rows = (record.src_lasts[1] + 1) * (record.src_lasts[2] + 1)
        expected.slice(number, record, stall=0.1, follows=rng.randrange(rows + 1))
    result = follow(issuer, expected.finish(), tmp_path)
    assert result.passed, result.text


@pytest.mark.parametrize(
    ("edit", "port"),
    [
        ({"weight_base": 1}, "control"),
        ({"row_step": 1}, "y"),
        ({"step_base": 1}, "step"),
        ({"drain_last": 1}, "issued"),
    ],
)
def test_planted_wrong_field_is_caught_in_its_operation(tmp_path: Path, edit: dict[str, int], port: str) -> None:
    """The hardware gets a record in which one field is one more."""
    array, rng = ARRAYS["one plane"], random.Random(2)
    lasts = (2, 2, 1)
    record = replace(
        random_record(array, rng), src_lasts=lasts, src_jumps=jumps((3, 7, 30), lasts), step_last=0, drain_last=9
    )
    wrong = replace(record, **{name: getattr(record, name) + more for name, more in edit.items()})
    issuer = issuer_of(array, [record, wrong])
    expected = IssuerTrace(issuer, array, rng)
    expected.slice(0, record, stall=0.0)
    trace = expected.finish()
    for cycle in trace.cycles:
        cycle["record"] = as_port(issuer.format, wrong)
    result = follow(issuer, trace, tmp_path)
    assert re.search(rf"(slice 0, tile \d, .*|operation.*): {port} is", result.text), result.text


# --- sequencer ----------------------------------------------------------------------------------------------------


def sequencer_trace(layout: RecordFormat, records: list[SliceRecord], *, seed: int, resets: int = 3) -> Trace:
    """Three runs of some slices each, of any length, begun by a reset: the contract of ``Sequencer``, in cycles."""
    rng = random.Random(seed)
    trace = Trace("rst", "ended")
    starts: dict[int, str] = {}
    for run in range(resets):
        trace.cycle(rst=1)
        trace.cycle(rst=1, ended=1)
        # A record's words, and 5 cycles.
        start = trace.now + layout.words + 5
        for count in range(rng.randrange(2, 8 if run else 3 * len(records) + 1)):
            index = count % len(records)
            place = starts[start] = f"run {run}, slice {index}"
            length = rng.choice([1, 2, layout.words - 1, layout.words, layout.words + 1, rng.randrange(1, 40)])
            trace.idle(start + length - trace.now)
            trace.cycle(ended=1)
            for cycle in {start, start + length}:
                trace.expect(cycle, "record", as_port(layout, records[index]), place, width=layout.layout.size)
                trace.expect(cycle, "slice", index, place, width=len(records).bit_length())
            gap = records[(count + 1) % len(records)].gap
            start += max(length + 2 + gap, layout.words + 5)
        # The next reset comes before, in or after the cycle in which another slice starts.
        trace.idle(start - trace.now + rng.randrange(-1, 2))
        if start <= trace.now:
            starts[start] = f"run {run}, one slice more"
    trace.idle(1)
    for cycle in range(2, trace.now):
        trace.expect(cycle, "start", int(cycle in starts), starts.get(cycle, "within a slice"), width=1)
    return trace


def sequencer_of(records: list[SliceRecord], program: list[SliceRecord]) -> Sequencer:
    config = core_config(ARRAYS["one plane"], records)
    layout = record_format(config)
    return Sequencer(config, layout, layout.pack_all(program))


def sequenced_records(count: int, seed: int) -> list[SliceRecord]:
    rng = random.Random(seed)
    records = [random_record(ARRAYS["one plane"], rng) for _ in range(count)]
    # After a reset nothing is under way: the first slice waits for nothing.
    return [
        replace(record, gap=rng.choice([0, 1, rng.randrange(64)]) if i else 0, final=int(i == count - 1))
        for i, record in enumerate(records)
    ]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_slices_start_in_order_at_their_cycle_and_wrap_around(tmp_path: Path, count: int) -> None:
    records = sequenced_records(count, seed=count)
    sequencer = sequencer_of(records, records)
    result = follow(sequencer, sequencer_trace(sequencer.format, records, seed=1), tmp_path)
    assert result.passed, result.text


def test_planted_swapped_slices_are_caught_and_named(tmp_path: Path) -> None:
    records = sequenced_records(5, seed=5)
    sequencer = sequencer_of(records, [records[i] for i in (0, 2, 1, 3, 4)])
    result = follow(sequencer, sequencer_trace(sequencer.format, records, seed=1), tmp_path)
    assert "run 0, slice 1: record is" in result.text


def test_planted_missing_end_is_caught(tmp_path: Path) -> None:
    records = sequenced_records(2, seed=5)
    sequencer = sequencer_of(records, [records[0], replace(records[1], final=0)])
    result = follow(sequencer, sequencer_trace(sequencer.format, records, seed=1), tmp_path)
    assert "run 0, slice 1: record is" in result.text
