"""A program: records with their tables, and the memory images the hardware starts with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from heddle.errors import CapacityError
from heddle.gen.schedule import PlannedSlice, Step
from heddle.hdl.addressing import split
from heddle.hdl.array import LaneImages
from heddle.hdl.config import ArrayConfig, CoreConfig
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
        int8 and uint8 ``(R, words, V * C)``, plane by plane; ``indices`` covers the first ``index_words`` words. Words
        of narrow slices are zero beyond plane 0.
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
            lanes=[
                LaneImages(
                    weights=self._planes(weights.view(np.uint8), 8, config.weight_words, config.wide_words),
                    indices=self._planes(indices, select_bits, config.index_words, config.wide_index_words),
                )
                for weights, indices in zip(self.weights, self.indices, strict=True)
            ],
            steps=self._pack_steps(),
            params=[_join(words[i : i + q], width) for i in range(0, len(words), q)],
            tables=(self.tables[0].tolist(), self.tables[1].tolist()),
            program=record_format.pack_all(self.records),
        )

    def _planes(self, words: np.ndarray, bits: int, first: int, wide: int) -> list[list[int]]:
        """Words of each plane, of ``first`` words in plane 0 and ``wide`` in the others."""
        cols = self.config.array.cols
        planes = np.zeros((first, words.shape[1]), np.uint8)
        planes[: len(words)] = words
        return [
            _pack_words(planes[: wide if v else first, v * cols : (v + 1) * cols], bits)
            for v in range(self.config.array.pixels)
        ]

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
    wide_words: int
    wide_index_words: int
    tables: np.ndarray
    channel_params: np.ndarray
    """For each parameter entry its slice and the channel of the slice's operation: int64 ``(entries, 2)``."""


def lay_out(slices: Sequence[PlannedSlice], array: ArrayConfig) -> Tables:
    """Give every table of every slice its address, equal ones once.

    Weights and indices of one slice share an address, and so do the planes'. Whoever needs a memory that not all need
    comes first, so that these memories are short.
    """
    step_base = _Pool()
    table_base = _Pool()
    layout = min(
        (_lay_out_weights(slices, array, order) for order in (_indexed_first, _wide_first)), key=lambda it: it.bits
    )
    records, entries = [], []
    for index, planned in enumerate(slices):
        first, second = planned.tables or (None, None)
        pair = None if first is None else (first, np.zeros_like(first) if second is None else second)
        records.append(
            replace(
                planned.record,
                step_base=step_base.place(planned.steps, planned.steps),
                weight_base=layout.base.get(index, 0),
                param_base=len(entries) // array.requantizers,
                table_base=0 if pair is None else table_base.place(
                    (pair[0].tobytes(), pair[1].tobytes()), np.stack(pair, axis=1)
                ),
                final=int(index == len(slices) - 1),
            )
        )  # fmt: skip
        if planned.channels is not None:
            entries += [(index, int(channel)) for channel in planned.channels]
    weights, indices = layout.join()
    return Tables(
        records=tuple(records),
        steps=tuple(step_base.items) or (Step(lanes=(None,) * array.rows),),
        weights=weights,
        indices=indices,
        wide_words=layout.wide_words,
        wide_index_words=layout.wide_index_words,
        tables=np.array(table_base.items, np.int64).reshape(-1, 2).T,
        channel_params=np.array(entries, np.int64).reshape(-1, 2),
    )


def _indexed_first(planned: PlannedSlice) -> tuple[bool, bool]:
    return planned.indices is None, not planned.record.wide


def _wide_first(planned: PlannedSlice) -> tuple[bool, bool]:
    return not planned.record.wide, planned.indices is None


@dataclass(kw_only=True)
class _WeightLayout:
    """Where each slice's weights lie, and how many words each memory needs."""

    array: ArrayConfig
    base: dict[int, int] = field(default_factory=dict)
    parts: list[PlannedSlice] = field(default_factory=list)
    words: int = 0
    wide_words: int = 0
    index_words: int = 0
    wide_index_words: int = 0

    @property
    def bits(self) -> int:
        """Bits of all memories of a lane."""
        select = (self.array.block - 1).bit_length()
        more = self.array.pixels - 1
        return self.array.cols * (
            8 * (self.words + more * self.wide_words) + select * (self.index_words + more * self.wide_index_words)
        )

    def add(self, planned: PlannedSlice) -> None:
        """Place a slice's words behind those placed before."""
        assert planned.weights is not None
        self.parts.append(planned)
        self.words += planned.weights.shape[1]
        if planned.record.wide:
            self.wide_words = self.words
        if planned.indices is not None:
            self.index_words = self.words
            if planned.record.wide:
                self.wide_index_words = self.words

    def join(self) -> tuple[np.ndarray, np.ndarray]:
        """All weights and indices: int8 and uint8 ``(R, words, V * C)``."""
        shape = (self.array.rows, self.words, self.array.cols * self.array.pixels)
        weights, indices = np.zeros(shape, np.int8), np.zeros(shape, np.uint8)
        at = 0
        for part in self.parts:
            assert part.weights is not None
            _, words, columns = part.weights.shape
            weights[:, at : at + words, :columns] = part.weights
            if part.indices is not None:
                indices[:, at : at + words, :columns] = part.indices
            at += words
        return weights, indices[:, : self.index_words]


def _lay_out_weights(
    slices: Sequence[PlannedSlice], array: ArrayConfig, order: Callable[[PlannedSlice], tuple[bool, bool]]
) -> _WeightLayout:
    layout = _WeightLayout(array=array)
    placed: dict[tuple[bytes, bytes, int], int] = {}
    for index in sorted(range(len(slices)), key=lambda i: order(slices[i])):
        planned = slices[index]
        if planned.weights is not None:
            indices = b"" if planned.indices is None else planned.indices.tobytes()
            key = (planned.weights.tobytes(), indices, planned.record.wide)
            if key not in placed:
                placed[key] = layout.words
                layout.add(planned)
            layout.base[index] = placed[key]
    return layout


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
