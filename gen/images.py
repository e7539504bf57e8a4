"""A program: records with their tables, and the memory images the hardware starts with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heddle.errors import CapacityError
from heddle.gen.schedule import PlannedSlice, Step
from heddle.hdl.addressing import split
from heddle.hdl.config import CoreConfig
from heddle.hdl.core import CoreImages
from heddle.hdl.packing import packer
from heddle.hdl.program import RecordFormat, SliceRecord
from heddle.hdl.requantize import RequantizeParams
from heddle.hdl.scratchpad import step_layout

TABLE_ENTRIES = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What one core runs, in numbers; :meth:`images` packs it for the hardware.

    Parameters
    ----------
    records
        Slices in execution order, complete.
    steps
        The step table.
    weights, indices
        int8 and uint8 ``(R, words, C)``; ``indices`` covers the first ``index_words`` words.
    params
        Parameters of every drained result, in reading order: ``(param_words * q,)``.
    tables
        int64 ``(2, table_words)``: first and second operands.
    """

    config: CoreConfig
    records: tuple[SliceRecord, ...]
    steps: tuple[Step, ...]
    weights: np.ndarray
    indices: np.ndarray
    params: RequantizeParams
    tables: np.ndarray

    def images(self) -> CoreImages:
        """Return the initial contents of the core's memories."""
        config = self.config
        banks, q = config.array.rows, config.array.requantizers
        record_format = RecordFormat(config.field_bits, config.address_bits, banks)
        select_bits = (config.array.block - 1).bit_length()
        words = self.params.pack(config.requantize)
        width = config.requantize.params_layout.size
        return CoreImages(
            weights=[_pack_words(lane.view(np.uint8), 8) for lane in self.weights],
            indices=[_pack_words(lane, select_bits) for lane in self.indices],
            steps=self._pack_steps(),
            params=[_join(words[i : i + q], width) for i in range(0, len(words), q)],
            tables=(self.tables[0].tolist(), self.tables[1].tolist()),
            program=record_format.pack_all(self.records),
        )

    def _pack_steps(self) -> list[int]:
        config = self.config
        banks, bits = config.array.rows, config.address_bits
        pack = packer(step_layout(banks=banks, address_bits=bits, step_bits=config.step_bits))
        idle = {"used": 0, "offset": 0, "dy": 0, "dx": 0}
        return [
            pack(
                {
                    "common": split(step.common, address_bits=bits, banks=banks),
                    "lanes": [
                        {"used": 1, "offset": lane.row_offset % (1 << bits), "dy": lane.dy, "dx": lane.dx}
                        if lane
                        else idle
                        for lane in step.lanes
                    ],
                }
            )
            for step in self.steps
        ]


def _join(values: Sequence[int], width: int) -> int:
    """One word of several fields of ``width`` bits, the first lowest."""
    return sum(value << (width * i) for i, value in enumerate(values))


def _pack_words(words: np.ndarray, bits: int) -> list[int]:
    """``(words, C)`` unsigned entries of ``bits`` bits to one integer a word, column 0 lowest."""
    if bits == 8:
        return [int.from_bytes(row.tobytes(), "little") for row in words]
    return [_join(row, bits) for row in words.tolist()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """All slices' tables laid out in memory, and the records that point to them."""

    records: tuple[SliceRecord, ...]
    steps: tuple[Step, ...]
    weights: np.ndarray
    indices: np.ndarray
    tables: np.ndarray
    channel_params: np.ndarray
    """For each parameter entry its slice and the channel of the slice's operation: int64 ``(entries, 2)``."""


def lay_out(slices: Sequence[PlannedSlice], *, rows: int, cols: int, requantizers: int) -> Tables:
    """Give every table of every slice its address, equal ones once.

    Weights with indices come first, so that both share one address.
    """
    step_base = _Pool()
    table_base = _Pool()
    weights: list[np.ndarray] = []
    indices: list[np.ndarray] = []
    weight_base: dict[int, int] = {}
    placed: dict[tuple[bytes, bytes], int] = {}
    words = 0
    for index in sorted(range(len(slices)), key=lambda i: slices[i].indices is None):
        planned = slices[index]
        if planned.weights is not None:
            key = (planned.weights.tobytes(), b"" if planned.indices is None else planned.indices.tobytes())
            if key not in placed:
                placed[key] = words
                words += planned.weights.shape[1]
                weights.append(planned.weights)
                if planned.indices is not None:
                    indices.append(planned.indices)
            weight_base[index] = placed[key]
    records, entries = [], []
    for index, planned in enumerate(slices):
        first, second = planned.tables or (None, None)
        pair = None if first is None else (first, np.zeros_like(first) if second is None else second)
        records.append(
            replace(
                planned.record,
                step_base=step_base.place(planned.steps, planned.steps),
                weight_base=weight_base.get(index, 0),
                param_base=len(entries) // requantizers,
                table_base=0 if pair is None else table_base.place(
                    (pair[0].tobytes(), pair[1].tobytes()), np.stack(pair, axis=1)
                ),
                final=int(index == len(slices) - 1),
            )
        )  # fmt: skip
        if planned.channels is not None:
            entries += [(index, int(channel)) for channel in planned.channels]
    none = np.zeros((rows, 0, cols), np.int8)
    return Tables(
        records=tuple(records),
        steps=tuple(step_base.items) or (Step(lanes=(None,) * rows),),
        weights=np.concatenate([none, *weights], axis=1),
        indices=np.concatenate([none.astype(np.uint8), *indices], axis=1),
        tables=np.array(table_base.items, np.int64).reshape(-1, 2).T,
        channel_params=np.array(entries, np.int64).reshape(-1, 2),
    )


class _Pool:
    """Sequences laid one after another, equal ones once."""

    def __init__(self) -> None:
        self.items: list = []
        self._bases: dict[object, int] = {}

    def place(self, key: object, items: Iterable) -> int:
        """Address of ``items``, which are appended if no equal ``key`` was placed before."""
        if key not in self._bases:
            self._bases[key] = len(self.items)
            self.items.extend(items)
        return self._bases[key]


def check_records(records: Sequence[SliceRecord], *, limit_bits: int = 16) -> None:
    """Refuse programs whose loops are beyond any memory the boards have: absurd sizes, not honest networks."""
    widest = max((max(*record.src_lasts, *record.dst_lasts) for record in records), default=0)
    if widest >= 1 << limit_bits:
        raise CapacityError(
            f"a loop of {widest + 1} iterations",
            where="program",
            remedy=f"keep every dimension below {1 << limit_bits}",
        )
