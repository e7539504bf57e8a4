"""The core's program: one fixed-size record per slice of a layer.

A :class:`SliceRecord` is everything the hardware needs to run one slice; :class:`RecordFormat` packs it into 32-bit
program words, each field only as wide as the program needs. The compiler writes records, the emulator interprets
them, the sequencer loads them: there is no other description of what a core does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data

from heddle.hdl.addressing import position_layout, split
from heddle.hdl.packing import packer

WORD_BITS = 32
SRC_LEVELS = 3
DST_LEVELS = 4


class Unit(IntEnum):
    """Who takes the blocks that a slice reads, and where its results come from."""

    ARRAY = 0
    """Feature map -> systolic array -> requantizers -> feature map."""
    VECTOR = 1
    """Feature map -> vector unit (maximum, table, sum of two) -> requantizers -> feature map."""
    LOAD = 2
    """Input stream -> feature map."""
    STORE = 3
    """Feature map -> output stream."""
    RESHAPE = 4
    """Feature map -> feature map of another shape, byte for byte."""


class Selection(IntEnum):
    """Which channel of a block each weight of a slice meets."""

    DENSE = 0
    """The one that the cycle names: all columns the same."""
    DIAGONAL = 1
    """The column's own: column ``c`` meets channel ``c mod M``, as in a depthwise convolution."""
    INDEXED = 2
    """The one that the weight's own index names: N of M."""


@dataclass(frozen=True, kw_only=True)
class SliceRecord:
    """One slice, in the units of the hardware. Counters hold *last* values: one less than the number of iterations.

    Offsets of blocks are linear (``row * banks + bank``). The source loops run, innermost first, over columns (``V``
    pixels a time, one where wide), rows and tiles of output channels; of a byte mover, over blocks, columns and rows.
    The destination loops run over blocks, columns, rows and tiles.

    Parameters
    ----------
    unit
        A :class:`Unit`.
    gap
        Cycles to wait before the slice starts, once the issuer has sent the last operation of the slice before or, if
        that was a byte mover, it is done.
    followed, lead
        Of a load: 1 where the next slice starts at once, and follows it row by row. Of that slice: how many rows of the
        map must be complete before its first row of windows; ``row_step`` more before each one after, and all of the
        load before the last one, for which ``lead`` is large enough.
    src_base, src_jumps, src_lasts
        Loop nest of the blocks read; ``jumps`` as :class:`heddle.hdl.addressing.LoopNest` defines them.
    pixel_stride, pixel_step
        Blocks, and columns of the ifmap, from one of the V pixels to the next.
    row_start, row_step, col_start, col_step
        Row and column of the window's origin in the ifmap, and their steps: negative or beyond the map in the padding.
    height, width
        Of the ifmap: a tap outside reads ``pad_value``.
    step_base, step_last, step_split, inner_first, inner_rest
        Steps of a pixel's reduction in the step table; a step lasts ``inner_first + 1`` cycles before ``step_split``
        and ``inner_rest + 1`` from it on.
    weight_base, selection, wide, spread
        First word of the slice's weights; a :class:`Selection`; whether the planes are output channels rather than
        pixels; base-two logarithm of how many lanes share a block.
    param_base, param_hold
        First word of the requantization parameters; whether all tiles share them.
    subs_last, drain_last
        Groups of q results a pixel gives, all planes together where wide; the fewest cycles between two pixels,
        which the requantizers need.
    spare_pixels
        Pixels of a row's last group of V that lie beyond the row.
    pad_value, zero_point, low, high
        int8: the value outside the map, and the output's zero point and range.
    dst_base, dst_jumps, dst_lasts
        Loop nest of the blocks written.
    byte_enable
        Bytes of each block that are written.
    src_tail, dst_tail
        Last byte of a pixel's last block, for the byte movers.
    table_base, operands, paired
        First word of the vector unit's tables; 1 where a second operand is added; 1 where lane 1 reads it in the step
        in which lane 0 reads the first, rather than lane 0 in the next.
    final
        1 in the last slice: the program starts again.
    """

    unit: int
    gap: int = 0
    followed: int = 0
    lead: int = 0
    src_base: int = 0
    src_jumps: tuple[int, ...] = (0,) * SRC_LEVELS
    src_lasts: tuple[int, ...] = (0,) * SRC_LEVELS
    pixel_stride: int = 0
    row_start: int = 0
    row_step: int = 0
    col_start: int = 0
    col_step: int = 0
    pixel_step: int = 0
    height: int = 0
    width: int = 0
    step_base: int = 0
    step_last: int = 0
    step_split: int = 0
    inner_first: int = 0
    inner_rest: int = 0
    weight_base: int = 0
    selection: int = Selection.DENSE
    wide: int = 0
    spread: int = 0
    param_base: int = 0
    param_hold: int = 0
    subs_last: int = 0
    drain_last: int = 0
    spare_pixels: int = 0
    pad_value: int = 0
    zero_point: int = 0
    low: int = -128
    high: int = 127
    dst_base: int = 0
    dst_jumps: tuple[int, ...] = (0,) * DST_LEVELS
    dst_lasts: tuple[int, ...] = (0,) * DST_LEVELS
    byte_enable: int = 0
    src_tail: int = 0
    dst_tail: int = 0
    table_base: int = 0
    operands: int = 0
    paired: int = 0
    final: int = 0

    def inner(self, step: int) -> int:
        """Cycles of ``step`` (counted from 0 in the slice's reduction)."""
        return (self.inner_first if step < self.step_split else self.inner_rest) + 1

    @property
    def words_per_tile(self) -> int:
        """Weight words, and multiply cycles per pixel group, of one tile."""
        return sum(self.inner(step) for step in range(self.step_last + 1))


