"""Operations to slices and tables for one array: all of a design but its requantizers, in a fraction of the time.

What it fixes is enough to know every memory, so that ``heddle inspect`` can judge boards without compiling.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from heddle.errors import CapacityError
from heddle.gen.folding import fold_inputs
from heddle.gen.following import with_followed_load
from heddle.gen.images import Program, Tables, check_records, lay_out
from heddle.gen.ir import Network
from heddle.gen.operations import Core as CorePlan
from heddle.gen.operations import Elementwise, Operation, lower
from heddle.gen.placement import Layout, allocate, choose_layouts
from heddle.gen.schedule import PlannedSlice, Scheduler
from heddle.gen.timeline import with_gaps
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.program import RecordFormat, Selection, SliceRecord, Unit, field_bits
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams
from heddle.hdl.timing import Timing


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """Where feature maps lie, which slices compute them, and the tables these read.

    Parameters
    ----------
    plan
        The network's operations, and the tensors that cross the streams.
    operations
        Those of ``plan`` as the slices compute them: columns of inputs may be folded.
    slices, owner
        In execution order, and for each the index of its operation.
    blocks
        Feature-map memory needed, in blocks of M bytes.
    """

    array: ArrayConfig
    plan: CorePlan
    operations: tuple[Operation, ...]
    layouts: dict[str, Layout]
    blocks: int
    slices: tuple[PlannedSlice, ...]
    owner: tuple[int, ...]
    tables: Tables

    def config(self, requantize: RequantizeConfig, *, acc_bits: int) -> CoreConfig:
        """Return the core that runs this, its requantizers being ``requantize``."""
        array, tables = self.array, self.tables
        banks = array.rows
        bank_words = -(-self.blocks // banks) + 1
        reach = max((max(lane.dy, lane.dx) for step in tables.steps for lane in step.lanes if lane), default=0)
        widths = field_bits(tables.records, block=array.block, reach=reach)
        records = [(planned.record, planned) for planned in self.slices]
        config = CoreConfig(
            array=array,
            requantize=requantize,
            bank_words=bank_words,
            weight_words=max(1, tables.weights.shape[1]),
            wide_words=tables.wide_words,
            index_words=tables.indices.shape[1],
            wide_index_words=tables.wide_index_words,
            diagonal=any(r.selection == Selection.DIAGONAL for r, _ in records),
            step_words=len(tables.steps),
            param_words=max(1, len(tables.channel_params) // array.requantizers),
            program_words=0,
            table_words=tables.tables.shape[1],
            table_bits=signed_bits(tables.tables) if tables.tables.size else 0,
            second_operand=any(isinstance(op, Elementwise) and op.second is not None for op in self.plan.operations),
            paired=any(r.paired for r, _ in records),
            spread=any(r.spread for r, _ in records),
            followed_bytes=max((followed_bytes(r, array) for r, _ in records), default=0),
            maximum=any(r.unit == Unit.VECTOR and len(s.steps) > 1 and not r.operands for r, s in records),
            grain=move_grain(array, tables.records),
            byte_writes=any(0 < r.byte_enable < (1 << array.block) - 1 for r, _ in records),
            acc_bits=acc_bits,
            step_bits=1 + reach.bit_length(),
            field_bits=widths,
        )
        # How long slices wait follows from the requantizers' latency.
        widths = widths | {"gap": Timing(config).longest_gap(tables.records).bit_length()}
        words = RecordFormat(widths, config.address_bits, banks).words
        return replace(config, field_bits=widths, program_words=words * len(tables.records))

    def program(self, config: CoreConfig, params: RequantizeParams) -> Program:
        """Return what that core runs; ``params`` are those of every drained result, in reading order."""
        tables = self.tables
        return Program(
            config=config,
            records=with_gaps(tables.records, tables.steps, Timing(config)),
            steps=tables.steps,
            weights=tables.weights,
            indices=tables.indices,
            params=params,
            tables=tables.tables,
        )


INDICES_SAVE = 1 / 32
"""Share of the array's cycles that selection by indices must save in the whole network. One slice that uses it gives
every column a selector and every lane memories of indices: on 9x16x2 a quarter more LUTs, and some 30 block RAMs."""


def map_network(network: Network, array: ArrayConfig, *, indexed: bool = True) -> Mapping:
    """Map ``network`` onto ``array``; without ``indexed``, no column selects by an index, whatever that would save.

    Raises
    ------
    UnsupportedError, CapacityError
        What no core of this kind can run, by layer.
    """
    plan = lower(network)
    shape = {"banks": array.rows, "block": array.block}
    operations, tensors = fold_inputs(
        plan.operations, network.tensors, choose_layouts(network.tensors, plan.operations, **shape), array
    )
    layouts, blocks = allocate(choose_layouts(tensors, operations, **shape), operations, banks=array.rows)
    planned = _planned(operations, layouts, array, indexed=indexed)
    owner = tuple(index for index, _ in planned)
    slices = with_followed_load([item for _, item in planned], owner, plan.operations)
    tables = lay_out(slices, array)
    check_records(tables.records)
    return Mapping(
        array=array,
        plan=plan,
        operations=operations,
        layouts=layouts,
        blocks=blocks,
        slices=slices,
        owner=owner,
        tables=tables,
    )


def _planned(
    operations: Sequence[Operation], layouts: dict[str, Layout], array: ArrayConfig, *, indexed: bool
) -> list[tuple[int, PlannedSlice]]:
    """Return the slices of ``operations`` in order, each with its operation's index; indices only where they pay."""
    scheduler = Scheduler(array, layouts, operations, indexed=indexed)
    with_indices = scheduler.cycles()
    if scheduler.uses_indices():
        without = Scheduler(array, layouts, operations, indexed=False)
        # With all their zeros the weights, or the slices, may be too many.
        with suppress(CapacityError):
            plain = without.cycles()
            if plain - with_indices <= INDICES_SAVE * plain:
                return _slices(operations, without)
    return _slices(operations, scheduler)


def _slices(operations: Sequence[Operation], scheduler: Scheduler) -> list[tuple[int, PlannedSlice]]:
    return [(index, item) for index, op in enumerate(operations) for item in scheduler.plan(op)]


def move_grain(array: ArrayConfig, records: Sequence[SliceRecord]) -> int:
    """Return the largest power of two that divides every count of bytes that the mover handles at once."""
    moves = [record for record in records if record.unit in (Unit.LOAD, Unit.STORE, Unit.RESHAPE)]
    sizes = [array.block, array.stream_bytes]
    sizes += [record.src_tail + 1 for record in moves if record.unit != Unit.LOAD]
    sizes += [record.dst_tail + 1 for record in moves if record.unit != Unit.STORE]
    return gcd(*sizes)


def followed_bytes(record: SliceRecord, array: ArrayConfig) -> int:
    """Return how many bytes of a block are written by a load that is followed: 0 of another slice."""
    if not record.followed:
        return 0
    return array.block if record.dst_lasts[0] else record.dst_tail + 1


def signed_bits(values: np.ndarray) -> int:
    """Bits of the two's complement that holds all ``values``.

    >>> signed_bits(np.array([-128, 127]))
    8
    """
    return max(int(values.max(initial=0)).bit_length(), int(~values.min(initial=0)).bit_length()) + 1
