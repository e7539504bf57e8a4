"""Parameters of a work-list core, and the words of its memories.

A core for unstructured sparsity: every lane streams the non-zero weights of its output channels, each with the tap of
the window and the channel that it meets. ``docs/decisions/0017-work-list-core.md`` says why it is built so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from heddle.errors import CapacityError
from heddle.hdl.multiplier import Primitive
from heddle.hdl.requantize import RequantizeConfig

LIMITS = {"lanes": 16, "stream_bytes": 16}
"""The most of each that a core may have."""
PIXELS = (2, 4, 8, 16, 32, 64)
TURNS = (1, 2, 4, 8)
WORKLIST = "worklist-"
"""How the name of such a core begins, as an array's shape does not: ``worklist-4x32``."""
PRIMITIVES: tuple[Primitive, ...] = ("generic", "mult18x18d")
"""What :class:`heddle.hdl.products.PairMultiplier` can be made of."""
HIGH_SHIFT = 7
"""A ``high`` item counts ``2**HIGH_SHIFT`` times its product: two items make a weight of 15 bits."""


def bits_for(count: int) -> int:
    """Bits of a number below ``count``, at least one."""
    return max(1, (count - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class WorklistShape:
    """What a board or a user chooses of a work-list core.

    Parameters
    ----------
    lanes
        G, work lists that run side by side, each with a copy of the feature maps.
    pixels
        V, neighbouring pixels that share each item's weight: also the banks of a copy. A power of two.
    turns
        T, pixels that share a requantizer, one after another: a drain takes so many cycles. A power of two, V at most.
    stream_bytes
        Width of ``s_axis_tdata`` and ``m_axis_tdata`` in bytes, 1 to 16.
    primitive
        ``"generic"`` (plain ``*``) or ``"mult18x18d"``: two products in an ECP5 DSP.
    """

    lanes: int = 4
    pixels: int = 32
    turns: int = 2
    stream_bytes: int = 1
    primitive: Primitive = "generic"

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            if not 1 <= getattr(self, name) <= limit:
                raise self._refusal(f"{name} is {getattr(self, name)}", f"choose {name} in 1..{limit}")
        if self.pixels not in PIXELS:
            raise self._refusal(f"pixels is {self.pixels}", f"choose one of {', '.join(map(str, PIXELS))}")
        if self.turns not in TURNS or self.turns > self.pixels:
            raise self._refusal(f"turns is {self.turns}", f"choose one of {', '.join(map(str, TURNS))}, pixels at most")
        if self.primitive not in PRIMITIVES:
            raise self._refusal(f"primitive is {self.primitive!r}", f"choose {' or '.join(PRIMITIVES)}")

    @staticmethod
    def _refusal(fact: str, remedy: str) -> CapacityError:
        return CapacityError(fact, where="work-list core", remedy=remedy)

    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates per cycle: G * V."""
        return self.lanes * self.pixels

    @property
    def requantizers(self) -> int:
        """Results scaled per cycle: V / T."""
        return self.pixels // self.turns

    def with_requantizers(self, count: int) -> "WorklistShape":
        """Return the shape with so many requantizers.

        Raises
        ------
        CapacityError
            It cannot have them.
        """
        turns = self.pixels // count if count > 0 and self.pixels % count == 0 else 0
        if turns not in TURNS:
            most = ", ".join(str(self.pixels // turns) for turns in TURNS if turns <= self.pixels)
            raise self._refusal(f"{count} requantizers for {self.pixels} pixels", f"choose one of {most}")
        return replace(self, turns=turns)

    def __str__(self) -> str:
        return f"{WORKLIST}{self.lanes}x{self.pixels}"


@dataclass(frozen=True, kw_only=True)
class WorklistConfig:
    """A work-list core with its memories, sized for one program.

    Parameters
    ----------
    words
        Depth of each of the V banks of bytes in a copy of the feature maps.
    item_words, drain_words, base_words, dest_words, tap_words, mask_words, records
        Entries of each lane's list, of the drain list, of the tables of sources, destinations, taps and masks, and
        slices.
    base_bits
        Width of a source, which is a position or a number of units.
    writes
        Words that a group has at most.
    skews
        Cycles by which drains may run behind the lanes, rising: a slice names one.
    acc_bits
        Width of a lane's accumulators, and of what drains add up.
    unit_bytes
        Bytes of a beat that enter the load buffer in a cycle.
    load_bytes
        Size of the load buffer.
    selections
        The words that a load makes of its buffer: for each the byte of every pixel, ``None`` where arbitrary.
    field_bits
        Width of ``loop_last``, ``group_last`` and ``plane`` in a record, and of an item's ``tap`` and ``channel``.
    """

    array: WorklistShape
    requantize: RequantizeConfig
    words: int
    item_words: int
    drain_words: int
    base_words: int
    base_bits: int
    dest_words: int
    tap_words: int
    mask_words: int
    records: int
    writes: int
    skews: tuple[int, ...]
    acc_bits: int
    unit_bytes: int
    load_bytes: int
    selections: tuple[tuple[int | None, ...], ...]
    field_bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "field_bits", MappingProxyType(dict(self.field_bits)))

    @property
    def row_bits(self) -> int:
        """Bits of an address within a bank."""
        return bits_for(self.words)

    @property
    def bank_bits(self) -> int:
        """Bits of a bank's number: position ``p`` lies in bank ``p mod V``, row ``p div V``."""
        return bits_for(self.array.pixels)

    @property
    def position_bits(self) -> int:
        """Bits of a position; all sums of positions wrap."""
        return self.row_bits + self.bank_bits

    def item_layout(self, lane: int) -> data.StructLayout:
        """One item: a weight, which tap and channel of the window it meets, and what happens then.

        ``drain`` only in lane 0's list: a drain begins, with the pipeline's latency and the slice's skew.
        """
        drain = {"drain": unsigned(1)} if lane == 0 else {}
        place = {name: unsigned(self.field_bits[name]) for name in ("tap", "channel")}
        return data.StructLayout({"weight": signed(8), **place, "end": 1, "high": 1, **drain})

    @property
    def base_layout(self) -> data.StructLayout:
        """One group: its position or a load's units, whether a tap of it is beyond the map, and its taps' masks."""
        return data.StructLayout(
            {"base": unsigned(self.base_bits), "beyond": 1, "masks": unsigned(bits_for(self.mask_words))}
        )

    @property
    def drain_layout(self) -> data.StructLayout:
        """One drain: a bit for each lane, that of its sum set, or a selection of the load buffer; where to, how scaled.

        No bit is set where the sum is 0.
        """
        return data.StructLayout(
            {
                "source": unsigned(max(self.array.lanes, bits_for(len(self.selections)))),
                "more": unsigned(1),
                "write": unsigned(bits_for(self.writes)),
                "offset": unsigned(self.position_bits),
                "params": self.requantize.params_layout,
            }
        )

    @property
    def dest_layout(self) -> data.StructLayout:
        """Where a group's words go, and which places of those are written.

        ``halve``: the first V / 2 places take every second pixel, from ``parity`` on; the others take the second, the
        fourth and so on, and lie the record's ``apart`` rows further on.
        """
        pixels = unsigned(self.array.pixels)
        return data.StructLayout({"base": unsigned(self.position_bits), "write": pixels, "halve": 1, "parity": 1})

    @property
    def record_layout(self) -> data.StructLayout:
        """One slice; what is called ``last`` is a count less one."""
        numbers = {
            "item_base": bits_for(self.item_words),
            "loop_last": self.field_bits["loop_last"],
            "group_last": self.field_bits["group_last"],
            "base_base": bits_for(self.base_words),
            "tap_base": bits_for(self.tap_words),
            "plane": self.field_bits["plane"],
            "dest_base": bits_for(self.dest_words),
            "drain_base": bits_for(self.drain_words),
            "drain_last": bits_for(self.drain_words),
            "writes": bits_for(self.writes + 1),
            "apart": self.row_bits,
            "skew": bits_for(len(self.skews)),
        }
        int8 = {name: signed(8) for name in ("zero_point", "low", "high", "pad")}
        flags = {"load": 1, "store": 1}
        return data.StructLayout({**{name: unsigned(bits) for name, bits in numbers.items()}, **int8, **flags})

    def write_layout(self) -> data.StructLayout:
        """Return the layout of a word on its way into all copies: each bank's row, byte and strobe."""
        pixels = self.array.pixels
        return data.StructLayout(
            {
                "rows": data.ArrayLayout(unsigned(self.row_bits), pixels),
                "bytes": data.ArrayLayout(unsigned(8), pixels),
                "strobes": unsigned(pixels),
            }
        )