def strides(jumps: Sequence[int], lasts: Sequence[int]) -> list[int]:
    """Strides of the loops whose :class:`heddle.hdl.addressing.LoopNest` jumps these are.

    >>> strides((1, 7), (3, 2))
    [1, 10]
    """
    moved, result = 0, []
    for jump, last in zip(jumps, lasts, strict=True):
        result.append(jump + moved)
        moved += result[-1] * last
    return result


_POSITIONS = {"src_base", "pixel_stride", "dst_base"}
_POSITION_LISTS = {"src_jumps": SRC_LEVELS, "dst_jumps": DST_LEVELS}
_COUNT_LISTS = {"src_lasts": SRC_LEVELS, "dst_lasts": DST_LEVELS}
_SIGNED = {"row_start", "row_step", "col_start", "col_step", "pixel_step", "pad_value", "zero_point", "low", "high"}
# Coordinates share one width: they are added and compared with each other.
_COORDINATES = {"row_start", "row_step", "col_start", "col_step", "pixel_step", "height", "width"}


def field_bits(records: Iterable[SliceRecord], *, block: int, reach: int = 0) -> dict[str, int]:
    """Least width of each field that holds every record; ``count`` and ``coordinate`` are shared widths.

    ``block`` is M: byte enables have that many bits whatever the program. ``reach`` is the greatest distance of a tap
    from its window's origin: ``coordinate`` holds the row and column of every tap of every window, so that none wraps
    back into the map.
    """
    widths: dict[str, int] = {"count": 1, "coordinate": 2, "byte_enable": block}
    for record in records:
        furthest = max(
            record.row_start + record.src_lasts[1] * record.row_step,
            # The last group of V pixels ends within one more step.
            record.col_start + (record.src_lasts[0] + 1) * record.col_step,
        )
        widths["coordinate"] = max(widths["coordinate"], (furthest + reach).bit_length() + 1)
        for item in fields(record):
            value = getattr(record, item.name)
            if item.name in _COUNT_LISTS:
                widths["count"] = max(widths["count"], *(v.bit_length() for v in value))
            elif item.name in _COORDINATES:
                widths["coordinate"] = max(widths["coordinate"], int(value).bit_length() + 2)
            elif item.name in _SIGNED:
                widths[item.name] = 8
            elif item.name not in _POSITIONS and item.name not in _POSITION_LISTS and item.name != "byte_enable":
                widths[item.name] = max(widths.get(item.name, 1), int(value).bit_length())
    return widths


@dataclass(frozen=True)
class RecordFormat:
    """How a record lies in program words: ``widths`` from :func:`field_bits`, positions by the feature-map memory."""

    widths: Mapping[str, int]
    address_bits: int
    banks: int

    @cached_property
    def layout(self) -> data.StructLayout:
        """The record as the hardware sees it."""
        position = position_layout(self.address_bits, self.banks)
        members: dict[str, ShapeLike] = {}
        for item in fields(SliceRecord):
            if item.name in _POSITIONS:
                members[item.name] = position
            elif item.name in _POSITION_LISTS:
                members[item.name] = data.ArrayLayout(position, _POSITION_LISTS[item.name])
            elif item.name in _COUNT_LISTS:
                members[item.name] = data.ArrayLayout(unsigned(self.widths["count"]), _COUNT_LISTS[item.name])
            elif item.name in _COORDINATES:
                members[item.name] = signed(self.widths["coordinate"])
            elif item.name in _SIGNED:
                members[item.name] = signed(8)
            else:
                members[item.name] = unsigned(self.widths[item.name])
        return data.StructLayout(members)

    @cached_property
    def words(self) -> int:
        """Program words of one record."""
        return -(-self.layout.size // WORD_BITS)

    def pack(self, record: SliceRecord) -> list[int]:
        """Program words of ``record``, first word first.

        Raises
        ------
        ValueError
            A number does not fit its field; positions wrap.
        """
        members: dict[str, Any] = {}
        for item in fields(record):
            value = getattr(record, item.name)
            if item.name in _POSITIONS:
                members[item.name] = self._position(value)
            elif item.name in _POSITION_LISTS:
                members[item.name] = [self._position(v) for v in value]
            else:
                members[item.name] = value
        bits = self._pack(members)
        return [(bits >> (WORD_BITS * i)) & ((1 << WORD_BITS) - 1) for i in range(self.words)]

    def pack_all(self, records: Sequence[SliceRecord]) -> list[int]:
        """Program words of all records, in order."""
        return [word for record in records for word in self.pack(record)]

    @cached_property
    def _pack(self) -> Callable[[Mapping[str, Any]], int]:
        return packer(self.layout)

    def _position(self, offset: int) -> dict[str, int]:
        return split(offset, address_bits=self.address_bits, banks=self.banks)
